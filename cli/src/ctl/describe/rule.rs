//! What an ingress rule says besides where it leads: what it takes, and who may come in.

use cara_api::project::{Ingress, IngressAccess};

/// What is not as it is when nothing is said, by name.
pub(super) fn terms(rule: &Ingress) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut say = |name, value: String| {
        if !value.is_empty() {
            found.push((name, value));
        }
    };
    let exact = match rule.path_type.as_str() {
        "Exact" => " (exact)",
        _ => "",
    };
    if !rule.path.is_empty() {
        say("Path", format!("{}{exact}", rule.path));
    }
    let headers = rule.match_headers.iter().map(|h| match h.value.as_str() {
        "" => h.name.clone(),
        value => format!("{}: {value}", h.name),
    });
    say("Headers", headers.collect::<Vec<_>>().join(", "));
    say("TLS", rule.tls.clone());
    if let Some(asked) = &rule.client_certificate {
        let optional = if asked.optional { ", optional" } else { "" };
        say("Clients", format!("certificate by {}{optional}", asked.ca));
    }
    say("Access", access(&rule.access));
    say("Scope", rule.access.scope.clone());
    let closed = [
        (rule.maintenance.is_some(), "maintenance"),
        (rule.pause.is_some(), "paused"),
    ];
    let closed = closed.into_iter().filter(|(is_so, _)| *is_so);
    let closed: Vec<&str> = closed.map(|(_, word)| word).collect();
    say("Closed", closed.join(", "));
    found
}

/// Who may come in, in words; empty when everybody may.
fn access(access: &IngressAccess) -> String {
    let ways = [
        (access.basic_auth.is_some(), "password"),
        (access.bearer.is_some(), "bearer token"),
        (access.oidc.is_some(), "login"),
        (access.share_links.is_some(), "share link"),
        (!access.bypass_token.is_empty(), "bypass token"),
    ];
    let ways = ways.into_iter().filter(|(is_there, _)| *is_there);
    let ways: Vec<&str> = ways.map(|(_, word)| word).collect();
    let networks = match access.allow.is_empty() {
        true => String::new(),
        false => format!("from {}", access.allow.join(", ")),
    };
    let parts = [networks, ways.join(" or ")];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_is_shown() {
        assert_eq!(terms(&Ingress::default()), []);
        let rule: Ingress = serde_json::from_str(
            r#"{"name": "web", "path": "/a", "pathType": "Exact", "tls": "off",
                "clientCertificate": {"ca": "staff", "optional": true},
                "matchHeaders": [{"name": "x-a"}, {"name": "x-b", "value": "1"}],
                "access": {"allow": ["10.0.0.0/8"], "basicAuth": {"secret": "team"}, "shareLinks": {}},
                "maintenance": {}}"#,
        )
        .expect("a rule");
        let shown: Vec<String> = terms(&rule)
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            shown,
            [
                "Path=/a (exact)",
                "Headers=x-a, x-b: 1",
                "TLS=off",
                "Clients=certificate by staff, optional",
                "Access=from 10.0.0.0/8: password or share link",
                "Closed=maintenance",
            ]
        );
    }
}
