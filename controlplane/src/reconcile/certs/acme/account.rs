//! The account with the ACME server: opened once, kept sealed, with the failures that concern all
//! orders.

use std::collections::BTreeMap;

use cara_api::Timestamp;
use cara_api::secret::Hidden;
use cara_certs::acme::{self, Account, AcmeError};
use cara_certs::{Secret, acme::Server};
use cara_store::{Entry, ReadError, WriteError};

use super::Acme;
use crate::Shared;
use crate::plan::certs::{Attempts, Failure};
use crate::repo::{self, DecodeError, KEY_FIELD, SealedAccount};
use crate::vault::{self, NoRandomness, OpenError, Values};

/// How often a write that lost a race is tried again.
const TRIES: usize = 5;

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
        server: &Server,
    ) -> Result<Attempts, StoredError> {
        let (_, stored) = read(shared, server).await?;
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
        let (entry, stored) = read(shared, &acme.server).await.map_err(unusable)?;
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
                let made = Account::create(&acme.server, &acme.registration).await?;
                let (account, credentials) = made;
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
        server: &Server,
        failure: Option<(&Failure, &AcmeError)>,
    ) -> Result<(), StoredError> {
        let is_gone = failure.is_some_and(|(_, error)| is_unknown_account(error));
        for _ in 0..TRIES {
            let (entry, stored) = read(shared, server).await?;
            let mut account = stored.unwrap_or_else(|| empty(server));
            let before = account.clone();
            account.attempts = match failure {
                Some((failure, _)) => account
                    .attempts
                    .after_failure(failure.clone(), Timestamp::now()),
                None => Attempts::default(),
            };
            if is_gone {
                // The next order opens another one.
                account.sealed = None;
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

/// What is stored, and if that is of the given server, what it says.
async fn read(
    shared: &Shared,
    server: &Server,
) -> Result<(Option<Entry>, Option<SealedAccount>), StoredError> {
    let entry = shared.store.get(repo::account_key()).await?;
    let stored = entry.as_ref().map(repo::decode_account).transpose()?;
    let stored = stored.filter(|account| account.directory == server.directory_url);
    Ok((entry, stored))
}

fn empty(server: &Server) -> SealedAccount {
    SealedAccount {
        uid: uuid::Uuid::now_v7(),
        directory: server.directory_url.clone(),
        sealed: None,
        attempts: Attempts::default(),
    }
}

/// Stores a new account in place of what was read.
async fn keep(
    shared: &Shared,
    acme: &Acme,
    credentials: &Secret<String>,
    attempts: Attempts,
    entry: Option<Entry>,
) -> Result<(), StoredError> {
    let mut account = empty(&acme.server);
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
