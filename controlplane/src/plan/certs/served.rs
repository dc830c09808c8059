//! Which certificates gateways get, and which names browsers trust.

use std::collections::{BTreeMap, BTreeSet};

use cara_api::Timestamp;
use cara_api::certificate::ManagedBy;
use cara_api::hostname::Domain;

use super::Facts;

/// A certificate that could be served.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The name of the Certificate.
    pub name: &'a str,
    /// Who takes care of it.
    pub managed_by: ManagedBy,
    /// What it says of itself; those without an end do not exist yet.
    pub facts: &'a Facts,
}

/// What is served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Served {
    /// The names of the Certificates.
    pub certificates: BTreeSet<String>,
    /// The one for clients that name no server, or one that no certificate covers.
    pub default: Option<String>,
    /// What browsers trust.
    pub trusted: TrustedNames,
}

/// Names of valid certificates that browsers trust, as far as one can tell: those from public
/// authorities and those that users gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedNames(BTreeSet<String>);

impl TrustedNames {
    /// Whether a certificate covers a hostname or wildcard.
    pub fn covers(&self, hostname: &str) -> bool {
        covers(|name| self.0.contains(name), hostname)
    }
}

/// Whether there is a name that covers the hostname: itself, or the wildcard above it.
pub fn covers(has: impl Fn(&str) -> bool, hostname: &str) -> bool {
    has(hostname)
        || hostname
            .split_once('.')
            .is_some_and(|(_, parent)| has(&format!("*.{parent}")))
}

/// Chooses. A certificate that the server made itself is left out where a valid one of a higher
/// rank covers all its names, however long it lives: what a user gives comes before what was
/// ordered, and that before what the internal authority issued.
pub fn served<'a>(
    candidates: impl Iterator<Item = Candidate<'a>>,
    domain: &Domain,
    now: Timestamp,
) -> Served {
    let all: Vec<Candidate<'a>> = candidates.filter(|c| c.facts.not_after.is_some()).collect();
    let mut ranks: BTreeMap<&str, ManagedBy> = BTreeMap::new();
    for valid in all.iter().filter(|c| c.facts.is_valid_at(now)) {
        for name in &valid.facts.names {
            let rank = ranks.entry(name).or_insert(valid.managed_by);
            *rank = valid.managed_by.max(*rank);
        }
    }
    let above = |rank: ManagedBy| {
        let ranks = &ranks;
        move |name: &str| ranks.get(name).is_some_and(|found| *found > rank)
    };
    let chosen = all.iter().filter(|c| {
        !c.facts
            .names
            .iter()
            .all(|name| covers(above(c.managed_by), name))
    });
    let chosen: Vec<&Candidate<'a>> = chosen.collect();
    let wildcard = format!("*.{}.{}", domain.environment, domain.base);
    let default = chosen
        .iter()
        .filter(|c| c.facts.names.contains(&wildcard))
        .max_by_key(|c| (c.facts.is_valid_at(now), c.managed_by, c.facts.not_after));
    let trusted = ranks.iter().filter(|(_, rank)| **rank > ManagedBy::Ca);
    Served {
        certificates: chosen.iter().map(|c| c.name.to_owned()).collect(),
        default: default.map(|c| c.name.to_owned()),
        trusted: TrustedNames(trusted.map(|(name, _)| (*name).to_owned()).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn facts(names: &[&str], from: i64, to: i64) -> Facts {
        Facts {
            names: names.iter().map(ToString::to_string).collect(),
            not_before: Some(at(from)),
            not_after: Some(at(to)),
            ..Facts::default()
        }
    }

    /// Names of those that are served at 50, the default marked with `!`.
    fn check(certificates: &[(&str, ManagedBy, Facts)]) -> (String, TrustedNames) {
        let domain = Domain {
            environment: "dev".into(),
            base: "x.org".into(),
        };
        let candidates = certificates
            .iter()
            .map(|(name, managed_by, facts)| Candidate {
                name,
                managed_by: *managed_by,
                facts,
            });
        let served = served(candidates, &domain, at(50));
        let mark = |name: &String| {
            let is_default = served.default.as_ref() == Some(name);
            format!("{name}{}", if is_default { "!" } else { "" })
        };
        let names: Vec<String> = served.certificates.iter().map(mark).collect();
        (names.join(" "), served.trusted)
    }

    #[test]
    fn a_higher_rank_takes_the_place_of_a_lower_one_while_it_is_valid() {
        use ManagedBy::{Acme, Ca, User};
        let ca = || ("ca", Ca, facts(&["*.dev.x.org"], 0, 1_000));
        let apex = || ("apex", Ca, facts(&["dev.x.org"], 0, 1_000));
        let acme = |end| ("acme", Acme, facts(&["*.dev.x.org"], 0, end));
        for (certificates, expected) in [
            (vec![ca(), apex()], "apex ca!"),
            (vec![ca(), apex(), acme(100)], "acme! apex"),
            (vec![ca(), acme(40)], "acme ca!"),
            (vec![ca(), ("none", Acme, Facts::default())], "ca!"),
            (
                vec![
                    acme(900),
                    ("u", User, facts(&["*.dev.x.org", "y.org"], 0, 60)),
                ],
                "u!",
            ),
            (
                vec![ca(), ("a", Acme, facts(&["shop.dev.x.org"], 0, 90))],
                "a ca!",
            ),
            (
                vec![acme(90), ("a", Acme, facts(&["shop.dev.x.org"], 0, 90))],
                "a acme!",
            ),
            (
                vec![
                    ("u", User, facts(&["*.dev.x.org"], 0, 90)),
                    ("a", Acme, facts(&["shop.dev.x.org"], 0, 90)),
                ],
                "u!",
            ),
            (vec![("u", User, facts(&["y.org"], 0, 40))], "u"),
        ] {
            assert_eq!(check(&certificates).0, expected, "{certificates:?}");
        }
    }

    #[test]
    fn browsers_trust_what_is_valid_and_not_our_own() {
        use ManagedBy::{Acme, Ca, User};
        let (_, trusted) = check(&[
            ("ca", Ca, facts(&["*.dev.x.org"], 0, 100)),
            ("a", Acme, facts(&["*.x.org"], 0, 100)),
            ("u", User, facts(&["y.org"], 0, 100)),
            ("old", User, facts(&["z.org"], 0, 40)),
        ]);
        for (host, expected) in [
            ("a.x.org", true),
            ("*.x.org", true),
            ("y.org", true),
            ("a.y.org", false),
            ("z.org", false),
            ("a.dev.x.org", false),
        ] {
            assert_eq!(trusted.covers(host), expected, "{host}");
        }
    }
}
