//! Links that open an ingress for a time. Nothing is stored: a link is a signature, and a change of
//! the rule's `shareLinks.epoch` voids all that were given out.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::Path;
use cara_api::problem::FieldError;
use cara_api::project::Ingress;
use cara_api::share::{self, Links, Scope, ShareLink, ShareRequest};
use cara_api::signing::Secret;
use cara_api::{Project, Timestamp, schema};
use jiff::SignedDuration;

use super::extract::{document_or_default, sound};
use super::failure::Failure;
use super::objects::current;
use super::rehearse::Writing;
use super::view::{View, now};
use crate::audit::{Caller, Verb};

/// Makes a link that opens an ingress for a time.
#[utoipa::path(post, path = "/api/v1/projects/{name}/share", tag = "projects", request_body = ShareRequest,
    params(("name" = String, Path)),
    responses((status = 200, body = ShareLink), (status = 400, body = cara_api::Problem),
        (status = 404, body = cara_api::Problem),
        (status = 409, body = cara_api::Problem, description = "The rule has no share links")))]
pub(super) async fn create(
    Writing(app): Writing,
    Path(name): Path<String>,
    by: Caller,
    body: Body,
) -> Result<Json<ShareLink>, Failure> {
    app.must_be_live()?;
    let decoded = document_or_default::<ShareRequest>(body, &schema::SHARE).await?;
    let (wanted, _) = sound(decoded, Vec::new())?;
    // The request may have taken its time.
    app.must_still()?;
    let project = current(&app, &name)?;
    let rule = choose(&project, &wanted.ingress)?;
    let life = life(rule, &wanted.expires_in)?;
    let shown = project.view(&app.shared);
    let status = shown.status.ingress.iter().find(|s| s.name == rule.name);
    let url = status.map(|status| status.url.as_str()).unwrap_or_default();
    if url.is_empty() || url.contains('*') {
        return Err(Failure::conflict(format!(
            "ingress {:?} has no hostname that a link could name: give it one beside its wildcard",
            rule.name
        )));
    }
    let links = app.shared.keys.signing.as_ref().map(Secret::parse);
    let Some(Ok(secret)) = links else {
        return Err(Failure::unavailable("the server has no key to sign with"));
    };
    let epoch = rule.access.share_links.as_ref().map(|s| s.epoch.as_str());
    let scope = Scope {
        project: &project.metadata.name,
        ingress: &rule.name,
        epoch: epoch.unwrap_or_default(),
    };
    let expires_at = whole(now() + SignedDuration::try_from(life).unwrap_or_default());
    let token = Links::new(&secret).token(scope, expires_at);
    app.audit_operations::<Project>(&by, Verb::Share, &project.metadata, Vec::new());
    tracing::info!(project = %name, ingress = %rule.name, %expires_at, "shared");
    Ok(Json(ShareLink {
        url: link(url, &rule.path, &token),
        expires_at,
    }))
}

/// The rule that a link is asked for: the one that is named, or the only one with share links.
fn choose<'a>(project: &'a Project, wanted: &str) -> Result<&'a Ingress, Failure> {
    let rules = &project.spec.ingress;
    if !wanted.is_empty() {
        let named = rules.iter().find(|rule| rule.name == wanted);
        let named = named.ok_or_else(|| {
            let known: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
            Failure::conflict(format!(
                "there is no ingress {wanted:?}: the project has {}",
                known.join(", ")
            ))
        })?;
        return match named.access.share_links {
            Some(_) => Ok(named),
            None => Err(no_links(&format!("ingress {wanted:?}"))),
        };
    }
    let mut shared = rules
        .iter()
        .filter(|rule| rule.access.share_links.is_some());
    match (shared.next(), shared.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(no_links("the project")),
        (Some(a), Some(b)) => Err(Failure::conflict(format!(
            "several rules have share links: name one, such as {:?} or {:?}",
            a.name, b.name
        ))),
    }
}

fn no_links(what: &str) -> Failure {
    Failure::conflict(format!(
        "{what} has no share links: add `access: {{shareLinks: {{}}}}` to the rule"
    ))
}

fn life(rule: &Ingress, wanted: &str) -> Result<Duration, Failure> {
    let links = rule.access.share_links.as_ref();
    let longest = links.and_then(|links| span(&links.max_age));
    let longest = longest.unwrap_or(share::MAX_AGE_DEFAULT);
    let fault = |message: String| Failure::invalid(&[FieldError::new("expiresIn", message)]);
    if wanted.is_empty() {
        return Ok(share::LIFE_DEFAULT.min(longest));
    }
    let life = span(wanted).filter(|life| life.as_secs() > 0);
    let life = life.ok_or_else(|| fault("must be a duration such as 24h".into()))?;
    if life > longest {
        let hours = longest.as_secs() / 3_600;
        return Err(fault(format!(
            "the rule allows links of at most {hours}h (shareLinks.maxAge)"
        )));
    }
    Ok(life)
}

fn span(text: &str) -> Option<Duration> {
    let parsed: SignedDuration = text.parse().ok()?;
    Duration::try_from(parsed).ok()
}

fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The URL of the rule's own path with a token.
fn link(url: &str, path: &str, token: &str) -> String {
    let root = url.trim_end_matches('/');
    let has_path = root
        .split("://")
        .nth(1)
        .is_some_and(|rest| rest.contains('/'));
    let path = if has_path {
        ""
    } else if path.is_empty() {
        "/"
    } else {
        path
    };
    format!("{root}{path}?{}={token}", share::PARAMETER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_the_path_of_its_rule() {
        for (url, path, expected) in [
            ("http://a.x/", "", "http://a.x/?cara_share=t"),
            ("http://a.x:8000", "/", "http://a.x:8000/?cara_share=t"),
            ("https://a.x/", "/admin", "https://a.x/admin?cara_share=t"),
            (
                "https://a.x/admin",
                "/admin",
                "https://a.x/admin?cara_share=t",
            ),
        ] {
            assert_eq!(link(url, path, "t"), expected);
        }
    }
}
