//! TLS, and who may come in.

use serde_json::{Value, json};

use super::{each, merge, sound};

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
            id(json!({"emails": ["ann@example.com", "*@example.org"]})),
            "access.oidc.emails[1]",
            "write \"@example.org\" for all of a domain",
        ),
        (
            id(json!({"emails": ["@*.example.org"]})),
            "access.oidc.emails[0]",
            "write \"@example.com\" for all of a domain",
        ),
        (
            id(json!({"emails": ["*"]})),
            "access.oidc.emails[0]",
            "for all of a domain",
        ),
        (
            id(json!({"groups": [""]})),
            "access.oidc.groups[0]",
            "must not be empty",
        ),
        (
            id(json!({"groups": ["dev", "team-*"]})),
            "access.oidc.groups[1]",
            "name each group, or leave out groups for everybody",
        ),
        (
            id(json!({"session": "1s"})),
            "access.oidc.session",
            "must be from",
        ),
    ]);
}
