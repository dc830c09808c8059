//! The internal authority: made once, kept sealed, and what it issues for the environment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cara_api::certificate::ManagedBy;
use cara_api::secret::Hidden;
use cara_api::{ObjectMeta, Timestamp};
use cara_certs::ca::{CaError, CertificateAuthority};
use cara_certs::{Bundle, BundleError};
use cara_store::{Batch, ReadError, Revision, WriteError};

use crate::Shared;
use crate::plan::certs::{self, Attempts, Facts, issue};
use crate::repo::{self, DecodeError, KEY_FIELD, SealedAuthority, SealedCertificate};
use crate::vault::{self, NoRandomness, OpenError, Values};

/// Why there is no authority, or none of its certificates.
#[derive(Debug, thiserror::Error)]
pub(super) enum AuthorityError {
    #[error("cannot read the store")]
    Read(#[from] ReadError),
    #[error("cannot write the store")]
    Write(#[from] WriteError),
    #[error("the stored authority cannot be read")]
    Decode(#[from] DecodeError),
    #[error("the stored authority cannot be opened")]
    Open(#[from] OpenError),
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error("a certificate cannot be used")]
    Bundle(#[from] BundleError),
}

/// The authority, opened.
pub(super) struct Authority {
    ca: CertificateAuthority,
    /// The name that stands as the issuer in what it issues.
    issuer: String,
}

/// Reads the authority, or makes it; once, until it ends.
pub(super) async fn take_up(
    shared: &Shared,
    held: &mut Option<Authority>,
    now: Timestamp,
) -> Result<(), AuthorityError> {
    if held.as_ref().is_some_and(|a| now < a.ca.not_after()) {
        return Ok(());
    }
    let ca = match shared.store.get(repo::authority_key()).await? {
        Some(entry) => {
            let stored = repo::decode_authority(&entry)?;
            match open(shared, &stored) {
                Ok(ca) if now < ca.not_after() => ca,
                Ok(_) => {
                    tracing::warn!("the internal authority ended: making a new one, install it");
                    keep(shared, now, Some(entry.modified)).await?
                }
                // Sealed with a key that is lost: nobody can issue with it any more.
                Err(AuthorityError::Open(error)) => {
                    tracing::warn!(error = %error, "the internal authority is lost: making a new one, install it");
                    keep(shared, now, Some(entry.modified)).await?
                }
                Err(error) => return Err(error),
            }
        }
        None => keep(shared, now, None).await?,
    };
    // What it issues tells its name; the name itself is not to be had from it.
    let probe = ca.issue_server(&["probe.invalid".to_owned()], now)?;
    let issuer = Facts::of(&probe).issuer;
    *held = Some(Authority { ca, issuer });
    Ok(())
}

fn open(shared: &Shared, stored: &SealedAuthority) -> Result<CertificateAuthority, AuthorityError> {
    let owner = repo::authority_owner(stored.uid);
    let mut values = vault::open(&shared.key, owner, &stored.sealed)?;
    let key = values.remove(KEY_FIELD).unwrap_or_default();
    Ok(CertificateAuthority::from_pem(
        &stored.certificate,
        key.reveal(),
    )?)
}

/// Makes an authority and stores it. Who loses a race takes up the winner's in the next pass.
async fn keep(
    shared: &Shared,
    now: Timestamp,
    read_at: Option<Revision>,
) -> Result<CertificateAuthority, AuthorityError> {
    let ca = CertificateAuthority::create(now)?;
    let uid = uuid::Uuid::now_v7();
    let key = Hidden::new(ca.key_pem().expose().as_str());
    let values: Values = BTreeMap::from([(KEY_FIELD.to_owned(), key)]);
    let stored = SealedAuthority {
        uid,
        certificate: ca.certificate_pem().to_owned(),
        fingerprint: ca.fingerprint().to_string(),
        not_after: ca.not_after(),
        sealed: vault::seal(&shared.key, repo::authority_owner(uid), &values)?,
    };
    let batch = match read_at {
        None => repo::create_authority(&stored),
        Some(revision) => repo::replace_authority(&stored, revision),
    };
    shared.store.apply(batch).await?;
    tracing::info!(fingerprint = %stored.fingerprint, "made an internal authority: install it with `caractrl ca install`");
    Ok(ca)
}

/// The certificates to issue and to remove now.
pub(super) fn due(
    shared: &Shared,
    authority: &Authority,
    all: &[Arc<SealedCertificate>],
    now: Timestamp,
) -> Result<Vec<Batch>, AuthorityError> {
    let mut batches = Vec::new();
    for (hostname, name, found) in wanted(shared, all) {
        let is_due = found.is_none_or(|c| due_at(c, authority, now) <= now);
        if is_due {
            let bundle = authority
                .ca
                .issue_server(std::slice::from_ref(&hostname), now)?;
            tracing::info!(certificate = %name, until = %bundle.not_after(), "issued");
            batches.push(stored(shared, &name, &bundle, found, now)?);
        }
    }
    // Those of an environment or base domain that the server had before.
    let names: BTreeSet<String> = wanted(shared, all).map(|(_, name, _)| name).collect();
    let old = all.iter().filter(|c| c.managed_by == ManagedBy::Ca);
    let old = old.filter(|c| !names.contains(&c.metadata.name));
    batches.extend(old.map(|c| repo::delete_certificate(c)));
    Ok(batches)
}

/// When [`due`] finds something next.
pub(super) fn next_moment(
    shared: &Shared,
    authority: &Authority,
    all: &[Arc<SealedCertificate>],
    now: Timestamp,
) -> Option<Timestamp> {
    let moments = wanted(shared, all).map(|(_, _, c)| c.map_or(now, |c| due_at(c, authority, now)));
    moments
        .chain(std::iter::once(authority.ca.not_after()))
        .min()
}

fn due_at(certificate: &SealedCertificate, authority: &Authority, now: Timestamp) -> Timestamp {
    issue::due_at(
        &certificate.facts,
        certificate.facts.issuer == authority.issuer,
        now,
    )
}

/// Hostnames to issue for, the names of their Certificates, and those if they are there.
fn wanted<'a>(
    shared: &Shared,
    all: &'a [Arc<SealedCertificate>],
) -> impl Iterator<Item = (String, String, Option<&'a SealedCertificate>)> {
    issue::names(&shared.config.domain)
        .into_iter()
        .map(|hostname| {
            let name = ManagedBy::Ca.certificate_name(&hostname);
            let found = all.iter().find(|c| c.metadata.name == name);
            (hostname, name, found.map(|c| &**c))
        })
}

/// The write that stores a bundle under a name, over what was there.
fn stored(
    shared: &Shared,
    name: &str,
    bundle: &Bundle,
    found: Option<&SealedCertificate>,
    now: Timestamp,
) -> Result<Batch, NoRandomness> {
    let mut certificate = sealed(shared, name, ManagedBy::Ca, bundle, found, now)?;
    certificate.conditions = certs::conditions(
        ManagedBy::Ca,
        &certificate.facts,
        &certificate.attempts,
        &[],
        now,
    );
    Ok(match found {
        None => repo::create_certificate(&certificate),
        Some(_) => repo::replace_certificate(&certificate),
    })
}

/// The Certificate of a name with a new bundle in place of what was there.
pub(super) fn sealed(
    shared: &Shared,
    name: &str,
    managed_by: ManagedBy,
    bundle: &Bundle,
    found: Option<&SealedCertificate>,
    now: Timestamp,
) -> Result<SealedCertificate, NoRandomness> {
    let mut certificate = match found {
        None => empty(name, managed_by, now),
        Some(found) => {
            let mut certificate = found.clone();
            certificate.metadata.generation = found.metadata.generation.next();
            certificate
        }
    };
    let key = Hidden::new(bundle.key_pem().expose().as_str());
    let values: Values = BTreeMap::from([(KEY_FIELD.to_owned(), key)]);
    let owner = repo::certificate_owner(&certificate.metadata);
    certificate.sealed = Some(vault::seal(&shared.key, owner, &values)?);
    bundle.chain_pem().clone_into(&mut certificate.chain);
    certificate.facts = Facts::of(bundle);
    certificate.attempts = Attempts::default();
    certificate.metadata.updated_at = Some(now);
    Ok(certificate)
}

/// A Certificate of the server's own that has no certificate yet.
pub(super) fn empty(name: &str, managed_by: ManagedBy, now: Timestamp) -> SealedCertificate {
    SealedCertificate {
        metadata: ObjectMeta {
            name: name.to_owned(),
            uid: Some(uuid::Uuid::now_v7()),
            generation: cara_api::Generation(1),
            created_at: Some(now),
            updated_at: Some(now),
            ..ObjectMeta::default()
        },
        managed_by,
        chain: String::new(),
        hosts: Vec::new(),
        sealed: None,
        facts: Facts::default(),
        conditions: Vec::new(),
        attempts: Attempts::default(),
    }
}
