//! Tables of single decisions, and properties over random situations.

use std::ops::RangeInclusive;

use proptest::prelude::*;

use super::*;

const DAY: i64 = 86_400;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

fn present(names: &[&str], start: i64, end: i64) -> Present {
    Present {
        names: names.iter().map(ToString::to_string).collect(),
        not_before: at(start),
        not_after: at(end),
        window: None,
    }
}

fn failures(count: u32, last_at: i64, kind: FailureKind) -> Failures {
    Failures {
        count,
        last_at: at(last_at),
        kind,
        not_before: None,
    }
}

/// What is planned for one host.
fn one(present: &[Present], own: Option<Failures>, account: Option<Failures>, now: i64) -> Order {
    let wanted = set(&["a.x"]);
    let own = own.map(|failures| ("a.x".to_owned(), failures));
    let situation = Situation {
        wanted: &wanted,
        wildcards: &BTreeSet::new(),
        present,
        failures: &own.into_iter().collect(),
        account,
        now: at(now),
    };
    let mut orders = plan(&situation, &Policy::default());
    assert_eq!(orders.len(), 1);
    orders.remove(0)
}

#[test]
fn hosts_below_a_wildcard_share_its_order() {
    let check = |wanted: &[&str], wildcards: &[&str], expected: &[&str]| {
        assert_eq!(targets(&set(wanted), &set(wildcards)), set(expected));
    };
    check(&["a.x", "b.x"], &[], &["a.x", "b.x"]);
    check(
        &["a.dev.x", "b.dev.x", "dev.x"],
        &["*.dev.x"],
        &["*.dev.x", "dev.x"],
    );
    check(&["a.b.dev.x"], &["*.dev.x"], &["a.b.dev.x"]);
    check(&[], &["*.dev.x"], &[]);
    check(&["*.dev.x", "a.dev.x"], &[], &["*.dev.x"]);
    check(&["A.Dev.X"], &["*.DEV.x"], &["*.dev.x"]);
}

#[test]
fn a_missing_certificate_is_due_at_once() {
    let order = one(&[], None, None, 100);
    assert_eq!((order.due_at, order.reason), (at(100), Reason::Missing));
    let other = present(&["b.x"], 0, 90 * DAY);
    assert_eq!(one(&[other], None, None, 100).reason, Reason::Missing);
}

#[test]
fn a_certificate_is_renewed_at_two_thirds_of_its_life() {
    let order = one(&[present(&["a.x"], 0, 90 * DAY)], None, None, 0);
    assert_eq!(order.reason, Reason::Renewal);
    let days = order.due_at.as_second() as f64 / DAY as f64;
    assert!((60.0..64.5).contains(&days), "{days}");
    let wildcard = present(&["*.x"], 0, 90 * DAY);
    assert_eq!(
        one(&[wildcard], None, None, 0),
        order,
        "a wildcard counts as well"
    );
    let newer = present(&["a.x"], 10 * DAY, 100 * DAY);
    let older = present(&["a.x"], 0, 90 * DAY);
    let best = one(&[older, newer], None, None, 0);
    assert_eq!(best.due_at.as_second(), order.due_at.as_second() + 10 * DAY);
}

#[test]
fn an_expired_certificate_is_due_since_it_ended() {
    let order = one(&[present(&["a.x"], 0, 90 * DAY)], None, None, 95 * DAY);
    assert_eq!(
        (order.due_at, order.reason),
        (at(90 * DAY), Reason::Expired)
    );
}

#[test]
fn the_window_of_the_authority_goes_first() {
    let with = |start: i64, end: i64| {
        let window = RenewalWindow {
            start: at(start * DAY),
            end: at(end * DAY),
        };
        let mut certificate = present(&["a.x"], 0, 90 * DAY);
        certificate.window = Some(window);
        let order = one(&[certificate], None, None, 0);
        (order.due_at.as_second() / DAY, order.reason)
    };
    let (day, reason) = with(20, 22);
    assert!((20..=22).contains(&day), "{day}");
    assert_eq!(reason, Reason::Suggested);
    assert_eq!(with(-1, -1).0, -1, "a window in the past means at once");
    assert_eq!(
        with(200, 300).0,
        81,
        "never later than nine tenths of its life"
    );
    assert_eq!(with(22, 20).1, Reason::Renewal, "a window that is none");
}

#[test]
fn failures_wait_longer_each_time_and_as_long_as_the_authority_says() {
    let wait = |own, account| one(&[], own, account, 0).due_at.as_second();
    let transient = |count| Some(failures(count, 0, FailureKind::Transient));
    let minutes = |seconds: i64, expected: i64| {
        let range = expected * 60..=expected * 66;
        assert!(
            range.contains(&seconds),
            "{seconds} s, not {expected} minutes"
        );
    };
    assert_eq!(wait(transient(0), None), 0);
    minutes(wait(transient(1), None), 10);
    minutes(wait(transient(2), None), 20);
    minutes(wait(None, transient(3)), 40);
    minutes(wait(transient(40), None), 24 * 60);
    minutes(wait(transient(u32::MAX), None), 24 * 60);
    minutes(
        wait(Some(failures(1, 0, FailureKind::Refused)), None),
        24 * 60,
    );
    minutes(wait(transient(1), transient(3)), 40);
    let mut told = failures(1, 0, FailureKind::Transient);
    told.not_before = Some(at(7 * DAY));
    assert_eq!(wait(Some(told), None), 7 * DAY);
    assert_eq!(wait(None, Some(told)), 7 * DAY);
}

/// Fails unless fifty moments within a range are spread over it: most of them differ, and they
/// take more than half of it.
fn spread(what: &str, at: impl Fn(&str) -> Timestamp, range: RangeInclusive<i64>) {
    let names: Vec<String> = (0..50).map(|n| format!("host-{n}.x")).collect();
    let moments: BTreeSet<i64> = names.iter().map(|name| at(name).as_second()).collect();
    let (first, last) = (moments.first().expect("one"), moments.last().expect("one"));
    assert!(
        range.contains(first) && range.contains(last),
        "{what}: {moments:?}"
    );
    let length = range.end() - range.start();
    assert!(
        last - first > length / 2,
        "{what}: {first} to {last} of {range:?}"
    );
    // In a minute there are not many more seconds than names.
    let fewest = if length > 5_000 { 45 } else { 25 };
    assert!(moments.len() >= fewest, "{what}: {} moments", moments.len());
}

#[test]
fn renewals_of_what_began_together_are_spread() {
    let due = |name: &str, window| {
        let mut certificate = present(&[name], 0, 90 * DAY);
        certificate.window = window;
        renewal(name, &certificate, at(0)).0
    };
    let twentieth = 60 * DAY..=60 * DAY + 90 * DAY / 20;
    spread("by age", |name| due(name, None), twentieth);
    let window = RenewalWindow {
        start: at(20 * DAY),
        end: at(22 * DAY),
    };
    spread(
        "by window",
        |name| due(name, Some(window)),
        20 * DAY..=22 * DAY,
    );
}

#[test]
fn retries_of_what_failed_together_are_spread() {
    let wanted: BTreeSet<String> = (0..50).map(|n| format!("host-{n}.x")).collect();
    let day = 24 * 60;
    for (what, is_own, failed, minutes) in [
        ("first", true, failures(1, 0, FailureKind::Transient), 10),
        ("third", true, failures(3, 0, FailureKind::Transient), 40),
        ("long", true, failures(40, 0, FailureKind::Transient), day),
        ("refused", true, failures(1, 0, FailureKind::Refused), day),
        ("account", false, failures(2, 0, FailureKind::Transient), 20),
    ] {
        let own: BTreeMap<String, Failures> = wanted
            .iter()
            .filter(|_| is_own)
            .map(|name| (name.clone(), failed))
            .collect();
        let situation = Situation {
            wanted: &wanted,
            wildcards: &BTreeSet::new(),
            present: &[],
            failures: &own,
            account: (!is_own).then_some(failed),
            now: at(0),
        };
        let orders = plan(&situation, &Policy::default());
        let due = |name: &str| {
            let order = orders.iter().find(|order| order.names == [name]);
            order.expect("planned").due_at
        };
        spread(what, due, minutes * 60..=minutes * 66);
    }
}

#[test]
fn of_what_is_due_the_unreachable_goes_first() {
    let order = |name: &str, due: i64, reason| Order {
        names: vec![name.to_owned()],
        due_at: at(due),
        reason,
        has_failed: false,
        is_pressing: false,
    };
    let orders = [
        order("old", 1, Reason::Renewal),
        order("gone", 2, Reason::Expired),
        order("new", 3, Reason::Missing),
        order("later", 9, Reason::Missing),
    ];
    let names = |limit| {
        let due = due(&orders, at(5), limit);
        due.iter().map(|o| o.names[0].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(9), ["new", "gone", "old"]);
    assert_eq!(names(1), ["new"]);
    assert!(names(0).is_empty());
}

#[test]
fn names_that_no_public_authority_knows() {
    for name in ["a.com", "*.dev.a.co.uk"] {
        assert!(can_be_public(name), "{name}");
    }
    for name in [
        "localhost",
        "a.dev.localhost",
        "*.dev.LOCALHOST",
        "10.0.0.1",
        "::1",
        "db.internal",
        "host",
    ] {
        assert!(!can_be_public(name), "{name}");
    }
}

fn some_failures() -> impl Strategy<Value = Option<Failures>> {
    let kind = prop_oneof![Just(FailureKind::Transient), Just(FailureKind::Refused)];
    let told = proptest::option::of(-10_000_000..10_000_000_i64);
    proptest::option::of((0..100_u32, -10_000_000..10_000_000_i64, kind, told)).prop_map(|f| {
        f.map(|(count, last_at, kind, told)| Failures {
            not_before: told.map(at),
            ..failures(count, last_at, kind)
        })
    })
}

proptest! {
    /// Never due before two thirds of its life, always due in time before it ends.
    #[test]
    fn renewals_lie_between_two_thirds_and_nine_tenths(
        start in -10_000_000_000..10_000_000_000_i64,
        life in 60..4_000_000_000_i64,
        name in "[a-z]{1,12}",
    ) {
        let certificate = present(&[&name], start, start + life);
        let (due_at, _) = renewal(&name, &certificate, at(start));
        let lived = due_at.as_second() - start;
        prop_assert!(lived >= life / 3 * 2, "{lived} of {life}");
        prop_assert!(lived <= life / 10 * 9, "{lived} of {life}");
        let (at_end, reason) = renewal(&name, &certificate, certificate.not_after);
        prop_assert!(at_end <= certificate.not_after);
        prop_assert_eq!(reason, Reason::Expired);
    }

    /// Whatever a window says, it is never ignored into an expired certificate.
    #[test]
    fn windows_never_delay_past_the_end(
        life in 60..100_000_000_i64,
        start in -100_000_000..200_000_000_i64,
        length in -10..100_000_000_i64,
    ) {
        let mut certificate = present(&["a.x"], 0, life);
        certificate.window = Some(RenewalWindow { start: at(start), end: at(start + length) });
        let (due_at, _) = renewal("a.x", &certificate, at(0));
        prop_assert!(due_at < certificate.not_after);
        prop_assert!(length < 0 || due_at >= at(start.min(life / 10 * 9)));
    }

    /// Failures only delay, by a bounded time, and never shorten what the authority said.
    #[test]
    fn failures_delay_by_a_bounded_time(
        own in some_failures(),
        account in some_failures(),
        now in -10_000_000..10_000_000_i64,
    ) {
        let free = one(&[], None, None, now).due_at;
        let order = one(&[], own, account, now);
        prop_assert!(order.due_at >= free);
        let counted: Vec<_> = own.into_iter().chain(account).filter(|f| f.count > 0).collect();
        let longest = Policy::default().longest_wait.as_secs() * 11 / 10;
        let bound = counted
            .iter()
            .map(|f| f.not_before.unwrap_or(f.last_at).max(at(f.last_at.as_second() + longest)))
            .fold(free, Timestamp::max);
        prop_assert!(order.due_at <= bound);
        let of_the_past = counted.iter().filter(|f| f.last_at <= at(now + AHEAD));
        for told in of_the_past.filter_map(|f| f.not_before) {
            prop_assert!(order.due_at >= told);
        }
    }

    /// The plan covers each wanted name exactly once, and asks for nothing else.
    #[test]
    fn every_wanted_name_is_planned_once(
        wanted in proptest::collection::btree_set("[ab]{1,2}\\.(dev\\.)?x", 0..12),
        has_wildcard: bool,
    ) {
        let wildcards = if has_wildcard { set(&["*.dev.x"]) } else { set(&[]) };
        let situation = Situation {
            wanted: &wanted,
            wildcards: &wildcards,
            present: &[],
            failures: &BTreeMap::new(),
            account: None,
            now: at(0),
        };
        let orders = plan(&situation, &Policy::default());
        let names: Vec<_> = orders.iter().flat_map(|o| o.names.clone()).collect();
        for host in &wanted {
            prop_assert_eq!(names.iter().filter(|name| matches(name, host)).count(), 1);
        }
        for name in &names {
            prop_assert!(wanted.iter().any(|host| matches(name, host)));
        }
    }
}

#[test]
fn names_that_lead_nowhere_hold_up_nothing() {
    let hosts: Vec<String> = (0..100).map(|n| format!("{n}.nowhere.x")).collect();
    let mut wanted: BTreeSet<String> = hosts.iter().cloned().collect();
    wanted.extend(["old.x", "older.x", "new.x"].map(str::to_owned));
    let failed = hosts.iter().map(String::as_str).chain(["older.x"]);
    let failed = failed.map(|host| {
        let failures = failures(8, 0, FailureKind::Transient);
        (host.to_owned(), failures)
    });
    let there = [
        present(&["old.x"], 0, 90 * DAY),
        present(&["older.x"], 0, 80 * DAY),
    ];
    let now = at(75 * DAY);
    let situation = Situation {
        wanted: &wanted,
        wildcards: &BTreeSet::new(),
        present: &there,
        failures: &failed.collect(),
        account: None,
        now,
    };
    let orders = plan(&situation, &Policy::default());
    let first: Vec<_> = due(&orders, now, 4)
        .iter()
        .map(|o| o.names[0].clone())
        .collect();
    assert_eq!(first[..3], ["older.x", "new.x", "old.x"]);
    assert!(first[3].ends_with(".nowhere.x"));
}

#[test]
fn what_a_clock_that_was_ahead_noted_holds_up_nothing() {
    let ahead = |seconds| {
        let mut failures = failures(3, 1_000 + seconds, FailureKind::Refused);
        failures.not_before = Some(at(1_000 + 2 * seconds));
        failures
    };
    let due_at = |own, account| one(&[], own, account, 1_000).due_at.as_second();
    assert_eq!(due_at(Some(ahead(365 * DAY)), None), 1_000);
    assert_eq!(due_at(None, Some(ahead(365 * DAY))), 1_000);
    // Clocks of servers differ a little.
    assert!(due_at(Some(ahead(60)), None) >= DAY);
}
