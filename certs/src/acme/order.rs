//! One order, from its names to the bundle.

use std::time::Duration;

use instant_acme::{
    AuthorizationStatus, ChallengeType, Error, Identifier, NewOrder, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::nonce::{NONCE_ATTEMPTS, is_bad_nonce, is_kind, with_nonce};
use super::{Account, AcmeError, Step, identifier};
use crate::client::HttpError;
use crate::dns::{DnsProvider, TxtRecord};
use crate::{Bundle, ChallengeError, HttpChallenge, HttpChallenges, Secret};

/// How long retracting one challenge may take.
const CLEANUP_LIMIT: Duration = Duration::from_secs(30);

/// How to prove that the names are ours.
#[derive(Clone, Copy)]
pub enum Solver<'a> {
    /// By answers on port 80 of each name.
    Http01(&'a dyn HttpChallenges),
    /// By records in the DNS; the only way for wildcards.
    Dns01(&'a dyn DnsProvider),
}

/// The key of the certificate.
#[derive(Debug, Clone, Default)]
pub enum CertificateKey {
    /// A new ECDSA P-256 key for each certificate.
    #[default]
    EcdsaP256,
    /// A new ECDSA P-384 key for each certificate.
    EcdsaP384,
    /// A given key (PKCS #8, PEM): the way to RSA, whose keys the crypto library cannot make
    /// (`openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048`).
    Given(Secret<String>),
}

/// What to order.
#[derive(Debug, Clone)]
pub struct OrderRequest<'a> {
    /// DNS names, wildcards and IP addresses.
    pub names: &'a [String],
    /// The certificate's key.
    pub key: CertificateKey,
    /// The certificate that this one follows: authorities exempt renewals from rate limits.
    pub replaces: Option<&'a Bundle>,
    /// Time for the whole order, without the clean-up (at most 30 s for each challenge).
    pub limit: Duration,
}

impl Account {
    /// Orders a certificate and proves the names.
    ///
    /// Ends within the request's limit and the clean-up, or when `cancel` is. All challenges that
    /// were published, or only begun to be, are retracted before it returns, also after a failure.
    ///
    /// Not cancel-safe by dropping: then published challenges stay. Run it in a task of its own and
    /// end it by `cancel`.
    ///
    /// # Errors
    ///
    /// [`AcmeError`] names the identifier where the server says no to one.
    pub async fn obtain(
        &self,
        request: &OrderRequest<'_>,
        solver: Solver<'_>,
        cancel: &CancellationToken,
    ) -> Result<Bundle, AcmeError> {
        let mut run = Run {
            account: self,
            solver,
            published: Vec::new(),
            step: Step::Order,
        };
        let outcome = tokio::select! {
            outcome = timeout(request.limit, Box::pin(run.obtain(request))) => Some(outcome),
            () = cancel.cancelled() => None,
        };
        run.clean_up().await;
        match outcome {
            None => Err(AcmeError::Cancelled),
            Some(Ok(result)) => result,
            Some(Err(_elapsed)) => Err(AcmeError::TimedOut {
                step: run.step,
                limit: request.limit,
            }),
        }
    }

    fn fault(&self, error: Error) -> AcmeError {
        AcmeError::from_client(error, self.retry_after.take())
    }
}

/// A proof that was published, or begun to be.
enum Published {
    Http(HttpChallenge),
    Dns(TxtRecord),
}

/// An order that runs.
struct Run<'a> {
    account: &'a Account,
    solver: Solver<'a>,
    published: Vec<Published>,
    step: Step,
}

impl Run<'_> {
    async fn obtain(&mut self, request: &OrderRequest<'_>) -> Result<Bundle, AcmeError> {
        let retries = RetryPolicy::new().backoff(1.5).timeout(request.limit);
        let mut order = self.new_order(request).await?;
        with_nonce!(load(&mut order)).map_err(|error| self.account.fault(error))?;
        self.step = Step::Publish;
        self.publish(&mut order).await?;
        self.step = Step::Validate;
        self.validate(&mut order, &retries).await?;
        self.step = Step::Issue;
        self.issue(&mut order, request, &retries).await
    }

    async fn new_order(
        &self,
        request: &OrderRequest<'_>,
    ) -> Result<instant_acme::Order, AcmeError> {
        let identifiers: Vec<_> = request
            .names
            .iter()
            .map(|name| to_identifier(name))
            .collect();
        let mut replaces = request.replaces.and_then(identifier);
        let mut attempts = 0;
        loop {
            let order = NewOrder::new(&identifiers);
            let order = match replaces.clone() {
                Some(id) => order.replaces(id),
                None => order,
            };
            let error = match self.account.inner.new_order(&order).await {
                Ok(order) => return Ok(order),
                Err(error) => error,
            };
            if replaces.is_some() && is_about_replacing(&error) {
                replaces = None;
            } else if !(is_bad_nonce(&error) && attempts < NONCE_ATTEMPTS) {
                return Err(self.account.fault(error));
            }
            attempts += 1;
        }
    }

    /// Publishes a proof for each name that the server wants to have proved.
    async fn publish(&mut self, order: &mut instant_acme::Order) -> Result<(), AcmeError> {
        let mut authorizations = order.authorizations();
        while let Some(next) = authorizations.next().await {
            let mut authorization = next.map_err(|error| self.account.fault(error))?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let name = authorization.identifier().to_string();
            let (kind, wanted) = self.kind();
            let Some(challenge) = authorization.challenge(kind) else {
                let identifier = name;
                return Err(AcmeError::NoChallenge { identifier, wanted });
            };
            let key_authorization = challenge.key_authorization();
            let published = match self.solver {
                Solver::Http01(_) => Published::Http(HttpChallenge {
                    hostname: name.clone(),
                    token: challenge.token.clone(),
                    key_authorization: key_authorization.as_str().to_owned(),
                }),
                Solver::Dns01(_) => {
                    Published::Dns(TxtRecord::for_host(&name, key_authorization.dns_value()))
                }
            };
            // Before it is published: what is cut off in the middle must be retracted as well.
            self.published.push(published);
            self.publish_last()
                .await
                .map_err(|source| AcmeError::Challenge {
                    identifier: name,
                    source,
                })?;
        }
        Ok(())
    }

    async fn publish_last(&self) -> Result<(), ChallengeError> {
        match (self.solver, self.published.last()) {
            (Solver::Http01(answers), Some(Published::Http(it))) => answers.publish(it).await,
            (Solver::Dns01(provider), Some(Published::Dns(it))) => provider.present(it).await,
            _ => Ok(()),
        }
    }

    fn kind(&self) -> (ChallengeType, &'static str) {
        match self.solver {
            Solver::Http01(_) => (ChallengeType::Http01, "http-01"),
            Solver::Dns01(_) => (ChallengeType::Dns01, "dns-01"),
        }
    }

    /// Tells the server to look, and waits for what it finds.
    async fn validate(
        &self,
        order: &mut instant_acme::Order,
        retries: &RetryPolicy,
    ) -> Result<(), AcmeError> {
        let mut authorizations = order.authorizations();
        while let Some(next) = authorizations.next().await {
            let mut authorization = next.map_err(|error| self.account.fault(error))?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let name = authorization.identifier().to_string();
            let (kind, wanted) = self.kind();
            let Some(mut challenge) = authorization.challenge(kind) else {
                let identifier = name;
                return Err(AcmeError::NoChallenge { identifier, wanted });
            };
            with_nonce!(challenge.set_ready()).map_err(|error| self.about(&name, error))?;
        }
        match with_nonce!(order.poll_ready(retries)) {
            Ok(OrderStatus::Ready) => Ok(()),
            Ok(_) => Err(self.diagnose(order, None).await),
            Err(Error::Api(problem)) => Err(self.diagnose(order, Some(problem)).await),
            Err(error) => Err(self.account.fault(error)),
        }
    }

    fn about(&self, name: &str, error: Error) -> AcmeError {
        match error {
            Error::Api(problem) => {
                let wait = self.account.retry_after.take();
                AcmeError::from_problem(&problem, Some(name.to_owned()), wait)
            }
            other => self.account.fault(other),
        }
    }

    /// Finds the name that the server could not validate, and why.
    async fn diagnose(
        &self,
        order: &mut instant_acme::Order,
        problem: Option<instant_acme::Problem>,
    ) -> AcmeError {
        let wait = self.account.retry_after.take();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            let Ok(state) = authorization.refresh().await else {
                continue;
            };
            let name = state.identifier().to_string();
            let failed = state.challenges.iter().find_map(|c| c.error.as_ref());
            if let Some(problem) = failed {
                return AcmeError::from_problem(problem, Some(name), wait);
            }
        }
        match problem {
            Some(problem) => AcmeError::from_problem(&problem, None, wait),
            None => AcmeError::unexpected("the order became invalid without a reason"),
        }
    }

    /// Sends the request for the certificate and fetches the chain.
    async fn issue(
        &self,
        order: &mut instant_acme::Order,
        request: &OrderRequest<'_>,
        retries: &RetryPolicy,
    ) -> Result<Bundle, AcmeError> {
        let (csr, key_pem) = signing_request(request)?;
        with_nonce!(order.finalize_csr(&csr)).map_err(|error| self.account.fault(error))?;
        let chain = with_nonce!(order.poll_certificate(retries))
            .map_err(|error| self.account.fault(error))?;
        let bundle = Bundle::from_pem(&chain, key_pem.expose()).map_err(AcmeError::Certificate)?;
        let is_named = |name: &&String| bundle.covers(name);
        match request.names.iter().find(|name| !is_named(name)) {
            Some(name) => Err(AcmeError::NotCovered(name.clone())),
            None => Ok(bundle),
        }
    }

    /// Retracts what was published, the last first. Failures are logged: the order's own outcome
    /// matters more, and what stays behind only litters.
    async fn clean_up(&mut self) {
        while let Some(published) = self.published.pop() {
            let (name, retracted) = match (self.solver, &published) {
                (Solver::Http01(answers), Published::Http(it)) => (
                    &it.hostname,
                    timeout(CLEANUP_LIMIT, answers.retract(it)).await,
                ),
                (Solver::Dns01(provider), Published::Dns(it)) => {
                    (&it.name, timeout(CLEANUP_LIMIT, provider.cleanup(it)).await)
                }
                _ => continue,
            };
            match retracted {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    let error = super::error::chain(&error);
                    tracing::warn!(name, error, "an ACME challenge stays behind");
                }
                Err(_elapsed) => {
                    tracing::warn!(name, "an ACME challenge stays behind: no end after 30 s");
                }
            }
        }
    }
}

/// Fetches all authorizations; what was fetched is not fetched again.
async fn load(order: &mut instant_acme::Order) -> Result<(), Error> {
    let mut authorizations = order.authorizations();
    while let Some(next) = authorizations.next().await {
        next?;
    }
    Ok(())
}

fn to_identifier(name: &str) -> Identifier {
    match name.parse() {
        Ok(ip) => Identifier::Ip(ip),
        Err(_) => Identifier::Dns(name.to_ascii_lowercase()),
    }
}

/// A renewal must not fail because the server knows nothing of its predecessor, or a successor, or
/// says nothing of the predecessor in its answer as it must (RFC 9773, 5).
fn is_about_replacing(error: &Error) -> bool {
    match error {
        Error::Unsupported(_) => true,
        // That of the library for such an answer is a text; all other ones are of the transport.
        Error::Other(source) => !source.is::<HttpError>(),
        error => is_kind(error, &["alreadyReplaced", "malformed"]),
    }
}

/// The CSR (DER) and the key (PEM) of the certificate.
fn signing_request(request: &OrderRequest<'_>) -> Result<(Vec<u8>, Secret<String>), AcmeError> {
    let fault = |error: rcgen::Error| AcmeError::Request(error.to_string());
    let key = match &request.key {
        CertificateKey::EcdsaP256 => KeyPair::generate(),
        CertificateKey::EcdsaP384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        CertificateKey::Given(pem) => KeyPair::from_pem(pem.expose()),
    };
    let key = key.map_err(fault)?;
    let mut params = CertificateParams::new(request.names.to_vec()).map_err(fault)?;
    params.distinguished_name = DistinguishedName::new();
    let csr = params.serialize_request(&key).map_err(fault)?;
    Ok((csr.der().to_vec(), Secret::new(key.serialize_pem())))
}
