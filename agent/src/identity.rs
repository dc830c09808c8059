//! Who this node is: the key that was made here, the certificate that the server gave for it, and
//! the authority by which the server is known.
//!
//! ```text
//! token --fetch authority, compare its hash--> known server --secret, request--> certificate
//!                                                              every 2/3 of its life, by itself
//! ```
//!
//! Kept in `identity.json` in the data directory, for the owner alone; the key never leaves it.

mod file;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cara_api::client::{Backoff, Client, Credential, Error, Method, Trust, fetch_authority};
use cara_api::join::{IssuedCertificate, JoinRequest, JoinToken, RenewRequest};
use cara_api::secret::Hidden;
use cara_api::{NodeName, Timestamp, paths};
use cara_certs::ca::CaError;
use cara_certs::node::{self, KeyRequest};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::link::{FIRST_PAUSE, Link, chain};
use file::{Joining, Stored};

const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Longest pause between two tries to renew.
const RENEW_PAUSE: Duration = Duration::from_secs(60);
/// Longest time between two looks at the clock, which may be set.
const CLOCK_CHECK: Duration = Duration::from_secs(60);

/// Why a node cannot show who it is.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// The node never joined.
    #[error(
        "this node has not joined {server} yet: run `caractrl node join-token` where you control the server, and start the agent with the line that it prints (CARA_JOIN, or --join-file)"
    )]
    NotJoined {
        /// The server.
        server: String,
    },
    /// The certificate ended while the agent was away.
    #[error(
        "the certificate of node {node} ended at {at}, and the agent was not there to renew it: let it join again by a token of `caractrl node join-token --node {node}`"
    )]
    Ended {
        /// The node.
        node: NodeName,
        /// When it ended.
        at: Timestamp,
    },
    /// The data directory is that of another node.
    #[error(
        "{path} says that this is node {found}, not {wanted}: start it with --node-name {found}, or remove the file and join again"
    )]
    OtherNode {
        /// The file.
        path: PathBuf,
        /// Who it is by the file.
        found: NodeName,
        /// Who it is by the settings.
        wanted: NodeName,
    },
    /// The server is not the one that the token is from.
    #[error(
        "{server} is not the server that the join token is from: its authority has the hash {found}, the token says {wanted}. The token was not shown to it. Check the URL; if the server was set up anew, make a new token"
    )]
    OtherServer {
        /// The server.
        server: String,
        /// The hash of what it showed.
        found: String,
        /// The hash in the token.
        wanted: String,
    },
    /// A token would be sent in the clear.
    #[error("--server must begin with https:// for a join token: it must not be seen on its way")]
    Plain,
    /// The server lets nobody in by this token.
    #[error("the server does not let this node in")]
    Refused(#[source] Error),
    /// What came back is of no use.
    #[error("the certificate that the server gave cannot be used")]
    Certificate(#[from] CaError),
    /// The files cannot be read or written.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The HTTP client cannot be set up.
    #[error("cannot set up the client of the server")]
    Client(#[source] Error),
    /// The agent was told to stop meanwhile.
    #[error("told to stop before the node joined")]
    Stopped,
}

/// What a node shows.
#[derive(Debug, Clone)]
pub struct Identity {
    stored: Stored,
    path: PathBuf,
}

impl Identity {
    /// How a client shows it.
    pub fn trust(&self) -> Trust {
        Trust {
            authority: Some(self.stored.authority.clone()),
            credential: Credential::Certificate {
                certificate: self.stored.certificate.clone(),
                key: self.stored.key.clone(),
            },
        }
    }

    /// Renews the certificate each time two thirds of its life are over, until cancelled.
    pub(crate) async fn keep(mut self, link: Arc<Link>, token: CancellationToken) {
        let mut backoff = Backoff::new(FIRST_PAUSE, RENEW_PAUSE);
        loop {
            let left = self.stored.renew_at.duration_since(Timestamp::now());
            let pause = match Duration::try_from(left) {
                Ok(left) if !left.is_zero() => left.min(CLOCK_CHECK),
                Ok(_) | Err(_) => match self.renew(&link).await {
                    Ok(()) => {
                        tracing::info!(until = %self.stored.not_after, "renewed the certificate");
                        backoff.reset();
                        continue;
                    }
                    Err(error) => {
                        if backoff.is_fresh() {
                            tracing::warn!(error = %error, until = %self.stored.not_after, "cannot renew the certificate; trying again");
                        }
                        backoff.pause()
                    }
                },
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = token.cancelled() => return,
            }
        }
    }

    async fn renew(&mut self, link: &Link) -> Result<(), String> {
        let made = KeyRequest::generate().map_err(|error| error.to_string())?;
        let path = paths::fill(paths::NODE_CERTIFICATE, &[self.stored.node.as_str()]);
        let body = RenewRequest {
            certificate_request: made.request_pem.clone(),
        };
        let answer = link
            .client
            .write::<IssuedCertificate, _>(Method::POST, &path, &body);
        let issued = answer.await.map_err(|error| chain(&error))?.object;
        node::check_pair(&issued.certificate, made.key_pem.expose())
            .map_err(|error| error.to_string())?;
        let next = Identity {
            // The authority is the one that this node knows; no answer changes it.
            stored: Stored {
                certificate: issued.certificate,
                key: Hidden::new(made.key_pem.expose().as_str()),
                not_after: issued.not_after,
                renew_at: renew_at(issued.life_seconds),
                ..self.stored.clone()
            },
            path: self.path.clone(),
        };
        let (path, stored) = (next.path.clone(), next.stored.clone());
        let written = tokio::task::spawn_blocking(move || file::write(&path, &stored)).await;
        written
            .map_err(|error| error.to_string())?
            .map_err(|error| format!("{}: {error}", next.path.display()))?;
        let replaced = link.client.replace_trust(&next.trust());
        replaced.map_err(|error| chain(&error))?;
        *self = next;
        Ok(())
    }
}

/// After two thirds of the life, give or take a little, so that nodes that joined together do not
/// all come back together.
fn renew_at(life_seconds: u64) -> Timestamp {
    let seconds = i64::try_from(life_seconds).unwrap_or(i64::MAX).min(1 << 40);
    let share = SignedDuration::from_millis(seconds.saturating_mul(1_000))
        .mul_f64(0.60 + fastrand::f64() / 15.0);
    Timestamp::now()
        .saturating_add(share)
        .unwrap_or(Timestamp::MAX)
}

/// Finds out who this node is, and lets it join if it has a token and did not use it yet. None
/// where nothing is to be shown. While the server does not answer, it is tried again.
///
/// # Errors
/// See [`EntryError`]: trying again is of no use.
pub async fn enter(
    config: &Config,
    token: &CancellationToken,
) -> Result<Option<Identity>, EntryError> {
    let crate::Entry::Joined(join) = &config.entry else {
        return Ok(None);
    };
    if !config.server.starts_with("https://") {
        return Err(EntryError::Plain);
    }
    let path = config.data_dir.join(file::IDENTITY);
    let stored = file::read::<Stored>(&path).map_err(|source| EntryError::File {
        path: path.clone(),
        source,
    })?;
    let is_used = |stored: &Stored| join.as_ref().is_none_or(|join| join.id == stored.token);
    match (stored, join) {
        (Some(stored), _) if is_used(&stored) => {
            check(&stored, config, &path)?;
            Ok(Some(Identity { stored, path }))
        }
        (_, Some(join)) => {
            let joined = join_server(config, join, path);
            tokio::select! {
                joined = joined => joined.map(Some),
                () = token.cancelled() => Err(EntryError::Stopped),
            }
        }
        (_, None) => Err(EntryError::NotJoined {
            server: config.server.clone(),
        }),
    }
}

/// Whether a node keeps its identity in a data directory.
pub fn has_joined(data_dir: &std::path::Path) -> bool {
    data_dir.join(file::IDENTITY).exists()
}

fn check(stored: &Stored, config: &Config, path: &std::path::Path) -> Result<(), EntryError> {
    if stored.node != config.node {
        return Err(EntryError::OtherNode {
            path: path.to_owned(),
            found: stored.node.clone(),
            wanted: config.node.clone(),
        });
    }
    if Timestamp::now() >= stored.not_after {
        return Err(EntryError::Ended {
            node: stored.node.clone(),
            at: stored.not_after,
        });
    }
    Ok(())
}

async fn join_server(
    config: &Config,
    join: &JoinToken,
    path: PathBuf,
) -> Result<Identity, EntryError> {
    let authority = known_authority(config, join).await?;
    let made = key(config, join)?;
    let trust = Trust {
        authority: Some(authority.clone()),
        credential: Credential::None,
    };
    let client = Client::with_trust(&config.server, &trust).map_err(EntryError::Client)?;
    let request = JoinRequest {
        id: join.id.clone(),
        secret: join.secret.clone(),
        node: config.node.to_string(),
        hostname: config.hostname.clone(),
        certificate_request: made.request_pem.clone(),
    };
    let issued: IssuedCertificate = again(&config.server, || async {
        let answer = client.write(Method::POST, paths::JOIN, &request).await;
        answer.map(|written| written.object)
    })
    .await
    .map_err(EntryError::Refused)?;
    node::check_pair(&issued.certificate, made.key_pem.expose())?;
    let stored = Stored {
        node: config.node.clone(),
        token: join.id.clone(),
        authority,
        certificate: issued.certificate,
        key: Hidden::new(made.key_pem.expose().as_str()),
        not_after: issued.not_after,
        renew_at: renew_at(issued.life_seconds),
    };
    let failed = |source| EntryError::File {
        path: path.clone(),
        source,
    };
    file::write(&path, &stored).map_err(failed)?;
    file::remove(&config.data_dir.join(file::JOINING));
    tracing::info!(node = %stored.node, server = config.server, until = %stored.not_after, "joined");
    Ok(Identity { stored, path })
}

/// The authority of the server, if it is the one that the token names.
async fn known_authority(config: &Config, join: &JoinToken) -> Result<String, EntryError> {
    let told = again(&config.server, || async {
        fetch_authority(&config.server).await
    });
    let told = told.await.map_err(EntryError::Refused)?;
    // What the server says about the hash is of no interest.
    let found = node::fingerprint(&told.certificate)?.to_string();
    if found != join.authority {
        return Err(EntryError::OtherServer {
            server: config.server.clone(),
            found,
            wanted: join.authority.clone(),
        });
    }
    Ok(told.certificate)
}

/// The key for a token: kept before it is used, so that an answer that got lost costs nothing.
fn key(config: &Config, join: &JoinToken) -> Result<KeyRequest, EntryError> {
    let path = config.data_dir.join(file::JOINING);
    let failed = |source| EntryError::File {
        path: path.clone(),
        source,
    };
    let before = file::read::<Joining>(&path).map_err(failed)?;
    if let Some(before) = before.filter(|before| before.token == join.id) {
        return Ok(KeyRequest::for_key(before.key.reveal())?);
    }
    let made = KeyRequest::generate()?;
    let joining = Joining {
        token: join.id.clone(),
        key: Hidden::new(made.key_pem.expose().as_str()),
    };
    file::write(&path, &joining).map_err(failed)?;
    Ok(made)
}

/// Asks until there is an answer.
async fn again<T, F>(server: &str, ask: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        match ask().await {
            Err(error) if error.is_retryable() => {
                if backoff.is_fresh() {
                    tracing::warn!(server, error = %chain(&error), "cannot join yet; trying again");
                }
                tokio::time::sleep(backoff.pause()).await;
            }
            answer => return answer,
        }
    }
}
