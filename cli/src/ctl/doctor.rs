//! `doctor`: what works, seen from the server and from here, and what mends the rest.

mod local;

use std::time::{Duration, Instant};

use cara_api::doctor::{Check, DoctorReport, Level};
use cara_api::{Timestamp, paths};
use serde::Serialize;
use tokio::net::TcpStream;

use super::args::Output;
use super::failure::Failure;
use super::{Context, out, table};
use local::{Seen, judge};

/// How long each look may take.
const LIMIT: Duration = Duration::from_secs(5);
/// A name that no project has, below the domain of all.
const PROBE: &str = "caravanserai-doctor";

/// All checks, as programs read them.
#[derive(Serialize)]
struct Findings {
    checks: Vec<Check>,
}

/// Looks at everything; fails when something does not work.
pub async fn run(context: &Context) -> Result<(), Failure> {
    let asked_at = Timestamp::now();
    let started = Instant::now();
    let report: Result<DoctorReport, _> = context.client.get(paths::DOCTOR).await;
    let took = started.elapsed();
    let checks = match &report {
        Err(error) => vec![local::unreachable(error)],
        Ok(report) => {
            let seen = look(context, report, (asked_at, took)).await;
            let mut checks = judge(report, &seen);
            checks.extend(report.checks.iter().cloned());
            checks
        }
    };
    let findings = Findings {
        checks: checks.clone(),
    };
    let text = match context.output.list(&findings, &checks)? {
        Some(text) => text,
        None if context.output == Output::Name => names(&checks),
        None => shown(&checks),
    };
    out(&text)?;
    let failed = checks.iter().filter(|check| check.level == Level::Fail);
    match failed.count() {
        0 => Ok(()),
        1 => Err(Failure::other("doctor: one check failed")),
        n => Err(Failure::other(format!("doctor: {n} checks failed"))),
    }
}

/// What this machine finds, besides what the server says.
async fn look(
    context: &Context,
    report: &DoctorReport,
    (asked_at, took): (Timestamp, Duration),
) -> Seen {
    let host = format!("{PROBE}.{}", report.domain);
    let found = tokio::time::timeout(LIMIT, tokio::net::lookup_host((host.clone(), 80))).await;
    let mut addresses = match found {
        Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
        Ok(Err(_)) | Err(_) => Vec::new(),
    };
    addresses.dedup();
    // Where names lead nowhere, the gateway is tried where the API is.
    let target = addresses
        .first()
        .map_or_else(|| api_host(context), ToString::to_string);
    let mut ports = Vec::new();
    for port in [Some(report.http_port), report.https_port]
        .into_iter()
        .flatten()
    {
        let bare = target.trim_matches(['[', ']']).to_owned();
        let connected = tokio::time::timeout(LIMIT, TcpStream::connect((bare, port))).await;
        ports.push((format!("{target}:{port}"), matches!(connected, Ok(Ok(_)))));
    }
    Seen {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        server: context.client.base().to_owned(),
        asked_at,
        took,
        host,
        addresses: addresses.iter().map(ToString::to_string).collect(),
        ports,
    }
}

/// The host of the API's URL.
fn api_host(context: &Context) -> String {
    let base = context.client.base();
    let rest = base.split_once("://").map_or(base, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host.to_owned(),
        Some(_) | None => authority.to_owned(),
    }
}

fn names(checks: &[Check]) -> String {
    let names = checks.iter().map(|check| format!("check/{}\n", check.name));
    names.collect()
}

fn shown(checks: &[Check]) -> String {
    let rows: Vec<Vec<String>> = checks
        .iter()
        .map(|check| {
            let text = match check.mend.as_str() {
                "" => check.message.clone(),
                mend => format!("{}\n-> {mend}", check.message),
            };
            vec![check.level.as_str().to_owned(), check.name.clone(), text]
        })
        .collect();
    table::table(&["RESULT", "CHECK", "FOUND"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mend_stands_below_what_was_found() {
        let checks = [
            Check::pass("store", "it answers"),
            Check::fail("nodes", "there are none", "start an agent"),
        ];
        assert_eq!(
            shown(&checks),
            "RESULT   CHECK   FOUND\n\
             pass     store   it answers\n\
             fail     nodes   there are none\n\
             \u{20}                -> start an agent\n"
        );
    }
}
