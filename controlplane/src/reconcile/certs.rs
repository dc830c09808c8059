//! Takes care of certificates: makes the internal authority and what it issues, keeps conditions
//! true as time passes, and removes what nobody needs. Orders are placed by [`acme`], in a task of
//! their own; [`publish`] hands all of them to gateways.

pub(crate) mod acme;
mod authority;
mod publish;

use std::sync::Arc;
use std::time::Duration;

use cara_api::Timestamp;
use cara_api::certificate::ManagedBy;
use cara_api::secret::Hidden;
use cara_store::{Batch, Revision, Store};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use super::{CATCH_UP, RETRY, Written, write};
use crate::plan::certs;
use crate::repo::{self, KEY_FIELD, SealedCertificate};
use crate::vault::{self, StoredKey};
use crate::{Shared, StartError};

use authority::Authority;
pub(crate) use publish::CertSet;

const NAME: &str = "certificates";

/// Changes gather for so long before they are looked at: claims change with every project.
const GATHER: Duration = Duration::from_millis(250);
/// Longest time between two looks at the clock.
const CLOCK_CHECK: Duration = Duration::from_secs(20);
/// Answers to challenges that are older are left over from a server that died.
const CHALLENGE_LIFE: SignedDuration = SignedDuration::from_hours(1);

/// Reconciles certificates until cancelled.
pub(crate) async fn run(shared: Arc<Shared>, token: CancellationToken) {
    let mut heads = shared.cache.heads();
    let mut authority = None;
    let mut restores = 0;
    loop {
        let pause = if shared.cache.is_live() {
            // While a backup is restored, authority and certificates may not fit together.
            let count = shared.restores.read().await;
            if std::mem::replace(&mut restores, *count) != *count {
                authority = None;
            }
            pass(&shared, &mut authority).await
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

/// Decides and writes; how long to wait for the next moment.
async fn pass(shared: &Shared, authority: &mut Option<Authority>) -> Duration {
    let now = Timestamp::now();
    if let Err(error) = authority::take_up(shared, authority, now).await {
        shared.metrics.count(NAME, "failed");
        tracing::error!(error = %error, "cannot take up the internal authority");
        return CLOCK_CHECK;
    }
    let Some(authority) = authority else {
        return RETRY;
    };
    let all: Vec<Arc<SealedCertificate>> = shared
        .cache
        .read(|state| state.certificates().values().cloned().collect());
    let mut batches = match authority::due(shared, authority, &all, now) {
        Ok(batches) => batches,
        Err(error) => {
            shared.metrics.count(NAME, "failed");
            tracing::error!(error = %error, "cannot issue a certificate");
            Vec::new()
        }
    };
    // Those that are issued anew are looked at again in the next pass.
    if batches.is_empty() {
        batches = all.iter().filter_map(|c| refreshed(c, now)).collect();
    }
    batches.extend(leftovers(shared, now));
    note_ends(shared, &all);
    let is_again = commit(shared, batches).await;
    let ends = all.iter().filter_map(|c| certs::next_moment(&c.facts, now));
    let issues = authority::next_moment(shared, authority, &all, now);
    match ends.chain(issues).min() {
        _ if is_again => RETRY,
        Some(moment) => Duration::try_from(moment.duration_since(now))
            .unwrap_or(GATHER)
            .clamp(GATHER, CLOCK_CHECK),
        None => CLOCK_CHECK,
    }
}

/// Writes; true when something has to be decided again.
async fn commit(shared: &Shared, batches: Vec<Batch>) -> bool {
    let mut newest = Revision(0);
    let mut is_again = false;
    for batch in batches {
        match write(shared, NAME, batch).await {
            Written::At(revision) => newest = newest.max(revision),
            Written::Again => is_again = true,
        }
    }
    shared.cache.until(newest, CATCH_UP).await;
    is_again
}

/// The certificate with what is true of it now, if that is something else.
fn refreshed(certificate: &SealedCertificate, now: Timestamp) -> Option<Batch> {
    let conditions = certs::conditions(
        certificate.managed_by,
        &certificate.facts,
        &certificate.attempts,
        &certificate.conditions,
        now,
    );
    if conditions == certificate.conditions {
        return None;
    }
    let mut certificate = certificate.clone();
    certificate.conditions = conditions;
    certificate.metadata.updated_at = Some(now);
    Some(repo::replace_certificate(&certificate))
}

fn leftovers(shared: &Shared, now: Timestamp) -> Vec<Batch> {
    shared.cache.read(|state| {
        let old = state.challenges().iter();
        let old = old.filter(|(_, c)| now.duration_since(c.created_at) > CHALLENGE_LIFE);
        old.filter_map(|(token, _)| repo::challenge_key(token))
            .map(repo::retract_challenge)
            .collect()
    })
}

/// Shows when the first certificate of each kind ends.
fn note_ends(shared: &Shared, all: &[Arc<SealedCertificate>]) {
    for managed_by in ManagedBy::ALL {
        let ends = all.iter().filter(|c| c.managed_by == managed_by);
        let first = ends.filter_map(|c| c.facts.not_after).min();
        let gauge = &shared.metrics.certificate_not_after_seconds;
        let labels = [managed_by.as_str()];
        match first {
            Some(end) => gauge.with_label_values(&labels).set(end.as_second()),
            // No series rather than one that looks like an end long ago.
            None => drop(gauge.remove_label_values(&labels)),
        }
    }
}

/// The private key of a certificate; none where there is none, or where it cannot be opened.
pub(crate) fn key_of(shared: &Shared, certificate: &SealedCertificate) -> Option<Hidden> {
    let sealed = certificate.sealed.as_ref()?;
    let owner = repo::certificate_owner(&certificate.metadata);
    match vault::open(&shared.key, owner, sealed) {
        Ok(mut values) => values.remove(KEY_FIELD),
        Err(error) => {
            let name = &certificate.metadata.name;
            tracing::error!(certificate = %name, error = %error, "cannot open a certificate's key");
            None
        }
    }
}

/// What follows the certificate itself in a chain; none when nothing does.
pub(crate) fn authorities_of(chain: &str) -> Option<String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let (at, _) = chain.match_indices(BEGIN).nth(1)?;
    chain.get(at..).map(str::to_owned)
}

/// Which keys the certificates of users are sealed with. What the server can make or order again
/// is no reason not to start: it is made again where it cannot be opened.
pub(crate) async fn stored_keys(store: &dyn Store) -> Result<Vec<StoredKey>, StartError> {
    let listing = store.list(repo::CERTIFICATES.to_owned(), None).await?;
    let mut found = Vec::new();
    for entry in &listing.entries {
        let certificate: SealedCertificate =
            repo::decode(entry).map_err(|_| StartError::Secret(entry.key.to_string()))?;
        let is_given = certificate.managed_by == ManagedBy::User;
        found.extend(
            certificate
                .sealed
                .filter(|_| is_given)
                .map(|sealed| StoredKey {
                    secret: format!("certificate {}", certificate.metadata.name),
                    key: sealed.key_id,
                }),
        );
    }
    Ok(found)
}
