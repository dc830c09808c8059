//! What applies to requests on their way.

use std::time::Duration;

use super::Faults;
use super::headers::{self, Way};
use super::values::{
    DAY, HOUR, MINUTE, MS, SECOND, TENTH, YEAR, bytes, count, is_line, is_path, is_token, name,
    nets, span,
};
use crate::project::{
    Balance, HealthProbe, Hsts, Ingress, Limits, Maintenance, RateLimit, Retries, Timeouts,
};
use crate::quantity::duration;

/// The largest count of requests.
const REQUESTS_MAX: i64 = 1_000_000;
/// Longest sentence on a page, in characters.
const MESSAGE_MAX: usize = 500;

pub(super) fn check(ingress: &Ingress, faults: &mut Faults<'_>) {
    tls(ingress, faults);
    if let Some(given) = &ingress.limits {
        limits(given, faults);
    }
    if let Some(given) = &ingress.timeouts {
        timeouts(given, faults);
    }
    if let Some(given) = &ingress.retries {
        retries(given, faults);
    }
    if let Some(given) = &ingress.balance {
        balance(given, faults);
    }
    if let Some(given) = &ingress.cors {
        headers::cors(given, faults);
    }
    if let Some(given) = &ingress.request_headers {
        headers::rules(given, "requestHeaders", Way::Request, faults);
    }
    if let Some(given) = &ingress.response_headers {
        headers::rules(given, "responseHeaders", Way::Response, faults);
    }
    if let Some(given) = &ingress.maintenance {
        maintenance(given, faults);
    }
    if let Some(given) = &ingress.pause {
        span(&given.max_wait, "pause.maxWait", MS..=10 * MINUTE, faults);
        count(given.max_requests, "pause.maxRequests", 100_000, faults);
    }
}

fn tls(ingress: &Ingress, faults: &mut Faults<'_>) {
    if !matches!(ingress.tls.as_str(), "auto" | "off") {
        name("Certificate", &ingress.tls, "tls", faults);
    }
    if let Some(given) = &ingress.hsts {
        hsts(given, faults);
    }
    if ingress.tls != "off" {
        return;
    }
    if ingress.hsts.is_some() {
        let message = "hsts tells browsers to use HTTPS only: leave out hsts or tls \"off\"";
        faults.add("hsts", message);
    }
    if ingress.redirect_http == Some(true) {
        let message = "redirectHTTP leads to HTTPS: leave out redirectHTTP or tls \"off\"";
        faults.add("redirectHTTP", message);
    }
}

fn hsts(hsts: &Hsts, faults: &mut Faults<'_>) {
    span(
        &hsts.max_age,
        "hsts.maxAge",
        Duration::ZERO..=2 * YEAR,
        faults,
    );
    let is_short = duration(&hsts.max_age).is_some_and(|age| age < YEAR);
    if hsts.preload && (!hsts.include_subdomains || is_short) {
        let message = "the lists of browsers take names with includeSubdomains and a maxAge of at least \"8760h\" only";
        faults.add("hsts.preload", message);
    }
}

fn limits(limits: &Limits, faults: &mut Faults<'_>) {
    bytes(&limits.body, "limits.body", faults);
    if let Some(given) = &limits.per_client {
        rate(given, "limits.perClient", faults);
    }
    if let Some(given) = &limits.total {
        rate(given, "limits.total", faults);
    }
    count(limits.in_flight, "limits.inFlight", REQUESTS_MAX, faults);
    count(limits.queue, "limits.queue", REQUESTS_MAX, faults);
    span(
        &limits.queue_timeout,
        "limits.queueTimeout",
        MS..=HOUR,
        faults,
    );
    let waits = [
        ("limits.queue", limits.queue != 0),
        ("limits.queueTimeout", !limits.queue_timeout.is_empty()),
    ];
    for (field, is_given) in waits {
        if is_given && limits.in_flight == 0 {
            let message = "requests wait only where limits.inFlight says how many may be under way";
            faults.add(field, message);
        }
    }
}

fn rate(rate: &RateLimit, field: &str, faults: &mut Faults<'_>) {
    let requests = format!("{field}.requests");
    if rate.requests == 0 {
        faults.add(&requests, "the number of requests in a period is required");
    }
    count(rate.requests, &requests, REQUESTS_MAX, faults);
    span(&rate.per, &format!("{field}.per"), TENTH..=DAY, faults);
    count(rate.burst, &format!("{field}.burst"), REQUESTS_MAX, faults);
}

fn timeouts(timeouts: &Timeouts, faults: &mut Faults<'_>) {
    span(&timeouts.connect, "timeouts.connect", MS..=MINUTE, faults);
    span(&timeouts.response, "timeouts.response", MS..=HOUR, faults);
    span(&timeouts.idle, "timeouts.idle", MS..=DAY, faults);
}

fn retries(retries: &Retries, faults: &mut Faults<'_>) {
    count(retries.attempts, "retries.attempts", 5, faults);
    count(retries.budget_percent, "retries.budgetPercent", 100, faults);
    for (index, status) in retries.on_status.iter().enumerate() {
        if !matches!(status, 502..=504) {
            let message = format!("status {status} is not tried again: must be 502, 503 or 504");
            faults.add(&format!("retries.onStatus[{index}]"), message);
        }
    }
}

fn balance(balance: &Balance, faults: &mut Faults<'_>) {
    if let Some(sticky) = &balance.sticky {
        let cookie = sticky.cookie.as_str();
        if !cookie.is_empty() && !is_token(cookie) {
            let message = format!("cookie name {cookie:?} is invalid: such as \"cara_sticky\"");
            faults.add("balance.sticky.cookie", message);
        }
        let field = "balance.sticky.maxAge";
        span(&sticky.max_age, field, SECOND..=YEAR, faults);
    }
    if let Some(outlier) = &balance.outlier {
        count(outlier.failures, "balance.outlier.failures", 1_000, faults);
        let field = "balance.outlier.ejection";
        span(&outlier.ejection, field, TENTH..=HOUR, faults);
    }
    if let Some(probe) = &balance.health_check {
        health(probe, faults);
    }
    span(&balance.slow_start, "balance.slowStart", MS..=HOUR, faults);
}

fn health(probe: &HealthProbe, faults: &mut Faults<'_>) {
    let field = |part: &str| format!("balance.healthCheck.{part}");
    let path = probe.path.split('?').next().unwrap_or_default();
    if !is_path(path) || !probe.path.bytes().all(|b| b.is_ascii_graphic()) {
        let message = format!(
            "path {:?} must begin with '/' and hold no spaces",
            probe.path
        );
        faults.add(&field("path"), message);
    }
    span(&probe.interval, &field("interval"), TENTH..=HOUR, faults);
    span(&probe.timeout, &field("timeout"), MS..=MINUTE, faults);
    count(probe.failures, &field("failures"), 1_000, faults);
    count(probe.successes, &field("successes"), 1_000, faults);
}

fn maintenance(maintenance: &Maintenance, faults: &mut Faults<'_>) {
    if !is_line(&maintenance.message, MESSAGE_MAX) {
        let message = format!(
            "must be one sentence of no more than {MESSAGE_MAX} characters, without control characters"
        );
        faults.add("maintenance.message", message);
    }
    nets(&maintenance.allow, "maintenance.allow", faults);
}
