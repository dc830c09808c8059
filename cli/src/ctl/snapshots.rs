//! Every form of every read, held against files. `make references` writes them again; a change
//! there is a change that scripts notice.

use std::path::Path;

use cara_api::access::WhoAmI;
use cara_api::event::EventList;
use cara_api::route::RouteList;
use cara_api::{
    Certificate, Federation, List, Node, Project, Resource, Secret, Timestamp, Token, User,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::args::Output;
use super::get::{Reserved, Rows, Then, View};
use super::jsonpath::Template;
use super::{context, events, login, routes};

const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).expect("in range")
}

/// The forms, with the title that each has in the file.
fn forms(path: &str) -> Vec<(String, Output, Option<usize>)> {
    let template = Template::parse(path).expect("a template");
    let template: &'static Template = Box::leak(Box::new(template));
    vec![
        ("table".into(), Output::Table, None),
        ("table, 60 columns".into(), Output::Table, Some(60)),
        ("wide".into(), Output::Wide, Some(60)),
        ("name".into(), Output::Name, None),
        ("json".into(), Output::Json, None),
        ("jsonl".into(), Output::Jsonl, None),
        ("yaml".into(), Output::Yaml, None),
        (format!("jsonpath={path}"), Output::Jsonpath(template), None),
    ]
}

fn check(file: &str, path: &str, render: impl Fn(Output, Option<usize>) -> String) {
    let mut text = String::new();
    for (title, output, columns) in forms(path) {
        text.push_str(&format!("## {title}\n{}\n", render(output, columns)));
    }
    check_text(file, &text);
}

fn check_text(file: &str, expected: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ctl/snapshots");
    let file = folder.join(file);
    #[expect(
        clippy::disallowed_methods,
        reason = "how `make references` asks for the files"
    )]
    if std::env::var("UPDATE").is_ok() {
        std::fs::write(&file, expected).expect("written");
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(
        found,
        expected,
        "{} is not what is printed: run `make references`",
        file.display()
    );
}

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object")
}

/// A list and a change of its first object.
fn check_kind<T: Rows + Resource>(file: &str, items: Value) {
    let items: Vec<T> = read(items);
    let reserved = Reserved::default();
    check(
        file,
        "{range .items[*]}{.metadata.name}{\"\\n\"}{end}",
        |output, columns| {
            let mut view = View::new::<T>(output, columns, Then::Done);
            let list = List::new(items.clone(), read(json!("42")));
            let listed = view.list(&list, &reserved, now()).expect("written");
            let mut first = items.first().expect("an object").clone();
            first.meta_mut().name = "later".to_owned();
            let change = view.changed(&first, &reserved, now()).expect("written");
            let again = view.changed(&first, &reserved, now()).expect("written");
            if matches!(output, Output::Table | Output::Wide) {
                assert_eq!(again, "", "the same line is not printed again");
            }
            format!("{listed}# a change\n{change}")
        },
    );
}

#[test]
fn projects() {
    check_kind::<Project>(
        "projects.txt",
        json!([
            {"apiVersion": "caravanserai/v1", "kind": "Project",
             "metadata": {"name": "shop", "generation": 5, "createdAt": "2027-01-14T07:00:00Z"},
             "spec": {"services": [{"name": "web", "image": "shop:1.4"}, {"name": "db", "image": "postgres:16"}],
                      "ingress": [{"name": "page", "target": {"service": "web", "port": 80}}]},
             "status": {"phase": "Running", "nodeRef": "a", "observedGeneration": 5, "stableGeneration": 5,
                        "services": [{"name": "web", "state": "Running", "ready": true, "restarts": 1},
                                     {"name": "db", "state": "Running", "ready": true}],
                        "ingress": [{"name": "page", "hostname": "shop.dev.example.com", "url": "http://shop.dev.example.com/"}],
                        "conditions": [{"type": "Phase", "status": "True", "reason": "ContainersRunning"}]}},
            {"apiVersion": "caravanserai/v1", "kind": "Project", "metadata": {"name": "waits"},
             "spec": {"services": [{"name": "web", "image": "shop:1.4"}]}, "status": {"phase": "Pending"}},
        ]),
    );
}

#[test]
fn nodes() {
    check_kind::<Node>(
        "nodes.txt",
        json!([
            {"apiVersion": "caravanserai/v1", "kind": "Node",
             "metadata": {"name": "a", "createdAt": "2027-01-15T07:00:00Z"},
             "spec": {"hostname": "a.example.com"},
             "status": {"state": "Ready", "lastHeartbeat": "2027-01-15T07:59:59Z", "network": {"ip": "10.0.0.1"},
                        "allocatable": {"cpu": "2000m", "memory": "3584Mi"},
                        "info": {"engineVersion": "28.1", "agentVersion": "0.1.0", "kernelVersion": "6.12"}}},
            {"apiVersion": "caravanserai/v1", "kind": "Node",
             "metadata": {"name": "b", "createdAt": "2027-01-15T07:00:00Z"},
             "spec": {"unschedulable": true}, "status": {"state": "Ready"}},
            {"apiVersion": "caravanserai/v1", "kind": "Node", "metadata": {"name": "c"},
             "spec": {"unschedulable": true, "drain": {}}, "status": {"state": "Draining"}},
        ]),
    );
}

#[test]
fn secrets() {
    check_kind::<Secret>(
        "secrets.txt",
        json!([{"apiVersion": "caravanserai/v1", "kind": "Secret",
            "metadata": {"name": "db", "createdAt": "2027-01-15T07:00:00Z", "updatedAt": "2027-01-15T07:30:00Z"},
            "keys": ["password", "user"]}]),
    );
}

#[test]
fn certificates() {
    check_kind::<Certificate>(
        "certificates.txt",
        json!([{"apiVersion": "caravanserai/v1", "kind": "Certificate",
            "metadata": {"name": "shop", "createdAt": "2027-01-15T07:00:00Z"},
            "status": {"names": ["shop.example.com", "www.example.com"], "issuer": "R3", "managedBy": "acme",
                       "notAfter": "2027-04-15T07:00:00Z", "servesCount": 2,
                       "conditions": [{"type": "Ready", "status": "True", "reason": "Valid"}]}}]),
    );
}

#[test]
fn users() {
    check_kind::<User>(
        "users.txt",
        json!([
            {"apiVersion": "caravanserai/v1", "kind": "User",
             "metadata": {"name": "ann", "createdAt": "2027-01-15T07:00:00Z"},
             "spec": {"displayName": "Ann Example", "grants": [{"role": "admin", "allProjects": true}]}},
            {"apiVersion": "caravanserai/v1", "kind": "User", "metadata": {"name": "bob"},
             "spec": {"grants": [{"role": "developer", "projects": ["shop"]}, {"role": "viewer", "selector": {"team": "red"}}], "suspended": true}},
        ]),
    );
}

#[test]
fn tokens() {
    check_kind::<Token>(
        "tokens.txt",
        json!([
            {"apiVersion": "caravanserai/v1", "kind": "Token",
             "metadata": {"name": "ci", "createdAt": "2027-01-15T07:00:00Z"},
             "spec": {"grants": [{"role": "deployer", "projects": ["shop"]}], "description": "deploys from the main branch"},
             "status": {"hint": "cara_Ab3", "expiresAt": "2027-01-20T08:00:00Z",
                        "lastUsed": "2027-01-15T07:58:00Z"}},
            {"apiVersion": "caravanserai/v1", "kind": "Token", "metadata": {"name": "ann-laptop"},
             "spec": {"user": "ann"}, "status": {"hint": "cara_Xy9"}},
        ]),
    );
}

#[test]
fn federation_rules() {
    check_kind::<Federation>(
        "federations.txt",
        json!([{"apiVersion": "caravanserai/v1", "kind": "Federation",
            "metadata": {"name": "github", "createdAt": "2027-01-15T07:00:00Z"},
            "spec": {"issuer": "https://token.actions.githubusercontent.com", "audience": "caravanserai",
                     "claims": {"repository": "acme/shop", "ref": "refs/heads/main"},
                     "grants": [{"role": "deployer", "projects": ["shop"]}], "expiresIn": "15m"}}]),
    );
}

#[test]
fn contexts() {
    let contexts: context::Contexts = read(json!({"current": "home", "contexts": {
        "home": {"server": "https://cara.example.com", "ca": "PEM", "token": "cara_x", "project": "shop"},
        "here": {"server": "http://localhost:8080"},
    }}));
    check("contexts.txt", "{.items[*].name}", |output, columns| {
        let text = context::shown(&contexts, output, columns).expect("written");
        assert!(!text.contains("cara_x") && !text.contains("PEM"), "{text}");
        text
    });
}

#[test]
fn who_somebody_is() {
    let who: WhoAmI = read(
        json!({"actor": "token:ci", "authenticated": true, "token": "ci",
        "expiresAt": "2027-01-20T08:00:00Z", "grants": [{"role": "deployer", "projects": ["shop"]}]}),
    );
    check("whoami.txt", "{.actor}", |output, _| {
        login::identity(&who, output).expect("written")
    });
    let ann: WhoAmI = read(
        json!({"actor": "ann", "authenticated": true, "grants": [{"role": "admin", "allProjects": true}]}),
    );
    assert_eq!(
        login::identity(&ann, Output::Name).as_deref(),
        Ok("user/ann\n")
    );
}

#[test]
fn things_that_happened() {
    let event = |reason: &str, message: &str, last: &str| {
        json!({"regarding": {"kind": "Project", "name": "shop"}, "type": "Warning", "reason": reason,
               "message": message, "source": "agent/a", "count": 2,
               "firstTime": "2027-01-15T07:00:00Z", "lastTime": last})
    };
    let list: EventList = read(
        json!({"apiVersion": "caravanserai/v1", "kind": "EventList", "items": [
            event("ImagePullFailed", "web: there is no image shop:1.5 in the registry that it names", "2027-01-15T07:30:00Z"),
            event("ContainerExited", "web(exit=3)\nno database", "2027-01-15T07:59:30Z"),
        ]}),
    );
    check("events.txt", "{.items[*].reason}", |output, columns| {
        let mut layout = events::layout(output, columns);
        events::shown(&list, output, &mut layout, now()).expect("written")
    });
}

#[test]
fn what_is_served() {
    let list: RouteList = read(json!({"revision": "7", "items": [
        {"host": "shop.dev.example.com", "path": "/*", "project": "shop", "ingress": "page", "action": "Forward",
         "targets": [{"service": "web", "weight": 1, "state": "Ready", "endpoints": ["10.0.0.1:32768"]}]},
        {"host": "old.example.com", "path": "/*", "project": "shop", "ingress": "old", "action": "Redirect",
         "to": "https://shop.dev.example.com/", "status": 308},
    ]}));
    check("routes.txt", "{.items[*].host}", |output, columns| {
        routes::shown(&list, output, columns).expect("written")
    });
}
