//! The connection to the control plane: three tasks that never wait for one another.

use std::sync::Arc;
use std::time::Duration;

use cara_api::agent::{Message, ReportAnswer, Reports};
use cara_api::client::{Backoff, Client, Error, Method};
use cara_api::{Node, paths};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::outbox::Outbox;
use crate::supervisor::Received;

pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What the tasks share.
pub(crate) struct Link {
    pub(crate) config: Arc<Config>,
    pub(crate) client: Client,
    /// Whether the agent makes the node's record; one that joined has it already.
    pub(crate) registers: bool,
    pub(crate) outbox: Arc<Outbox>,
}

/// Registers the node and follows its assignments, until cancelled.
pub(crate) async fn follow(
    link: Arc<Link>,
    assigned: watch::Sender<Option<Received>>,
    token: CancellationToken,
) {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut was_connected = true;
    let mut is_shut_out = false;
    let mut connection = 0;
    loop {
        let result = tokio::select! {
            result = follow_once(&link, &assigned, &mut backoff, &mut connection) => result,
            () = token.cancelled() => return,
        };
        was_connected |= backoff.is_fresh();
        is_shut_out &= result.as_ref().is_err_and(is_refusal);
        let pause = backoff.pause();
        match result {
            Ok(Ended::Renewed) => {
                was_connected = true;
                continue;
            }
            // Said once: nothing changes until somebody does something about it.
            Err(error) if is_refusal(&error) && !is_shut_out => {
                tracing::error!(server = link.client.base(), error = %chain(&error), "the server does not let this node in; trying again");
                is_shut_out = true;
            }
            Ok(Ended::ByServer) => tracing::info!("the server ended the stream; connecting again"),
            Err(error) if was_connected => {
                tracing::warn!(server = link.client.base(), error = %chain(&error), "lost the server; trying again");
            }
            Err(error) => {
                tracing::debug!(error = %chain(&error), ?pause, "the server does not answer")
            }
        }
        was_connected = false;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = token.cancelled() => return,
        }
    }
}

fn is_refusal(error: &Error) -> bool {
    matches!(error.status(), Some(401 | 403))
}

/// Why a stream ended in order.
enum Ended {
    /// The server ended it.
    ByServer,
    /// It was opened by a certificate that was renewed.
    Renewed,
}

async fn follow_once(
    link: &Link,
    assigned: &watch::Sender<Option<Received>>,
    backoff: &mut Backoff,
    connection: &mut u64,
) -> Result<Ended, Error> {
    let mut replacements = link.client.replacements();
    if link.registers {
        register(link).await?;
    }
    let path = paths::fill(paths::NODE_ASSIGNMENTS, &[link.config.node.as_str()]);
    let mut lines = link.client.follow(&path, &[]).await?;
    tracing::info!(server = link.client.base(), node = %link.config.node, "connected");
    let mut newest = None;
    loop {
        let message = tokio::select! {
            message = lines.next::<Message>() => message?,
            // What was opened by the old certificate ends with it; better now, and in order.
            Ok(()) = replacements.changed() => {
                tracing::debug!("connecting again by the new certificate");
                return Ok(Ended::Renewed);
            }
        };
        let Some(message) = message else {
            return Ok(Ended::ByServer);
        };
        backoff.reset();
        let Message::Assignments(assignments) = message else {
            continue;
        };
        // Within one stream the revision only grows; an older message is a fault of the server.
        if newest.is_some_and(|revision| assignments.revision < revision) {
            tracing::error!(revision = %assignments.revision, "refused assignments that are older than the last ones");
            continue;
        }
        if newest.is_none() {
            link.outbox.mark_all();
            *connection += 1;
        }
        newest = Some(assignments.revision);
        tracing::debug!(revision = %assignments.revision, projects = assignments.projects.len(), "assignments");
        assigned.send_replace(Some(Received {
            connection: *connection,
            assignments: Arc::new(assignments),
        }));
    }
}

/// Makes the node's record; one that exists is fine.
async fn register(link: &Link) -> Result<(), Error> {
    let mut node = Node::default();
    link.config
        .node
        .as_str()
        .clone_into(&mut node.metadata.name);
    link.config.hostname.clone_into(&mut node.spec.hostname);
    match link.client.post(paths::NODES, &node).await {
        Ok(()) => Ok(()),
        Err(error) if error.status() == Some(409) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Sends reports as they come, until cancelled.
pub(crate) async fn report(link: Arc<Link>, token: CancellationToken) {
    let path = paths::fill(paths::NODE_REPORTS, &[link.config.node.as_str()]);
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let session = uuid::Uuid::now_v7().to_string();
    let mut sequence: u64 = 0;
    loop {
        tokio::select! {
            () = link.outbox.news() => {}
            () = token.cancelled() => return,
        }
        let reports = link.outbox.take();
        if reports.is_empty() {
            continue;
        }
        sequence += 1;
        let body = Reports {
            session: session.clone(),
            sequence,
            reports,
        };
        let send = link
            .client
            .write::<ReportAnswer, _>(Method::POST, &path, &body);
        let result = tokio::select! {
            result = send => result,
            () = token.cancelled() => return,
        };
        match result {
            Ok(answer) => {
                backoff.reset();
                link.outbox.delivered();
                for refusal in answer.object.refused {
                    tracing::info!(project = %refusal.project, reason = refusal.reason, "report refused");
                }
            }
            Err(error) => {
                link.outbox.put_back(&body.reports);
                let pause = backoff.pause();
                tracing::debug!(error = %chain(&error), ?pause, "reports not taken; trying again");
                tokio::select! {
                    () = tokio::time::sleep(pause) => link.outbox.retry(),
                    () = token.cancelled() => return,
                }
            }
        }
    }
}

pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
