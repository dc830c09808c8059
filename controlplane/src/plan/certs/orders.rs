//! What to order from a public authority: a wildcard for all short hosts where the DNS can be
//! changed, and one certificate for each other hostname that a project owns.
//!
//! Only hostnames that are claimed by a project count, never what a client asks for.

use std::collections::{BTreeMap, BTreeSet};

use cara_api::hostname::Domain;
use cara_api::project::{Ingress, IngressProtocol};
use cara_api::{Project, ProjectName, Timestamp};
use cara_certs::plan::{self as certs_plan, Failures, Order, Policy, Present, Situation};

use super::Attempts;
use super::served::TrustedNames;
use crate::plan::claims::Claim;

/// What the server can prove, and to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Means {
    /// It can change the DNS: wildcards are possible.
    pub has_dns: bool,
    /// The authority is a private one, which may issue for any name.
    pub is_private: bool,
}

/// Names to have certificates for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Hosts and wildcards.
    pub names: BTreeSet<String>,
    /// Wildcards that stand for the hosts below them.
    pub wildcards: BTreeSet<String>,
}

/// What is wanted. `given` are names that certificates of users cover.
pub fn wanted<'a>(
    projects: impl Iterator<Item = &'a Project>,
    claims: &BTreeMap<Claim, ProjectName>,
    domain: &Domain,
    given: &TrustedNames,
    means: Means,
) -> Wanted {
    let wildcard = format!("*.{}.{}", domain.environment, domain.base);
    let mut wanted = Wanted::default();
    if means.has_dns && is_possible(&wildcard, means) && !given.covers(&wildcard) {
        wanted.names.insert(wildcard.clone());
        wanted.wildcards.insert(wildcard);
    }
    for project in projects {
        let name = project.metadata.name.as_str();
        for ingress in project.spec.ingress.iter().filter(|i| is_automatic(i)) {
            for host in domain.hostnames(ingress, name) {
                let owner = claims.get(&Claim::Host(host.clone()));
                let is_owned = owner.is_some_and(|owner| owner.as_str() == name);
                let can_be_proved = means.has_dns || !host.is_wildcard();
                let is_free = is_possible(host.as_str(), means) && !given.covers(host.as_str());
                if is_owned && can_be_proved && is_free {
                    wanted.names.insert(host.to_string());
                }
            }
        }
    }
    wanted
}

fn is_possible(name: &str, means: Means) -> bool {
    means.is_private || certs_plan::can_be_public(name)
}

/// Whether the server is to find a certificate for the hosts of a rule itself.
fn is_automatic(ingress: &Ingress) -> bool {
    let is_ended_here = match ingress.protocol() {
        Some(IngressProtocol::Http | IngressProtocol::Unset) => true,
        Some(IngressProtocol::TlsPassthrough | IngressProtocol::Tcp) | None => false,
    };
    is_ended_here && matches!(ingress.tls.as_str(), "" | "auto")
}

/// A certificate that was ordered, or that could not be obtained yet.
#[derive(Debug, Clone)]
pub struct Known {
    /// What it is, or is to be, for.
    pub name: String,
    /// The certificate, if there is one.
    pub present: Option<Present>,
    /// What came of attempts.
    pub attempts: Attempts,
}

/// All orders, present and future, by the moment when they are due.
pub fn plan(
    wanted: &Wanted,
    known: &[Known],
    account: Option<Failures>,
    now: Timestamp,
) -> Vec<Order> {
    let failures: BTreeMap<String, Failures> = known
        .iter()
        .filter_map(|k| Some((k.name.clone(), k.attempts.failures()?)))
        .collect();
    let present: Vec<Present> = known.iter().filter_map(|k| k.present.clone()).collect();
    let situation = Situation {
        wanted: &wanted.names,
        wildcards: &wanted.wildcards,
        present: &present,
        failures: &failures,
        account,
        now,
    };
    certs_plan::plan(&situation, &Policy::default())
}

/// An order that would be due, but waits for the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What it is for.
    pub name: String,
    /// Not before this moment.
    pub until: Timestamp,
}

/// The orders that only failures of the account hold back, and whose Certificates do not say so
/// yet: until when, and with the last of these failures.
pub fn held(wanted: &Wanted, known: &[Known], account: &Attempts, now: Timestamp) -> Vec<Held> {
    let failures = account.failures().filter(|failures| failures.count > 0);
    if failures.is_none() {
        return Vec::new();
    }
    let free = plan(wanted, known, None, now);
    let free = free.iter().filter(|order| order.due_at <= now);
    let free: BTreeSet<&String> = free.flat_map(|order| &order.names).collect();
    let told: BTreeMap<&String, &Attempts> = known.iter().map(|k| (&k.name, &k.attempts)).collect();
    let is_told = |held: &Held| {
        told.get(&held.name).is_some_and(|attempts| {
            attempts.next_try == Some(held.until) && attempts.last_error == account.last_error
        })
    };
    let all = plan(wanted, known, failures, now).into_iter();
    all.filter(|order| order.due_at > now)
        .flat_map(|order| {
            order
                .names
                .into_iter()
                .map(move |name| (name, order.due_at))
        })
        .filter(|(name, _)| free.contains(name))
        .map(|(name, until)| Held { name, until })
        .filter(|held| !is_told(held))
        .collect()
}

/// Whether what was ordered under a name is of no use any more: nobody wants it, and it has ended
/// or never was.
pub fn is_obsolete(known: &Known, targets: &BTreeSet<String>, now: Timestamp) -> bool {
    let is_alive = known.present.as_ref().is_some_and(|p| now <= p.not_after);
    !is_alive && !targets.contains(&known.name)
}

/// The names that orders are for.
pub fn targets(wanted: &Wanted) -> BTreeSet<String> {
    certs_plan::targets(&wanted.names, &wanted.wildcards)
}

#[cfg(test)]
mod tests {
    use super::super::Facts;
    use super::super::served::{Candidate, served};
    use super::*;
    use cara_api::certificate::ManagedBy;
    use cara_api::hostname::Hostname;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn domain() -> Domain {
        Domain {
            environment: "dev".into(),
            base: "x.org".into(),
        }
    }

    fn project(name: &str, ingress: &[(&str, &str, &str)]) -> Project {
        let mut project = Project::default();
        project.metadata.name = name.into();
        project.spec.ingress = ingress
            .iter()
            .map(|(host, tls, protocol)| Ingress {
                host: (*host).into(),
                tls: (*tls).into(),
                protocol: (*protocol).into(),
                ..Ingress::default()
            })
            .collect();
        project
    }

    fn names(means: Means, given: &[&str]) -> Vec<String> {
        let projects = [
            project(
                "shop",
                &[
                    ("", "", ""),
                    ("shop.org", "auto", "HTTP"),
                    ("*.shop.org", "", ""),
                ],
            ),
            project(
                "off",
                &[
                    ("off.org", "off", ""),
                    ("named.org", "mine", ""),
                    ("raw.org", "", "TLSPassthrough"),
                ],
            ),
            project("thief", &[("shop.org", "", ""), ("thief.test", "", "")]),
        ];
        let owned = [
            ("shop.dev.x.org", "shop"),
            ("shop.org", "shop"),
            ("*.shop.org", "shop"),
            ("off.org", "off"),
            ("named.org", "off"),
            ("raw.org", "off"),
            ("thief.test", "thief"),
        ];
        let claims = owned
            .iter()
            .map(|(host, owner)| {
                (
                    Claim::Host(Hostname::parse(host).expect("valid")),
                    ProjectName::trusted(owner),
                )
            })
            .collect();
        let facts = Facts {
            names: given.iter().map(ToString::to_string).collect(),
            not_before: Some(at(0)),
            not_after: Some(at(100)),
            ..Facts::default()
        };
        let user = Candidate {
            name: "u",
            managed_by: ManagedBy::User,
            facts: &facts,
        };
        let given = served(std::iter::once(user), &domain(), at(50)).trusted;
        let wanted = wanted(projects.iter(), &claims, &domain(), &given, means);
        targets(&wanted).into_iter().collect()
    }

    #[test]
    fn only_what_projects_own_and_can_be_proved_is_ordered() {
        let http = Means {
            has_dns: false,
            is_private: false,
        };
        let dns = Means {
            has_dns: true,
            is_private: false,
        };
        let private = Means {
            has_dns: false,
            is_private: true,
        };
        assert_eq!(names(http, &[]), ["shop.dev.x.org", "shop.org"]);
        assert_eq!(names(dns, &[]), ["*.dev.x.org", "*.shop.org", "shop.org"]);
        assert_eq!(
            names(private, &[]),
            ["shop.dev.x.org", "shop.org", "thief.test"]
        );
    }

    #[test]
    fn what_a_user_gave_is_not_ordered() {
        let dns = Means {
            has_dns: true,
            is_private: false,
        };
        assert_eq!(names(dns, &["*.dev.x.org", "shop.org"]), ["*.shop.org"]);
    }

    #[test]
    fn orders_that_wait_for_the_account_are_told_once() {
        let names = ["a.org", "b.org", "failed.org", "valid.org", "ended.org"];
        let wanted = Wanted {
            names: names.map(str::to_owned).into(),
            ..Wanted::default()
        };
        let failure = |message: &str, hours: u64| super::super::Failure {
            message: message.into(),
            is_retryable: true,
            retry_after: Some(std::time::Duration::from_secs(hours * 3_600)),
        };
        let known = |name: &str, end: Option<i64>, attempts: Attempts| Known {
            name: name.into(),
            present: end.map(|end| Present {
                names: vec![name.to_owned()],
                not_before: at(0),
                not_after: at(end),
                window: None,
            }),
            attempts,
        };
        let now = at(1_000);
        let own = Attempts::default().after_failure(failure("wrong", 9), now);
        let mut all = vec![
            known("failed.org", None, own),
            known("valid.org", Some(90_000), Attempts::default()),
            known("ended.org", Some(900), Attempts::default()),
        ];
        let found = |all: &[Known], account: &Attempts, now| {
            let held = held(&wanted, all, account, now);
            let texts = held
                .iter()
                .map(|h| format!("{} {}", h.name, h.until.as_second()));
            texts.collect::<Vec<_>>().join(", ")
        };
        let account = Attempts::default().after_failure(failure("limited", 1), now);
        assert_eq!(found(&all, &Attempts::default(), now), "", "nothing failed");
        assert_eq!(
            found(&all, &account, now),
            "a.org 4600, b.org 4600, ended.org 4600",
            "neither what waits longer by itself, nor what is not due"
        );
        let told = Attempts {
            next_try: Some(at(4_600)),
            last_error: "limited".into(),
            ..Attempts::default()
        };
        all.push(known("a.org", None, told));
        assert_eq!(found(&all, &account, now), "b.org 4600, ended.org 4600");
        assert_eq!(found(&all, &account, at(4_600)), "", "they are due");
        let again = account.after_failure(failure("limited", 2), at(4_600));
        let all_again = "a.org 11800, b.org 11800, ended.org 11800";
        assert_eq!(found(&all, &again, at(4_600)), all_again);
    }

    #[test]
    fn what_failed_waits_and_what_nobody_wants_goes_when_it_ends() {
        let wanted = Wanted {
            names: BTreeSet::from(["a.org".to_owned(), "b.org".to_owned()]),
            ..Wanted::default()
        };
        let failure = super::super::Failure {
            message: "no".into(),
            is_retryable: true,
            retry_after: None,
        };
        let known = |name: &str, end: Option<i64>, attempts| Known {
            name: name.into(),
            present: end.map(|end| Present {
                names: vec![name.to_owned()],
                not_before: at(0),
                not_after: at(end),
                window: None,
            }),
            attempts,
        };
        let failed = Attempts::default().after_failure(failure, at(1_000));
        let a = known("a.org", None, failed);
        let orders = plan(&wanted, std::slice::from_ref(&a), None, at(1_000));
        let due: Vec<(String, bool)> = orders
            .iter()
            .map(|o| (o.names.join(","), o.due_at <= at(1_000)))
            .collect();
        assert_eq!(
            due,
            [("b.org".to_owned(), true), ("a.org".to_owned(), false)]
        );
        let targets = targets(&wanted);
        for (name, end, expected) in [
            ("a.org", None, false),
            ("old.org", None, true),
            ("old.org", Some(900), true),
            ("old.org", Some(2_000), false),
            ("a.org", Some(900), false),
        ] {
            let known = known(name, end, Attempts::default());
            assert_eq!(
                is_obsolete(&known, &targets, at(1_000)),
                expected,
                "{name} {end:?}"
            );
        }
    }
}
