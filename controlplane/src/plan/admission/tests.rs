//! Tables.

use super::*;

fn name(text: &str) -> NodeName {
    NodeName::trusted(text)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn admission(id: u128, revoked_at: Option<Timestamp>) -> Admission {
    Admission {
        id: Uuid::from_u128(id),
        joined_at: at(0),
        certificate_not_after: at(100),
        revoked_at,
    }
}

fn certificate(node: &str, admission: u128) -> Shown {
    Shown::Certificate(Presented {
        node: name(node),
        admission: Uuid::from_u128(admission),
        not_after: at(100),
    })
}

#[test]
fn a_certificate_counts_for_the_admission_that_the_node_has() {
    let shown = certificate("a", 1);
    let (live, revoked) = (admission(1, None), admission(1, Some(at(40))));
    let other = admission(2, None);
    for (known, now, expected) in [
        (Some(&live), 50, Who::Node(name("a"))),
        (Some(&live), 100, Who::Refused(Refused::Ended(name("a")))),
        (
            Some(&revoked),
            50,
            Who::Refused(Refused::Revoked(name("a"))),
        ),
        (Some(&other), 50, Who::Refused(Refused::Replaced(name("a")))),
        (None, 50, Who::Refused(Refused::Replaced(name("a")))),
    ] {
        assert_eq!(who(&shown, known, at(now)), expected);
    }
    assert_eq!(who(&Shown::Nothing, Some(&live), at(0)), Who::Somebody);
    let inside = Shown::Inside(name("i"));
    assert_eq!(who(&inside, None, at(0)), Who::Inside(name("i")));
}

#[test]
fn a_node_acts_for_itself_and_does_nothing_else() {
    let node = Who::Node(name("a"));
    let inside = Who::Inside(name("a"));
    let out = Who::Refused(Refused::Revoked(name("a")));
    let passes_on = |who: &Who, route: &str, node: &str| passes(who, Auth::On, route, node);
    for route in FOR_THE_NODE {
        assert_eq!(passes_on(&node, route, "a"), Ok(()));
        assert_eq!(passes_on(&inside, route, "a"), Ok(()));
        assert!(matches!(
            passes_on(&node, route, "b"),
            Err(Denied::OtherNode { .. })
        ));
        assert!(matches!(
            passes_on(&out, route, "a"),
            Err(Denied::Refused(_))
        ));
        let nobody = passes_on(&Who::Somebody, route, "a");
        assert!(nobody.is_err_and(|denied| denied.is_unauthenticated()));
        // Nor does a certificate of one node reach another where nobody has to show any.
        assert!(passes(&node, Auth::Off, route, "b").is_err());
        assert!(passes(&out, Auth::Off, route, "a").is_err());
        let free = passes(&Who::Somebody, Auth::Off, route, "a").is_ok();
        assert_eq!(free, route != paths::NODE_CERTIFICATE, "{route}");
    }
    for route in FOR_ALL {
        for who in [&node, &inside, &out, &Who::Somebody] {
            assert_eq!(passes_on(who, route, ""), Ok(()));
        }
    }
    for route in [
        paths::PROJECTS,
        paths::SECRET,
        paths::NODE,
        paths::NODE_REVOKE,
        paths::JOIN_TOKENS,
        paths::METRICS,
    ] {
        assert_eq!(passes_on(&node, route, "a"), Err(Denied::NotForNodes));
        assert_eq!(passes_on(&inside, route, "a"), Err(Denied::NotForNodes));
        assert!(passes_on(&out, route, "a").is_err());
        assert_eq!(passes_on(&Who::Somebody, route, "a"), Ok(()));
    }
    assert_eq!(passes_on(&inside, paths::NODES, ""), Ok(()));
    assert_eq!(passes_on(&node, paths::NODES, ""), Err(Denied::NotForNodes));
}

#[test]
fn the_door_of_older_agents_closes_with_authentication() {
    let patch = |auth| passes(&Who::Somebody, auth, paths::PROJECT_STATUS, "");
    assert_eq!(patch(Auth::Off), Ok(()));
    assert_eq!(patch(Auth::On), Err(Denied::OlderAgent));
}

fn token(node: Option<&str>, used: Option<Use>) -> StoredToken {
    StoredToken {
        id: "1".to_owned(),
        secret_hash: "right".to_owned(),
        node: node.map(name),
        created_at: at(0),
        expires_at: at(100),
        used,
    }
}

fn used(key: &str) -> Option<Use> {
    Some(Use {
        at: at(10),
        node: name("a"),
        admission: Uuid::from_u128(1),
        key: key.to_owned(),
    })
}

#[test]
fn a_token_lets_in_one_node_once_while_it_lasts() {
    let a = name("a");
    let candidate = Candidate {
        secret_hash: "right",
        node: &a,
        key: "k",
        exists: false,
        admission: None,
    };
    let wrong = Candidate {
        secret_hash: "wrong",
        ..candidate
    };
    let known = Candidate {
        exists: true,
        ..candidate
    };
    let try_at = |token: &StoredToken, candidate, now| redeem(Some(token), candidate, at(now));
    let open = token(None, None);
    assert_eq!(redeem(None, candidate, at(1)), Err(Refusal::Unknown));
    assert_eq!(try_at(&open, wrong, 1), Err(Refusal::Unknown));
    assert_eq!(try_at(&open, candidate, 99), Ok(Redeemed::Admit));
    assert_eq!(
        try_at(&open, candidate, 100),
        Err(Refusal::Expired(at(100)))
    );
    assert_eq!(try_at(&open, known, 1), Err(Refusal::NameTaken(a.clone())));
    let bound = token(Some("a"), None);
    assert_eq!(try_at(&bound, candidate, 1), Ok(Redeemed::Admit));
    assert_eq!(try_at(&bound, known, 1), Ok(Redeemed::Admit));
    let other = token(Some("b"), None);
    assert!(matches!(
        try_at(&other, candidate, 1),
        Err(Refusal::OtherNode { .. })
    ));
}

#[test]
fn a_used_token_answers_only_the_key_that_used_it() {
    let a = name("a");
    let live = admission(1, None);
    let candidate = Candidate {
        secret_hash: "right",
        node: &a,
        key: "k",
        exists: true,
        admission: Some(&live),
    };
    let spent = token(None, used("k"));
    let again = redeem(Some(&spent), candidate, at(20));
    assert_eq!(again, Ok(Redeemed::Again(Uuid::from_u128(1))));
    let (revoked, anew) = (admission(1, Some(at(15))), admission(2, None));
    let refused = [
        (token(None, used("other key")), candidate, 20),
        (spent.clone(), candidate, 100),
        (
            spent.clone(),
            Candidate {
                admission: Some(&revoked),
                ..candidate
            },
            20,
        ),
        (
            spent.clone(),
            Candidate {
                admission: Some(&anew),
                ..candidate
            },
            20,
        ),
        (
            spent,
            Candidate {
                admission: None,
                exists: false,
                ..candidate
            },
            20,
        ),
    ];
    for (token, candidate, now) in refused {
        let redeemed = redeem(Some(&token), candidate, at(now));
        assert!(
            matches!(redeemed, Err(Refusal::Used { .. })),
            "{redeemed:?}"
        );
    }
}
