//! What is told of a URL.

use cara_api::gateway::{Access, Policy, Redirect, StreamRoute, Target};
use cara_api::project::ProjectPhase;

use super::*;

fn route(name: &str, path: PathMatch, action: Action, policy: Policy) -> Arc<Route> {
    Arc::new(Route {
        project: "shop".into(),
        ingress: name.into(),
        path,
        headers: Vec::new(),
        action,
        policy: Arc::new(policy),
    })
}

fn to(weights: &[(&str, u32)]) -> Action {
    let targets = weights.iter().map(|(service, weight)| Target {
        service: (*service).into(),
        weight: *weight,
        protocol: Protocol::Http1,
        backend: Backend::Ready {
            endpoints: vec!["10.0.0.1:80".parse().expect("an address")],
        },
    });
    Action::Forward(Forward {
        targets: targets.collect(),
        rewrite: Rewrite::StripPrefix("/api".into()),
    })
}

fn prefix(path: &str) -> PathMatch {
    PathMatch::Prefix(path.into())
}

fn hosts() -> OrdMap<Hostname, Arc<Host>> {
    let mut canary = (*route("canary", prefix("/"), to(&[("beta", 1)]), Policy::default())).clone();
    canary.headers = vec![HeaderMatch {
        name: "x-canary".into(),
        value: Some("on".into()),
    }];
    let locked = Policy {
        access: Access {
            broken: Some("secret \"users\" does not exist".into()),
            ..Access::default()
        },
        ..Policy::default()
    };
    let redirect = Action::Redirect(Redirect {
        to: "/new{path}".into(),
        status: 308,
    });
    let secure = Policy {
        redirect_https: true,
        ..Policy::default()
    };
    let host = |name: &str, routes: Vec<Arc<Route>>| {
        let host = Host {
            project: "shop".into(),
            tls: Default::default(),
            routes,
        };
        (Hostname::parse(name).expect("a hostname"), host)
    };
    let shop = host(
        "shop.x.org",
        vec![
            route(
                "web",
                prefix("/"),
                to(&[("app", 9), ("beta", 1)]),
                Policy::default(),
            ),
            Arc::new(canary),
            route(
                "old",
                PathMatch::Exact("/old".into()),
                redirect,
                Policy::default(),
            ),
        ],
    );
    let admin = host(
        "admin.x.org",
        vec![
            route("open", prefix("/"), to(&[("app", 1)]), Policy::default()),
            route("locked", prefix("/locked"), to(&[("app", 1)]), locked),
        ],
    );
    let any = host(
        "*.x.org",
        vec![route("any", prefix("/api"), to(&[("app", 1)]), secure)],
    );
    let mut raw = host("raw.x.org", Vec::new());
    raw.1.tls.passthrough = Some(Arc::new(StreamRoute {
        project: "shop".into(),
        ingress: "raw".into(),
        service: "db".into(),
        allow: Vec::new(),
        backend: Backend::Unavailable {
            phase: ProjectPhase::Scheduled,
            reason: "Waiting".into(),
        },
    }));
    let all = [shop, admin, any, raw].into_iter();
    all.map(|(name, host)| (name, Arc::new(host))).collect()
}

fn told(url: &str, headers: &[(&str, &str)]) -> String {
    let headers: Vec<(String, String)> = headers
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
        .collect();
    let asked = Asked {
        url,
        method: "GET",
        headers: &headers,
    };
    let told = match explain(&hosts(), asked) {
        Ok(told) => told,
        Err(error) => return error.to_string(),
    };
    let rules = told.rules.iter().map(|rule| {
        let verdict = match rule.verdict {
            RuleVerdict::Taken => "takes it",
            RuleVerdict::Refused => rule.reason.as_str(),
            RuleVerdict::NotAsked => "not asked",
        };
        format!("{} ({}): {verdict}", rule.ingress, rule.takes)
    });
    let head = format!("{} -> {}", told.host, told.matched);
    let lines: Vec<String> = std::iter::once(head)
        .chain(rules)
        .chain(told.steps)
        .collect();
    lines.join("\n")
}

#[test]
fn an_explanation_names_host_rules_and_what_becomes_of_a_request() {
    let shares = "9 of 10 requests are forwarded over HTTP/1.1 to service app at 10.0.0.1:80\n\
                  1 of 10 requests are forwarded over HTTP/1.1 to service beta at 10.0.0.1:80";
    for (url, headers, expected) in [
        (
            "https://Shop.x.org:8443/cart?x=1",
            vec![],
            format!(
                "shop.x.org -> shop.x.org\nold (/old alone): the path is not /old\n\
                 canary (all paths with x-canary: on): there is no header x-canary\n\
                 web (all paths): takes it\n/api is taken off the path\n{shares}"
            ),
        ),
        (
            "shop.x.org/",
            vec![("X-Canary", "off")],
            format!(
                "shop.x.org -> shop.x.org\nold (/old alone): the path is not /old\n\
                 canary (all paths with x-canary: on): header x-canary is not \"on\"\n\
                 web (all paths): takes it\n/api is taken off the path\n{shares}"
            ),
        ),
        (
            "http://shop.x.org/old",
            vec![],
            "shop.x.org -> shop.x.org\nold (/old alone): takes it\n\
             canary (all paths with x-canary: on): not asked\nweb (all paths): not asked\n\
             redirected to /new/old with 308"
                .to_owned(),
        ),
        (
            "http://else.x.org/api",
            vec![],
            "else.x.org -> *.x.org\nany (/api and below): takes it\n\
             plain HTTP is redirected to HTTPS with 308"
                .to_owned(),
        ),
        (
            "https://else.x.org/apis",
            vec![],
            "else.x.org -> *.x.org\nany (/api and below): the path is not /api or below it\n\
             no rule of the host takes it: answered with 404"
                .to_owned(),
        ),
        (
            "https://admin.x.org/locked/up",
            vec![],
            "admin.x.org -> admin.x.org\nlocked (/locked and below): takes it\n\
             open (all paths): not asked\n\
             nobody may come in, since secret \"users\" does not exist: answered with 503"
                .to_owned(),
        ),
        (
            "https://admin.x.org//%6Cocked",
            vec![],
            "admin.x.org -> admin.x.org\nlocked (/locked and below): takes it\n\
             open (all paths): not asked\n\
             nobody may come in, since secret \"users\" does not exist: answered with 503"
                .to_owned(),
        ),
        (
            "https://admin.x.org/a/../locked",
            vec![],
            "admin.x.org -> admin.x.org\na path with '.' or '..' is refused: answered with 400"
                .to_owned(),
        ),
        (
            "https://admin.x.org/locked%2Fup",
            vec![],
            "admin.x.org -> admin.x.org\na path that leads to another rule when '%2F', '\\' or \
             ';' is read in another way is refused: answered with 400"
                .to_owned(),
        ),
        (
            "https://admin.x.org/locked/a%2Fb",
            vec![],
            "admin.x.org -> admin.x.org\nlocked (/locked and below): takes it\n\
             open (all paths): not asked\n\
             nobody may come in, since secret \"users\" does not exist: answered with 503"
                .to_owned(),
        ),
        (
            "https://raw.x.org/",
            vec![],
            "raw.x.org -> raw.x.org\nTLS is forwarded as it is, by ingress raw, to service db, \
             which is not ready (Scheduled, Waiting)"
                .to_owned(),
        ),
        (
            "http://a.b.x.org",
            vec![],
            "a.b.x.org -> \nno project serves a.b.x.org: answered with 404".to_owned(),
        ),
        ("ftp://shop.x.org", vec![], NotAUrl.to_string()),
        ("http://a b/", vec![], NotAUrl.to_string()),
        ("http://.x.org/", vec![], NotAUrl.to_string()),
    ] {
        assert_eq!(told(url, &headers), expected, "{url}");
    }
}
