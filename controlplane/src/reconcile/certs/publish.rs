//! The certificates and answers to challenges that gateways get.
//!
//! Kept up to date from the cache; a certificate is opened once for each change of it, and what
//! did not change stays the same `Arc`.

use std::collections::BTreeSet;
use std::sync::Arc;

use cara_api::gateway::Certificate;
use cara_api::{ProjectName, ResourceVersion, Timestamp};
use cara_store::Revision;
use imbl::OrdMap;

use super::key_of;
use crate::Shared;
use crate::cache::State;
use crate::plan::certs::served::{Candidate, Served, TrustedNames, served};
use crate::plan::claims::Claim;
use crate::repo::{Challenge, SealedCertificate};

/// What gateways get.
#[derive(Default)]
pub(crate) struct CertSet {
    seen: Option<Revision>,
    served: Served,
    certificates: OrdMap<String, Arc<Certificate>>,
    /// The versions that [`Self::certificates`] were opened from.
    versions: OrdMap<String, ResourceVersion>,
    challenges: OrdMap<String, Arc<Challenge>>,
    /// Projects with hosts that browsers trust now and did not before the last update, or the
    /// reverse.
    newly_judged: BTreeSet<ProjectName>,
}

impl CertSet {
    /// Takes in the newest state; true when gateways are to be told.
    pub(crate) fn update(&mut self, state: &State, shared: &Shared) -> bool {
        let is_answered = !self.challenges.ptr_eq(state.challenges());
        self.challenges = state.challenges().clone();
        self.newly_judged.clear();
        let newest = Some(state.certificates_at());
        if self.seen == newest {
            return is_answered;
        }
        self.seen = newest;
        let candidates = state.certificates().values().map(|c| Candidate {
            name: &c.metadata.name,
            managed_by: c.managed_by,
            facts: &c.facts,
        });
        let served = served(candidates, &shared.config.domain, Timestamp::now());
        let before = std::mem::take(&mut self.certificates);
        for name in &served.certificates {
            let Some(found) = state.certificate(name) else {
                continue;
            };
            let is_default = served.default.as_ref() == Some(name);
            let version = found.metadata.resource_version;
            let same = before.get(name).filter(|old| {
                old.is_default == is_default && self.versions.get(name) == Some(&version)
            });
            let opened = match same {
                Some(old) => Some(Arc::clone(old)),
                None => open(found, shared, is_default, before.get(name)),
            };
            if let Some(opened) = opened {
                self.versions.insert(name.clone(), version);
                self.certificates.insert(name.clone(), opened);
            }
        }
        self.versions = self
            .versions
            .iter()
            .filter(|(name, _)| self.certificates.contains_key(*name))
            .map(|(name, version)| (name.clone(), *version))
            .collect();
        if served.trusted != self.served.trusted {
            let (old, new) = (&self.served.trusted, &served.trusted);
            let differs = |host: &str| old.covers(host) != new.covers(host);
            let claims = state.claims().iter();
            let differing = claims.filter(|(claim, _)| match claim {
                Claim::Host(host) => differs(host.as_str()),
                Claim::Port(_) => false,
            });
            self.newly_judged = differing.map(|(_, owner)| owner.clone()).collect();
        }
        let is_changed = before != self.certificates;
        self.served = served;
        is_changed || is_answered
    }

    /// The certificates by the names of their Certificates.
    pub(crate) fn certificates(&self) -> OrdMap<String, Arc<Certificate>> {
        self.certificates.clone()
    }

    /// Key authorizations by token.
    pub(crate) fn challenges(&self) -> OrdMap<String, String> {
        let all = self.challenges.iter();
        all.map(|(token, c)| (token.clone(), c.key_authorization.clone()))
            .collect()
    }

    /// Projects whose rules depend on whether browsers trust their hosts, where that changed with
    /// the last update.
    pub(crate) fn newly_judged(&self) -> impl Iterator<Item = &ProjectName> {
        self.newly_judged.iter()
    }

    /// The names that browsers trust the certificates for.
    pub(crate) fn trusted(&self) -> &TrustedNames {
        &self.served.trusted
    }
}

/// The certificate with its key; the old one when that is the same, as after a change of labels.
fn open(
    certificate: &SealedCertificate,
    shared: &Shared,
    is_default: bool,
    old: Option<&Arc<Certificate>>,
) -> Option<Arc<Certificate>> {
    let opened = Certificate {
        chain_pem: certificate.chain.clone(),
        key_pem: key_of(shared, certificate)?,
        is_default,
    };
    let same = old.filter(|old| ***old == opened).map(Arc::clone);
    Some(same.unwrap_or_else(|| Arc::new(opened)))
}
