//! Judges what this machine finds of a server. Pure.

use std::time::Duration;

use cara_api::Timestamp;
use cara_api::client::Error;
use cara_api::doctor::{Check, DoctorReport};
use jiff::SignedDuration;

/// What this machine found.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Version of this program.
    pub version: String,
    /// URL of the server.
    pub server: String,
    /// This machine's clock when the server was asked.
    pub asked_at: Timestamp,
    /// How long the answer took.
    pub took: Duration,
    /// A host as projects get it.
    pub host: String,
    /// Where it leads; nowhere when this is empty.
    pub addresses: Vec<String>,
    /// Addresses of the gateway, and whether they take connections.
    pub ports: Vec<(String, bool)>,
}

/// Clocks that are further apart make times and logins look odd.
const CLOCK_MAX: SignedDuration = SignedDuration::from_secs(5);
/// The same, where logins and certificates fail.
const CLOCK_FAIL: SignedDuration = SignedDuration::from_secs(60);

/// A server that does not answer.
pub fn unreachable(error: &Error) -> Check {
    match error.status() {
        Some(404) => Check::fail(
            "server",
            "it answers, but is too old to look at itself",
            "install the version of this program there",
        ),
        Some(401 | 403) => Check::fail(
            "server",
            format!("it answers, but does not let you in: {error}"),
            "caractrl login",
        ),
        Some(_) => Check::fail("server", error.to_string(), "read the server's log"),
        None => Check::fail(
            "server",
            error.to_string(),
            "is it running? name it with --server or CARA_SERVER",
        ),
    }
}

/// The checks of this machine.
pub fn judge(report: &DoctorReport, seen: &Seen) -> Vec<Check> {
    let mut checks = vec![
        Check::pass(
            "server",
            format!(
                "{} answers within {} ms",
                seen.server,
                seen.took.as_millis()
            ),
        ),
        versions(report, seen),
        clock(report, seen),
        names(report, seen),
    ];
    checks.extend(seen.ports.iter().map(port));
    checks
}

fn versions(report: &DoctorReport, seen: &Seen) -> Check {
    if report.version == seen.version {
        return Check::pass(
            "versions",
            format!("client and server are {}", seen.version),
        );
    }
    Check::warn(
        "versions",
        format!(
            "the client is {}, the server is {}",
            seen.version, report.version
        ),
        "install the same version of both",
    )
}

fn clock(report: &DoctorReport, seen: &Seen) -> Check {
    let way = SignedDuration::try_from(seen.took).unwrap_or_default();
    let apart = report.time.duration_since(seen.asked_at);
    // The server looked at its clock at some moment between question and answer.
    let off = match apart.is_negative() {
        true => apart.abs(),
        false => (apart - way).max(SignedDuration::ZERO),
    };
    let text = format!(
        "the clocks of server and client are {} s apart",
        off.as_secs()
    );
    let mend = "set both by NTP: timedatectl set-ntp true";
    match off {
        off if off > CLOCK_FAIL => Check::fail("clock", text, mend),
        off if off > CLOCK_MAX => Check::warn("clock", text, mend),
        _ => Check::pass("clock", "server and client agree"),
    }
}

fn names(report: &DoctorReport, seen: &Seen) -> Check {
    match seen.addresses.first() {
        Some(address) => Check::pass(
            "names",
            format!("*.{} leads to {address} from here", report.domain),
        ),
        None => Check::warn(
            "names",
            format!("{} cannot be looked up from here", seen.host),
            format!(
                "make a record *.{} that leads to the gateway; browsers need none for *.localhost",
                report.domain
            ),
        ),
    }
}

fn port((address, is_open): &(String, bool)) -> Check {
    match is_open {
        true => Check::pass(
            "ports",
            format!("the gateway takes connections at {address}"),
        ),
        false => Check::fail(
            "ports",
            format!("nothing takes connections at {address}"),
            "open it in the firewall, and look whether the name leads to the gateway",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cara_api::doctor::Level;

    fn at(millisecond: i64) -> Timestamp {
        Timestamp::from_millisecond(millisecond).expect("a time")
    }

    fn report(time: Timestamp) -> DoctorReport {
        DoctorReport {
            api_version: String::new(),
            kind: String::new(),
            time,
            version: "1".to_owned(),
            domain: "dev.example.com".to_owned(),
            http_port: 80,
            https_port: None,
            checks: Vec::new(),
        }
    }

    fn seen() -> Seen {
        Seen {
            version: "1".to_owned(),
            server: "http://s".to_owned(),
            asked_at: at(100_000),
            took: Duration::from_millis(2_000),
            host: "x.dev.example.com".to_owned(),
            addresses: vec!["192.0.2.1".to_owned()],
            ports: vec![("192.0.2.1:80".to_owned(), true)],
        }
    }

    #[test]
    fn clocks_may_differ_by_the_way_of_the_answer() {
        for (time, expected) in [
            (100_000, Level::Pass),
            (102_000, Level::Pass),
            (106_000, Level::Pass),
            (108_000, Level::Warn),
            (94_000, Level::Warn),
            (165_000, Level::Fail),
            (10_000, Level::Fail),
        ] {
            assert_eq!(clock(&report(at(time)), &seen()).level, expected, "{time}");
        }
    }

    #[test]
    fn what_is_wrong_says_what_mends_it() {
        let healthy = judge(&report(at(100_000)), &seen());
        assert!(
            healthy
                .iter()
                .all(|c| c.level == Level::Pass && c.mend.is_empty())
        );
        let seen = Seen {
            version: "2".to_owned(),
            addresses: Vec::new(),
            ports: vec![("s:80".to_owned(), false)],
            ..seen()
        };
        let checks = judge(&report(at(0)), &seen);
        let found: Vec<(&str, Level)> = checks.iter().map(|c| (c.name.as_str(), c.level)).collect();
        assert_eq!(
            found,
            [
                ("server", Level::Pass),
                ("versions", Level::Warn),
                ("clock", Level::Fail),
                ("names", Level::Warn),
                ("ports", Level::Fail)
            ]
        );
        let bad = checks.iter().filter(|check| check.level != Level::Pass);
        assert!(bad.into_iter().all(|check| !check.mend.is_empty()));
    }
}
