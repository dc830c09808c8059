//! What applies to a request on its way, in words.

use std::time::Duration;

use cara_api::gateway::{Action, Policy, RateLimit};

use super::Asked;

/// Says what happens before a rule's action, in the order of the gateway's steps; true when the
/// request gets no further.
pub(super) fn ends_before(
    policy: &Policy,
    is_tls: bool,
    asked: Asked<'_>,
    told: &mut Vec<String>,
) -> bool {
    if policy.redirect_https && !is_tls {
        told.push("plain HTTP is redirected to HTTPS with 308".to_owned());
        return true;
    }
    if let Some(maintenance) = &policy.maintenance {
        let page = "answered with the maintenance page (503)";
        if maintenance.allow.is_empty() {
            told.push(page.to_owned());
            return true;
        }
        let passing = joined(&maintenance.allow);
        told.push(format!("{page}, except for clients from {passing}"));
    }
    if policy.cors.is_some() && is_preflight(asked) {
        told.push("answered as a CORS preflight".to_owned());
        return true;
    }
    if let Some(broken) = &policy.access.broken {
        told.push(format!(
            "nobody may come in, since {broken}: answered with 503"
        ));
        return true;
    }
    access(policy, told);
    limits(policy, told);
    false
}

fn is_preflight(asked: Asked<'_>) -> bool {
    let has = |name: &str| {
        let mut headers = asked.headers.iter();
        headers.any(|(found, _)| found.eq_ignore_ascii_case(name))
    };
    asked.method == "OPTIONS" && has("origin") && has("access-control-request-method")
}

fn access(policy: &Policy, told: &mut Vec<String>) {
    let access = &policy.access;
    if !access.allow.is_empty() {
        told.push(format!("only clients from {} pass", joined(&access.allow)));
    }
    let ways = [
        ("a password", access.basic.is_some()),
        ("a bearer token", access.bearer.is_some()),
        ("a login", access.oidc.is_some()),
        ("a share link", access.share.is_some()),
        ("the bypass token", access.bypass.is_some()),
    ];
    let ways: Vec<&str> = ways.iter().filter(|w| w.1).map(|w| w.0).collect();
    if !ways.is_empty() {
        told.push(format!("needs {}", ways.join(" or ")));
    }
}

fn limits(policy: &Policy, told: &mut Vec<String>) {
    if let Some(body) = policy.body {
        told.push(format!(
            "a body above {} bytes is refused with 413",
            body.bytes
        ));
    }
    let rates = [
        ("each client", policy.per_client),
        ("all clients", policy.total),
    ];
    for (who, rate) in rates {
        told.extend(rate.map(|rate| format!("{who}: {}, else 429", shown(rate))));
    }
    if policy.pause.is_some() {
        told.push("held until the pause is over".to_owned());
    }
    if let Some(limit) = policy.in_flight {
        told.push(format!(
            "at most {} requests are under way, {} more wait for up to {}",
            limit.max,
            limit.queue,
            seconds(limit.timeout)
        ));
    }
}

fn shown(rate: RateLimit) -> String {
    let (per, burst) = (seconds(rate.per), rate.burst);
    format!("{} requests in {per}, {burst} at once", rate.requests)
}

/// Says what applies between gateway and service.
pub(super) fn on_the_way(policy: &Policy, told: &mut Vec<String>) {
    if let Some(sticky) = &policy.sticky {
        told.push(format!(
            "a client stays with its endpoint by cookie {}",
            sticky.cookie
        ));
    }
    if !policy.retries.on_status.is_empty() {
        let statuses: Vec<String> = policy
            .retries
            .on_status
            .iter()
            .map(u16::to_string)
            .collect();
        told.push(format!(
            "tried again on {}, {} tries in all",
            statuses.join(", "),
            policy.retries.attempts
        ));
    }
    if let Some(response) = policy.timeouts.response {
        told.push(format!("a service has {} to answer", seconds(response)));
    }
}

/// Says what becomes of the answer of an action.
pub(super) fn afterwards(policy: &Policy, action: &Action, is_tls: bool, told: &mut Vec<String>) {
    let has_body = match action {
        Action::Forward(_) | Action::Respond(_) => true,
        Action::Redirect(_) => false,
    };
    let headers = &policy.response_headers;
    let is_changed =
        !(headers.remove.is_empty() && headers.set.is_empty() && headers.add.is_empty());
    let applied = [
        ("CORS headers", policy.cors.is_some()),
        ("strict transport security", is_tls && policy.hsts.is_some()),
        ("noindex for search engines", policy.no_index),
        ("headers of the rule", is_changed),
        ("compression", has_body && policy.compression),
    ];
    let applied: Vec<&str> = applied.iter().filter(|a| a.1).map(|a| a.0).collect();
    if !applied.is_empty() {
        told.push(format!("the answer gets {}", applied.join(", ")));
    }
}

fn joined<T: ToString>(items: &[T]) -> String {
    let all: Vec<String> = items.iter().map(ToString::to_string).collect();
    all.join(", ")
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use cara_api::gateway::{Access, BodyLimit, Forward, InFlight, Maintenance, Redirect, Rewrite};

    use super::*;

    fn told(policy: &Policy, method: &str, headers: &[&str]) -> Vec<String> {
        let headers: Vec<(String, String)> = headers
            .iter()
            .map(|name| ((*name).to_owned(), "x".to_owned()))
            .collect();
        let asked = Asked {
            url: "",
            method,
            headers: &headers,
        };
        let mut told = Vec::new();
        if !ends_before(policy, true, asked, &mut told) {
            told.push("-".to_owned());
            on_the_way(policy, &mut told);
            let forward = Action::Forward(Forward {
                targets: Vec::new(),
                rewrite: Rewrite::Keep,
            });
            afterwards(policy, &forward, true, &mut told);
        }
        told
    }

    #[test]
    fn policies_are_told_in_the_order_in_which_they_apply() {
        let policy = Policy {
            maintenance: Some(Maintenance {
                allow: vec!["10.0.0.0/8".parse().expect("a network")],
                message: String::new(),
            }),
            access: Access {
                allow: vec!["10.0.0.0/8".parse().expect("a network")],
                ..Access::default()
            },
            body: Some(BodyLimit { bytes: 10 }),
            per_client: Some(RateLimit {
                requests: 5,
                per: Duration::from_millis(1_500),
                burst: 2,
            }),
            in_flight: Some(InFlight {
                max: 3,
                queue: 4,
                timeout: Duration::from_secs(2),
            }),
            no_index: true,
            compression: true,
            ..Policy::default()
        };
        assert_eq!(
            told(&policy, "GET", &[]),
            [
                "answered with the maintenance page (503), except for clients from 10.0.0.0/8",
                "only clients from 10.0.0.0/8 pass",
                "a body above 10 bytes is refused with 413",
                "each client: 5 requests in 1.5 s, 2 at once, else 429",
                "at most 3 requests are under way, 4 more wait for up to 2 s",
                "-",
                "the answer gets noindex for search engines, compression",
            ]
        );
        assert_eq!(told(&Policy::default(), "GET", &[]), ["-"]);
    }

    #[test]
    fn a_redirect_has_nothing_to_compress() {
        let policy = Policy {
            no_index: true,
            compression: true,
            ..Policy::default()
        };
        let redirect = Action::Redirect(Redirect {
            to: "/new".into(),
            status: 308,
        });
        let mut told = Vec::new();
        afterwards(&policy, &redirect, true, &mut told);
        assert_eq!(told, ["the answer gets noindex for search engines"]);
    }

    #[test]
    fn a_preflight_is_one_only_with_its_headers() {
        let policy = Policy {
            cors: Some(cara_api::gateway::Cors {
                origins: vec!["*".into()],
                methods: Vec::new(),
                headers: Vec::new(),
                expose: Vec::new(),
                credentials: false,
                max_age: None,
            }),
            ..Policy::default()
        };
        let headers = ["Origin", "Access-Control-Request-Method"];
        let preflight = ["answered as a CORS preflight"];
        assert_eq!(told(&policy, "OPTIONS", &headers), preflight);
        let other = ["-", "the answer gets CORS headers"];
        assert_eq!(told(&policy, "OPTIONS", &headers[..1]), other);
        assert_eq!(told(&policy, "GET", &headers), other);
    }
}
