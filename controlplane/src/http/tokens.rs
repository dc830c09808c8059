//! Tokens. The value is in the answer to the creation, and nowhere else.
//!
//! Whoever may administer the installation sees and makes all of them. Users, and people who log in by
//! a login service, see those that act for them, revoke them, and make further ones for themselves, which
//! can do no more than they.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cara_api::access::{self, TokenOrigin, TokenStatus, Verb as May, validate as rules, value};
use cara_api::problem::FieldError;
use cara_api::{API_VERSION, Resource, Timestamp, Token, schema, validate};
use jiff::SignedDuration;

use super::App;
use super::extract::{document, expected_version, sound};
use super::failure::Failure;
use super::guard::Asker;
use super::objects;
use super::rehearse::Writing;
use super::stored::{self, not_watched};
use super::view::{View, begin, now};
use super::watch::{Filter, Watched};
use crate::Shared;
use crate::audit::{Caller, Verb};
use crate::cache::{Object, State as CacheState};
use crate::plan::access::{Bearer, Identity, Object as On, shows_grants_only};
use crate::repo::{self, StoredToken};

impl View for StoredToken {
    type Shown = Token;

    fn view(&self, _: &Shared) -> Token {
        shown(self)
    }
}

fn shown(token: &StoredToken) -> Token {
    Token {
        api_version: API_VERSION.to_owned(),
        kind: Token::KIND.to_owned(),
        metadata: token.metadata.clone(),
        spec: token.spec.clone(),
        status: token.status.clone(),
        value: None,
    }
}

impl Watched for StoredToken {
    fn of(_: &Object) -> Option<&Arc<Self>> {
        None
    }

    fn all(state: &CacheState) -> Vec<Arc<Self>> {
        state.access().tokens().values().cloned().collect()
    }

    fn find<'s>(state: &'s CacheState, name: &str) -> Option<&'s Arc<Self>> {
        state.access().tokens().get(name)
    }
}

/// The tokens that somebody may see: all, or their own.
#[derive(Clone)]
struct Own(Arc<Identity>);

impl Filter<StoredToken> for Own {
    fn selects(&self, token: &StoredToken) -> bool {
        if may_all(&self.0) {
            return true;
        }
        let Identity::Bearer(bearer) = &*self.0 else {
            return false;
        };
        // A token that may do less than its user is not trusted with the others.
        let is_whole = bearer.rights.within.is_none();
        let user = bearer.user.as_ref();
        let is_of_user = user.is_some_and(|user| user.as_str() == token.spec.user);
        let is_of_person = bearer.person.is_some() && bearer.person == token.person;
        (is_whole && (is_of_user || is_of_person)) || bearer.token.as_str() == token.metadata.name
    }
}

fn may_all(who: &Identity) -> bool {
    who.may(May::Admin, On::Installation)
}

/// Lists tokens.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "access",
    responses((status = 200, description = "TokenList, without values: all, or those of the caller")))]
pub(super) async fn list(
    State(app): State<App>,
    Asker(who): Asker,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    not_watched(&query)?;
    objects::list::<StoredToken>(&app, &query, Own(who))
}

/// Reads a token, without its value.
#[utoipa::path(get, path = "/api/v1/tokens/{name}", tag = "access", params(("name" = String, Path)),
    responses((status = 200, body = Token), (status = 404, body = cara_api::Problem)))]
pub(super) async fn read(
    State(app): State<App>,
    Asker(who): Asker,
    Path(name): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    not_watched(&query)?;
    objects::read_among::<StoredToken>(&app, &query, Own(who), &name)
}

/// 404 for a token that somebody may not see, as for one that is not there.
fn visible(app: &App, who: &Arc<Identity>, name: &str) -> Result<(), Failure> {
    app.must_be_live()?;
    let token = objects::current::<StoredToken>(app, name)?;
    match Own(Arc::clone(who)).selects(&token) {
        true => Ok(()),
        false => Err(Failure::not_found::<StoredToken>(name)),
    }
}

/// Creates a token; the answer is the only one that has its value.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "access", request_body = Token,
    responses((status = 201, body = Token, description = "With its value, this once"),
        (status = 400, body = cara_api::Problem), (status = 403, body = cara_api::Problem),
        (status = 409, body = cara_api::Problem)))]
pub(super) async fn create(
    Writing(app): Writing,
    Asker(who): Asker,
    by: Caller,
    body: Body,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let mut decoded = document::<Token>(body, &schema::TOKEN).await?;
    let person = for_themselves(&app, &who, &mut decoded.value)?;
    let longest = app.shared.config.access.longest_life;
    let longest = person
        .as_ref()
        .map_or(longest, |_| longest.min(access::PERSON_LIFE_MAX));
    let given = &decoded.value;
    let mut faults =
        validate::identity::<Token>(&given.api_version, &given.kind, &given.metadata.name);
    faults.extend(match &person {
        Some(_) => rules::token_of_person(given, longest),
        None => rules::token(given, longest),
    });
    let (given, warned) = sound(decoded, faults)?;
    let life = rules::token_life(&given.spec, longest);
    let life = life.map_err(|fault| Failure::invalid(&[fault]))?;
    let made = Made {
        status: TokenStatus {
            origin: TokenOrigin::Created,
            expires_at: Some(end_after(life)),
            created_by: by.actor.clone(),
            subject: person
                .as_ref()
                .map(|_| by.actor.clone())
                .unwrap_or_default(),
            ..TokenStatus::default()
        },
        token: given,
        person,
    };
    let (created, value) = made.store(&app).await?;
    app.audit_operations::<Token>(&by, Verb::Create, &created.metadata, operations(&created));
    let mut token = shown(&created);
    token.value = Some(value);
    let private = [(header::CACHE_CONTROL, "no-store")];
    let warnings = super::view::warnings(&warned);
    Ok((StatusCode::CREATED, private, warnings, Json(token)).into_response())
}

/// Lets people make tokens for themselves, which can do no more than they: not with a token that can
/// do less. The person that the token is for, if they are known by a login.
fn for_themselves(app: &App, who: &Identity, token: &mut Token) -> Result<Option<String>, Failure> {
    let is_for_others = !token.spec.user.is_empty() || !token.spec.grants.is_empty();
    let bearer = match who {
        Identity::Bearer(bearer) => Some(bearer),
        Identity::Unasked | Identity::Unknown | Identity::Node(_) => None,
    };
    let person = bearer.and_then(|bearer| bearer.person.as_ref());
    if may_all(who) && (is_for_others || person.is_none()) {
        return Ok(None);
    }
    let actor = who.actor();
    if bearer.is_some_and(|bearer| bearer.rights.within.is_some()) {
        return Err(Failure::forbidden(format!(
            "this token of {actor} may do less than {actor}, and may not create others: log in with one that is not narrowed"
        )));
    }
    match (bearer, person) {
        (Some(bearer), Some(person)) => {
            is_from_login(app, bearer)?;
            must_be_own(&token.spec.user, "", &actor)?;
            Ok(Some(person.clone()))
        }
        (
            Some(Bearer {
                user: Some(user), ..
            }),
            None,
        ) => {
            if token.spec.user.is_empty() {
                user.as_str().clone_into(&mut token.spec.user);
            }
            must_be_own(&token.spec.user, user.as_str(), &actor)?;
            Ok(None)
        }
        (Some(Bearer { user: None, .. }) | None, _) => Err(Failure::forbidden(format!(
            "{actor} may not create tokens: only users, people who are logged in and administrators do"
        ))),
    }
}

/// Whether they are logged in now: tokens of people would otherwise go on for ever, one by another,
/// without anybody asking the login service.
fn is_from_login(app: &App, bearer: &Bearer) -> Result<(), Failure> {
    let token = objects::current::<StoredToken>(app, bearer.token.as_str())?;
    match token.status.origin {
        TokenOrigin::Login => Ok(()),
        TokenOrigin::Created | TokenOrigin::Bootstrap | TokenOrigin::Federation => {
            Err(Failure::forbidden(format!(
                "{} may create tokens only when logged in, and not by one of them: `caractrl login`",
                bearer.actor
            )))
        }
    }
}

fn must_be_own(wanted: &str, own: &str, actor: &str) -> Result<(), Failure> {
    match wanted == own {
        true => Ok(()),
        false => Err(Failure::forbidden(format!(
            "{actor} may not create tokens for {wanted:?}: leave spec.user out for one of your own"
        ))),
    }
}

/// What a token will be, but for its value.
pub(super) struct Made {
    pub(super) token: Token,
    pub(super) status: TokenStatus,
    /// The person that it acts for.
    pub(super) person: Option<String>,
}

/// A token with its value.
pub(super) type Valued = (StoredToken, cara_api::secret::Hidden);

impl Made {
    /// Makes the value and stores the token.
    pub(super) async fn store(self, app: &App) -> Result<Valued, Failure> {
        let (stored, value) = self.ready(app)?;
        let batch = repo::create_token(&stored);
        let created = objects::create(app, stored, batch).await?;
        Ok((created, value))
    }

    /// Makes the value, and what is stored of the token.
    pub(super) fn ready(self, app: &App) -> Result<Valued, Failure> {
        let Self {
            token,
            mut status,
            person,
        } = self;
        let value = value::generate().map_err(Failure::internal)?;
        status.hint = value::hint(value.reveal());
        let mut metadata = token.metadata;
        begin(&mut metadata);
        let mut spec = token.spec;
        // Said once, and from then on it is `status.expiresAt`.
        spec.expires_in = String::new();
        let user_uid = match spec.user.as_str() {
            "" => None,
            name => {
                let user = objects::current::<cara_api::User>(app, name)?;
                user.metadata.uid
            }
        };
        let stored = StoredToken {
            metadata,
            spec,
            status,
            user_uid,
            person,
            hash: value::hash(value.reveal()),
        };
        Ok((stored, value))
    }
}

/// When something ends that begins now, in whole seconds.
pub(super) fn end_after(life: std::time::Duration) -> Timestamp {
    let life = SignedDuration::try_from(life).unwrap_or_default();
    let end = Timestamp::now().checked_add(life).unwrap_or(Timestamp::MAX);
    Timestamp::from_second(end.as_second()).unwrap_or(end)
}

/// What of a token the audit log tells: all but its value, which is nowhere.
pub(super) fn operations(token: &StoredToken) -> Vec<crate::audit::Operation> {
    let nothing = serde_json::json!({});
    crate::audit::diff(&nothing, &crate::audit::user_part(token))
}

/// Replaces labels, annotations, description and grants. User and end stay, and the grants of a login.
#[utoipa::path(put, path = "/api/v1/tokens/{name}", tag = "access", request_body = Token,
    params(("name" = String, Path), ("If-Match" = Option<String>, Header, description = "The expected resourceVersion")),
    responses((status = 200, body = Token), (status = 400, body = cara_api::Problem),
        (status = 404, body = cara_api::Problem), (status = 409, body = cara_api::Problem)))]
pub(super) async fn replace(
    Writing(app): Writing,
    Path(name): Path<String>,
    by: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let mut decoded = document::<Token>(body, &schema::TOKEN).await?;
    let old = objects::current::<StoredToken>(&app, &name)?;
    // Whom it acts for and its end do not change, so they need not be said again.
    old.spec.user.clone_into(&mut decoded.value.spec.user);
    decoded.value.spec.expires_in.clear();
    let given = &decoded.value;
    let mut faults = validate::same_identity::<Token>(
        &given.api_version,
        &given.kind,
        &given.metadata.name,
        &name,
    );
    faults.extend(match &old.person {
        Some(_) => rules::token_of_person(given, access::LIFE_DEFAULT),
        None => rules::token(given, access::LIFE_DEFAULT),
    });
    let (given, warned) = sound(decoded, faults)?;
    let expected = expected_version(&headers, given.metadata.resource_version)?;
    let replaced = objects::replace(&app, &name, expected, |old: &StoredToken| {
        must_keep_shown(old, &given)?;
        let mut token = old.clone();
        token.spec.grants = given.spec.grants.clone();
        token.spec.description = given.spec.description.clone();
        token.metadata.labels = given.metadata.labels.clone();
        token.metadata.annotations = given.metadata.annotations.clone();
        if token == *old {
            return Ok(None);
        }
        token.metadata.generation = old.metadata.generation.next();
        token.metadata.updated_at = Some(now());
        let batch = repo::replace_token(&token);
        Ok(Some((token, batch)))
    });
    let replaced = replaced.await?;
    if let Some(new) = &replaced.new {
        app.audit(&by, Verb::Replace, Some(&*replaced.old), Some(new));
    }
    Ok(replaced.answer(&app, &warned))
}

/// Refuses other grants where they would do nothing.
fn must_keep_shown(old: &StoredToken, given: &Token) -> Result<(), Failure> {
    let is_same = old.spec.grants == given.spec.grants;
    if is_same || !shows_grants_only(&old.status, old.person.is_some()) {
        return Ok(());
    }
    let text = "the grants of a login cannot be changed, since it may do what whoever logged in may: revoke it instead";
    Err(Failure::invalid(&[FieldError::new("spec.grants", text)]))
}

/// Revokes a token: from now on it is not known.
#[utoipa::path(delete, path = "/api/v1/tokens/{name}", tag = "access", params(("name" = String, Path)),
    responses((status = 204, description = "Revoked"), (status = 404, body = cara_api::Problem)))]
pub(super) async fn delete(
    Writing(app): Writing,
    Asker(who): Asker,
    Path(name): Path<String>,
    by: Caller,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    visible(&app, &who, &name)?;
    stored::delete(&app, &name, (&by, &headers), repo::delete_token).await
}
