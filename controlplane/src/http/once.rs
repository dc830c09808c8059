//! Idempotency keys: a `POST` that comes again, since its answer was lost, is answered as before and
//! not done again.
//!
//! The key is taken in the store before anything is done, so that of two that come at once, also at
//! two servers, one goes on. Only what was done is kept: a refused request may be sent again.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Extensions, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cara_api::Timestamp;
pub(super) use cara_api::once::TAKEN;
use cara_api::once::UNDER_WAY;
use cara_api::problem::code;
use cara_api::secret::Hidden;
use cara_store::{Precondition, Revision, WriteError};
use serde::{Deserialize, Serialize};

use super::App;
use super::asking::sharer;
use super::extract;
use super::failure::Failure;
use super::guard::Asker;
use super::rehearse::is_asked;
use super::view::now;
use crate::plan::once::{Seen, Turn, turn};
use crate::plan::shares::{Sharer, Short};
use crate::repo::{self, SealedAnswer};
use crate::vault::{self, Values};

/// Longest key, in bytes.
const KEY_MAX: usize = 255;
/// Largest answer that is kept, in bytes; one holds what was sent, which is smaller than this.
const ANSWER_MAX: usize = 2 * extract::BODY_MAX;
/// When to come again where too many answers are kept.
const FULL_PAUSE: Duration = Duration::from_secs(600);
/// Headers that are kept with an answer.
const HEADERS: [HeaderName; 3] = [header::CONTENT_TYPE, header::ETAG, header::WARNING];
/// Under which names the parts are sealed.
const REQUEST: &str = "request";
const ANSWER: &str = "answer";

/// An answer as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

/// A request with its key.
struct Keyed {
    /// Digest of the key and of who sent it.
    digest: String,
    /// Digest of who sent it; empty where nobody is asked.
    by: String,
    /// Digest of what is asked for.
    request: String,
    at: Timestamp,
}

/// What was found under a key.
struct Found {
    seen: Seen,
    answer: Option<Answer>,
    revision: Revision,
}

/// Does what is asked for once for each key.
pub(super) async fn once(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let is_taken = path.is_some_and(|path| TAKEN.contains(&path.as_str()));
    let is_dry = is_asked(request.uri().query().unwrap_or_default());
    let key = request.headers().get("idempotency-key").cloned();
    let (Some(key), true, false, &Method::POST) = (key, is_taken, is_dry, request.method()) else {
        return next.run(request).await;
    };
    match keyed(&app, &key, request, next).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    }
}

async fn keyed(
    app: &App,
    key: &HeaderValue,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let key = key.to_str().ok().filter(|key| is_sound(key));
    let key = key.ok_or_else(|| {
        Failure::bad_request(format!(
            "Idempotency-Key must have 1 to {KEY_MAX} printable characters, such as a UUID"
        ))
    })?;
    let (parts, body) = request.into_parts();
    let body = extract::body(body).await?;
    let keyed = Keyed {
        digest: scope(key, &parts.extensions),
        by: match sharer(&parts.extensions) {
            Sharer::Everybody => String::new(),
            Sharer::One(actor) => digest(&[actor.as_bytes()]),
        },
        request: digest(&[
            parts.method.as_str().as_bytes(),
            parts.uri.to_string().as_bytes(),
            &body,
        ]),
        at: now(),
    };
    let found = find(app, &keyed).await?;
    let seen = found.as_ref().map(|found| &found.seen);
    let when = match (turn(seen, &keyed.request, keyed.at), found) {
        (Turn::Again, Some(Found { answer, .. })) => {
            return Ok(replayed(answer.unwrap_or_default()));
        }
        (Turn::First, _) | (_, None) => Precondition::Absent,
        (Turn::Over, Some(found)) => Precondition::At(found.revision),
        (Turn::UnderWay, _) => return Err(under_way()),
        (Turn::Other, _) => {
            return Err(Failure::unprocessable(
                "Idempotency-Key was used for another request: use a new key for each",
            ));
        }
    };
    let taken = take(app, &keyed, when).await?;
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    Ok(keep(app, &keyed, taken, response).await)
}

fn is_sound(key: &str) -> bool {
    (1..=KEY_MAX).contains(&key.len()) && key.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

/// A key is its sender's own, however they show who they are: those of two users may be the same.
fn scope(key: &str, extensions: &Extensions) -> String {
    let asker = extensions.get::<Asker>();
    let sender = asker.map(|asker| asker.0.id()).unwrap_or_default();
    digest(&[sender.as_bytes(), key.as_bytes()])
}

/// Of parts, each with its length, so that none runs into the next.
fn digest(parts: &[&[u8]]) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part);
    }
    let bytes = context.finish();
    bytes.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// What is kept under a key. One that cannot be opened, as after the key for secrets was changed, is none.
async fn find(app: &App, keyed: &Keyed) -> Result<Option<Found>, Failure> {
    let Some(entry) = app.get_stored(repo::answer_key(&keyed.digest)).await? else {
        return Ok(None);
    };
    let stored = repo::decode_answer(&entry).map_err(Failure::internal)?;
    let owner = repo::answer_owner(&keyed.digest);
    let values = vault::open(&app.shared.key, owner, &stored.sealed).unwrap_or_default();
    let request = values.get(REQUEST).map(|text| text.reveal().to_owned());
    let answer = values
        .get(ANSWER)
        .and_then(|text| serde_json::from_str(text.reveal()).ok());
    Ok(Some(Found {
        seen: Seen {
            request: request.unwrap_or_else(|| keyed.request.clone()),
            at: stored.at,
            is_answered: answer.is_some(),
        },
        answer,
        revision: entry.modified,
    }))
}

fn sealed(app: &App, keyed: &Keyed, answer: Option<&Answer>) -> Result<SealedAnswer, Failure> {
    let mut values = Values::from([(REQUEST.to_owned(), Hidden::new(keyed.request.clone()))]);
    if let Some(answer) = answer {
        let text = serde_json::to_string(answer).map_err(Failure::internal)?;
        values.insert(ANSWER.to_owned(), Hidden::new(text));
    }
    let owner = repo::answer_owner(&keyed.digest);
    let sealed = vault::seal(&app.shared.key, owner, &values).map_err(Failure::internal)?;
    Ok(SealedAnswer {
        at: keyed.at,
        by: keyed.by.clone(),
        sealed,
    })
}

/// Takes the key for this request.
async fn take(app: &App, keyed: &Keyed, when: Precondition) -> Result<Revision, Failure> {
    if when == Precondition::Absent {
        let room = app.shared.answers.room(&keyed.by);
        room.map_err(|short| no_room(short, keyed.by.is_empty()))?;
    }
    let record = sealed(app, keyed, None)?;
    let batch = repo::write_answer(&keyed.digest, &record, when);
    match app.write_beside(batch).await {
        Ok(revision) => {
            if when == Precondition::Absent {
                app.shared.answers.begin(&keyed.by);
            }
            Ok(revision)
        }
        Err(WriteError::Conflict { .. }) => Err(under_way()),
        Err(error) => Err(error.into()),
    }
}

/// 503 when there is no room for anybody, 429 when the sender has had their share.
fn no_room(short: Short, is_everybody: bool) -> Failure {
    let failure = match short {
        Short::Own if !is_everybody => Failure::crowded(
            "you used a quarter of all idempotency keys within a day, which is the most: leave the header out, or try again later",
            FULL_PAUSE,
        ),
        Short::Own | Short::All => Failure::unavailable(
            "too many idempotency keys were used within a day: leave the header out, or try again later",
        )
        .after(FULL_PAUSE),
    };
    failure.coded(code::NO_KEYS)
}

fn under_way() -> Failure {
    Failure::conflict(format!("{UNDER_WAY}: try again in a second"))
}

/// Keeps an answer, and gives it. After a refusal the key is free again.
async fn keep(app: &App, keyed: &Keyed, taken: Revision, response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let free = async || {
        let key = repo::answer_key(&keyed.digest);
        match app.write_beside(repo::delete_answer(key, taken)).await {
            Ok(_) => app.shared.answers.free(&keyed.by),
            Err(error) => {
                tracing::warn!(error = %error, "an idempotency key is taken for a minute");
            }
        }
    };
    if !parts.status.is_success() {
        free().await;
        return Response::from_parts(parts, body);
    }
    let Ok(body) = axum::body::to_bytes(body, ANSWER_MAX).await else {
        free().await;
        return Failure::unavailable("the answer is too large to be kept").into_response();
    };
    let text = |name: &HeaderName| {
        let values = parts.headers.get_all(name).iter();
        let texts = values.filter_map(|value| value.to_str().ok().map(ToOwned::to_owned));
        let named: Vec<_> = texts.map(|text| (name.to_string(), text)).collect();
        named
    };
    let answer = Answer {
        status: parts.status.as_u16(),
        headers: HEADERS.iter().flat_map(text).collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let length = answer.body.len();
    let kept = match sealed(app, keyed, Some(&answer)) {
        Ok(record) => {
            let when = Precondition::At(taken);
            let batch = repo::write_answer(&keyed.digest, &record, when);
            app.write_beside(batch).await.map_err(Failure::from)
        }
        Err(failure) => Err(failure),
    };
    match kept {
        Ok(_) => app.shared.answers.keep(&keyed.by, length),
        Err(failure) => failure.log(),
    }
    Response::from_parts(parts, Body::from(body))
}

fn replayed(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = (status, answer.body).into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
            headers.append(name, value);
        }
    }
    let mark = HeaderName::from_static("idempotency-replayed");
    headers.insert(mark, HeaderValue::from_static("true"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
        assert_eq!(digest(&[b"a"]).len(), 64);
    }

    #[test]
    fn keys_are_printable_and_short() {
        for (key, expected) in [("a b", true), ("", false), ("ü", false)] {
            assert_eq!(is_sound(key), expected, "{key}");
        }
        assert!(!is_sound(&"k".repeat(KEY_MAX + 1)));
    }

    #[test]
    fn an_answer_comes_back_as_it_was() {
        let answer = Answer {
            status: 201,
            headers: vec![
                ("content-type".into(), "application/json".into()),
                ("warning".into(), "299 - \"a\"".into()),
                ("warning".into(), "299 - \"b\"".into()),
            ],
            body: "{}".into(),
        };
        let response = replayed(answer);
        assert_eq!(response.status(), 201);
        assert_eq!(response.headers().get_all("warning").iter().count(), 2);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.headers()["idempotency-replayed"], "true");
    }
}
