//! What is accepted and said of certificates.

use cara_certs::ca::CertificateAuthority;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

const DAY: i64 = 86_400;

fn leaf(names: &[&str]) -> Bundle {
    let ca = CertificateAuthority::create(at(0)).expect("randomness");
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    ca.issue_server(&names, at(0)).expect("issued")
}

#[test]
fn what_cannot_be_used_is_refused_by_field() {
    let (bundle, other) = (leaf(&["a.org", "*.b.org"]), leaf(&["a.org"]));
    let faults = |key: &str, hosts: &[&str], now| {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        match check(bundle.chain_pem(), key, &hosts, now) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.into_iter().map(|f| f.path).collect(),
        }
    };
    let key = bundle.key_pem().expose();
    assert_eq!(
        faults(key, &["a.org", "x.b.org", "*.b.org"], at(0)),
        [""; 0]
    );
    assert_eq!(
        faults(key, &["b.org", "a.org", "x.y.b.org"], at(0)),
        ["spec.hosts[0]", "spec.hosts[2]"]
    );
    assert_eq!(
        faults(other.key_pem().expose(), &[], at(0)),
        ["spec.privateKey"]
    );
    assert_eq!(faults("", &[], at(0)), ["spec.privateKey"]);
    assert_eq!(faults(key, &[], at(91 * DAY)), ["spec.certificate"]);
}

#[test]
fn facts_name_the_issuer() {
    let facts = Facts::of(&leaf(&["a.org"]));
    assert_eq!(facts.names, ["a.org"]);
    assert!(
        facts.issuer.starts_with("Caravanserai internal CA"),
        "{}",
        facts.issuer
    );
    assert_eq!(facts.fingerprint.len(), 64);
}

#[test]
fn conditions_tell_of_the_end_and_of_failures() {
    let facts = |end| Facts {
        not_before: Some(at(0)),
        not_after: Some(at(end)),
        ..Facts::default()
    };
    let failed = Attempts {
        failed: 1,
        ..Attempts::default()
    };
    let said = |managed_by, facts: &Facts, attempts: &Attempts, now| {
        let all = conditions(managed_by, facts, attempts, &[], at(now));
        let words: Vec<String> = all
            .iter()
            .map(|c| format!("{} {} {}", c.kind, c.status, c.reason))
            .collect();
        words.join(", ")
    };
    let (none, fine) = (Facts::default(), Attempts::default());
    let user = |end, now| said(ManagedBy::User, &facts(end), &fine, now);
    assert_eq!(user(30 * DAY, 15 * DAY), "Ready True Valid");
    assert_eq!(
        user(30 * DAY, 16 * DAY),
        "Ready True Valid, Expiring True EndsIn14Days"
    );
    assert_eq!(
        user(30 * DAY, 27 * DAY),
        "Ready True Valid, Expiring True EndsIn3Days"
    );
    assert_eq!(
        user(30 * DAY, 30 * DAY + 1),
        "Ready False Expired, Expiring True Ended"
    );
    assert_eq!(user(30 * DAY, -1), "Ready False NotYetValid");
    let acme =
        |facts: &Facts, attempts: &Attempts, now| said(ManagedBy::Acme, facts, attempts, now);
    assert_eq!(acme(&none, &fine, 0), "Ready False Ordering");
    assert_eq!(acme(&none, &failed, 0), "Ready False OrderFailed");
    // The account cannot be used: no attempt of its own failed.
    let account = Attempts {
        last_error: "the ACME account cannot be used".to_owned(),
        ..Attempts::default()
    };
    assert_eq!(acme(&none, &account, 0), "Ready False OrderFailed");
    assert_eq!(
        acme(&facts(30 * DAY), &account, 0),
        "Ready True RenewalFailed"
    );
    assert_eq!(acme(&facts(30 * DAY), &fine, 20 * DAY), "Ready True Valid");
    assert_eq!(
        acme(&facts(30 * DAY), &failed, 20 * DAY),
        "Ready True RenewalFailed, Expiring True EndsIn14Days"
    );
}

#[test]
fn conditions_keep_the_time_at_which_they_became_so() {
    let facts = Facts {
        not_before: Some(at(0)),
        not_after: Some(at(30 * DAY)),
        ..Facts::default()
    };
    let fine = Attempts::default();
    let first = conditions(ManagedBy::User, &facts, &fine, &[], at(20 * DAY));
    let second = conditions(ManagedBy::User, &facts, &fine, &first, at(21 * DAY));
    assert_eq!(first, second);
    assert_eq!(next_moment(&facts, at(0)), Some(at(16 * DAY)));
    assert_eq!(next_moment(&facts, at(20 * DAY)), Some(at(27 * DAY)));
    assert_eq!(next_moment(&facts, at(28 * DAY)), Some(at(30 * DAY + 1)));
    assert_eq!(next_moment(&facts, at(31 * DAY)), None);
}
