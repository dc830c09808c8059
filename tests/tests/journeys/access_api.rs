//! Who may use the API: every role against every route over HTTP, and what nobody may who is not known.

use std::collections::BTreeMap;

use cara_api::access::routes::{self, Need, On};
use cara_api::access::{Role, Verb};
use cara_tests::eventually;
use serde_json::{Value, json};

use crate::access_people::{Answer, ask, furnish, project, secured, token};

/// Fills a path so that the request changes nothing, if it is let in: what it names is there, and
/// the body is one that every handler refuses.
fn filled(row: &routes::Row, project: &str) -> String {
    let name = match row.need {
        Need::May(_, On::Project | On::ProjectChange) => project.to_owned(),
        Need::May(_, On::Secret | On::SecretChange) => format!("{project}-db"),
        _ => "nothing".to_owned(),
    };
    let mut path = cara_api::paths::fill(row.path, &[&name, "web", "80"]);
    if let Need::May(_, On::ProjectInQuery) = row.need {
        path = format!("{path}?project={project}");
    }
    path
}

/// A document of this name that is not valid: `apiVersion` is that of nobody.
fn refused(row: &routes::Row, project: &str) -> Value {
    let name = match row.need {
        Need::May(_, On::ProjectDocument | On::ProjectChange) => project.to_owned(),
        Need::May(_, On::SecretDocument | On::SecretChange) => format!("{project}-db"),
        Need::May(_, On::Own) => "not-made".to_owned(),
        _ => return Value::Null,
    };
    let team = if project == "shop" { "web" } else { "db" };
    json!({"apiVersion": "nobody/v0", "metadata": {"name": name, "labels": {"team": team, "project": project}}})
}

#[tokio::test]
async fn every_role_may_do_what_its_verbs_say_and_nothing_else() {
    let (server, admin) = secured(&[]).await;
    furnish(&server, &admin).await;
    let scopes = [
        ("all", json!({"allProjects": true}), [true, true, true]),
        ("shop", json!({"projects": ["shop"]}), [false, true, false]),
        (
            "web",
            json!({"selector": {"team": "web"}}),
            [false, true, false],
        ),
    ];
    let mut asked = BTreeMap::new();
    for role in Role::ALL {
        for (scope, grant, [covers_all, covers_shop, covers_blog]) in &scopes {
            let mut grant = grant.clone();
            grant["role"] = json!(role.as_str());
            let name = format!("{role}-{scope}");
            let token = token(&server, &admin, &name, &json!([grant])).await;
            for row in routes::API {
                let (verb, on) = match row.need {
                    Need::May(verb, on) => (Some(verb), on),
                    Need::NodeOr(verb) => (Some(verb), On::Installation),
                    // Of nobody's role, as Known is of everybody's.
                    Need::Node | Need::NodeOfProject | Need::Door => (None, On::Installation),
                    Need::Known => (None, On::Own),
                    // What these answer says nothing of who asks.
                    Need::Public => continue,
                };
                let has_verb = verb.is_some_and(|verb| role.verbs().contains(&verb));
                // What these do cannot be taken back; `delete` of what is there is tried elsewhere.
                if row.method == "DELETE" && on != On::Installation && has_verb {
                    continue;
                }
                let projects = [("shop", covers_shop), ("blog", covers_blog)];
                // What names no project is asked once.
                let is_of_all = matches!(on, On::Installation | On::Each | On::Own);
                for (project, covers) in projects.into_iter().take(2 - usize::from(is_of_all)) {
                    let expected = match on {
                        On::Installation => has_verb && *covers_all,
                        On::Each => has_verb,
                        // Everybody has a look at what is their own.
                        On::Own => true,
                        _ => has_verb && *covers,
                    };
                    let path = filled(row, project);
                    let body = refused(row, project);
                    let answer = ask(&server, Some(&token), row.method, &path, &body).await;
                    let is_let_in = !matches!(answer.status, 401 | 403);
                    let is_own_post = verb.is_some() && on == On::Own && row.method == "POST";
                    let expected = expected && (!is_own_post || role == Role::Admin && *covers_all);
                    assert_eq!(
                        is_let_in, expected,
                        "{name}: {} {path}: {} {}",
                        row.method, answer.status, answer.body
                    );
                    if !is_let_in && verb.is_some() {
                        let detail = answer.body["detail"].as_str().unwrap_or_default();
                        assert!(detail.contains(&format!("token:{name}")), "{detail}");
                    }
                    *asked.entry((role, verb, scope, is_let_in)).or_insert(0) += 1;
                }
            }
        }
    }
    // No route of the API asks for `wake`: requests do that.
    let verbs = Verb::ALL.into_iter().filter(|verb| *verb != Verb::Wake);
    for verb in verbs {
        for role in Role::ALL {
            for (scope, ..) in &scopes {
                let has = |is_let_in| asked.contains_key(&(role, Some(verb), scope, is_let_in));
                let is_own = verb == Verb::Admin;
                assert_eq!(
                    has(true),
                    is_own || role.verbs().contains(&verb),
                    "{role} {verb} {scope}"
                );
                // Everywhere but where all is covered, something was out of reach.
                let has_all = *scope == "all" && role.verbs().contains(&verb);
                assert_eq!(has(false), !has_all, "{role} {verb} {scope}");
            }
        }
    }
}

#[tokio::test]
async fn nobody_comes_in_without_a_token_and_lists_show_what_may_be_read() {
    let (server, admin) = secured(&[]).await;
    furnish(&server, &admin).await;
    for row in routes::API {
        let path = filled(row, "shop");
        let answer = ask(&server, None, row.method, &path, &Value::Null).await;
        if row.need == Need::Public {
            assert_ne!(answer.status, 401, "{} {path}", row.method);
        } else {
            let expected = if row.need == Need::NodeOfProject {
                403
            } else {
                401
            };
            assert_eq!(
                answer.status, expected,
                "{} {path} {}",
                row.method, answer.body
            );
            let challenge = answer.headers.get("www-authenticate");
            let challenge = challenge.map(|value| value.to_str().expect("text"));
            let wanted = (expected == 401).then_some("Bearer realm=\"caravanserai\"");
            assert_eq!(challenge, wanted);
            let detail = answer.body["detail"].as_str().expect("a detail");
            let hint = match row.need {
                Need::Node => "caractrl node join-token",
                Need::NodeOfProject => "show no certificate",
                _ => "caractrl login",
            };
            assert!(detail.contains(hint), "{detail}");
        }
        // No method slips past the rows.
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            if routes::need(method, row.path).is_none() {
                let answer = ask(&server, Some(&admin), method, &path, &Value::Null).await;
                assert!(
                    matches!(answer.status, 401 | 403 | 405),
                    "{method} {path} {}",
                    answer.status
                );
            }
        }
    }
    // Only the node itself acts as one.
    let report = ask(
        &server,
        Some(&admin),
        "GET",
        "/api/v1/nodes/n1/assignments",
        &Value::Null,
    );
    assert!(matches!(report.await.status, 401 | 403));
    let viewer = token(
        &server,
        &admin,
        "v",
        &json!([{"role": "viewer", "projects": ["shop"]}]),
    )
    .await;
    let names = |answer: &Answer| {
        let items = answer.body["items"].as_array().expect("items").iter();
        let names = items.map(|item| item["metadata"]["name"].as_str().unwrap_or_default());
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    for (kind, expected) in [("projects", "shop"), ("secrets", "shop-db")] {
        let path = format!("/api/v1/{kind}");
        let list = ask(&server, Some(&viewer), "GET", &path, &Value::Null).await;
        assert_eq!(names(&list), [expected]);
        let all = ask(&server, Some(&admin), "GET", &path, &Value::Null).await;
        assert_eq!(names(&all).len(), 2);
    }
    let own = ask(
        &server,
        Some(&viewer),
        "GET",
        "/api/v1/tokens",
        &Value::Null,
    )
    .await;
    assert_eq!(names(&own), ["v"]);
    let other = ask(
        &server,
        Some(&viewer),
        "GET",
        "/api/v1/tokens/bootstrap",
        &Value::Null,
    )
    .await;
    assert_eq!(other.status, 404);
    let events = eventually("there are events of both", async || {
        let events = ask(&server, Some(&admin), "GET", "/api/v1/events", &Value::Null).await;
        let text = events.body.to_string();
        (text.contains("\"shop\"") && text.contains("\"blog\"")).then_some(())
    });
    events.await;
    let events = ask(
        &server,
        Some(&viewer),
        "GET",
        "/api/v1/events",
        &Value::Null,
    )
    .await;
    let text = events.body.to_string();
    assert!(
        text.contains("\"shop\"") && !text.contains("\"blog\""),
        "{text}"
    );
    let watch = cara_tests::http()
        .get(server.url("/api/v1/projects?watch=true"))
        .bearer_auth(&viewer)
        .send();
    let mut watch = watch.await.expect("a stream");
    let mut seen = String::new();
    while !seen.contains("BOOKMARK") {
        let chunk = watch.chunk().await.expect("lines").expect("more");
        seen.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(
        seen.contains("\"shop\"") && !seen.contains("\"blog\""),
        "{seen}"
    );
    // The stream ends when its token does.
    let gone = ask(
        &server,
        Some(&admin),
        "DELETE",
        "/api/v1/tokens/v",
        &Value::Null,
    )
    .await;
    assert_eq!(gone.status, 204);
    eventually("the stream ends", async || {
        matches!(watch.chunk().await, Ok(None) | Err(_)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn problems_say_what_happened_for_programs() {
    let (server, admin) = secured(&[]).await;
    furnish(&server, &admin).await;
    let shop = project("shop", &json!({}));
    let stale = json!({"metadata": {"name": "shop", "resourceVersion": "1"}, "spec": shop["spec"]});
    let nothing = json!({"metadata": {"name": "empty"}, "spec": {}});
    let projects = "/api/v1/projects";
    for (token, method, path, body, expected) in [
        (None, "GET", projects, &Value::Null, "401 E-NOT-LOGGED-IN"),
        (Some(&admin), "POST", projects, &shop, "409 E-EXISTS"),
        (Some(&admin), "POST", projects, &nothing, "400 E-INVALID"),
        (
            Some(&admin),
            "PUT",
            "/api/v1/projects/shop",
            &stale,
            "409 E-CHANGED",
        ),
        (
            Some(&admin),
            "GET",
            "/api/v1/projects/ghost",
            &Value::Null,
            "404 E-NOT-FOUND",
        ),
    ] {
        let answer = ask(&server, token.map(String::as_str), method, path, body).await;
        let code = answer.body["code"].as_str().unwrap_or_default();
        assert_eq!(
            format!("{} {code}", answer.status),
            expected,
            "{}",
            answer.body
        );
    }
}
