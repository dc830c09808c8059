//! Nodes are let in by join tokens; what belongs to that is in the modules below.

pub(super) mod certificates;
pub(super) mod tokens;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use cara_api::join::{IssuedCertificate, JoinRequest, SERVER_NAME, ServerAuthority};
use cara_api::node::{Admission, NodeStatus};
use cara_api::{Node, NodeName, Timestamp};
use cara_certs::ca::CaError;
use cara_certs::node::{CheckedRequest, NodeCertificate, NodeSubject};
use cara_store::{Entry, WriteError};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::App;
use super::extract;
use super::failure::Failure;
use super::objects::TRIES;
use super::view::{begin, now};
use super::write::at;
use crate::audit::{Caller, Op, Operation, Verb};
use crate::config::{ApiConfig, ApiTls};
use crate::plan::admission::{Candidate, Presented, Redeemed, Refusal, Use, Who, redeem};
use crate::repo;

/// The names that the server's own certificate has.
pub(crate) fn server_names(api: &ApiConfig) -> Vec<String> {
    let mut names: Vec<String> = [SERVER_NAME, "localhost", "127.0.0.1", "::1"]
        .map(str::to_owned)
        .into();
    let ip = api.address.ip();
    let listens = (!ip.is_unspecified()).then(|| ip.to_string());
    for name in listens.iter().chain(&api.names) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// The authority that the server's own certificate comes from. Those who know its SHA-256 can
/// take it from here over a connection that they do not trust yet.
#[utoipa::path(get, path = "/api/v1/join/authority", tag = "nodes",
    responses((status = 200, body = ServerAuthority)))]
pub(super) async fn authority(State(app): State<App>) -> Json<ServerAuthority> {
    let authority = &app.shared.authority;
    Json(ServerAuthority {
        certificate: authority.certificate_pem().to_owned(),
        fingerprint: authority.fingerprint().to_string(),
    })
}

/// Lets a node in: its token is used up, and it gets a certificate for its own key.
#[utoipa::path(post, path = "/api/v1/join", tag = "nodes", request_body = JoinRequest,
    responses((status = 200, body = IssuedCertificate), (status = 400, body = cara_api::Problem),
        (status = 403, body = cara_api::Problem, description = "The token lets nobody in, or not this node")))]
pub(super) async fn join(
    State(app): State<App>,
    by: Caller,
    body: Body,
) -> Result<Json<IssuedCertificate>, Failure> {
    app.must_be_live()?;
    if app.shared.config.api.tls == ApiTls::Off {
        return Err(Failure::conflict(
            "this server has no TLS: nodes do not join it",
        ));
    }
    let asked: JoinRequest = read(body).await?;
    let node = wanted_name(&asked.node)?;
    let secret_hash = hash(asked.secret.reveal());
    // Nothing of who has no token is looked at any further.
    app.knows_token(&asked.id, &secret_hash).await?;
    let request = checked(&asked.certificate_request)?;
    let comer = Comer {
        secret_hash,
        key: request.key_fingerprint().to_string(),
        node,
        hostname: asked.hostname.chars().take(253).collect(),
    };
    for _ in 0..TRIES {
        let entry = app.stored_token(&asked.id).await?;
        match app.admit(entry, &comer, &request, &by).await? {
            Some(issued) => return Ok(Json(issued)),
            None => app.catch_up().await?,
        }
    }
    Err(Failure::unavailable(
        "the node is being changed by others at the same time: try again",
    ))
}

/// A machine that wants to be a node.
struct Comer {
    secret_hash: String,
    key: String,
    node: NodeName,
    hostname: String,
}

/// Characters of an unknown token's id that the log shows: it may be anything.
const ID_SHOWN: usize = 32;

impl App {
    /// Refuses tokens that this server did not make.
    async fn knows_token(&self, id: &str, secret_hash: &str) -> Result<(), Failure> {
        let entry = self.stored_token(id).await?;
        let stored = entry.as_ref().map(repo::decode_join_token).transpose();
        match stored.map_err(Failure::internal)? {
            Some(token) if token.secret_hash == secret_hash => Ok(()),
            Some(_) | None => {
                let id: String = id.chars().take(ID_SHOWN).collect();
                tracing::warn!(id, "an unknown join token was shown");
                Err(refused(&Refusal::Unknown))
            }
        }
    }

    /// Lets a machine in if the token does; none when somebody else changed something meanwhile.
    async fn admit(
        &self,
        entry: Option<Entry>,
        comer: &Comer,
        request: &CheckedRequest,
        by: &Caller,
    ) -> Result<Option<IssuedCertificate>, Failure> {
        let stored = entry.as_ref().map(repo::decode_join_token).transpose();
        let stored = stored.map_err(Failure::internal)?;
        let found = self
            .shared
            .cache
            .read(|state| state.node(comer.node.as_str()).cloned());
        let candidate = Candidate {
            secret_hash: &comer.secret_hash,
            node: &comer.node,
            key: &comer.key,
            exists: found.is_some(),
            admission: found.as_ref().and_then(|n| n.status.admission.as_ref()),
        };
        let time = now();
        match redeem(stored.as_ref(), candidate, time) {
            Ok(Redeemed::Admit) => {}
            Ok(Redeemed::Again(admission)) => {
                let issued = self.issue(request, &comer.node, admission)?;
                return Ok(Some(self.issued(issued)));
            }
            Err(refusal) => {
                tracing::warn!(node = %comer.node, remote = ?by.remote, reason = %refusal, "a node was not let in");
                return Err(refused(&refusal));
            }
        }
        let (Some(entry), Some(mut token)) = (entry, stored) else {
            return Err(refused(&Refusal::Unknown));
        };
        let admission = Uuid::now_v7();
        let issued = self.issue(request, &comer.node, admission)?;
        token.used = Some(Use {
            at: time,
            node: comer.node.clone(),
            admission,
            key: comer.key.clone(),
        });
        let is_new = found.is_none();
        let node = admitted(found.as_deref(), comer, admission, issued.not_after, time);
        let batch = match is_new {
            true => repo::create_node(&node),
            false => repo::replace_node(&node),
        };
        match self
            .commit(repo::use_join_token(batch, &entry, &token))
            .await
        {
            Ok(revision) => {
                // A machine that had the name before has it no more.
                let is_newest = |p: &Presented| p.node != comer.node || p.admission == admission;
                self.shared.peers.cut(is_newest);
                self.audit_admission(by, Verb::Join, &at(node, revision));
                tracing::info!(node = %comer.node, token = %token.id, remote = ?by.remote, "joined");
                Ok(Some(self.issued(issued)))
            }
            Err(WriteError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn issue(
        &self,
        request: &CheckedRequest,
        node: &NodeName,
        admission: Uuid,
    ) -> Result<NodeCertificate, Failure> {
        let subject = NodeSubject {
            node: node.to_string(),
            admission: admission.to_string(),
        };
        let life = self.shared.config.api.certificate_life;
        let issued = self
            .shared
            .authority
            .issue_node(request, &subject, life, now());
        issued.map_err(Failure::internal)
    }

    fn issued(&self, issued: NodeCertificate) -> IssuedCertificate {
        let life = issued.not_after.duration_since(now());
        IssuedCertificate {
            certificate: issued.certificate_pem,
            authority: self.shared.authority.certificate_pem().to_owned(),
            not_after: issued.not_after,
            life_seconds: u64::try_from(life.as_secs()).unwrap_or(0),
        }
    }

    /// Records that the admission of a node changed.
    fn audit_admission(&self, by: &Caller, verb: Verb, node: &Node) {
        let value = serde_json::to_value(&node.status.admission).unwrap_or_default();
        let operation = Operation {
            op: Op::Replace,
            path: "/status/admission".to_owned(),
            old: None,
            new: Some(value),
        };
        self.audit_operations::<Node>(by, verb, &node.metadata, vec![operation]);
    }
}

/// The node as it is let in.
fn admitted(
    found: Option<&Node>,
    comer: &Comer,
    admission: Uuid,
    not_after: Timestamp,
    time: Timestamp,
) -> Node {
    let mut node = found.cloned().unwrap_or_else(|| {
        let mut node = Node::default();
        comer.node.as_str().clone_into(&mut node.metadata.name);
        begin(&mut node.metadata);
        node.status = NodeStatus::default();
        node
    });
    if !comer.hostname.is_empty() {
        comer.hostname.clone_into(&mut node.spec.hostname);
    }
    node.metadata.updated_at = Some(time);
    node.status.admission = Some(Admission {
        id: admission,
        joined_at: time,
        certificate_not_after: not_after,
        revoked_at: None,
    });
    node
}

fn refused(refusal: &Refusal) -> Failure {
    match refusal {
        Refusal::NameTaken(_) => Failure::conflict(refusal.to_string()),
        Refusal::Unknown
        | Refusal::Used { .. }
        | Refusal::Expired(_)
        | Refusal::OtherNode { .. } => Failure::forbidden(refusal.to_string()),
    }
}

async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Failure> {
    let bytes = extract::body(body).await?;
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    serde_json::from_slice(text)
        .map_err(|error| Failure::bad_request(format!("invalid request body: {error}")))
}

fn wanted_name(text: &str) -> Result<NodeName, Failure> {
    NodeName::parse(text)
        .map_err(|error| Failure::bad_request(format!("node: {text:?} is not valid: {error}")))
}

fn checked(pem: &str) -> Result<CheckedRequest, Failure> {
    CheckedRequest::from_pem(pem)
        .map_err(|error: CaError| Failure::bad_request(format!("certificateRequest: {error}")))
}

fn hash(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    hex(digest.as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Who registers a node may do so: the agent inside the server only its own.
pub(super) fn may_register(who: &Who, node: &str) -> Result<(), Failure> {
    match who {
        Who::Inside(own) if own.as_str() != node => Err(Failure::forbidden(format!(
            "node {own} may not register node {node}"
        ))),
        Who::Somebody | Who::Node(_) | Who::Inside(_) | Who::Refused(_) => Ok(()),
    }
}
