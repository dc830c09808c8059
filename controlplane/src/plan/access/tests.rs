//! Every role against every verb and every scope.

use cara_api::Timestamp;
use cara_api::access::{TokenOrigin, TokenSpec, TokenStatus, User, validate::parse_grant};

use super::change::{Against, Change};
use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    owned.collect()
}

fn bearer(grants: &[&str], within: Option<&[&str]>) -> Identity {
    let parse = |texts: &[&str]| {
        let parsed = texts.iter().map(|text| parse_grant(text).expect("a grant"));
        parsed.collect()
    };
    Identity::Bearer(Bearer {
        actor: "ann".to_owned(),
        token: TokenName::trusted("t"),
        person: None,
        user: Some(UserName::trusted("ann")),
        rights: Rights {
            grants: parse(grants),
            within: within.map(parse),
        },
    })
}

/// What each role may do where it was given, one letter a verb in the order of `Verb::ALL`.
const TABLE: [(&str, &str); 5] = [
    ("viewer", "r------"),
    ("developer", "rlx-ws-"),
    ("deployer", "rl-dw--"),
    ("maintainer", "rlxdws-"),
    ("admin", "rlxdwsa"),
];

#[test]
fn every_role_against_every_verb_and_scope() {
    let (web, other) = (
        labels(&[("team", "web"), ("tier", "1")]),
        labels(&[("team", "db")]),
    );
    let owned = labels(&[("project", "shop"), ("team", "web")]);
    let foreign = labels(&[("project", "blog")]);
    let named = |name, labels| Named {
        name,
        labels: Some(labels),
    };
    // Objects, and which of the scopes `*`, `shop`, `team=web` cover them.
    let objects = [
        (Object::Installation, [true, false, false]),
        (Object::Project(named("shop", &web)), [true, true, true]),
        (Object::Project(named("shop", &other)), [true, true, false]),
        (Object::Project(named("blog", &web)), [true, false, true]),
        (Object::Project(named("blog", &other)), [true, false, false]),
        (Object::Secret(named("db", &owned)), [true, true, true]),
        (Object::Secret(named("shop", &other)), [true, false, false]),
        (Object::Secret(named("db", &foreign)), [true, false, false]),
        (
            Object::Project(Named {
                name: "shop",
                labels: None,
            }),
            [true, true, false],
        ),
        (
            Object::Secret(Named {
                name: "db",
                labels: None,
            }),
            [true, false, false],
        ),
    ];
    let mut asked = 0;
    for (role, allowed) in TABLE {
        for (index, verb) in Verb::ALL.into_iter().enumerate() {
            let has_verb = allowed.as_bytes().get(index) != Some(&b'-');
            for (object, covered) in objects {
                for (scope, covers) in ["*", "shop", "team=web"].iter().zip(covered) {
                    let identity = bearer(&[&format!("{role}:{scope}")], None);
                    assert_eq!(
                        identity.may(verb, object),
                        has_verb && covers,
                        "{role}:{scope} {verb} {object}"
                    );
                    assert_eq!(identity.may_somewhere(verb), has_verb);
                    asked += 1;
                }
            }
        }
    }
    assert_eq!(asked, 5 * 7 * 10 * 3);
}

#[test]
fn what_nobody_allows_is_refused() {
    let none = labels(&[]);
    let shop = Object::Project(Named {
        name: "shop",
        labels: Some(&none),
    });
    let empty = Grant {
        role: "admin".to_owned(),
        ..Grant::default()
    };
    let unknown = Grant {
        role: "boss".to_owned(),
        all_projects: true,
        ..Grant::default()
    };
    for grants in [vec![], vec![empty], vec![unknown]] {
        let rights = Rights {
            grants,
            within: None,
        };
        for verb in Verb::ALL {
            assert!(!rights.allow(verb, shop), "{rights:?} {verb}");
            assert!(!rights.allow(verb, Object::Installation));
        }
    }
    for verb in Verb::ALL {
        assert!(Identity::Unasked.may(verb, Object::Installation));
        assert!(!Identity::Unknown.may(verb, shop));
        assert!(!Identity::Node(NodeName::trusted("n")).may(verb, shop));
    }
}

#[test]
fn grants_add_up_and_tokens_only_narrow() {
    let none = labels(&[]);
    let project = |name| {
        Object::Project(Named {
            name,
            labels: Some(&none),
        })
    };
    let both = bearer(&["viewer:*", "deployer:shop"], None);
    assert!(both.may(Verb::Deploy, project("shop")));
    assert!(!both.may(Verb::Deploy, project("blog")));
    assert!(both.may(Verb::Read, project("blog")));
    let narrowed = bearer(&["maintainer:shop"], Some(&["admin:*"]));
    assert!(narrowed.may(Verb::Exec, project("shop")));
    assert!(!narrowed.may(Verb::Admin, project("shop")));
    assert!(!narrowed.may(Verb::Read, project("blog")));
    let narrowed = bearer(&["admin:*"], Some(&["viewer:shop"]));
    assert!(narrowed.may(Verb::Read, project("shop")));
    assert!(!narrowed.may(Verb::Logs, project("shop")));
    assert!(!narrowed.may(Verb::Read, Object::Installation));
}

#[test]
fn a_node_is_itself_only() {
    let node = Identity::Node(NodeName::trusted("n1"));
    assert!(node.is_node("n1") && !node.is_node("n2"));
    assert!(!bearer(&["admin:*"], None).is_node("n1"));
    assert!(Identity::Unasked.is_node("n1") && !Identity::Unknown.is_node("n1"));
}

#[test]
fn a_token_counts_until_its_end_and_while_its_user_is_there() {
    let at = |second| Timestamp::from_second(second).expect("a time");
    let mut ann = User::default();
    ann.spec.grants = vec![parse_grant("viewer:*").expect("a grant")];
    let mut gone = ann.clone();
    gone.spec.suspended = true;
    let status = |expires_at| TokenStatus {
        expires_at,
        origin: TokenOrigin::Created,
        ..TokenStatus::default()
    };
    let spec = |user: &str| TokenSpec {
        user: user.to_owned(),
        ..TokenSpec::default()
    };
    let find = |name: &str| match name {
        "ann" => Some(&ann),
        "gone" => Some(&gone),
        _ => None,
    };
    for (user, end, expected) in [
        ("ann", Some(at(11)), Ok("ann")),
        ("ann", Some(at(10)), Err(Refusal::Expired)),
        ("ann", None, Err(Refusal::Expired)),
        ("gone", Some(at(11)), Err(Refusal::Suspended)),
        ("bob", Some(at(11)), Err(Refusal::UserGone)),
        ("", Some(at(11)), Ok("token:t")),
    ] {
        let owner = match user {
            "" => Owner::Itself,
            name => Owner::User(find(name)),
        };
        let bearer = rights("t", &spec(user), &status(end), owner, at(10));
        let actor = bearer.as_ref().map(|bearer| bearer.actor.as_str());
        assert_eq!(
            actor.map_err(|refusal| *refusal),
            expected,
            "{user} {end:?}"
        );
    }
}

#[test]
fn a_token_of_a_person_is_good_for_what_they_may_now() {
    let at = |second| Timestamp::from_second(second).expect("a time");
    let grant = |text: &str| cara_api::access::validate::parse_grant(text).expect("a grant");
    let check = |origin, narrowed: &[Grant], now: &[Grant]| {
        let spec = TokenSpec {
            grants: narrowed.to_vec(),
            ..TokenSpec::default()
        };
        let status = TokenStatus {
            origin,
            expires_at: Some(at(11)),
            subject: "ann@example.com".to_owned(),
            ..TokenStatus::default()
        };
        let owner = Owner::Person {
            id: "1",
            grants: now.to_vec(),
        };
        rights("t", &spec, &status, owner, at(10)).map(|bearer| {
            assert_eq!(bearer.actor, "ann@example.com");
            assert_eq!(bearer.person.as_deref(), Some("1"));
            bearer.rights
        })
    };
    let (all, shop) = ([grant("admin:*")], [grant("developer:shop")]);
    let whole = |grants: &[Grant], within: Option<&[Grant]>| {
        Ok(Rights {
            grants: grants.to_vec(),
            within: within.map(<[Grant]>::to_vec),
        })
    };
    let (created, login) = (TokenOrigin::Created, TokenOrigin::Login);
    for (origin, narrowed, now, expected) in [
        (created, &[][..], &all[..], whole(&all, None)),
        (created, &shop, &all, whole(&all, Some(&shop))),
        (created, &all, &shop, whole(&shop, Some(&all))),
        (created, &all, &[], Err(Refusal::PersonGone)),
        (login, &all, &shop, whole(&shop, None)),
        (login, &all, &[], Err(Refusal::PersonGone)),
    ] {
        assert_eq!(check(origin, narrowed, now), expected, "{origin:?}");
    }
}

#[test]
fn grants_of_a_login_are_only_shown() {
    for (origin, has_person, expected) in [
        (TokenOrigin::Login, true, true),
        (TokenOrigin::Login, false, false),
        (TokenOrigin::Created, true, false),
        (TokenOrigin::Bootstrap, false, false),
        (TokenOrigin::Federation, false, false),
    ] {
        let status = TokenStatus {
            origin,
            ..TokenStatus::default()
        };
        let is_so = shows_grants_only(&status, has_person);
        assert_eq!(is_so, expected, "{origin:?} {has_person}");
    }
}

#[test]
fn a_use_is_written_down_once_a_minute() {
    let at = |second| Timestamp::from_second(second).expect("a time");
    for (last, now, expected) in [
        (None, 0, true),
        (Some(at(0)), 59, false),
        (Some(at(0)), 60, true),
        (Some(at(100)), 0, false),
    ] {
        assert_eq!(is_use_news(last, at(now)), expected, "{last:?} {now}");
    }
}

/// A project or secret by name, with labels.
fn labelled<'a>(name: &'a str, labels: &'a BTreeMap<String, String>) -> Named<'a> {
    Named {
        name,
        labels: Some(labels),
    }
}

#[test]
fn a_change_is_allowed_before_and_after_it_and_with_what_it_names() {
    let (web, db) = (labels(&[("team", "web")]), labels(&[("team", "db")]));
    let (own, foreign) = (
        labels(&[("project", "shop")]),
        labels(&[("project", "blog")]),
    );
    let shop = |labels| Some(Object::Project(labelled("shop", labels)));
    let of = |before, after| Change {
        before,
        after,
        ..Change::default()
    };
    let by_label = bearer(&["deployer:team=web"], None);
    let by_name = bearer(&["deployer:shop"], None);
    let reads = bearer(&["developer:shop"], None);
    // Created, deleted, kept, moved out, moved in.
    for (before, after, label_may) in [
        (None, shop(&web), true),
        (None, shop(&db), false),
        (shop(&web), None, true),
        (shop(&db), None, false),
        (shop(&web), shop(&web), true),
        (shop(&web), shop(&db), false),
        (shop(&db), shop(&web), false),
    ] {
        let change = of(before, after);
        let is_allowed = |who: &Identity| change.against(who, Verb::Deploy).is_none();
        assert_eq!(is_allowed(&by_label), label_may, "{before:?} {after:?}");
        assert!(is_allowed(&by_name), "{before:?} {after:?}");
        assert!(!is_allowed(&reads), "{before:?} {after:?}");
        assert!(!is_allowed(&Identity::Unknown) && is_allowed(&Identity::Unasked));
    }
    let secret = |labels| Change {
        names: vec![Named { name: "db", labels }],
        ..of(shop(&web), shop(&web))
    };
    for (change, may) in [
        (secret(Some(&own)), true),
        (secret(Some(&foreign)), false),
        (secret(None), false),
    ] {
        let against = change.against(&by_name, Verb::Deploy);
        let named = change.names.iter().map(|named| Object::Secret(*named));
        let expected = named.map(Against::Object).find(|_| !may);
        assert_eq!(against, expected);
        assert_eq!(
            change.against(&bearer(&["deployer:*"], None), Verb::Deploy),
            None
        );
    }
}

#[test]
fn the_name_of_a_secret_that_projects_use_is_theirs() {
    let own = labels(&[("project", "shop")]);
    let none = labels(&[]);
    let (shop, blog) = (labelled("shop", &none), labelled("blog", &none));
    for (grants, named_by, refused) in [
        (&["deployer:shop"][..], vec![], vec![]),
        (&["deployer:shop"], vec![shop], vec![]),
        (&["deployer:shop"], vec![shop, blog], vec![blog]),
        (&["deployer:shop", "viewer:blog"], vec![blog], vec![blog]),
        (&["deployer:shop,blog"], vec![shop, blog], vec![]),
    ] {
        let change = Change {
            after: Some(Object::Secret(labelled("db", &own))),
            named_by,
            ..Change::default()
        };
        let expected = (!refused.is_empty()).then_some(Against::NamedBy(refused));
        assert_eq!(
            change.against(&bearer(grants, None), Verb::Deploy),
            expected
        );
    }
}
