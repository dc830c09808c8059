//! What came of an order goes to the store.

use std::collections::BTreeSet;

use cara_api::Timestamp;
use cara_api::certificate::ManagedBy;
use cara_certs::Bundle;
use cara_certs::acme::{AcmeError, RenewalInfo};
use cara_store::{Batch, WriteError};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use super::account::failure;
use super::{Orderer, known};
use crate::plan::certs::orders::{self, Held, Wanted};
use crate::plan::certs::{self, Attempts};
use crate::reconcile::RETRY;
use crate::reconcile::certs::authority;
use crate::repo::{self, SealedCertificate};
use crate::vault::KeyId;

/// How often a write is tried; a certificate that is not stored was ordered in vain.
const TRIES: usize = 10;
/// How soon an authority that says nothing is asked again.
const ASK_AGAIN: SignedDuration = SignedDuration::from_hours(6);
/// The longest wait until it is asked again.
const ASK_LATEST: SignedDuration = SignedDuration::from_hours(24);
/// How much the clocks of servers may differ.
const AHEAD: SignedDuration = SignedDuration::from_hours(1);

/// When an authority is to be asked about a renewal. What lies further ahead than any wait was noted
/// by a clock that was wrong.
pub(super) fn ask_at(attempts: &Attempts, now: Timestamp) -> Timestamp {
    let is_right = |at: &Timestamp| at.duration_since(now) <= ASK_LATEST + AHEAD;
    attempts.ask_at.filter(is_right).unwrap_or(now)
}

impl Orderer<'_> {
    /// Stores a certificate; false when that failed.
    pub(super) async fn keep(&mut self, name: &str, bundle: &Bundle) -> bool {
        let key = self.shared.key.id();
        let full = ManagedBy::Acme.certificate_name(name);
        tracing::info!(certificate = %full, until = %bundle.not_after(), "obtained");
        let shared = self.shared;
        let is_kept = self
            .write(name, |found, now| {
                let sealed = authority::sealed(shared, &full, ManagedBy::Acme, bundle, found, now);
                let mut certificate = sealed.ok()?;
                certificate.attempts.next_try = next_try(name, &certificate, &key, None, now);
                Some(certificate)
            })
            .await;
        if let Err(error) = self.accounts.note(shared, self.acme, None).await {
            tracing::warn!(error = %error, "cannot note that orders succeed again");
        }
        is_kept
    }

    /// Notes that an order failed; false when that cannot be stored.
    pub(super) async fn note_failure(&mut self, name: &str, error: &AcmeError) -> bool {
        let key = self.shared.key.id();
        let failed = failure(error);
        tracing::warn!(name, error = %failed.message, "cannot obtain a certificate");
        let is_of_all = error.concerns_account();
        if is_of_all {
            let noted = self
                .accounts
                .note(self.shared, self.acme, Some((&failed, error)))
                .await;
            if let Err(error) = noted {
                tracing::warn!(error = %error, "cannot note that orders fail");
                return false;
            }
        }
        let attempts = self.accounts.attempts(self.shared, self.acme).await;
        let account = attempts.ok().and_then(|a| a.failures());
        self.write(name, |found, now| {
            let full = ManagedBy::Acme.certificate_name(name);
            let new = || authority::empty(&full, ManagedBy::Acme, now);
            let mut certificate = found.cloned().unwrap_or_else(new);
            certificate.attempts = if is_of_all {
                Attempts {
                    last_error: failed.message.clone(),
                    ..certificate.attempts
                }
            } else {
                certificate.attempts.after_failure(failed.clone(), now)
            };
            certificate.attempts.next_try = next_try(name, &certificate, &key, account, now);
            Some(certificate)
        })
        .await
    }

    /// Notes that orders wait for the account, and why; false when that cannot be stored.
    pub(super) async fn note_held(
        &self,
        held: &[Held],
        why: &str,
        cancel: &CancellationToken,
    ) -> bool {
        for Held { name, until } in held {
            if cancel.is_cancelled() {
                return true;
            }
            let is_noted = self
                .write(name, |found, now| {
                    let full = ManagedBy::Acme.certificate_name(name);
                    let new = || authority::empty(&full, ManagedBy::Acme, now);
                    let mut certificate = found.cloned().unwrap_or_else(new);
                    why.clone_into(&mut certificate.attempts.last_error);
                    certificate.attempts.next_try = Some(*until);
                    Some(certificate)
                })
                .await;
            if !is_noted {
                return false;
            }
        }
        true
    }

    /// Notes when the authority wants a renewal.
    pub(super) async fn note_window(&self, name: &str, info: Option<RenewalInfo>) -> bool {
        let key = self.shared.key.id();
        self.write(name, |found, now| {
            let mut certificate = found.cloned()?;
            let wait = info
                .as_ref()
                .and_then(|i| SignedDuration::try_from(i.ask_again_after).ok());
            let wait = wait.unwrap_or(ASK_AGAIN).clamp(ASK_AGAIN / 6, ASK_LATEST);
            let attempts = &mut certificate.attempts;
            attempts.ask_at = now.checked_add(wait).ok();
            if let Some(info) = &info {
                attempts.window = Some((info.window.start, info.window.end));
            }
            certificate.attempts.next_try = next_try(name, &certificate, &key, None, now);
            Some(certificate)
        })
        .await
    }

    /// Writes what `change` makes of the stored Certificate for a name.
    async fn write(
        &self,
        name: &str,
        change: impl Fn(Option<&SealedCertificate>, Timestamp) -> Option<SealedCertificate>,
    ) -> bool {
        for _ in 0..TRIES {
            let found = self.stored(name);
            let now = Timestamp::now();
            let Some(mut certificate) = change(found.as_deref(), now) else {
                return false;
            };
            certificate.conditions = certs::conditions(
                ManagedBy::Acme,
                &certificate.facts,
                &certificate.attempts,
                &certificate.conditions,
                now,
            );
            certificate.metadata.updated_at = Some(now);
            let batch: Batch = match &found {
                Some(_) => repo::replace_certificate(&certificate),
                None => repo::create_certificate(&certificate),
            };
            match self.shared.store.apply(batch).await {
                Ok(revision) => {
                    let catch_up = crate::reconcile::CATCH_UP;
                    return self.shared.cache.until(revision, catch_up).await;
                }
                Err(error) => {
                    if !matches!(error, WriteError::Conflict { .. }) {
                        tracing::warn!(name, error = %error, "cannot store what came of an order");
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
        false
    }
}

/// When there will be an order for a name.
fn next_try(
    name: &str,
    certificate: &SealedCertificate,
    key: &KeyId,
    account: Option<cara_certs::plan::Failures>,
    now: Timestamp,
) -> Option<Timestamp> {
    let wanted = Wanted {
        names: BTreeSet::from([name.to_owned()]),
        wildcards: BTreeSet::new(),
    };
    let known: Vec<_> = known(certificate, key).into_iter().collect();
    let plan = orders::plan(&wanted, &known, account, now);
    plan.first().map(|order| order.due_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_that_a_wrong_clock_noted_is_now() {
        let now = Timestamp::UNIX_EPOCH;
        let at = |hours| {
            let attempts = Attempts {
                ask_at: now.checked_add(SignedDuration::from_hours(hours)).ok(),
                ..Attempts::default()
            };
            ask_at(&attempts, now).duration_since(now).as_hours()
        };
        assert_eq!([-5, 6, 24, 25, 26, 9_000].map(at), [-5, 6, 24, 25, 0, 0]);
        assert_eq!(ask_at(&Attempts::default(), now), now);
    }
}
