//! What happened to a certificate.

use cara_api::certificate::ManagedBy;
use cara_api::condition::{self, Condition, EXPIRING};

use super::{CERTIFICATES, Draft};
use crate::plan::certs::{Attempts, Facts};

/// What events see of a certificate.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// What it says of itself.
    pub facts: &'a Facts,
    /// What came of attempts to obtain it.
    pub attempts: &'a Attempts,
    /// What is said about it.
    pub conditions: &'a [Condition],
    /// Who takes care of it.
    pub managed_by: ManagedBy,
}

/// What a change of a certificate means, in order.
pub fn of_certificate(before: Option<Seen<'_>>, after: Option<Seen<'_>>) -> Vec<Draft> {
    let Some(after) = after else {
        return vec![Draft::normal(
            "Removed",
            "the certificate was deleted",
            CERTIFICATES,
        )];
    };
    let mut drafts = Vec::new();
    drafts.extend(came(before, after));
    drafts.extend(failed(before, after));
    drafts.extend(ending(before, after));
    drafts
}

fn came(before: Option<Seen<'_>>, after: Seen<'_>) -> Option<Draft> {
    let old = before.map_or("", |b| b.facts.fingerprint.as_str());
    let new = after.facts;
    if new.fingerprint.is_empty() || new.fingerprint == old {
        return None;
    }
    let reason = match (after.managed_by, old.is_empty()) {
        (ManagedBy::User, true) => "Created",
        (ManagedBy::User, false) => "Replaced",
        (ManagedBy::Acme, true) => "Issued",
        (ManagedBy::Acme, false) => "Renewed",
        // The server does that by itself and nobody has to know.
        (ManagedBy::Ca, true | false) => return None,
    };
    let end = new
        .not_after
        .map_or_else(String::new, |end| format!(", until {end:.0}"));
    let message = format!(
        "a certificate of {} for {}{end}",
        new.issuer,
        new.names.join(", ")
    );
    Some(Draft::normal(reason, message, CERTIFICATES))
}

fn failed(before: Option<Seen<'_>>, after: Seen<'_>) -> Option<Draft> {
    let old = before.map(|b| b.attempts);
    let attempts = after.attempts;
    let is_counted = attempts.failed > old.map_or(0, |a| a.failed);
    // What concerns all orders does not count for one.
    let is_told =
        !attempts.last_error.is_empty() && old.is_none_or(|a| a.last_error != attempts.last_error);
    (is_counted || is_told)
        .then(|| Draft::warning("OrderFailed", &attempts.last_error, CERTIFICATES))
}

fn ending(before: Option<Seen<'_>>, after: Seen<'_>) -> Option<Draft> {
    let reason =
        |seen: Seen<'_>| condition::find(seen.conditions, EXPIRING).map(|c| c.reason.clone());
    let found = condition::find(after.conditions, EXPIRING)?;
    if before.and_then(reason).as_ref() == Some(&found.reason) {
        return None;
    }
    Some(Draft::warning(&found.reason, &found.message, CERTIFICATES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cara_api::Timestamp;

    #[test]
    fn a_life_is_told_once() {
        let facts = |fingerprint: &str| Facts {
            names: vec!["a.org".into()],
            issuer: "R3".into(),
            fingerprint: fingerprint.into(),
            ..Facts::default()
        };
        let failed = |failed| Attempts {
            failed,
            last_error: if failed > 0 {
                "no".into()
            } else {
                String::new()
            },
            ..Attempts::default()
        };
        let ending = |reason| {
            vec![Condition::new(
                EXPIRING,
                true,
                reason,
                "soon",
                Timestamp::UNIX_EPOCH,
            )]
        };
        let states = [
            (facts(""), failed(0), vec![]),
            (facts(""), failed(1), vec![]),
            (facts(""), failed(2), vec![]),
            (facts("a"), failed(0), vec![]),
            (facts("a"), failed(0), ending("EndsIn14Days")),
            (facts("a"), failed(0), ending("EndsIn14Days")),
            (facts("a"), failed(0), ending("EndsIn3Days")),
            (facts("b"), failed(0), vec![]),
        ];
        let seen: Vec<Seen<'_>> = states
            .iter()
            .map(|(facts, attempts, conditions)| Seen {
                facts,
                attempts,
                conditions,
                managed_by: ManagedBy::Acme,
            })
            .collect();
        let pairs = std::iter::once(None)
            .chain(seen.iter().copied().map(Some))
            .zip(&seen);
        let told: Vec<String> = pairs
            .flat_map(|(before, after)| of_certificate(before, Some(*after)))
            .map(|draft| draft.reason)
            .collect();
        assert_eq!(
            told,
            [
                "OrderFailed",
                "OrderFailed",
                "Issued",
                "EndsIn14Days",
                "EndsIn3Days",
                "Renewed"
            ]
        );
    }
}
