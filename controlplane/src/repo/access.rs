//! Users, tokens and federation rules in the store.

use cara_api::access::{TokenSpec, TokenStatus, value};
use cara_api::{
    Federation, FederationName, ObjectMeta, Resource, Token, TokenName, User, UserName,
};
use cara_store::{Batch, Key, Precondition};
use serde::{Deserialize, Serialize};

use super::{encode, revision, update};
use crate::plan::access::mapping::Mark;

/// Prefix of all that is about access; no reconciler acts on it.
pub(crate) const ACCESS: &str = "access/";
/// Below it, prefix of the keys of users.
pub(crate) const USERS: &str = "users/";
/// The same for tokens.
pub(crate) const TOKENS: &str = "tokens/";
/// The same for federation rules.
pub(crate) const FEDERATIONS: &str = "federations/";

/// The same for people who log in by a login service.
pub(crate) const PEOPLE: &str = "people/";

/// Somebody who logs in by a login service, as they were at their last login. Tokens that they make
/// for themselves go by this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Person {
    pub(crate) metadata: ObjectMeta,
    /// The issuer that knows them.
    pub(crate) issuer: String,
    /// As people and the audit log name them; two may have the same name.
    pub(crate) subject: String,
    /// What of `login-roles` their claims fitted.
    pub(crate) marks: Vec<Mark>,
}

impl Resource for Person {
    const KIND: &'static str = "Person";
    const NOUN: &'static str = "person";

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Names a person among those of all issuers. `sub` is the claim of that name: it alone is one
/// person's for ever (OpenID Connect Core 1.0, section 5.7).
pub(crate) fn person_id(issuer: &str, sub: &str) -> String {
    // No URL of an issuer has a line break.
    value::hash(&format!("{issuer}\n{sub}"))
}

pub(crate) fn person_key(id: &str) -> Key {
    Key::new(format!("{ACCESS}{PEOPLE}{id}"))
}

/// Writes, with a token that a login gives, what it says of the person, on condition that they are as
/// they were read.
pub(crate) fn with_person(batch: Batch, person: &Person, before: Option<&Person>) -> Batch {
    let key = person_key(&person.metadata.name);
    let when = before.map_or(Precondition::Absent, |before| {
        Precondition::At(revision(before))
    });
    batch.put(key, encode(person), when)
}

/// Removes a person as they were read.
pub(crate) fn delete_person(person: &Person) -> Batch {
    let key = person_key(&person.metadata.name);
    Batch::new().delete(key, Precondition::At(revision(person)))
}

/// A token as it is stored and cached: without the token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredToken {
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: TokenSpec,
    pub(crate) status: TokenStatus,
    /// Of its user: one of the same name that comes later is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user_uid: Option<uuid::Uuid>,
    /// Of the person that it acts for, if a login made it or somebody who was logged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) person: Option<String>,
    /// Its SHA-256.
    pub(crate) hash: String,
}

impl Resource for StoredToken {
    const KIND: &'static str = Token::KIND;
    const NOUN: &'static str = Token::NOUN;

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

pub(crate) fn user_key(name: &UserName) -> Key {
    Key::new(format!("{ACCESS}{USERS}{name}"))
}

pub(crate) fn token_key(name: &TokenName) -> Key {
    Key::new(format!("{ACCESS}{TOKENS}{name}"))
}

pub(crate) fn federation_key(name: &FederationName) -> Key {
    Key::new(format!("{ACCESS}{FEDERATIONS}{name}"))
}

fn key_of_user(user: &User) -> Key {
    user_key(&UserName::trusted(&user.metadata.name))
}

fn key_of_token(token: &StoredToken) -> Key {
    token_key(&TokenName::trusted(&token.metadata.name))
}

fn key_of_federation(rule: &Federation) -> Key {
    federation_key(&FederationName::trusted(&rule.metadata.name))
}

/// Creates a user.
pub(crate) fn create_user(user: &User) -> Batch {
    Batch::new().put(key_of_user(user), encode(user), Precondition::Absent)
}

/// Replaces a user as it was read.
pub(crate) fn replace_user(user: &User) -> Batch {
    update(user, key_of_user(user))
}

/// Removes a user as it was read, and the tokens that act for it.
pub(crate) fn delete_user<'a>(user: &User, tokens: impl Iterator<Item = &'a TokenName>) -> Batch {
    let batch = Batch::new().delete(key_of_user(user), Precondition::At(revision(user)));
    tokens.fold(batch, |batch, token| {
        batch.delete(token_key(token), Precondition::Any)
    })
}

/// Creates a token; the user that it acts for must exist.
pub(crate) fn create_token(token: &StoredToken) -> Batch {
    let batch = Batch::new().put(key_of_token(token), encode(token), Precondition::Absent);
    match token.spec.user.as_str() {
        "" => batch,
        user => batch.require(user_key(&UserName::trusted(user)), Precondition::Present),
    }
}

/// Replaces a token as it was read.
pub(crate) fn replace_token(token: &StoredToken) -> Batch {
    update(token, key_of_token(token))
}

/// Removes a token as it was read.
pub(crate) fn delete_token(token: &StoredToken) -> Batch {
    Batch::new().delete(key_of_token(token), Precondition::At(revision(token)))
}

/// Creates a federation rule.
pub(crate) fn create_federation(rule: &Federation) -> Batch {
    Batch::new().put(key_of_federation(rule), encode(rule), Precondition::Absent)
}

/// Replaces a federation rule as it was read.
pub(crate) fn replace_federation(rule: &Federation) -> Batch {
    update(rule, key_of_federation(rule))
}

/// Removes a federation rule as it was read.
pub(crate) fn delete_federation(rule: &Federation) -> Batch {
    Batch::new().delete(key_of_federation(rule), Precondition::At(revision(rule)))
}
