//! Users, tokens and federation rules in memory.
//!
//! They are looked up with each request and followed by nobody: they have no history.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cara_api::{Federation, FederationName, Resource, TokenName, User, UserName};
use cara_store::Key;

use super::map::replace;
use crate::repo::{self, Person, StoredToken};

/// Everything that is known of who may do what.
#[derive(Default)]
pub(crate) struct Access {
    users: BTreeMap<UserName, Arc<User>>,
    tokens: BTreeMap<TokenName, Arc<StoredToken>>,
    /// Names of tokens by their hashes.
    by_hash: BTreeMap<String, TokenName>,
    federations: BTreeMap<FederationName, Arc<Federation>>,
    /// By their ids.
    people: BTreeMap<String, Arc<Person>>,
}

impl Access {
    pub(crate) fn users(&self) -> &BTreeMap<UserName, Arc<User>> {
        &self.users
    }

    pub(crate) fn tokens(&self) -> &BTreeMap<TokenName, Arc<StoredToken>> {
        &self.tokens
    }

    pub(crate) fn federations(&self) -> &BTreeMap<FederationName, Arc<Federation>> {
        &self.federations
    }

    /// The token of a hash.
    pub(crate) fn token_of(&self, hash: &str) -> Option<&Arc<StoredToken>> {
        self.tokens.get(self.by_hash.get(hash)?)
    }

    /// The user that a token acts for, if it is still the same.
    pub(crate) fn user_of(&self, token: &StoredToken) -> Option<&User> {
        let user = self.users.get(token.spec.user.as_str())?;
        (user.metadata.uid == token.user_uid).then_some(user)
    }

    /// Somebody who logs in by a login service, by their id.
    pub(crate) fn person(&self, id: &str) -> Option<&Arc<Person>> {
        self.people.get(id)
    }

    /// Those of them whom no token names.
    pub(crate) fn people_without_tokens(&self) -> Vec<Arc<Person>> {
        let tokens = self.tokens.values();
        let named: BTreeSet<&str> = tokens.filter_map(|t| t.person.as_deref()).collect();
        let people = self.people.iter();
        let unnamed = people.filter(|(id, _)| !named.contains(id.as_str()));
        unnamed.map(|(_, person)| Arc::clone(person)).collect()
    }

    /// The keys of everything.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        let users = self.users.keys().map(repo::user_key);
        let tokens = self.tokens.keys().map(repo::token_key);
        let rules = self.federations.keys().map(repo::federation_key);
        let people = self.people.keys().map(|id| repo::person_key(id));
        users.chain(tokens).chain(rules).chain(people)
    }

    pub(super) fn set_user(&mut self, name: &str, user: Option<User>) {
        replace(&mut self.users, UserName::trusted(name), user.map(Arc::new));
    }

    pub(super) fn set_token(&mut self, name: &str, token: Option<StoredToken>) {
        let name = TokenName::trusted(name);
        if let Some(token) = &token {
            self.by_hash.insert(token.hash.clone(), name.clone());
        }
        let hash = token.as_ref().map(|token| token.hash.clone());
        let before = replace(&mut self.tokens, name, token.map(Arc::new));
        if let Some(before) = before.filter(|before| Some(&before.hash) != hash.as_ref()) {
            self.by_hash.remove(&before.hash);
        }
    }

    pub(super) fn set_federation(&mut self, name: &str, rule: Option<Federation>) {
        let name = FederationName::trusted(name);
        replace(&mut self.federations, name, rule.map(Arc::new));
    }

    pub(super) fn set_person(&mut self, id: &str, person: Option<Person>) {
        replace(&mut self.people, id.to_owned(), person.map(Arc::new));
    }
}

/// The names of all objects of a kind that belong to a user.
pub(crate) fn tokens_of<'a>(
    access: &'a Access,
    user: &'a User,
) -> impl Iterator<Item = &'a TokenName> {
    let tokens = access.tokens.iter();
    let name = user.meta().name.as_str();
    tokens
        .filter(move |(_, token)| token.spec.user == name)
        .map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use cara_api::ObjectMeta;
    use cara_api::access::{TokenSpec, TokenStatus};

    use super::*;

    fn token(name: &str, hash: &str, user_uid: Option<uuid::Uuid>) -> StoredToken {
        StoredToken {
            metadata: ObjectMeta {
                name: name.to_owned(),
                ..ObjectMeta::default()
            },
            spec: TokenSpec {
                user: "ann".to_owned(),
                ..TokenSpec::default()
            },
            status: TokenStatus::default(),
            user_uid,
            person: None,
            hash: hash.to_owned(),
        }
    }

    #[test]
    fn a_token_is_found_by_the_hash_that_it_has_now() {
        let mut access = Access::default();
        access.set_token("a", Some(token("a", "one", None)));
        assert!(access.token_of("one").is_some());
        access.set_token("a", Some(token("a", "two", None)));
        assert!(access.token_of("one").is_none() && access.token_of("two").is_some());
        access.set_token("a", None);
        assert!(access.token_of("two").is_none() && access.by_hash.is_empty());
        assert_eq!(access.keys().count(), 0);
    }

    #[test]
    fn people_without_tokens_are_those_whom_none_names() {
        let mut access = Access::default();
        for id in ["p1", "p2"] {
            let person = Person {
                metadata: ObjectMeta {
                    name: id.to_owned(),
                    ..ObjectMeta::default()
                },
                issuer: "https://sso.example".to_owned(),
                subject: "ann@example.com".to_owned(),
                marks: Vec::new(),
            };
            access.set_person(id, Some(person));
        }
        let idle = |access: &Access| {
            let people = access.people_without_tokens();
            let names = people.iter().map(|person| person.metadata.name.clone());
            names.collect::<Vec<_>>()
        };
        assert_eq!(idle(&access), ["p1", "p2"]);
        let of_p1 = StoredToken {
            person: Some("p1".to_owned()),
            ..token("a", "one", None)
        };
        access.set_token("a", Some(of_p1));
        access.set_token("b", Some(token("b", "two", None)));
        assert_eq!(idle(&access), ["p2"]);
        access.set_token("a", None);
        assert_eq!(idle(&access), ["p1", "p2"]);
    }

    #[test]
    fn a_token_acts_for_the_user_that_it_was_made_for() {
        let mut access = Access::default();
        let [first, second] = [1, 2].map(uuid::Uuid::from_u128);
        let user = |uid| {
            let mut user = User::default();
            user.metadata.name = "ann".to_owned();
            user.metadata.uid = Some(uid);
            user
        };
        let token = token("a", "one", Some(first));
        assert!(access.user_of(&token).is_none());
        access.set_user("ann", Some(user(first)));
        assert!(access.user_of(&token).is_some());
        access.set_user("ann", Some(user(second)));
        assert!(access.user_of(&token).is_none());
        access.set_token("a", Some(token.clone()));
        let ann = user(second);
        assert_eq!(tokens_of(&access, &ann).count(), 1, "they go with the user");
    }
}
