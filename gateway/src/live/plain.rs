//! Which rules do nothing but forward. Pure.

use cara_api::gateway::{Access, Action, Forward, Policy, Protocol, Rewrite, Route};

/// Whether a rule does nothing with its requests and answers but pass them on. What it does by the
/// side (certificates, checks, retries, limits of time and size, robots, transport security,
/// compression) is done on both ways.
pub(super) fn is_plain(route: &Route) -> bool {
    let forwards = match &route.action {
        Action::Forward(Forward { targets, rewrite }) => {
            *rewrite == Rewrite::Keep && targets.iter().all(|t| t.protocol == Protocol::Http1)
        }
        Action::Redirect(_) | Action::Respond(_) => false,
    };
    // Named one by one, so that nothing new is taken for plain by mistake.
    let Policy {
        redirect_https: _,
        hsts: _,
        no_index: _,
        compression: _,
        access,
        body: _,
        per_client,
        total,
        in_flight,
        timeouts: _,
        retries: _,
        sticky,
        outlier: _,
        health: _,
        slow_start: _,
        cors,
        request_headers,
        response_headers,
        maintenance,
        pause,
    } = &*route.policy;
    forwards
        && *access == Access::default()
        && per_client.is_none()
        && total.is_none()
        && in_flight.is_none()
        && sticky.is_none()
        && cors.is_none()
        && request_headers.is_empty()
        && response_headers.is_empty()
        && maintenance.is_none()
        && pause.is_none()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use cara_api::gateway::{Backend, PathMatch, Pause, Respond, Target};

    use super::*;

    fn route(action: Action, policy: Policy) -> Route {
        Route {
            project: "p".into(),
            ingress: "i".into(),
            path: PathMatch::Prefix("/".into()),
            headers: Vec::new(),
            action,
            policy: Arc::new(policy),
        }
    }

    fn forward(rewrite: Rewrite, protocol: Protocol) -> Action {
        let endpoints = vec![([127, 0, 0, 1], 80).into()];
        Action::Forward(Forward {
            targets: vec![Target {
                service: "web".into(),
                weight: 1,
                protocol,
                backend: Backend::Ready { endpoints },
            }],
            rewrite,
        })
    }

    #[test]
    fn rules_that_do_something_are_not_plain() {
        let plain = || forward(Rewrite::Keep, Protocol::Http1);
        let policy = Policy::default;
        let own = Respond {
            status: 200,
            content_type: "text/plain".into(),
            body: "x".into(),
        };
        for (what, action, policy, expected) in [
            ("a forward", plain(), policy(), true),
            (
                "robots",
                plain(),
                Policy {
                    no_index: true,
                    ..policy()
                },
                true,
            ),
            (
                "a rewrite",
                forward(Rewrite::StripPrefix("/a".into()), Protocol::Http1),
                policy(),
                false,
            ),
            (
                "HTTP/2",
                forward(Rewrite::Keep, Protocol::H2c),
                policy(),
                false,
            ),
            ("an answer", Action::Respond(own), policy(), false),
            (
                "compression",
                plain(),
                Policy {
                    compression: true,
                    ..policy()
                },
                true,
            ),
            (
                "networks",
                plain(),
                Policy {
                    access: Access {
                        allow: vec!["10.0.0.0/8".parse().expect("a network")],
                        ..Access::default()
                    },
                    ..policy()
                },
                false,
            ),
            (
                "a pause",
                plain(),
                Policy {
                    pause: Some(Pause {
                        max_wait: Duration::ZERO,
                        max_requests: 1,
                    }),
                    ..policy()
                },
                false,
            ),
        ] {
            assert_eq!(is_plain(&route(action, policy)), expected, "{what}");
        }
    }
}
