//! Every rule, each in a document that breaks it alone.

use serde_json::{Value, json};

use crate::hostname::Domain;
use crate::project::ProjectSpec;

/// Faults of a project with these ingress entries.
fn faults(ingress: &Value) -> Vec<String> {
    let spec = json!({"services": [{"name": "app", "image": "x"}, {"name": "beta", "image": "x"}],
        "ingress": ingress});
    let spec: ProjectSpec = serde_json::from_value(spec).expect("well-formed");
    let domain = Domain {
        environment: "dev".into(),
        base: "localhost".into(),
    };
    let found = crate::validate::project(&spec, "shop", &domain);
    found.iter().map(ToString::to_string).collect()
}

/// An entry with what is given on top of a target.
fn entry(more: &Value) -> Value {
    let mut entry = json!({"name": "web", "target": {"service": "app", "port": 80}});
    merge(&mut entry, more);
    entry
}

fn merge(base: &mut Value, more: &Value) {
    let (Value::Object(base), Value::Object(more)) = (base, more) else {
        return;
    };
    for (key, value) in more {
        match base.get_mut(key) {
            _ if value.is_null() => drop(base.shift_remove(key)),
            Some(old) if old.is_object() => merge(old, value),
            Some(_) | None => drop(base.insert(key.clone(), value.clone())),
        }
    }
}

/// Each entry has exactly one fault, whose field and words these are.
fn each(table: &[(Value, &str, &str)]) {
    for (more, field, words) in table {
        let found = faults(&json!([entry(more)]));
        let [fault] = &found[..] else {
            panic!("{more}: {found:#?}");
        };
        let prefix = format!("spec.ingress[0].{field}: ingress web: ");
        let message = fault.strip_prefix(&prefix).unwrap_or_default();
        assert!(message.contains(words), "{more}: {fault}");
    }
}

/// None of these entries has a fault.
fn sound(table: &[Value]) {
    for more in table {
        assert_eq!(faults(&json!([entry(more)])), [""; 0], "{more}");
    }
}

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
fn one_thing_becomes_of_a_request() {
    let to = |to: &str| json!({"target": null, "redirect": {"to": to}});
    sound(&[
        json!({"target": null, "targets": [{"service": "app", "port": 80, "weight": 0}, {"service": "beta", "port": 80}]}),
        json!({"target": {"protocol": "HTTPS", "tls": {"serverName": "db.internal", "ca": "roots", "certificate": "me"}}}),
        json!({"target": {"protocol": "H2C"}, "stripPrefix": "/api/"}),
        json!({"rewrite": "/v2"}),
        to("https://www.example.com{path}?{query}"),
        to("http://[::1]:8080/"),
        to("/new{path}"),
        json!({"target": null, "redirect": {"to": "/", "status": 302}}),
        json!({"target": null, "respond": {"status": 404, "contentType": "text/html", "body": "<p>"}}),
        json!({"target": null, "respond": {}}),
    ]);
    each(&[
        (json!({"target": null}), "target", "is required"),
        (json!({"respond": {}}), "respond", "exactly one of"),
        (
            json!({"target": {"service": "nope"}}),
            "target.service",
            "target service nope does not exist in spec.services",
        ),
        (
            json!({"target": {"port": 0}}),
            "target.port",
            "must be greater than 0",
        ),
        (
            json!({"target": {"weight": 1}}),
            "target.weight",
            "belongs to targets",
        ),
        (
            json!({"target": {"protocol": "FTP"}}),
            "target.protocol",
            "must be \"HTTP\", \"H2C\" or \"HTTPS\"",
        ),
        (
            json!({"target": {"tls": {}}}),
            "target.tls",
            "\"HTTPS\" only",
        ),
        (
            json!({"target": {"protocol": "HTTPS", "tls": {"serverName": "a b"}}}),
            "target.tls.serverName",
            "not a hostname",
        ),
        (
            json!({"target": {"protocol": "HTTPS", "tls": {"ca": "A"}}}),
            "target.tls.ca",
            "is invalid",
        ),
        (
            json!({"target": {"protocol": "HTTPS", "tls": {"ca": "a", "insecure": true}}}),
            "target.tls.insecure",
            "leave out",
        ),
        (
            json!({"target": null, "targets": [{"service": "app", "port": 80, "weight": 0}]}),
            "targets",
            "greater than 0",
        ),
        (
            json!({"target": null, "targets": [{"service": "app", "port": 80, "weight": 1_000_001}]}),
            "targets[0].weight",
            "from 0 to 1000000",
        ),
        (
            json!({"target": null, "targets": [{"service": "app", "port": 80}, {"service": "app", "port": 80}]}),
            "targets[1]",
            "named twice",
        ),
        (
            json!({"stripPrefix": "api"}),
            "stripPrefix",
            "must begin with '/'",
        ),
        (
            json!({"stripPrefix": "/a", "rewrite": "/b"}),
            "rewrite",
            "exclude each other",
        ),
        (
            json!({"target": null, "respond": {}, "rewrite": "/b"}),
            "rewrite",
            "nothing is forwarded",
        ),
        (to(""), "redirect.to", "is required"),
        (to("www.example.com"), "redirect.to", "must be a path"),
        (to("javascript:alert(1)"), "redirect.to", "must be a path"),
        (to("//evil.example"), "redirect.to", "any host"),
        (to("/{path}"), "redirect.to", "any host"),
        (to("{path}"), "redirect.to", "must be a path"),
        (to("https://{query}/"), "redirect.to", "must be a path"),
        (
            to("https://{query}.example.com/"),
            "redirect.to",
            "must be a path",
        ),
        (to("/a\r\nset-cookie: x"), "redirect.to", "no spaces"),
        (to("/{host}"), "redirect.to", "there are {path} and {query}"),
        (
            json!({"target": null, "redirect": {"to": "/", "status": 200}}),
            "redirect.status",
            "301, 302, 303, 307 or 308",
        ),
        (
            json!({"target": null, "respond": {"status": 101}}),
            "respond.status",
            "from 200 to 599",
        ),
        (
            json!({"target": null, "respond": {"status": 204, "body": "x"}}),
            "respond.body",
            "has no body",
        ),
        (
            json!({"target": null, "respond": {"contentType": "a\nb"}}),
            "respond.contentType",
            "invalid",
        ),
        (
            json!({"target": null, "respond": {"body": "x".repeat(65_537)}}),
            "respond.body",
            "no more than 65536",
        ),
    ]);
}

#[test]
fn tls_and_access() {
    let access = |more: Value| json!({"access": more});
    let id = |more: Value| {
        let mut oidc = json!({"issuer": "https://id.example.com/realm", "clientId": "gate"});
        merge(&mut oidc, &more);
        access(json!({"oidc": oidc}))
    };
    let bearer = |more: Value| {
        let mut bearer = json!({"issuer": "http://127.0.0.1:9000", "audiences": ["api"]});
        merge(&mut bearer, &more);
        access(json!({"bearer": bearer}))
    };
    sound(&[
        json!({"tls": "off", "redirectHTTP": false}),
        json!({"tls": "auto", "redirectHTTP": true, "hsts": {"maxAge": "8760h", "includeSubdomains": true, "preload": true}}),
        json!({"clientCertificate": {"ca": "roots", "optional": true}}),
        access(
            json!({"allow": ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"], "bypassToken": "ci",
            "basicAuth": {"secret": "users", "realm": "Staff only"}, "shareLinks": {"maxAge": "24h", "epoch": "2"}}),
        ),
        id(
            json!({"secret": "sso", "scopes": ["email", "groups"], "emails": ["ann@example.com", "@example.org"], "session": "8h"}),
        ),
        bearer(json!({"claims": {"role": "admin"}, "jwksUrl": "http://keys.localhost/jwks"})),
    ]);
    each(&[
        (json!({"tls": "My Cert"}), "tls", "is invalid"),
        (json!({"tls": "off", "hsts": {}}), "hsts", "leave out"),
        (
            json!({"tls": "off", "redirectHTTP": true}),
            "redirectHTTP",
            "leave out",
        ),
        (
            json!({"tls": "off", "clientCertificate": {"ca": "a"}}),
            "clientCertificate",
            "over TLS only",
        ),
        (
            json!({"clientCertificate": {}}),
            "clientCertificate.ca",
            "is required",
        ),
        (
            json!({"hsts": {"maxAge": "a year"}}),
            "hsts.maxAge",
            "not a duration",
        ),
        (
            json!({"hsts": {"preload": true}}),
            "hsts.preload",
            "includeSubdomains",
        ),
        (
            access(json!({"scope": "Public"})),
            "access.scope",
            "only \"Internal\" scope is supported",
        ),
        (
            access(json!({"allow": ["10.0.0.0/33"]})),
            "access.allow[0]",
            "is not a network",
        ),
        (
            access(json!({"basicAuth": {}})),
            "access.basicAuth.secret",
            "is required",
        ),
        (
            access(json!({"basicAuth": {"secret": "a", "realm": "a\"b"}})),
            "access.basicAuth.realm",
            "without quotes",
        ),
        (
            access(json!({"bypassToken": "A"})),
            "access.bypassToken",
            "is invalid",
        ),
        (
            access(json!({"shareLinks": {"maxAge": "1s"}})),
            "access.shareLinks.maxAge",
            "must be from 60s",
        ),
        (
            bearer(json!({"audiences": []})),
            "access.bearer.audiences",
            "at least one audience",
        ),
        (
            bearer(json!({"audiences": [""]})),
            "access.bearer.audiences[0]",
            "must not be empty",
        ),
        (
            bearer(json!({"claims": {"role": ""}})),
            "access.bearer.claims[\"role\"]",
            "must not be empty",
        ),
        (
            bearer(json!({"jwksUrl": "http://keys.example.com"})),
            "access.bearer.jwksUrl",
            "begins with https://",
        ),
        (
            id(json!({"issuer": "http://id.example.com"})),
            "access.oidc.issuer",
            "begins with https://",
        ),
        (
            id(json!({"issuer": "https://user@id.example.com"})),
            "access.oidc.issuer",
            "must be a URL",
        ),
        (
            id(json!({"issuer": ""})),
            "access.oidc.issuer",
            "is required",
        ),
        (
            id(json!({"clientId": ""})),
            "access.oidc.clientId",
            "must not be empty",
        ),
        (
            id(json!({"scopes": ["a b"]})),
            "access.oidc.scopes[0]",
            "one word",
        ),
        (
            id(json!({"emails": ["example.com"]})),
            "access.oidc.emails[0]",
            "must be an address",
        ),
        (
            id(json!({"groups": [""]})),
            "access.oidc.groups[0]",
            "must not be empty",
        ),
        (
            id(json!({"session": "1s"})),
            "access.oidc.session",
            "must be from",
        ),
    ]);
}

#[test]
fn limits_and_traffic() {
    sound(&[
        json!({"limits": {"body": "10Mi", "perClient": {"requests": 10, "per": "1m", "burst": 20},
            "total": {"requests": 1000}, "inFlight": 50, "queue": 10, "queueTimeout": "2s"}}),
        json!({"timeouts": {"connect": "500ms", "response": "2m", "idle": "1h"}}),
        json!({"retries": {"attempts": 5, "budgetPercent": 100, "onStatus": [502, 503, 504]}}),
        json!({"balance": {"sticky": {"cookie": "__Host-a", "maxAge": "1h"}, "outlier": {"failures": 3, "ejection": "30s"},
            "healthCheck": {"path": "/up?deep=1", "interval": "5s", "timeout": "1s", "failures": 2, "successes": 2}, "slowStart": "30s"}}),
        json!({"maintenance": {"message": "Back at noon.", "allow": ["10.0.0.1"]}, "pause": {"maxWait": "1m", "maxRequests": 10}}),
        json!({"compression": false, "noIndex": true}),
    ]);
    each(&[
        (
            json!({"limits": {"body": "lots"}}),
            "limits.body",
            "is not a size",
        ),
        (
            json!({"limits": {"body": "1m"}}),
            "limits.body",
            "at least one byte",
        ),
        (
            json!({"limits": {"body": "-1"}}),
            "limits.body",
            "is not a size",
        ),
        (
            json!({"limits": {"perClient": {}}}),
            "limits.perClient.requests",
            "is required",
        ),
        (
            json!({"limits": {"total": {"requests": -1}}}),
            "limits.total.requests",
            "from 1 to",
        ),
        (
            json!({"limits": {"total": {"requests": 1, "per": "10ms"}}}),
            "limits.total.per",
            "must be from 100ms",
        ),
        (
            json!({"limits": {"inFlight": -5}}),
            "limits.inFlight",
            "from 1 to",
        ),
        (
            json!({"limits": {"queue": 5}}),
            "limits.queue",
            "limits.inFlight",
        ),
        (
            json!({"limits": {"queueTimeout": "1s"}}),
            "limits.queueTimeout",
            "limits.inFlight",
        ),
        (
            json!({"timeouts": {"connect": "5"}}),
            "timeouts.connect",
            "is not a duration",
        ),
        (
            json!({"timeouts": {"connect": "2m"}}),
            "timeouts.connect",
            "to 60s",
        ),
        (
            json!({"timeouts": {"response": "0s"}}),
            "timeouts.response",
            "from 1ms",
        ),
        (
            json!({"retries": {"attempts": 6}}),
            "retries.attempts",
            "from 1 to 5",
        ),
        (
            json!({"retries": {"budgetPercent": 101}}),
            "retries.budgetPercent",
            "from 1 to 100",
        ),
        (
            json!({"retries": {"onStatus": [500]}}),
            "retries.onStatus[0]",
            "must be 502, 503 or 504",
        ),
        (
            json!({"balance": {"sticky": {"cookie": "a=b"}}}),
            "balance.sticky.cookie",
            "is invalid",
        ),
        (
            json!({"balance": {"outlier": {"failures": -1}}}),
            "balance.outlier.failures",
            "from 1 to",
        ),
        (
            json!({"balance": {"healthCheck": {}}}),
            "balance.healthCheck.path",
            "must begin with '/'",
        ),
        (
            json!({"balance": {"healthCheck": {"path": "/", "interval": "1ms"}}}),
            "balance.healthCheck.interval",
            "from 100ms",
        ),
        (
            json!({"balance": {"slowStart": "2h"}}),
            "balance.slowStart",
            "to 3600s",
        ),
        (
            json!({"maintenance": {"message": "a\nb"}}),
            "maintenance.message",
            "one sentence",
        ),
        (
            json!({"maintenance": {"allow": ["here"]}}),
            "maintenance.allow[0]",
            "is not a network",
        ),
        (
            json!({"pause": {"maxWait": "1h"}}),
            "pause.maxWait",
            "to 600s",
        ),
        (
            json!({"pause": {"maxRequests": 100_001}}),
            "pause.maxRequests",
            "to 100000",
        ),
    ]);
}

#[test]
fn headers_and_cors() {
    sound(&[
        json!({"requestHeaders": {"remove": ["Cookie"], "set": {"X-Team": "blue"}, "add": {"Via": "1.1 gate"}}}),
        json!({"responseHeaders": {"set": {"Cache-Control": "no-store", "X-Cara-Test": ""}, "remove": ["server"]}}),
        json!({"cors": {"origins": ["*"], "methods": ["PUT"], "headers": ["*"], "maxAge": "0s"}}),
        json!({"cors": {"origins": ["https://app.example.com", "http://localhost:3000"], "credentials": true, "expose": ["X-Total"]}}),
    ]);
    let request = |rules: Value| json!({"requestHeaders": rules});
    let response = |rules: Value| json!({"responseHeaders": rules});
    each(&[
        (
            request(json!({"remove": ["Host"]})),
            "requestHeaders.remove[0]",
            "cannot be changed",
        ),
        (
            request(json!({"set": {"X-Forwarded-For": "1"}})),
            "requestHeaders.set[\"X-Forwarded-For\"]",
            "set by the gateway",
        ),
        (
            request(json!({"add": {"x-cara-user": "root"}})),
            "requestHeaders.add[\"x-cara-user\"]",
            "set by the gateway",
        ),
        (
            request(json!({"set": {"a b": "1"}})),
            "requestHeaders.set[\"a b\"]",
            "is invalid",
        ),
        (
            request(json!({"set": {"A": "1", "a": "2"}})),
            "requestHeaders.set[\"a\"]",
            "named twice",
        ),
        (
            response(json!({"set": {"Content-Length": "1"}})),
            "responseHeaders.set[\"Content-Length\"]",
            "cannot be changed",
        ),
        (
            response(json!({"add": {"Transfer-Encoding": "chunked"}})),
            "responseHeaders.add[\"Transfer-Encoding\"]",
            "cannot be changed",
        ),
        (
            response(json!({"set": {"X-A": "1\r\nX-B: 2"}})),
            "responseHeaders.set[\"X-A\"]",
            "control characters",
        ),
        (
            response(json!({"remove": [""]})),
            "responseHeaders.remove[0]",
            "is invalid",
        ),
        (json!({"cors": {}}), "cors.origins", "at least one origin"),
        (
            json!({"cors": {"origins": ["*"], "credentials": true}}),
            "cors.credentials",
            "name the origins",
        ),
        (
            json!({"cors": {"origins": ["*", "https://a.example.com"]}}),
            "cors.origins",
            "leave out the others",
        ),
        (
            json!({"cors": {"origins": ["https://a.example.com/"]}}),
            "cors.origins[0]",
            "without path",
        ),
        (
            json!({"cors": {"origins": ["a.example.com"]}}),
            "cors.origins[0]",
            "without path",
        ),
        (
            json!({"cors": {"origins": ["*"], "methods": ["GET POST"]}}),
            "cors.methods[0]",
            "is invalid",
        ),
        (
            json!({"cors": {"origins": ["*"], "maxAge": "48h"}}),
            "cors.maxAge",
            "must be from",
        ),
    ]);
}

#[test]
fn all_faults_of_an_entry_are_found_at_once() {
    let all = faults(&json!([entry(&json!({
        "target": {"service": "nope", "port": 0}, "access": {"scope": "Public", "allow": ["x"]},
        "host": "a b", "path": "x", "limits": {"inFlight": -1}, "retries": {"attempts": 9},
        "cors": {}, "pause": {"maxWait": "x"}}))]));
    let fields: Vec<&str> = all.iter().filter_map(|f| f.split(": ").next()).collect();
    let expected = [
        "target.service",
        "target.port",
        "access.scope",
        "access.allow[0]",
        "path",
        "host",
        "limits.inFlight",
        "retries.attempts",
        "cors.origins",
        "pause.maxWait",
    ]
    .map(|field| format!("spec.ingress[0].{field}"));
    assert_eq!(fields, expected);
}
