//! Which certificates to order, and when. Pure: the caller passes the time and what is known.
//!
//! Owns when a certificate is due, what a failure costs, and which of the due orders go first. It
//! refuses to know who owns a name, which names are served by an uploaded certificate, and who
//! holds the lease that makes orders one at a time: the caller passes only names that are to have
//! a certificate from the authority, and runs what [`due`] returns.
//!
//! Each order is for one name, so that a host whose DNS is wrong holds up no other one. Hosts below
//! a wildcard share its order.
//!
//! ```text
//! not before          2/3 of life      9/10      not after
//!     |------------------|===jitter===|----|---------|
//!                        due somewhere here ^ an authority's window may end here at the latest
//! ```

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::Bundle;
use crate::bundle::matches;

/// Seconds that the clocks of servers may differ.
const AHEAD: i64 = 3600;

/// How patient the plan is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Wait after the first failure; doubled by each further one.
    pub first_wait: SignedDuration,
    /// Longest wait after a failure, and the wait after a refusal.
    pub longest_wait: SignedDuration,
}

impl Default for Policy {
    /// Ten minutes, doubled up to a day: three attempts in the first hour, where public
    /// authorities allow five failures for a name.
    fn default() -> Self {
        Self {
            first_wait: SignedDuration::from_mins(10),
            longest_wait: SignedDuration::from_hours(24),
        }
    }
}

/// When an authority wants a certificate to be renewed (RFC 9773).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenewalWindow {
    /// First moment.
    pub start: Timestamp,
    /// Last moment; a window that ends before it starts is ignored.
    pub end: Timestamp,
}

/// A certificate that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Names that it covers, in lower case.
    pub names: Vec<String>,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// What the authority last said about its renewal.
    pub window: Option<RenewalWindow>,
}

impl Present {
    /// What the plan needs to know of a bundle.
    pub fn new(bundle: &Bundle, window: Option<RenewalWindow>) -> Self {
        Self {
            names: bundle.names().to_vec(),
            not_before: bundle.not_before(),
            not_after: bundle.not_after(),
            window,
        }
    }
}

/// What kind of failure came last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The same attempt may succeed later.
    Transient,
    /// It will fail again until somebody changes something: tried at the longest wait.
    Refused,
}

/// Failures since the last success, of one order or of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failures {
    /// How many in a row; nothing waits for none.
    pub count: u32,
    /// When the last one was.
    pub last_at: Timestamp,
    /// What the last one was.
    pub kind: FailureKind,
    /// When the authority allows the next attempt, if it said so.
    pub not_before: Option<Timestamp>,
}

/// All that the plan is made from.
#[derive(Debug, Clone)]
pub struct Situation<'a> {
    /// Names that are to have a certificate: hosts, or wildcards that are wanted before any host
    /// below them is.
    pub wanted: &'a BTreeSet<String>,
    /// Wildcards (`*.dev.example.com`) that may be ordered in place of the hosts below them.
    pub wildcards: &'a BTreeSet<String>,
    /// Certificates that are there.
    pub present: &'a [Present],
    /// Failures by the order's name.
    pub failures: &'a BTreeMap<String, Failures>,
    /// Failures that concern every order: the authority cannot be reached, or limits the account.
    pub account: Option<Failures>,
    /// The time.
    pub now: Timestamp,
}

/// Why a certificate is ordered; the more urgent comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// There is none.
    Missing,
    /// The one that is there has ended.
    Expired,
    /// The authority wants it to be renewed.
    Suggested,
    /// It has lived two thirds of its life.
    Renewal,
}

/// A certificate to order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What it is to cover.
    pub names: Vec<String>,
    /// Not before this moment; it may be long past.
    pub due_at: Timestamp,
    /// Why.
    pub reason: Reason,
    /// It was tried before, since the last success.
    pub has_failed: bool,
    /// What is there ends soon: nine tenths of its life are over.
    pub is_pressing: bool,
}

/// All orders, present and future, by the moment when they are due.
pub fn plan(situation: &Situation<'_>, policy: &Policy) -> Vec<Order> {
    let names = targets(situation.wanted, situation.wildcards);
    let mut orders: Vec<_> = names
        .iter()
        .map(|name| order(name, situation, policy))
        .collect();
    orders.sort_by(|a, b| (a.due_at, a.reason, &a.names).cmp(&(b.due_at, b.reason, &b.names)));
    orders
}

/// The orders to run now, at most `limit`: what nobody can reach yet comes before what only gets
/// old, but for what ends soon. Else what failed before comes last, so that thousands of names that lead
/// nowhere hold up nothing else.
pub fn due(orders: &[Order], now: Timestamp, limit: usize) -> Vec<&Order> {
    let mut due: Vec<_> = orders.iter().filter(|order| order.due_at <= now).collect();
    // What ends soon is tried seldom enough after it has failed.
    let waits = |order: &Order| {
        let is_alive = order.is_pressing && order.reason != Reason::Expired;
        (
            order.has_failed && !is_alive,
            !order.is_pressing,
            order.reason,
        )
    };
    due.sort_by_key(|order| waits(order));
    due.truncate(limit);
    due
}

/// The names to have certificates for: a wildcard in place of the hosts that it covers.
pub fn targets(wanted: &BTreeSet<String>, wildcards: &BTreeSet<String>) -> BTreeSet<String> {
    let is_wildcard = |name: &&String| name.starts_with("*.");
    let wildcards: BTreeSet<String> = wildcards
        .iter()
        .chain(wanted.iter().filter(is_wildcard))
        .map(|name| name.to_ascii_lowercase())
        .collect();
    let target = |name: &String| {
        let name = name.to_ascii_lowercase();
        let parent = name
            .split_once('.')
            .map(|(_, parent)| format!("*.{parent}"));
        parent
            .filter(|wildcard| wildcards.contains(wildcard))
            .unwrap_or(name)
    };
    wanted.iter().map(target).collect()
}

/// Whether a public authority can issue for the name at all: not for IP addresses, single labels
/// and the names that RFC 6761 and its successors set aside.
pub fn can_be_public(name: &str) -> bool {
    const SET_ASIDE: [&str; 8] = [
        "localhost",
        "local",
        "internal",
        "test",
        "invalid",
        "example",
        "onion",
        "arpa",
    ];
    let host = name.strip_prefix("*.").unwrap_or(name);
    let is_ip = host.parse::<std::net::IpAddr>().is_ok();
    match host.rsplit_once('.') {
        Some((_, last)) => !is_ip && !SET_ASIDE.iter().any(|s| s.eq_ignore_ascii_case(last)),
        None => false,
    }
}

fn order(name: &str, situation: &Situation<'_>, policy: &Policy) -> Order {
    let covering = situation
        .present
        .iter()
        .filter(|present| present.names.iter().any(|n| matches(n, name)));
    let renewals = covering.map(|present| (renewal(name, present, situation.now), present));
    let last = renewals.max_by_key(|((due_at, _), _)| *due_at);
    let (due_at, reason) = last.map_or((situation.now, Reason::Missing), |(due, _)| due);
    let own = situation.failures.get(name);
    let waits = own.into_iter().chain(&situation.account);
    let allowed_at = waits.filter_map(|failures| allowed_at(name, failures, situation, policy));
    Order {
        names: vec![name.to_owned()],
        due_at: allowed_at.fold(due_at, Timestamp::max),
        reason,
        has_failed: own.is_some_and(|failures| failures.count > 0),
        is_pressing: last.is_some_and(|(_, present)| latest(present) <= situation.now),
    }
}

/// When a certificate is renewed at the latest, whatever the authority says.
fn latest(present: &Present) -> Timestamp {
    let life = seconds_between(present.not_before, present.not_after);
    after(present.not_before, life / 10 * 9)
}

/// When a certificate is to be renewed, and why.
fn renewal(name: &str, present: &Present, now: Timestamp) -> (Timestamp, Reason) {
    if present.not_after <= now {
        return (present.not_after, Reason::Expired);
    }
    let life = seconds_between(present.not_before, present.not_after);
    let latest = latest(present);
    if let Some(window) = present.window.filter(|w| w.start <= w.end) {
        let length = seconds_between(window.start, window.end);
        let at = after(window.start, share_of(length, name));
        return (at.min(latest), Reason::Suggested);
    }
    let two_thirds = life / 3 * 2;
    let at = after(present.not_before, two_thirds + share_of(life / 20, name));
    (at.min(latest), Reason::Renewal)
}

/// When failures allow the next attempt; none when they hold up nothing.
fn allowed_at(
    name: &str,
    failures: &Failures,
    situation: &Situation<'_>,
    policy: &Policy,
) -> Option<Timestamp> {
    let doublings = failures.count.checked_sub(1)?;
    if failures.last_at > after(situation.now, AHEAD) {
        // Noted by a clock that was wrong: how long ago it was is not known.
        return None;
    }
    let longest = policy.longest_wait.as_secs();
    let wait = match failures.kind {
        FailureKind::Refused => longest,
        FailureKind::Transient => {
            let factor = 2_i64.checked_pow(doublings).unwrap_or(i64::MAX);
            policy
                .first_wait
                .as_secs()
                .saturating_mul(factor)
                .min(longest)
        }
    };
    let at = after(
        failures.last_at,
        wait.saturating_add(share_of(wait / 10, name)),
    );
    Some(failures.not_before.map_or(at, |told| at.max(told)))
}

/// A share of a number of seconds, the same for a name on every server and at every time: thousands
/// of certificates that began together do not end together.
fn share_of(seconds: i64, name: &str) -> i64 {
    let digest = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
    let [a, b, c, d, ..] = digest.as_ref() else {
        return 0;
    };
    let share = i128::from(u32::from_be_bytes([*a, *b, *c, *d]));
    let part = i128::from(seconds.max(0)) * share / (1_i128 << 32);
    i64::try_from(part).unwrap_or(0)
}

fn seconds_between(start: Timestamp, end: Timestamp) -> i64 {
    end.as_second().saturating_sub(start.as_second()).max(0)
}

fn after(start: Timestamp, seconds: i64) -> Timestamp {
    let second = start.as_second().saturating_add(seconds);
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
