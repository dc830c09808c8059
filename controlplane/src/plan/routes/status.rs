//! What is said of an ingress rule: where it is reached, and why it is not as it says.

use cara_api::hostname::Hostname;
use cara_api::project::{Ingress, IngressProtocol, IngressStatus};

use super::material::{KeyOf, certificates, secrets};
use crate::plan::certs::served::covers;
use crate::plan::claims::{Claim, of_rule};
use crate::plan::events::Site;

/// What there is besides the project.
pub trait Look {
    /// The project that a hostname or port belongs to.
    fn owner(&self, claim: &Claim) -> Option<&str>;

    /// The keys of a Secret; none when there is no such Secret.
    fn keys(&self, secret: &str) -> Option<&[String]>;

    /// The names that a Certificate covers; none when there is no such Certificate.
    fn names(&self, certificate: &str) -> Option<&[String]>;

    /// Whether a certificate that browsers trust covers a hostname.
    fn is_trusted(&self, host: &Hostname) -> bool;
}

/// The status of a rule of a project.
pub fn of_ingress(
    ingress: &Ingress,
    project: &str,
    site: &Site<'_>,
    look: &dyn Look,
) -> IngressStatus {
    let hostnames = site.domain.hostnames(ingress, project);
    let is_tcp = ingress.protocol() == Some(IngressProtocol::Tcp);
    let domain = site.domain;
    let address = is_tcp.then(|| {
        let (environment, base) = (&domain.environment, &domain.base);
        format!("{project}.{environment}.{base}:{}", ingress.port)
    });
    let first = hostnames.first();
    IngressStatus {
        name: ingress.name.clone(),
        hostname: first.map(ToString::to_string).unwrap_or_default(),
        url: first
            .map(|host| url(ingress, host, site, look))
            .unwrap_or_default(),
        hostnames: hostnames.iter().map(ToString::to_string).collect(),
        address: address.unwrap_or_default(),
        message: faults(ingress, project, site, look).join("; "),
    }
}

/// HTTPS where it works without a warning, or where nothing else is left; HTTP leads to both.
fn url(ingress: &Ingress, host: &Hostname, site: &Site<'_>, look: &dyn Look) -> String {
    let is_best = ingress.redirect_http == Some(true) || look.is_trusted(host);
    let root = site.url(host, ingress.tls != "off" && is_best);
    match ingress.path.strip_prefix('/') {
        Some(path) => format!("{root}{path}"),
        None => root,
    }
}

fn faults(ingress: &Ingress, project: &str, site: &Site<'_>, look: &dyn Look) -> Vec<String> {
    let mut found = Vec::new();
    for claim in of_rule(ingress, project, site.domain) {
        match look.owner(&claim) {
            Some(owner) if owner != project => {
                found.push(format!("{claim} belongs to project {owner:?}"));
            }
            Some(_) | None => {}
        }
        // From before it was the server's, since nobody is given it any more.
        if let Claim::Host(host) = &claim {
            let own = site.reserved.iter().filter(|own| own.host == *host);
            found.extend(own.map(ToString::to_string));
        }
    }
    found.extend(
        secrets(ingress)
            .into_iter()
            .filter_map(|key| lacks(key, look)),
    );
    for name in certificates(ingress) {
        let Some(names) = look.names(name) else {
            found.push(format!("certificate {name:?} does not exist"));
            continue;
        };
        if name != ingress.tls {
            continue;
        }
        let has = |host: &str| names.iter().any(|known| known == host);
        let hosts = site.domain.hostnames(ingress, project);
        let bare = hosts.iter().filter(|host| !covers(has, host.as_str()));
        found.extend(bare.map(|host| {
            let names = names.join(", ");
            format!("certificate {name:?} does not cover {host}, so that browsers refuse it; it is for {names}")
        }));
    }
    found
}

fn lacks(needed: KeyOf<'_>, look: &dyn Look) -> Option<String> {
    let name = needed.secret;
    if needed.or_certificate && look.names(name).is_some() {
        return None;
    }
    let Some(keys) = look.keys(name) else {
        return Some(format!("secret {name:?} does not exist"));
    };
    let key = needed.key?;
    let is_there = keys.iter().any(|known| known == key);
    (!is_there).then(|| format!("secret {name:?} has no key {key:?}"))
}

#[cfg(test)]
mod tests {
    use cara_api::hostname::Domain;

    use cara_api::validate::{ReservedBy, ReservedHost};

    use super::*;

    /// The keys of a Secret, and the names of a Certificate.
    struct Shelf(Vec<String>, Vec<String>);

    impl Look for Shelf {
        fn owner(&self, claim: &Claim) -> Option<&str> {
            Some(match claim {
                Claim::Host(_) => "shop",
                Claim::Port(_) => "bank",
            })
        }

        fn keys(&self, secret: &str) -> Option<&[String]> {
            (secret == "ci").then_some(&self.0)
        }

        fn names(&self, certificate: &str) -> Option<&[String]> {
            (certificate == "mine").then_some(&self.1)
        }

        fn is_trusted(&self, host: &Hostname) -> bool {
            host.as_str() != "new.dev.x"
        }
    }

    #[test]
    fn a_rule_tells_where_it_is_and_what_it_lacks() {
        let domain = Domain {
            environment: "dev".into(),
            base: "x".into(),
        };
        let own = [ReservedHost {
            host: Hostname::parse("auth.dev.x").expect("a hostname"),
            by: ReservedBy::AuthHost,
        }];
        let shown = |https_port, document: &serde_json::Value| {
            let site = Site {
                domain: &domain,
                http_port: 8080,
                https_port,
                reserved: &own,
            };
            let ingress: Ingress = serde_json::from_value(document.clone()).expect("a rule");
            let shelf = Shelf(vec!["token".into()], vec!["*.b.org".into()]);
            let status = of_ingress(&ingress, "shop", &site, &shelf);
            let hosts = status.hostnames.join(" ");
            let texts = [
                status.url,
                status.hostname,
                hosts,
                status.address,
                status.message,
            ];
            texts.join("|")
        };
        for (document, https_port, expected) in [
            (
                serde_json::json!({"host": "a", "hosts": ["b.org"], "path": "/api"}),
                None,
                "http://a.dev.x:8080/api|a.dev.x|a.dev.x b.org||",
            ),
            (
                serde_json::json!({"hosts": ["*.b.org"], "tls": "mine"}),
                Some(443),
                "https://www.b.org/|*.b.org|*.b.org||",
            ),
            (
                serde_json::json!({"hosts": ["c.org", "d.b.org"], "tls": "mine"}),
                Some(443),
                "https://c.org/|c.org|c.org d.b.org||certificate \"mine\" does not cover c.org, so \
                 that browsers refuse it; it is for *.b.org",
            ),
            (
                serde_json::json!({"host": "new"}),
                Some(443),
                "http://new.dev.x:8080/|new.dev.x|new.dev.x||",
            ),
            (
                serde_json::json!({"host": "new", "redirectHTTP": true}),
                Some(443),
                "https://new.dev.x/|new.dev.x|new.dev.x||",
            ),
            (
                serde_json::json!({"tls": "off"}),
                Some(8443),
                "http://shop.dev.x:8080/|shop.dev.x|shop.dev.x||",
            ),
            (
                serde_json::json!({"host": "auth"}),
                None,
                "http://auth.dev.x:8080/|auth.dev.x|auth.dev.x||auth.dev.x is where \
                 login services send browsers back to (--auth-host)",
            ),
            (
                serde_json::json!({"protocol": "TCP", "port": 25}),
                None,
                "|||shop.dev.x:25|port 25 belongs to project \"bank\"",
            ),
            (
                serde_json::json!({"tls": "none", "access": {"bypassToken": "ci", "basicAuth": {"secret": "users"}},
                    "clientCertificate": {"ca": "ci"}}),
                Some(8443),
                "https://shop.dev.x:8443/|shop.dev.x|shop.dev.x||secret \"users\" does not exist; \
                 secret \"ci\" has no key \"ca.crt\"; certificate \"none\" does not exist",
            ),
        ] {
            assert_eq!(shown(https_port, &document), expected, "{document}");
        }
    }
}
