//! Answers to HTTP challenges: written to the store, from where every gateway gets them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cara_api::Timestamp;
use cara_api::gateway::GatewayState;
use cara_certs::{ChallengeError, HttpChallenge, HttpChallenges};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::Shared;
use crate::repo;

/// How long it may take until the gateway's state holds an answer.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(10);
/// How long to look whether this server's own gateway gives it.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How much of the gateway's answer is read, in bytes.
const ANSWER_MAX: u64 = 4_096;

/// Publishes answers by the store.
pub(super) struct Published<'a> {
    shared: &'a Shared,
    gateway: watch::Receiver<Arc<GatewayState>>,
}

impl<'a> Published<'a> {
    pub(super) fn new(shared: &'a Shared, gateway: watch::Receiver<Arc<GatewayState>>) -> Self {
        Self { shared, gateway }
    }

    /// Waits until this process' gateway gives the answer. Other settings may keep it from being
    /// seen from here, so the authority is let have a look in any case.
    async fn look(&self, challenge: &HttpChallenge) {
        let port = self.shared.config.http_port;
        let look = async {
            while !is_answered(port, challenge).await {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        if tokio::time::timeout(ANSWERED_WITHIN, look).await.is_err() {
            tracing::debug!(
                host = challenge.hostname,
                port,
                "the gateway does not give the answer to a challenge on this machine"
            );
        }
    }
}

#[async_trait]
impl HttpChallenges for Published<'_> {
    async fn publish(&self, challenge: &HttpChallenge) -> Result<(), ChallengeError> {
        let token = &challenge.token;
        let key = repo::challenge_key(token)
            .ok_or_else(|| ChallengeError::failed("the authority's token is no token"))?;
        let answer = repo::Challenge {
            key_authorization: challenge.key_authorization.clone(),
            created_at: Timestamp::now(),
        };
        let written = self
            .shared
            .store
            .apply(repo::publish_challenge(key, &answer));
        written
            .await
            .map_err(|error| ChallengeError::caused("the answer cannot be stored", error))?;
        let mut gateway = self.gateway.clone();
        let told = gateway.wait_for(|state| state.challenges.contains_key(token));
        match tokio::time::timeout(PUBLISHED_WITHIN, told).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => {
                return Err(ChallengeError::failed(
                    "the gateway was not told the answer in time",
                ));
            }
        }
        self.look(challenge).await;
        Ok(())
    }

    async fn retract(&self, challenge: &HttpChallenge) -> Result<(), ChallengeError> {
        let Some(key) = repo::challenge_key(&challenge.token) else {
            return Ok(());
        };
        let removed = self.shared.store.apply(repo::retract_challenge(key)).await;
        removed
            .map(drop)
            .map_err(|error| ChallengeError::caused("the answer cannot be removed", error))
    }
}

/// Whether the gateway on this machine answers as the authority will ask.
async fn is_answered(port: u16, challenge: &HttpChallenge) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let request = format!(
            "GET /.well-known/acme-challenge/{} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            challenge.token, challenge.hostname
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = asked.await.unwrap_or_default();
    let wanted = challenge.key_authorization.as_bytes();
    !wanted.is_empty() && answer.windows(wanted.len()).any(|found| found == wanted)
}
