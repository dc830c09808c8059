//! Orders certificates from an ACME server: one order at a time over all servers of a store, under
//! a lease; what failed and when is kept in the store, so that a restart asks for nothing early.
//!
//! What to order is decided in [`crate::plan::certs::orders`]; the conversation is that of
//! `cara_certs::acme`.

mod account;
mod challenges;
mod lease;
mod outcome;

use std::sync::Arc;
use std::time::Duration;

use cara_api::Timestamp;
use cara_api::certificate::ManagedBy;
use cara_api::gateway::GatewayState;
use cara_api::secret::Hidden;
use cara_certs::acme::{AcmeError, CertificateKey, OrderRequest, Solver};
use cara_certs::dns::{DnsProvider, Exec, Rfc2136, Webhook, rfc2136, webhook};
use cara_certs::plan::{Present, due};
use cara_certs::{Bundle, ChallengeError, Secret, acme};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::RETRY;
use super::{GATHER, commit, key_of};
use crate::Shared;
use crate::config::{AcmeConfig, DnsConfig};
use crate::plan::certs::orders::{self, Held, Known, Means, Wanted};
use crate::plan::certs::served::{Candidate, served};
use crate::repo::{self, SealedCertificate};
use crate::vault::KeyId;

use account::Accounts;
use challenges::Published;
use lease::Lease;

/// Time for a whole order; DNS servers may take their time.
const ORDER_LIMIT: Duration = Duration::from_secs(300);
/// How long the clean-up of a cancelled order may take when the server stops.
const STOP_LIMIT: Duration = Duration::from_secs(3);
/// Longest time between two looks, so that a clock that was set is noticed.
const CLOCK_CHECK: Duration = Duration::from_secs(20);
/// Time to live of the records of challenges, in seconds: they change often and live shortly.
const RECORD_TTL_SECONDS: u32 = 30;
/// Pause while another server holds the lease.
const BUSY: Duration = Duration::from_secs(5);

/// The ACME server, and the means to prove names to it.
pub(crate) struct Acme {
    pub(crate) server: acme::Server,
    pub(crate) registration: acme::Registration,
    pub(crate) dns: Option<Arc<dyn DnsProvider>>,
}

impl Acme {
    /// Takes up the settings; asks nobody.
    pub(crate) fn of(config: &AcmeConfig) -> Result<Self, ChallengeError> {
        let hidden = |text: &Hidden| Secret::new(text.reveal().to_owned());
        let external = config.external_account.as_ref();
        let external = external.map(|(key_id, key)| acme::ExternalAccount {
            key_id: key_id.clone(),
            hmac_key: hidden(key),
        });
        Ok(Self {
            server: acme::Server {
                extra_roots_pem: config.extra_roots_pem.clone(),
                ..acme::Server::new(&config.directory_url)
            },
            registration: acme::Registration {
                contacts: config.contacts.clone(),
                // The settings are refused without it.
                agrees_to_terms: true,
                external,
            },
            dns: config.dns.as_ref().map(provider).transpose()?,
        })
    }

    fn means(&self) -> Means {
        Means {
            has_dns: self.dns.is_some(),
            is_private: self.server.extra_roots_pem.is_some(),
        }
    }
}

fn provider(config: &DnsConfig) -> Result<Arc<dyn DnsProvider>, ChallengeError> {
    let hidden = |text: &Hidden| Secret::new(text.reveal().to_owned());
    Ok(match config {
        DnsConfig::Rfc2136 {
            server,
            secondaries,
            key_name,
            key_algorithm,
            key,
            timeout,
        } => {
            let algorithm = rfc2136::Algorithm::from_name(key_algorithm).ok_or_else(|| {
                ChallengeError::Misconfigured(format!(
                    "TSIG key: the algorithm {key_algorithm:?} is not hmac-sha256, hmac-sha384 or hmac-sha512"
                ))
            })?;
            Arc::new(Rfc2136::new(rfc2136::Settings {
                server: server.clone(),
                secondaries: secondaries.clone(),
                key: rfc2136::Key {
                    name: key_name.clone(),
                    algorithm,
                    secret_base64: hidden(key),
                },
                ttl_seconds: RECORD_TTL_SECONDS,
                deadline: *timeout,
            })?)
        }
        DnsConfig::Exec {
            program,
            variables,
            timeout,
        } => Arc::new(Exec {
            program: program.clone(),
            environment: variables
                .iter()
                .map(|(name, value)| (name.clone(), hidden(value)))
                .collect(),
            timeout: *timeout,
        }),
        DnsConfig::Webhook {
            url,
            token,
            extra_roots_pem,
            timeout,
        } => Arc::new(Webhook::new(&webhook::Settings {
            url: url.clone(),
            bearer_token: token.as_ref().map(hidden),
            extra_roots_pem: extra_roots_pem.clone(),
            timeout: *timeout,
        })?),
    })
}

/// Orders until cancelled; ends at once where no ACME server is set.
pub(crate) async fn run(
    shared: Arc<Shared>,
    gateway: watch::Receiver<Arc<GatewayState>>,
    token: CancellationToken,
) {
    let Some(acme) = &shared.acme else { return };
    let mut heads = shared.cache.heads();
    let mut orderer = Orderer {
        shared: &shared,
        acme,
        gateway,
        accounts: Accounts::default(),
        holder: uuid::Uuid::now_v7(),
    };
    loop {
        let pause = if shared.cache.is_live() {
            orderer.pass(&token).await
        } else {
            RETRY
        };
        tokio::select! {
            changed = heads.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause) => continue,
            () = token.cancelled() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(GATHER) => {}
            () = token.cancelled() => return,
        }
    }
}

struct Orderer<'a> {
    shared: &'a Shared,
    acme: &'a Acme,
    gateway: watch::Receiver<Arc<GatewayState>>,
    accounts: Accounts,
    /// Names this process as the holder of the lease.
    holder: uuid::Uuid,
}

/// What there is to do.
enum Task {
    /// A certificate for a name.
    Order(String),
    /// Users are told which orders wait for the account, and why.
    Hold(Vec<Held>, String),
    /// The authority is asked when it wants a certificate to be renewed.
    Ask(String),
    /// Nothing before this moment.
    Wait(Option<Timestamp>),
}

impl Orderer<'_> {
    /// Does all that is due; how long to wait then.
    async fn pass(&mut self, token: &CancellationToken) -> Duration {
        self.remove_obsolete().await;
        if let Task::Wait(moment) = self.next_task().await {
            return pause(moment);
        }
        let lease = match Lease::take(self.shared, self.holder).await {
            Ok(Some(lease)) => lease,
            Ok(None) => return BUSY,
            Err(error) => {
                tracing::warn!(error = %error, "cannot take the lease for orders");
                return BUSY;
            }
        };
        let shared = self.shared;
        let cancel = token.child_token();
        let pause = {
            let mut work = std::pin::pin!(self.work(&cancel));
            let ended = tokio::select! {
                pause = &mut work => Some(pause),
                () = lease.keep(shared) => None,
                () = token.cancelled() => None,
            };
            match ended {
                Some(pause) => pause,
                None => {
                    cancel.cancel();
                    let cleaned = tokio::time::timeout(STOP_LIMIT, work).await;
                    cleaned.unwrap_or(BUSY)
                }
            }
        };
        lease.release(shared).await;
        pause
    }

    /// One task after the other while the lease is held.
    async fn work(&mut self, cancel: &CancellationToken) -> Duration {
        while !cancel.is_cancelled() {
            let is_done = match self.next_task().await {
                Task::Wait(moment) => return pause(moment),
                Task::Order(name) => self.order(&name, cancel).await,
                Task::Hold(held, why) => self.note_held(&held, &why, cancel).await,
                Task::Ask(name) => self.ask(&name).await,
            };
            if !is_done {
                return RETRY;
            }
        }
        BUSY
    }

    /// What is wanted, and what is there.
    fn situation(&self) -> (Wanted, Vec<Known>) {
        let now = Timestamp::now();
        self.shared.cache.read(|state| {
            let given = state.certificates().values();
            let given = given.filter(|c| c.managed_by == ManagedBy::User);
            let given = given.map(|c| Candidate {
                name: &c.metadata.name,
                managed_by: c.managed_by,
                facts: &c.facts,
            });
            let domain = &self.shared.config.domain;
            let given = served(given, domain, now).trusted;
            let projects = state.projects().values().map(|p| &**p);
            let means = self.acme.means();
            let wanted = orders::wanted(projects, state.claims(), domain, &given, means);
            let ordered = state.certificates().values();
            let ordered = ordered.filter(|c| c.managed_by == ManagedBy::Acme);
            let key = self.shared.key.id();
            (wanted, ordered.filter_map(|c| known(c, &key)).collect())
        })
    }

    async fn next_task(&mut self) -> Task {
        let now = Timestamp::now();
        let (wanted, known) = self.situation();
        if wanted.names.is_empty() {
            return Task::Wait(None);
        }
        let attempts = match self.accounts.attempts(self.shared, self.acme).await {
            Ok(attempts) => attempts,
            Err(error) => {
                tracing::warn!(error = %error, "cannot read the ACME account");
                return Task::Wait(now.checked_add(RETRY).ok());
            }
        };
        let plan = orders::plan(&wanted, &known, attempts.failures(), now);
        let first = due(&plan, now, 1).first().and_then(|o| o.names.first());
        if let Some(name) = first {
            return Task::Order(name.clone());
        }
        let held = orders::held(&wanted, &known, &attempts, now);
        if !held.is_empty() {
            return Task::Hold(held, attempts.last_error);
        }
        let targets = orders::targets(&wanted);
        let asks = known
            .iter()
            .filter(|k| k.present.is_some() && targets.contains(&k.name))
            .map(|k| (outcome::ask_at(&k.attempts, now), &k.name));
        let ask = asks.min();
        match ask {
            Some((at, name)) if at <= now => Task::Ask(name.clone()),
            ask => {
                let moments = plan.iter().map(|o| o.due_at).chain(ask.map(|(at, _)| at));
                Task::Wait(moments.min())
            }
        }
    }

    async fn remove_obsolete(&self) {
        let now = Timestamp::now();
        let (wanted, known) = self.situation();
        let targets = orders::targets(&wanted);
        let obsolete = known
            .iter()
            .filter(|k| orders::is_obsolete(k, &targets, now));
        let found = obsolete.filter_map(|k| self.stored(&k.name));
        let batches = found.map(|c| repo::delete_certificate(&c)).collect();
        commit(self.shared, batches).await;
    }

    /// The Certificate for a name, if there is one.
    fn stored(&self, name: &str) -> Option<Arc<SealedCertificate>> {
        let name = ManagedBy::Acme.certificate_name(name);
        self.shared
            .cache
            .read(|state| state.certificate(&name).map(Arc::clone))
    }

    /// Orders a certificate and stores what came of it; false when that could not be stored.
    async fn order(&mut self, name: &str, cancel: &CancellationToken) -> bool {
        tracing::info!(name, "ordering a certificate");
        let result = self.obtain(name, cancel).await;
        if matches!(result, Err(AcmeError::Cancelled)) {
            return true;
        }
        let label = if result.is_ok() { "done" } else { "failed" };
        self.shared
            .metrics
            .acme_orders
            .with_label_values(&[label])
            .inc();
        match result {
            Ok(bundle) => self.keep(name, &bundle).await,
            Err(error) => self.note_failure(name, &error).await,
        }
    }

    async fn obtain(
        &mut self,
        name: &str,
        cancel: &CancellationToken,
    ) -> Result<Bundle, AcmeError> {
        let account = self.accounts.open(self.shared, self.acme).await?;
        let old = self.stored(name).and_then(|c| self.bundle(&c));
        let names = [name.to_owned()];
        let request = OrderRequest {
            names: &names,
            key: CertificateKey::EcdsaP256,
            replaces: old.as_ref(),
            limit: ORDER_LIMIT,
        };
        let published = Published::new(self.shared, self.gateway.clone());
        let solver = match (&self.acme.dns, name.starts_with("*.")) {
            (Some(dns), true) => Solver::Dns01(&**dns),
            (Some(_) | None, _) => Solver::Http01(&published),
        };
        account.obtain(&request, solver, cancel).await
    }

    /// Asks the authority when to renew, and notes the answer.
    async fn ask(&mut self, name: &str) -> bool {
        let Some(stored) = self.stored(name) else {
            return true;
        };
        let info = match (
            self.bundle(&stored),
            self.accounts.open(self.shared, self.acme).await,
        ) {
            (Some(bundle), Ok(account)) => account.renewal_info(&bundle).await,
            (None, _) => Ok(None),
            (Some(_), Err(error)) => Err(error),
        };
        if let Err(error) = &info {
            tracing::debug!(name, error = %error, "the authority does not say when to renew");
        }
        self.note_window(name, info.ok().flatten()).await
    }

    /// The certificate with its key, as it was stored.
    fn bundle(&self, certificate: &SealedCertificate) -> Option<Bundle> {
        let key = key_of(self.shared, certificate)?;
        Bundle::from_pem(&certificate.chain, key.reveal()).ok()
    }
}

/// What the plan needs to know of a certificate that was ordered.
///
/// One whose private key was sealed with a master key that is lost counts as absent.
fn known(certificate: &SealedCertificate, key: &KeyId) -> Option<Known> {
    let facts = &certificate.facts;
    let is_open = certificate
        .sealed
        .as_ref()
        .is_some_and(|s| s.key_id == *key);
    let present = facts
        .not_before
        .zip(facts.not_after)
        .filter(|_| is_open)
        .map(|(not_before, not_after)| Present {
            names: facts.names.clone(),
            not_before,
            not_after,
            window: certificate.attempts.renewal_window(),
        });
    // The name of a Certificate tells what it is for.
    let name = certificate.metadata.name.as_str();
    let exact = name.strip_prefix("acme.").map(str::to_owned);
    let wildcard = || {
        name.strip_prefix("acme-wildcard.")
            .map(|p| format!("*.{p}"))
    };
    Some(Known {
        name: exact.or_else(wildcard)?,
        present,
        attempts: certificate.attempts.clone(),
    })
}

fn pause(moment: Option<Timestamp>) -> Duration {
    let Some(moment) = moment else {
        return CLOCK_CHECK;
    };
    Duration::try_from(moment.duration_since(Timestamp::now()))
        .unwrap_or(GATHER)
        .clamp(GATHER, CLOCK_CHECK)
}

#[cfg(test)]
mod tests;
