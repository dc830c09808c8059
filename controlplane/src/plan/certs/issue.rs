//! What the internal authority issues: the wildcard of the environment, and the name above it.

use std::collections::BTreeSet;

use cara_api::Timestamp;
use cara_api::hostname::Domain;

use super::Facts;

/// The names that certificates are issued for, each for one, so that one that a public authority
/// covers does not keep the other in use.
pub fn names(domain: &Domain) -> BTreeSet<String> {
    let apex = format!("{}.{}", domain.environment, domain.base);
    BTreeSet::from([format!("*.{apex}"), apex])
}

/// When a certificate of the internal authority is to be issued again: at two thirds of its life,
/// or at once when it was issued by another authority.
pub fn due_at(facts: &Facts, is_of_authority: bool, now: Timestamp) -> Timestamp {
    let (Some(start), Some(end)) = (facts.not_before, facts.not_after) else {
        return now;
    };
    if !is_of_authority {
        return now;
    }
    let life = end.as_second().saturating_sub(start.as_second()).max(0);
    let due = start.as_second().saturating_add(life / 3 * 2);
    Timestamp::from_second(due).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_is_issued_again_at_two_thirds_of_its_life() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let facts = Facts {
            not_before: Some(at(100)),
            not_after: Some(at(400)),
            ..Facts::default()
        };
        assert_eq!(due_at(&facts, true, at(150)), at(300));
        assert_eq!(due_at(&facts, false, at(150)), at(150), "another authority");
        assert_eq!(
            due_at(&Facts::default(), true, at(150)),
            at(150),
            "none yet"
        );
    }
}
