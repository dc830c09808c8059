//! Certificates: what one is, which of them are served, and what is said about them.
//!
//! Owns the decisions; [`orders`] those about ordering from a public authority. It refuses to know
//! how certificates are obtained, stored and put on the wire.

pub mod issue;
pub mod orders;
pub mod served;

use cara_api::Timestamp;
use cara_api::certificate::ManagedBy;
use cara_api::condition::{Condition, EXPIRING, READY};
use cara_api::problem::FieldError;
use cara_certs::plan::{FailureKind, Failures, RenewalWindow};
use cara_certs::{Bundle, BundleError};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Before the end of a certificate, users are warned this early, and again.
const WARNED_BEFORE: [(SignedDuration, &str); 2] = [
    (SignedDuration::from_hours(3 * 24), "EndsIn3Days"),
    (SignedDuration::from_hours(14 * 24), "EndsIn14Days"),
];

/// What a certificate says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Facts {
    /// The names that it covers, in lower case.
    pub names: Vec<String>,
    /// Who issued it.
    pub issuer: String,
    /// Start of its validity.
    pub not_before: Option<Timestamp>,
    /// End of its validity.
    pub not_after: Option<Timestamp>,
    /// SHA-256 in hexadecimal digits.
    pub fingerprint: String,
}

impl Facts {
    /// Reads them off.
    pub fn of(bundle: &Bundle) -> Self {
        Self {
            names: bundle.names().to_vec(),
            issuer: issuer(bundle),
            not_before: Some(bundle.not_before()),
            not_after: Some(bundle.not_after()),
            fingerprint: bundle.fingerprint().to_string(),
        }
    }

    /// True when there is a certificate, and clients accept it at that time.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.not_before.is_some_and(|start| start <= now)
            && self.not_after.is_some_and(|end| now <= end)
    }
}

/// The common name or organisation of who issued it.
fn issuer(bundle: &Bundle) -> String {
    let leaf = bundle.certified_key().cert.first();
    let Some((_, parsed)) = leaf.and_then(|der| X509Certificate::from_der(der).ok()) else {
        return String::new();
    };
    let name = parsed.issuer();
    let first = |mut texts: Vec<String>| (!texts.is_empty()).then(|| texts.remove(0));
    let texts = |parts: Vec<Option<&str>>| parts.into_iter().flatten().map(str::to_owned).collect();
    let common = name.iter_common_name().map(|a| a.as_str().ok()).collect();
    let organisation = name.iter_organization().map(|a| a.as_str().ok()).collect();
    first(texts(common))
        .or_else(|| first(texts(organisation)))
        .unwrap_or_else(|| name.to_string())
}

/// What came of attempts to obtain something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Attempts {
    /// Failures since the last success.
    pub failed: u32,
    /// When the last failure was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<Timestamp>,
    /// It will fail again until somebody changes something.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_refused: bool,
    /// When the authority allows the next attempt, if it said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_error: String,
    /// When there will be another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try: Option<Timestamp>,
    /// When the authority wants a renewal: first and last moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<(Timestamp, Timestamp)>,
    /// When to ask the authority again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask_at: Option<Timestamp>,
}

impl Attempts {
    /// True when there is nothing to tell.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the last one failed. One that concerned all orders is not counted here.
    fn have_failed(&self) -> bool {
        self.failed > 0 || !self.last_error.is_empty()
    }

    /// Counts a failure.
    #[must_use]
    pub fn after_failure(&self, failure: Failure, now: Timestamp) -> Self {
        Self {
            failed: self.failed.saturating_add(1),
            failed_at: Some(now),
            is_refused: !failure.is_retryable,
            not_before: failure
                .retry_after
                .and_then(|wait| now.checked_add(wait).ok()),
            last_error: failure.message,
            ..self.clone()
        }
    }

    /// The same for the planner of orders.
    pub fn failures(&self) -> Option<Failures> {
        Some(Failures {
            count: self.failed,
            last_at: self.failed_at?,
            kind: if self.is_refused {
                FailureKind::Refused
            } else {
                FailureKind::Transient
            },
            not_before: self.not_before,
        })
    }

    /// The window for the planner of orders.
    pub fn renewal_window(&self) -> Option<RenewalWindow> {
        self.window.map(|(start, end)| RenewalWindow { start, end })
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In words, with the causes.
    pub message: String,
    /// Whether the same may succeed later.
    pub is_retryable: bool,
    /// How long to wait at least.
    pub retry_after: Option<std::time::Duration>,
}

/// Reads a certificate that a user gives, and holds it against what it must be.
///
/// # Errors
/// All that is wrong with it, by field.
pub fn check(
    chain: &str,
    key: &str,
    hosts: &[String],
    now: Timestamp,
) -> Result<Bundle, Vec<FieldError>> {
    let bundle = Bundle::from_pem(chain, key)
        .map_err(|error| vec![FieldError::new(field_of(&error), error.to_string())])?;
    let mut faults = Vec::new();
    if bundle.not_after() < now {
        let message = format!(
            "the certificate ended at {:.0}: give one that is valid",
            bundle.not_after()
        );
        faults.push(FieldError::new("spec.certificate", message));
    }
    for (index, host) in hosts.iter().enumerate() {
        if !bundle.covers(host) {
            let message = format!(
                "the certificate does not cover {host:?}: it names {}",
                bundle.names().join(", ")
            );
            faults.push(FieldError::new(format!("spec.hosts[{index}]"), message));
        }
    }
    if faults.is_empty() {
        Ok(bundle)
    } else {
        Err(faults)
    }
}

fn field_of(error: &BundleError) -> &'static str {
    match error {
        BundleError::NoKey
        | BundleError::EncryptedKey
        | BundleError::UnsupportedKey
        | BundleError::KeyMismatch { .. } => "spec.privateKey",
        BundleError::NoCertificate
        | BundleError::UnreadableCertificate { .. }
        | BundleError::OutOfOrder { .. }
        | BundleError::LeafIsAuthority { .. }
        | BundleError::NoNames { .. } => "spec.certificate",
    }
}

/// What should be said of a certificate that can be used but perhaps not as meant.
pub fn warnings(bundle: &Bundle, now: Timestamp) -> Vec<String> {
    let mut texts = Vec::new();
    if bundle.not_before() > now {
        texts.push(format!(
            "clients refuse it before {:.0}",
            bundle.not_before()
        ));
    } else if let Some((_, when)) = ending(Some(bundle.not_after()), now) {
        texts.push(format!("it {when}"));
    }
    texts
}

/// The conditions of a certificate, with the times at which they became so.
pub fn conditions(
    managed_by: ManagedBy,
    facts: &Facts,
    attempts: &Attempts,
    old: &[Condition],
    now: Timestamp,
) -> Vec<Condition> {
    let ready = ready(managed_by, facts, attempts, now);
    let expiring = ending(facts.not_after, now)
        .filter(|_| managed_by == ManagedBy::User || attempts.have_failed())
        .map(|(reason, when)| (EXPIRING, true, reason, format!("the certificate {when}")));
    let new = [Some(ready), expiring].into_iter().flatten();
    new.map(|(kind, is_true, reason, message)| {
        let condition = Condition::new(kind, is_true, reason, message, now);
        let same = old.iter().find(|o| {
            o.kind == kind
                && o.status == condition.status
                && o.reason == condition.reason
                && o.message == condition.message
        });
        same.cloned().unwrap_or(condition)
    })
    .collect()
}

fn ready(
    managed_by: ManagedBy,
    facts: &Facts,
    attempts: &Attempts,
    now: Timestamp,
) -> (&'static str, bool, &'static str, String) {
    let fallback = match managed_by {
        ManagedBy::Acme => {
            "; meanwhile the gateway shows a certificate of the internal authority where it has one"
        }
        ManagedBy::Ca | ManagedBy::User => "",
    };
    match facts.not_after {
        None if attempts.have_failed() => {
            let message = format!("it could not be obtained{fallback}");
            (READY, false, "OrderFailed", message)
        }
        None => (
            READY,
            false,
            "Ordering",
            format!("it is being obtained{fallback}"),
        ),
        Some(end) if end < now => (
            READY,
            false,
            "Expired",
            format!("it ended at {end:.0}{fallback}"),
        ),
        Some(_) if !facts.is_valid_at(now) => {
            let start = facts.not_before.unwrap_or_default();
            (
                READY,
                false,
                "NotYetValid",
                format!("clients refuse it before {start:.0}"),
            )
        }
        Some(_) if attempts.have_failed() => (
            READY,
            true,
            "RenewalFailed",
            "it is valid, but could not be renewed".to_owned(),
        ),
        Some(_) => (READY, true, "Valid", String::new()),
    }
}

/// Whether an end is near or past: a reason, and words that follow the certificate.
fn ending(not_after: Option<Timestamp>, now: Timestamp) -> Option<(&'static str, String)> {
    let end = not_after?;
    if end < now {
        return Some(("Ended", format!("ended at {end:.0}: replace it")));
    }
    let left = end.duration_since(now);
    let (_, reason) = WARNED_BEFORE.iter().find(|(before, _)| left <= *before)?;
    Some((*reason, format!("ends at {end:.0}: replace it in time")))
}

/// When the conditions of a certificate change by themselves next.
pub fn next_moment(facts: &Facts, now: Timestamp) -> Option<Timestamp> {
    let end = facts.not_after?;
    let warnings = WARNED_BEFORE
        .iter()
        .filter_map(|(before, _)| end.checked_sub(*before).ok());
    // A moment later, when the end is past by every comparison.
    let over = end.checked_add(SignedDuration::from_secs(1)).ok();
    let moments = warnings.chain(over).chain(facts.not_before);
    moments.filter(|moment| *moment > now).min()
}

#[cfg(test)]
mod tests;
