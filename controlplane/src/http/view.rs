//! Objects as clients see them: what follows from configuration and memory is added here, so
//! that it is never stored and never stale.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use cara_api::certificate::ManagedBy;
use cara_api::hostname::Hostname;
use cara_api::{
    API_VERSION, Generation, Node, NodeName, ObjectMeta, Project, ProjectName, Resource,
    ResourceVersion, Timestamp,
};

use super::tag::tagged;
use crate::Shared;
use crate::cache::State;
use crate::plan::certs::served::covers;
use crate::plan::claims::Claim;
use crate::plan::routes::status::{Look, of_ingress};

/// A kind that the API shows.
pub(super) trait View: Resource {
    /// What clients see.
    type Shown: Resource;

    /// The object as clients see it.
    fn view(&self, shared: &Shared) -> Self::Shown;
}

impl View for Project {
    type Shown = Self;

    fn view(&self, shared: &Shared) -> Self {
        let mut project = self.clone();
        API_VERSION.clone_into(&mut project.api_version);
        Self::KIND.clone_into(&mut project.kind);
        let site = shared.config.site();
        project.status.ingress = shared.cache.read(|state| {
            let rules = self.spec.ingress.iter();
            let statuses = rules.map(|rule| of_ingress(rule, &self.metadata.name, &site, state));
            statuses.collect()
        });
        project
    }
}

impl Look for State {
    fn owner(&self, claim: &Claim) -> Option<&str> {
        self.claims().get(claim).map(ProjectName::as_str)
    }

    fn keys(&self, secret: &str) -> Option<&[String]> {
        self.secret(secret).map(|secret| secret.keys.as_slice())
    }

    fn names(&self, certificate: &str) -> Option<&[String]> {
        let known = self.certificate(certificate)?;
        Some(known.facts.names.as_slice())
    }

    fn is_trusted(&self, host: &Hostname) -> bool {
        let mut certificates = self.certificates().values();
        certificates.any(|certificate| {
            let names = &certificate.facts.names;
            let has = |name: &str| names.iter().any(|known| known == name);
            certificate.managed_by > ManagedBy::Ca && covers(has, host.as_str())
        })
    }
}

impl View for Node {
    type Shown = Self;

    fn view(&self, shared: &Shared) -> Self {
        let mut node = self.clone();
        API_VERSION.clone_into(&mut node.api_version);
        Self::KIND.clone_into(&mut node.kind);
        let heard = shared
            .liveness
            .heard(&NodeName::trusted(&self.metadata.name));
        node.status.last_heartbeat = heard.map(to_micros);
        node
    }
}

/// Times are shown and stored with microseconds, so that what a write returns is what a read
/// returns.
pub(super) fn now() -> Timestamp {
    to_micros(Timestamp::now())
}

fn to_micros(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

/// `Warning` headers (RFC 9111 section 5.5 as Kubernetes uses them) for unknown fields.
pub(super) fn warnings(texts: &[String]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for text in texts.iter().take(20) {
        let quoted: String = text.escape_default().to_string().replace("\\'", "'");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            headers.append(HeaderName::from_static("warning"), value);
        }
    }
    headers
}

/// The answer to a create or replace: the object as clients see it, with its warnings.
pub(super) fn written<T: View>(
    shared: &Shared,
    status: StatusCode,
    object: &T,
    texts: &[String],
) -> Response {
    let version = object.meta().resource_version;
    (
        warnings(texts),
        tagged(status, version, &object.view(shared)),
    )
        .into_response()
}

/// Sets what the server sets on a new object.
pub(super) fn begin(meta: &mut ObjectMeta) {
    let time = now();
    meta.uid = Some(uuid::Uuid::now_v7());
    meta.resource_version = ResourceVersion::default();
    meta.generation = Generation(1);
    meta.created_at = Some(time);
    meta.updated_at = Some(time);
}
