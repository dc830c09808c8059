//! Every way in, and every way that is closed.

use std::time::Duration;

use cara_api::gateway::{BasicAuth, Bearer, ShareLinks};
use cara_api::secret::Hidden;

use super::*;

const NOW_S: i64 = 1_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW_S).expect("a time")
}

fn nothing() -> Presented<'static> {
    Presented {
        client: "192.0.2.1".parse().ok(),
        host: "a.x",
        project: "shop",
        ingress: "web",
        is_navigation: false,
        is_safe: true,
        bypass: Proof::Absent,
        login: None,
        opened: None,
        link: Link::Absent,
        bearer: Proof::Absent,
        basic: Proof::Absent,
    }
}

fn shown(change: impl FnOnce(&mut Presented<'static>)) -> Presented<'static> {
    let mut shown = nothing();
    change(&mut shown);
    shown
}

fn with(change: impl FnOnce(&mut Access)) -> Access {
    let mut access = Access::default();
    change(&mut access);
    access
}

fn basic(access: &mut Access) {
    access.basic = Some(BasicAuth {
        users: Vec::new(),
        realm: String::new(),
    });
}

fn bearer(access: &mut Access) {
    access.bearer = Some(Bearer {
        issuer: "i".into(),
        jwks_url: None,
        audiences: Vec::new(),
        claims: Vec::new(),
    });
}

fn oidc(access: &mut Access) {
    access.oidc = Some(settings(&[], &[]));
}

fn share(access: &mut Access) {
    access.share = Some(ShareLinks {
        max_age: Duration::from_secs(3_600),
        epoch: "1".into(),
    });
}

fn settings(emails: &[&str], groups: &[&str]) -> Oidc {
    let texts = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect();
    Oidc {
        issuer: "i".into(),
        client_id: "c".into(),
        client_secret: None,
        scopes: Vec::new(),
        emails: texts(emails),
        groups: texts(groups),
        session: Duration::from_secs(600),
    }
}

fn ann() -> Who {
    Who {
        user: "ann".into(),
        email: Some("Ann@Example.com".into()),
        groups: vec!["dev".into()],
    }
}

fn login(change: impl FnOnce(&mut Login)) -> Option<Login> {
    let mut login = Login {
        host: "a.x".into(),
        issuer: "i".into(),
        client: "c".into(),
        who: ann(),
        begin: NOW_S - 10,
        end: NOW_S + 590,
    };
    change(&mut login);
    Some(login)
}

fn opened(change: impl FnOnce(&mut Opened)) -> Option<Opened> {
    let mut opened = Opened {
        host: "a.x".into(),
        project: "shop".into(),
        ingress: "web".into(),
        epoch: "1".into(),
        end: NOW_S + 1,
    };
    change(&mut opened);
    Some(opened)
}

fn ask() -> Verdict {
    Verdict::Refuse(Refusal::Ask { token: None })
}

fn check(access: &Access, shown: &Presented<'_>, expected: &Verdict) {
    let verdict = decide(access, shown, now());
    assert_eq!(verdict, *expected, "{access:?}\n{shown:?}");
}

#[test]
fn networks_hold_for_all_and_missing_settings_let_nobody_in() {
    let net = |access: &mut Access| {
        access.allow = vec!["192.0.2.0/24".parse().expect("a network")];
    };
    let open = Verdict::Admit(By::Open, Who::default());
    let wrong = Verdict::Refuse(Refusal::Network);
    check(&Access::default(), &nothing(), &open);
    check(&with(net), &nothing(), &open);
    check(&with(net), &shown(|s| s.client = None), &wrong);
    let mapped = shown(|s| s.client = "::ffff:192.0.2.9".parse().ok());
    check(&with(net), &mapped, &open);
    let outside = shown(|s| {
        s.client = "198.51.100.1".parse().ok();
        s.bypass = Proof::Right(Who::default());
        s.basic = Proof::Right(ann());
    });
    let both = with(|a| {
        net(a);
        basic(a);
        a.bypass = Some(Hidden::new("t"));
    });
    check(&both, &outside, &wrong);
    let broken = with(|a| {
        basic(a);
        a.bypass = Some(Hidden::new("t"));
        a.broken = Some("secret x is missing".into());
    });
    let right = shown(|s| s.bypass = Proof::Right(Who::default()));
    check(&broken, &right, &Verdict::Refuse(Refusal::Broken));
}

#[test]
fn one_way_that_succeeds_is_enough() {
    let all = with(|a| {
        basic(a);
        bearer(a);
        oidc(a);
        share(a);
        a.bypass = Some(Hidden::new("t"));
    });
    let admit = |by, who| Verdict::Admit(by, who);
    let right = || Proof::Right(ann());
    for (shown, expected) in [
        (
            shown(|s| s.bypass = Proof::Right(Who::default())),
            admit(By::Bypass, Who::default()),
        ),
        (shown(|s| s.login = login(|_| {})), admit(By::Login, ann())),
        (
            shown(|s| s.opened = opened(|_| {})),
            admit(By::Share, Who::default()),
        ),
        (shown(|s| s.link = Link::Right(5)), Verdict::Open(5)),
        (
            shown(|s| {
                s.link = Link::Right(5);
                s.is_safe = false;
            }),
            admit(By::Share, Who::default()),
        ),
        (shown(|s| s.bearer = right()), admit(By::Bearer, ann())),
        (shown(|s| s.basic = right()), admit(By::Basic, ann())),
        (
            shown(|s| s.bypass = Proof::Given),
            Verdict::Look(Look::Bypass),
        ),
        (
            shown(|s| s.bearer = Proof::Given),
            Verdict::Look(Look::Bearer),
        ),
        (
            shown(|s| s.basic = Proof::Given),
            Verdict::Look(Look::Basic),
        ),
        // A wrong token of one way does not close another.
        (
            shown(|s| {
                s.bypass = Proof::Refused(String::new());
                s.login = login(|_| {});
            }),
            admit(By::Login, ann()),
        ),
        (
            shown(|s| {
                s.link = Link::Wrong;
                s.opened = opened(|_| {});
            }),
            admit(By::Share, Who::default()),
        ),
    ] {
        check(&all, &shown, &expected);
    }
}

#[test]
fn what_a_rule_does_not_ask_for_opens_nothing() {
    let everything = shown(|s| {
        s.login = login(|_| {});
        s.opened = opened(|_| {});
        s.link = Link::Right(NOW_S + 5);
        s.bearer = Proof::Right(ann());
        s.bypass = Proof::Right(ann());
        s.basic = Proof::Absent;
    });
    check(&with(basic), &everything, &ask());
    let all_but_bypass = shown(|s| {
        s.basic = Proof::Right(ann());
        s.bearer = Proof::Right(ann());
        s.login = login(|_| {});
    });
    let bypass = with(|a| a.bypass = Some(Hidden::new("t")));
    check(&bypass, &all_but_bypass, &ask());
}

#[test]
fn a_session_counts_at_its_host_for_its_settings_until_it_ends() {
    type Change = fn(&mut Login);
    let changes: [Change; 6] = [
        |l| l.host = "b.x".into(),
        |l| l.issuer = "j".into(),
        |l| l.client = "d".into(),
        |l| l.end = NOW_S,
        |l| l.begin = NOW_S - 600,
        |l| l.begin = i64::MIN,
    ];
    for change in changes {
        let shown = shown(|s| s.login = login(change));
        check(&with(oidc), &shown, &ask());
    }
    type Other = fn(&mut Opened);
    let changes: [Other; 5] = [
        |o| o.host = "b.x".into(),
        |o| o.project = "other".into(),
        |o| o.ingress = "other".into(),
        |o| o.epoch = "2".into(),
        |o| o.end = NOW_S,
    ];
    for change in changes {
        let shown = shown(|s| s.opened = opened(change));
        check(&with(share), &shown, &ask());
    }
}

#[test]
fn those_who_are_not_let_in_learn_what_to_do() {
    let browser = |change: fn(&mut Presented<'static>)| {
        shown(|s| {
            s.is_navigation = true;
            change(s);
        })
    };
    let both = with(|a| {
        oidc(a);
        basic(a);
    });
    let refuse = Verdict::Refuse;
    check(&with(oidc), &browser(|_| {}), &refuse(Refusal::LogIn));
    check(&with(oidc), &browser(|s| s.is_safe = false), &ask());
    check(&with(oidc), &nothing(), &ask());
    check(&both, &browser(|_| {}), &refuse(Refusal::LogIn));
    // Somebody who types passwords is not sent to a login page.
    check(
        &both,
        &browser(|s| s.basic = Proof::Refused(String::new())),
        &ask(),
    );
    check(&with(basic), &browser(|_| {}), &ask());
    check(
        &with(share),
        &browser(|s| s.link = Link::Wrong),
        &refuse(Refusal::Link),
    );
    check(
        &with(basic),
        &browser(|s| s.basic = Proof::Limited(7)),
        &refuse(Refusal::Limited(7)),
    );
    check(
        &with(bearer),
        &browser(|s| s.bearer = Proof::Unknown),
        &refuse(Refusal::Unknown),
    );
    let why = Verdict::Refuse(Refusal::Ask {
        token: Some("why".into()),
    });
    check(
        &with(bearer),
        &browser(|s| s.bearer = Proof::Refused("why".into())),
        &why,
    );
    let unwanted = with(|a| a.oidc = Some(settings(&["bob@example.com"], &[])));
    let expected = refuse(Refusal::NotPermitted("Ann@Example.com".into()));
    check(&unwanted, &browser(|s| s.login = login(|_| {})), &expected);
}

#[test]
fn addresses_and_groups_decide_who_is_wanted() {
    let who = |email: Option<&str>, groups: &[&str]| Who {
        user: "u".into(),
        email: email.map(str::to_owned),
        groups: groups.iter().map(|s| (*s).to_owned()).collect(),
    };
    for (emails, groups, person, expected) in [
        (&[][..], &[][..], who(None, &[]), true),
        (&["a@x.y"], &[], who(Some("A@X.y"), &[]), true),
        (&["a@x.y"], &[], who(Some("b@x.y"), &[]), false),
        (&["a@x.y"], &[], who(None, &[]), false),
        (&["@x.y"], &[], who(Some("b@x.y"), &[]), true),
        (&["@x.y"], &[], who(Some("b@z.x.y"), &[]), false),
        (&["@x.y"], &[], who(Some("\"b@x.y\"@evil.z"), &[]), false),
        (&["@x.y"], &[], who(Some("@x.y.evil"), &[]), false),
        (&["@x.y"], &[], who(Some("x.y"), &[]), false),
        (&[""], &[], who(None, &[]), false),
        (&[], &["dev"], who(None, &["ops", "dev"]), true),
        (&[], &["dev"], who(None, &["devs"]), false),
        (&["@x.y"], &["dev"], who(Some("a@x.y"), &[]), false),
        (&["@x.y"], &["dev"], who(Some("a@x.y"), &["dev"]), true),
    ] {
        let settings = settings(emails, groups);
        assert_eq!(
            is_permitted(&settings, &person),
            expected,
            "{settings:?} {person:?}"
        );
    }
}
