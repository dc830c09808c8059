//! What becomes of a request.

use serde_json::json;

use super::{each, sound};

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
