//! The account with the ACME server: opened once, kept sealed, with the failures that concern all
//! orders.

use std::collections::BTreeMap;

use base64::Engine as _;
use cara_api::Timestamp;
use cara_api::secret::Hidden;
use cara_certs::Secret;
use cara_certs::acme::{self, Account, AcmeError};
use cara_store::{Entry, ReadError, WriteError};

use super::Acme;
use crate::Shared;
use crate::plan::certs::{Attempts, Failure};
use crate::repo::{self, DecodeError, KEY_FIELD, SealedAccount};
use crate::vault::{self, NoRandomness, OpenError, Values};

/// How often a write that lost a race is tried again.
const TRIES: usize = 5;

/// Problems of a new account that lie in the settings, besides those that are about accounts only.
const REFUSALS: [&str; 4] = [
    "unauthorized",
    "malformed",
    "invalidContact",
    "unsupportedContact",
];

/// Why the stored account cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoredError {
    #[error("cannot read the store")]
    Read(#[from] ReadError),
    #[error("cannot write the store")]
    Write(#[from] WriteError),
    #[error("the stored account cannot be read")]
    Decode(#[from] DecodeError),
    #[error("the stored account cannot be opened")]
    Open(#[from] OpenError),
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// The account, once it was opened.
#[derive(Default)]
pub(super) struct Accounts {
    open: Option<Account>,
}

impl Accounts {
    /// What came of attempts that concern all orders.
    pub(super) async fn attempts(
        &self,
        shared: &Shared,
        acme: &Acme,
    ) -> Result<Attempts, StoredError> {
        let (_, stored) = read(shared, acme).await?;
        Ok(stored.map(|account| account.attempts).unwrap_or_default())
    }

    /// The account; made at the first time. Only the holder of the lease may call this.
    pub(super) async fn open(
        &mut self,
        shared: &Shared,
        acme: &Acme,
    ) -> Result<Account, AcmeError> {
        if let Some(account) = &self.open {
            return Ok(account.clone());
        }
        let unusable = |error: StoredError| AcmeError::Account(in_full(&error));
        let (entry, stored) = read(shared, acme).await.map_err(unusable)?;
        // One that was sealed with a key that is lost is replaced by a new one.
        let key = shared.key.id();
        let sealed = stored
            .as_ref()
            .and_then(|s| Some((s.uid, s.sealed.as_ref()?)))
            .filter(|(_, sealed)| sealed.key_id == key);
        let account = match sealed {
            Some((uid, sealed)) => {
                let owner = repo::account_owner(uid);
                let mut values = vault::open(&shared.key, owner, sealed)
                    .map_err(|error| unusable(error.into()))?;
                let text = values.remove(KEY_FIELD).unwrap_or_default();
                Account::restore(&acme.server, &Secret::new(text.reveal().to_owned())).await?
            }
            None => {
                let made = Account::create(&acme.server, &acme.registration).await;
                let (account, credentials) = made.map_err(concerning_all)?;
                let attempts = stored.map(|s| s.attempts).unwrap_or_default();
                keep(shared, acme, &credentials, attempts, entry)
                    .await
                    .map_err(unusable)?;
                tracing::info!(account = account.id(), "opened an ACME account");
                account
            }
        };
        self.open = Some(account.clone());
        Ok(account)
    }

    /// Counts a failure that concerns all orders, or forgets earlier ones.
    pub(super) async fn note(
        &mut self,
        shared: &Shared,
        acme: &Acme,
        failure: Option<(&Failure, &AcmeError)>,
    ) -> Result<(), StoredError> {
        let is_gone = failure.is_some_and(|(_, error)| is_unknown_account(error));
        for _ in 0..TRIES {
            let (entry, stored) = read(shared, acme).await?;
            let mut account = stored.unwrap_or_else(|| empty(acme));
            let before = account.clone();
            account.attempts = match failure {
                Some((failure, _)) => {
                    // An account that the server lost is not one that it refuses.
                    let failure = Failure {
                        is_retryable: failure.is_retryable || is_gone,
                        ..failure.clone()
                    };
                    account.attempts.after_failure(failure, Timestamp::now())
                }
                None => Attempts::default(),
            };
            if is_gone {
                // The next order opens another one.
                account.sealed = None;
                account.registration = registration(acme);
                self.open = None;
            }
            if account == before {
                return Ok(());
            }
            let batch = repo::write_account(&account, entry.map(|e| e.modified));
            match shared.store.apply(batch).await {
                Ok(_) => return Ok(()),
                Err(WriteError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn is_unknown_account(error: &AcmeError) -> bool {
    matches!(error, AcmeError::Refused { problem, .. } if problem.kind == "accountDoesNotExist")
}

/// Who is refused an account will be refused for every name, until the settings change. Faults of
/// the server are none of it.
fn concerning_all(error: AcmeError) -> AcmeError {
    let is_judged = |kind: &str| REFUSALS.contains(&kind);
    match &error {
        AcmeError::Refused { problem, .. } if is_judged(&problem.kind) => {
            AcmeError::Account(in_full(&error))
        }
        _ => error,
    }
}

/// What is stored, and if that is of the given server, what it says. Failures to open an account
/// are forgotten when the settings say another thing than those that they were made with.
async fn read(
    shared: &Shared,
    acme: &Acme,
) -> Result<(Option<Entry>, Option<SealedAccount>), StoredError> {
    let entry = shared.store.get(repo::account_key()).await?;
    let stored = entry.as_ref().map(repo::decode_account).transpose()?;
    let stored = stored.filter(|account| account.directory == acme.server.directory_url);
    let registration = registration(acme);
    let is_of_settings = |account: &SealedAccount| {
        // The one that is open needs no other.
        account.sealed.is_some() || account.registration == registration
    };
    Ok((entry, stored.filter(is_of_settings)))
}

fn empty(acme: &Acme) -> SealedAccount {
    SealedAccount {
        uid: uuid::Uuid::now_v7(),
        directory: acme.server.directory_url.clone(),
        sealed: None,
        attempts: Attempts::default(),
        registration: registration(acme),
    }
}

/// Tells what accounts are opened with apart, without telling it.
fn registration(acme: &Acme) -> String {
    let registration = &acme.registration;
    let external = registration.external.iter();
    let external = external.flat_map(|e| [e.key_id.as_str(), e.hmac_key.expose()]);
    let contacts = registration.contacts.iter().map(String::as_str);
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    for part in external.chain([""]).chain(contacts) {
        digest.update(&part.len().to_be_bytes());
        digest.update(part.as_bytes());
    }
    base64::engine::general_purpose::STANDARD_NO_PAD.encode(digest.finish())
}

/// Stores a new account in place of what was read.
async fn keep(
    shared: &Shared,
    acme: &Acme,
    credentials: &Secret<String>,
    attempts: Attempts,
    entry: Option<Entry>,
) -> Result<(), StoredError> {
    let mut account = empty(acme);
    account.attempts = attempts;
    let text = Hidden::new(credentials.expose().as_str());
    let values: Values = BTreeMap::from([(KEY_FIELD.to_owned(), text)]);
    let owner = repo::account_owner(account.uid);
    account.sealed = Some(vault::seal(&shared.key, owner, &values)?);
    let batch = repo::write_account(&account, entry.map(|e| e.modified));
    shared.store.apply(batch).await?;
    Ok(())
}

/// An error with its causes, in one line.
pub(super) fn in_full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// A failure for the plan.
pub(super) fn failure(error: &acme::AcmeError) -> Failure {
    Failure {
        message: in_full(error),
        is_retryable: error.is_retryable(),
        retry_after: error.retry_after(),
    }
}
