//! What applies to requests, with the values that hold when a document says nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use cara_api::gateway as parsed;
use cara_api::gateway::{BodyLimit, InFlight, Policy};
use cara_api::hostname::Hostname;
use cara_api::project::{
    Cors, HeaderRules, HealthProbe, Hsts, Ingress, Limits, Maintenance, Outlier, Pause, RateLimit,
    Retries, Sticky, Timeouts,
};
use cara_api::quantity;

use super::value::{nets, span};
use super::{Gaps, Ground, access};

/// Environments that search engines may look at.
const PUBLIC: [&str; 2] = ["prod", "production"];

pub(super) fn of(
    ingress: &Ingress,
    host: &Hostname,
    ground: &Ground<'_>,
    gaps: &mut Gaps,
) -> Policy {
    let limits = ingress.limits.as_deref();
    let balance = ingress.balance.as_deref();
    let has_tls = ingress.tls != "off";
    let is_default = || has_tls && ground.material.is_trusted(host);
    let is_preview = || !PUBLIC.contains(&ground.domain.environment.as_str());
    Policy {
        redirect_https: ingress.redirect_http.unwrap_or_else(is_default),
        hsts: ingress.hsts.as_ref().map(hsts),
        no_index: ingress.no_index.unwrap_or_else(is_preview),
        compression: ingress.compression.unwrap_or(true),
        access: access::of(ingress, host, ground, gaps),
        body: limits.and_then(body),
        per_client: limits.and_then(|l| rate(l.per_client.as_ref())),
        total: limits.and_then(|l| rate(l.total.as_ref())),
        in_flight: limits.and_then(in_flight),
        timeouts: ingress
            .timeouts
            .as_deref()
            .map(timeouts)
            .unwrap_or_default(),
        retries: ingress.retries.as_deref().map(retries).unwrap_or_default(),
        sticky: balance.and_then(|b| b.sticky.as_ref()).map(sticky),
        outlier: balance.and_then(|b| b.outlier.as_ref()).map(outlier),
        health: balance.and_then(|b| b.health_check.as_ref()).map(health),
        slow_start: balance.and_then(|b| span(&b.slow_start)),
        cors: ingress.cors.as_deref().map(cors),
        request_headers: header_rules(ingress.request_headers.as_deref()),
        response_headers: header_rules(ingress.response_headers.as_deref()),
        maintenance: ingress.maintenance.as_deref().map(maintenance),
        pause: ingress.pause.as_ref().map(pause),
    }
}

fn secs(text: &str, otherwise: u64) -> Duration {
    span(text).unwrap_or(Duration::from_secs(otherwise))
}

/// A count of which zero means "left out".
fn count(given: i64, otherwise: u32) -> u32 {
    match u32::try_from(given) {
        Ok(0) | Err(_) => otherwise,
        Ok(count) => count,
    }
}

fn hsts(hsts: &Hsts) -> parsed::Hsts {
    let max_age = secs(&hsts.max_age, 8760 * 3600).as_secs();
    let mut value = format!("max-age={max_age}");
    if hsts.include_subdomains {
        value.push_str("; includeSubDomains");
    }
    if hsts.preload {
        value.push_str("; preload");
    }
    parsed::Hsts { value }
}

fn body(limits: &Limits) -> Option<BodyLimit> {
    let bytes = quantity::milli(&limits.body)? / 1000;
    Some(BodyLimit {
        bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
    })
}

fn rate(given: Option<&RateLimit>) -> Option<parsed::RateLimit> {
    let given = given?;
    let requests = count(given.requests, 1);
    Some(parsed::RateLimit {
        requests,
        per: secs(&given.per, 1),
        burst: count(given.burst, requests),
    })
}

fn in_flight(limits: &Limits) -> Option<InFlight> {
    let max = count(limits.in_flight, 0);
    (max > 0).then(|| InFlight {
        max,
        queue: count(limits.queue, 100),
        timeout: secs(&limits.queue_timeout, 5),
    })
}

fn timeouts(timeouts: &Timeouts) -> parsed::Timeouts {
    parsed::Timeouts {
        connect: span(&timeouts.connect),
        response: span(&timeouts.response),
        idle: span(&timeouts.idle),
    }
}

fn retries(retries: &Retries) -> parsed::Retries {
    let usual = parsed::Retries::default();
    let statuses = retries.on_status.iter();
    parsed::Retries {
        attempts: count(retries.attempts, usual.attempts),
        budget_percent: count(retries.budget_percent, usual.budget_percent),
        on_status: statuses.filter_map(|s| u16::try_from(*s).ok()).collect(),
    }
}

fn sticky(sticky: &Sticky) -> parsed::Sticky {
    let cookie = match sticky.cookie.as_str() {
        "" => "cara_sticky",
        given => given,
    };
    parsed::Sticky {
        cookie: cookie.to_owned(),
        max_age: span(&sticky.max_age),
    }
}

fn outlier(outlier: &Outlier) -> parsed::Outlier {
    parsed::Outlier {
        failures: count(outlier.failures, 5),
        ejection: secs(&outlier.ejection, 10),
    }
}

fn health(probe: &HealthProbe) -> parsed::HealthProbe {
    parsed::HealthProbe {
        path: probe.path.clone(),
        interval: secs(&probe.interval, 10),
        timeout: secs(&probe.timeout, 2),
        failures: count(probe.failures, 3),
        successes: count(probe.successes, 1),
    }
}

fn cors(cors: &Cors) -> parsed::Cors {
    let methods = if cors.methods.is_empty() {
        ["GET", "HEAD", "POST"].map(str::to_owned).into()
    } else {
        cors.methods.clone()
    };
    let lower = |texts: &[String]| texts.iter().map(|t| t.to_ascii_lowercase()).collect();
    parsed::Cors {
        origins: lower(&cors.origins),
        methods,
        headers: lower(&cors.headers),
        expose: lower(&cors.expose),
        credentials: cors.credentials,
        max_age: span(&cors.max_age),
    }
}

fn header_rules(rules: Option<&HeaderRules>) -> parsed::HeaderRules {
    let Some(rules) = rules else {
        return parsed::HeaderRules::default();
    };
    let pairs = |given: &BTreeMap<String, String>| {
        let pairs = given.iter();
        pairs
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .collect()
    };
    let remove = rules.remove.iter();
    parsed::HeaderRules {
        remove: remove.map(|name| name.to_ascii_lowercase()).collect(),
        set: pairs(&rules.set),
        add: pairs(&rules.add),
    }
}

fn maintenance(maintenance: &Maintenance) -> parsed::Maintenance {
    parsed::Maintenance {
        message: maintenance.message.clone(),
        allow: nets(&maintenance.allow),
    }
}

fn pause(pause: &Pause) -> parsed::Pause {
    parsed::Pause {
        max_wait: secs(&pause.max_wait, 30),
        max_requests: count(pause.max_requests, 1000),
    }
}
