//! Which requests a rule takes, and that no two take the same.

use serde_json::{Value, json};

use super::{domain, each, entry, faults, sound, spec};
use crate::hostname::Hostname;
use crate::validate::{ReservedBy, ReservedHost};

#[test]
fn hosts_paths_and_headers() {
    sound(&[
        json!({"hosts": ["a.example.com", "*.a.example.com", "short"]}),
        json!({"path": "/api/", "pathType": "Prefix"}),
        json!({"path": "/a%20b%2F/~c;d=1", "pathType": "Exact"}),
        json!({"matchHeaders": [{"name": "X-Canary"}, {"name": "x-team", "value": "blue green"}]}),
        json!({"protocol": "HTTP", "tls": "my.cert"}),
    ]);
    each(&[
        (
            json!({"protocol": "UDP"}),
            "protocol",
            "must be \"HTTP\", \"TLSPassthrough\" or \"TCP\"",
        ),
        (
            json!({"port": 80}),
            "port",
            "belongs to protocol \"TCP\" only",
        ),
        (json!({"host": "a b"}), "host", "is invalid"),
        (
            json!({"host": "*.com"}),
            "host",
            "a wildcard needs a domain below it",
        ),
        (
            json!({"hosts": ["a.x.org", ""]}),
            "hosts[1]",
            "must not be empty",
        ),
        (
            json!({"host": "a.x.org", "hosts": ["A.x.org."]}),
            "hosts[0]",
            "named twice in this entry",
        ),
        (json!({"path": "api"}), "path", "must begin with '/'"),
        (json!({"path": "/a?b"}), "path", "nor a query"),
        (json!({"path": "/a b"}), "path", "neither spaces"),
        (json!({"path": "/ä"}), "path", "written as %XX"),
        (json!({"path": "/a/../b"}), "path", "'..'"),
        (json!({"path": "/a//b"}), "path", "empty parts"),
        (json!({"path": "/%61"}), "path", "must have escapes"),
        (json!({"path": "/%c3%A4"}), "path", "must have escapes"),
        (json!({"path": "/a%2"}), "path", "must have escapes"),
        (
            json!({"pathType": "Regex"}),
            "pathType",
            "must be \"Prefix\" or \"Exact\"",
        ),
        (
            json!({"matchHeaders": [{"name": "a b"}]}),
            "matchHeaders[0].name",
            "is invalid",
        ),
        (
            json!({"matchHeaders": [{"name": "Host"}]}),
            "matchHeaders[0].name",
            "matched by host",
        ),
        (
            json!({"matchHeaders": [{"name": "A"}, {"name": "a"}]}),
            "matchHeaders[1].name",
            "named twice",
        ),
        (
            json!({"matchHeaders": [{"name": "a", "value": " b"}]}),
            "matchHeaders[0].value",
            "blanks",
        ),
    ]);
}

#[test]
fn no_two_entries_take_the_same_requests() {
    let second = |more: Value| {
        let mut more = more;
        more["name"] = json!("other");
        let first = json!({"host": "a.x.org", "path": "/api", "matchHeaders": [{"name": "X-A", "value": "1"}]});
        faults(&json!([entry(&first), entry(&more)]))
    };
    for more in [
        json!({"host": "a.x.org"}),
        json!({"host": "b.x.org", "path": "/api"}),
        json!({"host": "a.x.org", "path": "/api"}),
        json!({"host": "a.x.org", "path": "/api", "matchHeaders": [{"name": "X-A", "value": "2"}]}),
        json!({"host": "a.x.org", "path": "/api", "pathType": "Exact", "matchHeaders": [{"name": "X-A", "value": "1"}]}),
        json!({"host": "a.x.org", "protocol": "TLSPassthrough"}),
    ] {
        assert_eq!(second(more.clone()), [""; 0], "{more}");
    }
    let same = json!({"hosts": ["z.x.org", "A.x.org"], "path": "/api/", "matchHeaders": [{"name": "x-a", "value": "1"}]});
    assert_eq!(
        second(same),
        [
            "spec.ingress[1].hosts[1]: ingress other: host a.x.org is used twice in this project with the same path and headers"
        ]
    );
}

#[test]
fn the_entries_of_a_host_agree_on_tls() {
    let ca = |ca: &str| json!({"ca": ca});
    let found = faults(&json!([
        entry(&json!({"host": "a.x.org", "tls": "mine", "clientCertificate": ca("one")})),
        entry(&json!({"name": "same", "host": "a.x.org", "path": "/b"})),
        entry(
            &json!({"name": "else", "host": "a.x.org", "path": "/c", "tls": "auto", "clientCertificate": ca("two")})
        ),
        entry(
            &json!({"name": "far", "host": "b.x.org", "tls": "auto", "clientCertificate": ca("two")})
        ),
    ]));
    let expected = [
        "spec.ingress[2].tls: ingress else: tls \"auto\" differs from \"mine\" of another entry for host a.x.org: all entries of a host share a certificate",
        "spec.ingress[2].clientCertificate: ingress else: clientCertificate differs from that of another entry for host a.x.org: clients show it before they name a path",
    ];
    assert_eq!(found, expected);
}

#[test]
fn connections_that_are_not_looked_into() {
    sound(&[
        json!({"protocol": "TCP", "port": 5432, "access": {"allow": ["10.0.0.0/8", "::1"]}}),
        json!({"protocol": "TLSPassthrough", "hosts": ["a.x.org", "*.x.org"]}),
    ]);
    each(&[
        (json!({"protocol": "TCP"}), "port", "needs a port"),
        (
            json!({"protocol": "TCP", "port": 65536}),
            "port",
            "from 1 to 65535",
        ),
        (
            json!({"protocol": "TCP", "port": 1, "host": "a"}),
            "host",
            "leave out its hosts",
        ),
        (
            json!({"protocol": "TCP", "port": 1, "path": "/"}),
            "path",
            "leave it out",
        ),
        (
            json!({"protocol": "TLSPassthrough", "port": 1}),
            "port",
            "\"TCP\" only",
        ),
        (
            json!({"protocol": "TLSPassthrough", "tls": "auto"}),
            "tls",
            "forwarded as they are",
        ),
        (
            json!({"protocol": "TLSPassthrough", "access": {"bypassToken": "a"}}),
            "access.bypassToken",
            "leave it out",
        ),
        (
            json!({"protocol": "TLSPassthrough", "target": {"protocol": "H2C"}}),
            "target.protocol",
            "leave it out",
        ),
    ]);
    let tcp = |name| entry(&json!({"name": name, "protocol": "TCP", "port": 5432}));
    assert_eq!(
        faults(&json!([tcp("a"), tcp("b")])),
        ["spec.ingress[1].port: ingress b: port 5432 is used twice in this project"]
    );
}

#[test]
fn hosts_of_the_server_itself_belong_to_nobody() {
    let check = |ingress: Value| {
        let spec = spec(&json!([entry(&ingress)]));
        let reserved = [
            ("auth.dev.localhost", ReservedBy::AuthHost),
            ("cara.example.com", ReservedBy::ApiNames),
            ("login.example.com", ReservedBy::LoginUrl),
        ];
        let reserved = reserved.map(|(host, by)| ReservedHost {
            host: Hostname::parse(host).expect("a hostname"),
            by,
        });
        let found = crate::validate::reserved(&spec, "auth", &domain(), &reserved);
        let found = found.into_iter().map(|fault| fault.to_string());
        found.collect::<Vec<_>>()
    };
    let message = "ingress web: host auth.dev.localhost is where login services send browsers \
                   back to (--auth-host): choose another";
    for (ingress, field) in [
        (json!({}), "host"),
        (json!({"host": "AUTH"}), "host"),
        (json!({"host": "auth.dev.localhost"}), "host"),
        (json!({"hosts": ["shop", "auth"]}), "hosts[1]"),
        (
            json!({"protocol": "TLSPassthrough", "host": "auth"}),
            "host",
        ),
    ] {
        let expected = [format!("spec.ingress[0].{field}: {message}")];
        assert_eq!(check(ingress), expected);
    }
    for (host, why) in [
        ("cara.example.com", "is a name of the API (--api-names)"),
        (
            "login.example.com",
            "is where people log in to the API (--login-url)",
        ),
    ] {
        let expected =
            format!("spec.ingress[0].host: ingress web: host {host} {why}: choose another");
        assert_eq!(check(json!({"host": host})), [expected]);
    }
    for ingress in [
        json!({"host": "shop"}),
        json!({"host": "*.example.com"}),
        json!({"host": "*.dev.localhost"}),
        json!({"protocol": "TCP", "port": 5432}),
    ] {
        assert_eq!(check(ingress), [""; 0]);
    }
}
