//! The door of the API: who makes a request, and whether they may, before any handler sees it.
//!
//! ```text
//! request -> names and origins -> identity -> row of the route -> object -> may they? -> handler
//! ```
//!
//! What routes ask for is a table ([`cara_api::access::routes`]); what is allowed is decided by
//! [`crate::plan::access`]. A route without a row is closed. Handlers that show many objects ask
//! [`Asker`] about each.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::body::{Body, HttpBody as _};
use axum::extract::{
    ConnectInfo, FromRequestParts, MatchedPath, Query, RawPathParams, Request, State,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cara_api::access::routes::{self, Need, On};
use cara_api::access::{Verb, value};
use cara_api::schema::{self, Schema};
use cara_api::{Node, ObjectMeta, Project, Resource, Secret, decode};
use serde::de::DeserializeOwned;

use super::App;
use super::cookies::{Cookie, cookie};
use super::extract;
use super::failure::Failure;
use super::flow;
use super::policy::{
    Admitted, denied, may_have, may_project, may_secret, must, must_be_node, must_be_node_of,
    named, not_bound,
};
use super::watch::Filter;
use crate::access::login::shown;
use crate::access::{self, Permit, Target};
use crate::cache::State as CacheState;
use crate::plan::access::site::{self, Asked, Names};
use crate::plan::access::{Identity, Named, Object};
use crate::plan::admission::{Auth, Who};

/// Asker makes the request. Without the door before the handler, nobody.
#[derive(Debug, Clone)]
pub(super) struct Asker(pub(super) Arc<Identity>);

impl<S: Sync> FromRequestParts<S> for Asker {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let who = parts.extensions.get::<Self>().cloned();
        Ok(who.unwrap_or_else(|| Self(Arc::new(Identity::Unknown))))
    }
}

impl Asker {
    /// Only those of the selected objects that may be read.
    pub(super) fn readable<F>(&self, filter: F) -> Readable<F> {
        Readable {
            who: Arc::clone(&self.0),
            filter,
        }
    }

    /// Whether an object of a kind may be read; `meta` is what is known of it.
    pub(super) fn may_read(&self, kind: &str, name: &str, meta: Option<&ObjectMeta>) -> bool {
        may_read(&self.0, kind, name, meta)
    }
}

/// Objects that a filter selects and somebody may read.
#[derive(Clone)]
pub(super) struct Readable<F> {
    who: Arc<Identity>,
    filter: F,
}

impl<T: Resource, F: Filter<T>> Filter<T> for Readable<F> {
    fn selects(&self, object: &T) -> bool {
        self.filter.selects(object) && self.shows(object)
    }

    fn shows(&self, object: &T) -> bool {
        let meta = object.meta();
        may_read(&self.who, T::KIND, &meta.name, Some(meta))
    }
}

fn may_read(who: &Identity, kind: &str, name: &str, meta: Option<&ObjectMeta>) -> bool {
    let labels = meta.map(|meta| &meta.labels);
    let named = Named { name, labels };
    let object = match kind {
        Project::KIND => Object::Project(named),
        Secret::KIND => Object::Secret(named),
        _ => Object::Installation,
    };
    who.may(Verb::Read, object)
}

/// Lets requests in, or answers them.
pub(super) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    match admit(&app, request).await {
        Ok(Some((request, permit))) => {
            let reads = matches!(*request.method(), Method::GET | Method::HEAD);
            let response = next.run(request).await;
            while_allowed(&app, response, permit, reads)
        }
        Ok(None) => super::plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n"),
        Err(failure) => failure.into_response(),
    }
}

/// None when there is no such method.
async fn admit(app: &App, request: Request) -> Result<Option<(Request, Permit)>, Failure> {
    let api = &app.shared.config.api;
    if api.auth == Auth::Off {
        let names = Names {
            hosts: api.names.clone(),
            any_address: !api.address.ip().to_canonical().is_loopback(),
        };
        site::check(asked(&request), &names).map_err(|why| Failure::intrusion(&why))?;
        let admitted = admitted(app, Identity::Unasked, Need::Public, Vec::new());
        return Ok(Some(with(request, admitted)));
    }
    let matched = request.extensions().get::<MatchedPath>();
    let path = matched.map(|path| path.as_str().to_owned());
    // Nothing is there, and nothing is told.
    let Some(path) = path else {
        let admitted = admitted(app, Identity::Unknown, Need::Public, Vec::new());
        return Ok(Some(with(request, admitted)));
    };
    let Some(need) = routes::need(request.method().as_str(), &path) else {
        return Ok(None);
    };
    let who = identity(app, &request, need)?;
    if !who.is_known() && need != Need::Public {
        return Err(Failure::unauthenticated(
            "this server asks who you are, and no token was shown: log in with `caractrl login`",
        ));
    }
    let (mut parts, body) = request.into_parts();
    let name = path_name(&mut parts).await?;
    let request = Request::from_parts(parts, body);
    let asked = targets(need, &name, &request)?;
    // Before the body is waited for, which may take its time.
    let admitted = admitted(app, who, need, asked);
    let request = authorize(app, &admitted, &name, request).await?;
    Ok(Some(with(request, admitted)))
}

fn admitted(app: &App, who: Identity, need: Need, asked: Vec<(Verb, Target)>) -> Admitted {
    let permit = Permit::new(&app.shared, Arc::new(who), asked);
    Admitted { need, permit }
}

/// Leaves who makes the request with it.
fn with(mut request: Request, admitted: Admitted) -> (Request, Permit) {
    let permit = admitted.permit.clone();
    let asker = Asker(Arc::clone(&permit.who));
    request.extensions_mut().insert(asker);
    request.extensions_mut().insert(admitted);
    (request, permit)
}

/// The objects that a request names, and what it does to them: asked about again while it lasts.
fn targets(need: Need, name: &str, request: &Request) -> Result<Vec<(Verb, Target)>, Failure> {
    let Need::May(verb, on) = need else {
        return Ok(Vec::new());
    };
    let name = || name.to_owned();
    Ok(match on {
        On::Project | On::ProjectChange => vec![(verb, Target::Project(name()))],
        On::Secret | On::SecretChange => vec![(verb, Target::Secret(name()))],
        On::ProjectInQuery => {
            let names = projects_in(request)?.into_iter();
            names.map(|name| (verb, Target::Project(name))).collect()
        }
        On::Installation | On::ProjectDocument | On::SecretDocument | On::Each | On::Own => {
            Vec::new()
        }
    })
}

/// The node that the request is of, as far as that was found out before.
fn peer(request: &Request) -> Option<Identity> {
    match request.extensions().get::<Who>()? {
        Who::Node(node) | Who::Inside(node) => Some(Identity::Node(node.clone())),
        Who::Somebody | Who::Refused(_) => None,
    }
}

fn asked(request: &Request) -> Asked<'_> {
    let text = |name| request.headers().get(name).and_then(|v| v.to_str().ok());
    let authority = request
        .uri()
        .authority()
        .map(axum::http::uri::Authority::as_str);
    let agent = text(header::USER_AGENT).unwrap_or_default();
    Asked {
        method: request.method().as_str(),
        host: text(header::HOST).or(authority).unwrap_or_default(),
        // One that is no text is none of ours.
        origin: request
            .headers()
            .get(header::ORIGIN)
            .map(|origin| origin.to_str().unwrap_or("null")),
        fetch_site: text(header::HeaderName::from_static("sec-fetch-site")),
        content_type: text(header::CONTENT_TYPE),
        has_body: !request.body().is_end_stream(),
        has_browser_headers: request.headers().contains_key(header::REFERER)
            || request.headers().contains_key(header::COOKIE)
            || agent.starts_with("Mozilla/"),
    }
}

/// The address that a request came from.
fn address(extensions: &axum::http::Extensions) -> IpAddr {
    let remote = extensions.get::<ConnectInfo<SocketAddr>>();
    remote.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip())
}

/// Asker makes the request. Where nobody needs to be known, as on the way in, a token says nothing: a
/// login is not done as whoever an old cookie is of.
fn identity(app: &App, request: &Request, need: Need) -> Result<Identity, Failure> {
    if let Some(node) = peer(request) {
        return Ok(node);
    }
    if need == Need::Public {
        return Ok(Identity::Unknown);
    }
    let text = match bearer(request.headers())? {
        Some(text) => text,
        None => match session(app, request.headers()) {
            // Cookies travel with requests of any page.
            Some(text) => {
                let asked = asked(request);
                // A proxy before this server may call it by another name than browsers do.
                let login = app.shared.config.access.login.as_ref();
                let is_own = login.is_some_and(|login| asked.origin == Some(login.url.as_str()));
                if !is_own {
                    site::check_origin(asked).map_err(|why| Failure::intrusion(&why))?;
                }
                text
            }
            None => return Ok(Identity::Unknown),
        },
    };
    // While nothing is known, nobody is.
    app.must_be_live()?;
    let from = address(request.extensions());
    match access::identify(&app.shared, text) {
        Ok(identity) => Ok(identity),
        Err(why) => {
            let shown = shown(&value::hint(text));
            let counted = app.shared.access.fail(from, shown);
            counted.map_err(Failure::too_many)?;
            tracing::warn!(%from, %why, "a token was refused");
            Err(Failure::unauthenticated(format!(
                "{why}: log in again with `caractrl login`"
            )))
        }
    }
}

/// The token in `Authorization`.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Failure> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    let (scheme, token) = text.split_once(' ').unwrap_or_default();
    if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() {
        return Ok(Some(token.trim()));
    }
    Err(Failure::unauthenticated(
        "Authorization must be of the form `Bearer TOKEN`: `caractrl login` gets a token",
    ))
}

/// The token in the cookie of a browser, where browsers log in.
fn session<'h>(app: &App, headers: &'h HeaderMap) -> Option<&'h str> {
    let login = app.shared.config.access.login.as_ref()?;
    cookie(headers, Cookie::Session.name(login.is_https()))
}

/// Refuses the request, unless they may. What the decision needs of the body is read, and put back.
async fn authorize(
    app: &App,
    admitted: &Admitted,
    name: &str,
    request: Request,
) -> Result<Request, Failure> {
    let who = &*admitted.permit.who;
    match admitted.need {
        Need::Public | Need::Known => Ok(request),
        Need::May(verb, on) => authorize_verb(app, who, (verb, on, name), request).await,
        Need::Node => must_be_node(who, name).map(|()| request),
        Need::NodeOr(verb) => match who {
            Identity::Node(_) if name.is_empty() => {
                let (request, node) = read_document::<Node>(request, &schema::NODE).await?;
                must_be_node(who, &node.metadata.name).map(|()| request)
            }
            Identity::Node(_) => must_be_node(who, name).map(|()| request),
            Identity::Unasked | Identity::Unknown | Identity::Bearer(_) => {
                must(who, verb, Object::Installation).map(|()| request)
            }
        },
        Need::NodeOfProject => must_be_node_of_named(app, who, name).map(|()| request),
        Need::Door => Err(Failure::forbidden("this is not served here")),
    }
}

/// The same for what a verb is needed for; `name` is the one in the path.
async fn authorize_verb(
    app: &App,
    who: &Identity,
    (verb, on, name): (Verb, On, &str),
    request: Request,
) -> Result<Request, Failure> {
    match on {
        On::Own => match who {
            Identity::Unasked | Identity::Bearer(_) => {}
            Identity::Unknown | Identity::Node(_) => {
                return Err(denied(who, verb, Object::Installation));
            }
        },
        On::Each => {
            if !who.may_somewhere(verb) {
                return Err(denied(who, verb, Object::Installation));
            }
        }
        On::Installation => must(who, verb, Object::Installation)?,
        On::Project => may_project(app, who, verb, name)?,
        On::ProjectInQuery => {
            let names = projects_in(&request)?;
            if names.is_empty() {
                must(who, verb, Object::Installation)?;
            }
            for name in names {
                may_project(app, who, verb, &name)?;
            }
        }
        On::ProjectDocument => {
            let (request, project) = read_document::<Project>(request, &schema::PROJECT).await?;
            may_have(app, who, verb, &project)?;
            return Ok(request);
        }
        On::ProjectChange => {
            may_project(app, who, verb, name)?;
            let (request, mut project) =
                read_document::<Project>(request, &schema::PROJECT).await?;
            name.clone_into(&mut project.metadata.name);
            may_have(app, who, verb, &project)?;
            return Ok(request);
        }
        On::Secret => may_secret(app, who, verb, name)?,
        On::SecretDocument => {
            let (request, secret) = read_document::<Secret>(request, &schema::SECRET).await?;
            must(who, verb, Object::Secret(named(&secret.metadata)))?;
            return Ok(request);
        }
        On::SecretChange => {
            may_secret(app, who, verb, name)?;
            let (request, mut secret) = read_document::<Secret>(request, &schema::SECRET).await?;
            name.clone_into(&mut secret.metadata.name);
            must(who, verb, Object::Secret(named(&secret.metadata)))?;
            return Ok(request);
        }
    }
    Ok(request)
}

/// Whether they are a node that a project is bound to, or moves to.
fn must_be_node_of_named(app: &App, who: &Identity, project: &str) -> Result<(), Failure> {
    let found = |state: &CacheState| state.project(project).cloned();
    match app.shared.cache.read(found) {
        Some(found) => must_be_node_of(who, &found),
        None => Err(not_bound(who, project)),
    }
}

/// Reads the body as the handler will, and gives it back unread. A body that is no document is
/// that of an object without a name: the handler says what is wrong with it, if it is allowed so far.
async fn read_document<T>(request: Request, schema: &Schema) -> Result<(Request, T), Failure>
where
    T: DeserializeOwned + Default,
{
    let (parts, body) = request.into_parts();
    let bytes = extract::body(body).await?;
    let document = decode::document::<T>(&bytes, schema);
    let document = document.map(|decoded| decoded.value).unwrap_or_default();
    let request = Request::from_parts(parts, Body::from(bytes));
    Ok((request, document))
}

/// The first name in the path, as handlers get it; empty when there is none.
async fn path_name(parts: &mut Parts) -> Result<String, Failure> {
    let names = RawPathParams::from_request_parts(parts, &()).await;
    let names = names.map_err(|_| Failure::bad_request("the path is not UTF-8"))?;
    let first = names.iter().next();
    Ok(first.map(|(_, name)| name.to_owned()).unwrap_or_default())
}

/// The projects that a query names, as handlers read it.
fn projects_in(request: &Request) -> Result<Vec<String>, Failure> {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(request.uri());
    let Query(pairs) = pairs.map_err(|error| Failure::bad_request(error.to_string()))?;
    let named = pairs.into_iter().filter(|(key, _)| key == "project");
    Ok(named.map(|(_, name)| name).collect())
}

/// Shows what was read to those only who may read it now, which may have taken its time; and cuts a
/// stream off when whoever reads it may not any more.
fn while_allowed(app: &App, response: Response, permit: Permit, reads: bool) -> Response {
    let is_stream = response.body().size_hint().exact().is_none();
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    if !matches!(*permit.who, Identity::Bearer(_)) || is_error || !(reads || is_stream) {
        return response;
    }
    if let Err(lost) = permit.holds(&app.shared) {
        return Failure::from(lost).into_response();
    }
    if !is_stream {
        return response;
    }
    let lost = permit.until_lost(Arc::clone(&app.shared));
    response.map(|body| flow::cut_when(body, lost))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_bearer_or_a_cookie() {
        let mut headers = HeaderMap::new();
        assert!(bearer(&headers).is_ok_and(|token| token.is_none()));
        for (text, expected) in [
            ("Bearer cara_x", Some("cara_x")),
            ("bearer  cara_x ", Some("cara_x")),
            ("Basic YTpi", None),
            ("Bearer ", None),
        ] {
            headers.insert(header::AUTHORIZATION, text.parse().expect("a value"));
            assert_eq!(bearer(&headers).ok().flatten(), expected, "{text}");
        }
        headers.insert(
            header::COOKIE,
            "a=b; cara_session=cara_x".parse().expect("a value"),
        );
        assert_eq!(cookie(&headers, "cara_session"), Some("cara_x"));
        assert_eq!(cookie(&headers, "__Host-cara_session"), None);
    }
}
