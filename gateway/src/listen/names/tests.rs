use rcgen::{CertificateParams, KeyPair};

use super::*;

/// A host that asks clients for something, or not.
fn host(name: &str) -> (Hostname, Arc<Host>) {
    let hostname = Hostname::parse(name).expect("a hostname");
    let host = Host {
        project: "p".into(),
        tls: Default::default(),
        routes: Vec::new(),
    };
    (hostname, Arc::new(host))
}

fn named(certificate: &str) -> Option<Special> {
    Some(Special {
        certificate: Some(certificate.to_owned()),
        ..Special::default()
    })
}

#[test]
fn an_exact_host_goes_before_a_wildcard_of_one_label() {
    let mut names = Names::default();
    let hosts = ["*.x.test", "a.x.test", "plain.x.test"];
    names.set_hosts(hosts.into_iter().map(host).collect());
    names.set("*.x.test", named("wildcard"));
    names.set("a.x.test", named("exact"));
    let found = |names: &Names, host: &str| {
        let special = names.special(host);
        special.and_then(|special| special.certificate.clone())
    };
    for (host, expected) in [
        ("a.x.test", Some("exact")),
        ("b.x.test", Some("wildcard")),
        ("plain.x.test", None),
        ("c.b.x.test", None),
        ("x.test", None),
        (".x.test", None),
        ("", None),
    ] {
        assert_eq!(found(&names, host).as_deref(), expected, "{host}");
    }
    names.set("*.x.test", None);
    assert_eq!(found(&names, "b.x.test"), None);
    assert_eq!(found(&names, "a.x.test").as_deref(), Some("exact"));
}

#[test]
fn clients_are_asked_as_long_as_any_host_asks() {
    let ask = || {
        let authorities = ClientAuthorities {
            ca_pem: "ca".into(),
            is_optional: false,
        };
        let client_auth = Arc::new(ClientAuth {
            authorities,
            config: None,
        });
        Some(Special {
            client_auth: Some(client_auth),
            ..Special::default()
        })
    };
    let mut names = Names::default();
    for (host, special, expected) in [
        ("a.test", ask(), true),
        ("b.test", ask(), true),
        ("b.test", ask(), true),
        ("a.test", named("own"), true),
        ("b.test", None, false),
        ("b.test", None, false),
        ("*.test", ask(), true),
        ("*.test", None, false),
    ] {
        names.set(host, special);
        assert_eq!(names.asks_clients(), expected, "{host}");
    }
}

fn connection(asked: Option<&ClientAuthorities>) -> TlsInfo {
    let params = CertificateParams::new(vec!["a.test".to_owned()]).expect("a name");
    let key = KeyPair::generate().expect("a key");
    let chain = params.self_signed(&key).expect("a certificate").pem();
    let bundle = Bundle::from_pem(&chain, &key.serialize_pem()).expect("a bundle");
    let auth = |authorities: &ClientAuthorities| {
        Arc::new(ClientAuth {
            authorities: authorities.clone(),
            config: None,
        })
    };
    TlsInfo {
        version: "TLSv1.3",
        sni: Some("a.test".into()),
        certificate: Arc::new(bundle),
        client_auth: asked.map(auth),
        client_certificate: None,
    }
}

#[test]
fn a_host_is_served_over_connections_that_asked_what_it_asks() {
    let authorities = |ca: &str, is_optional| ClientAuthorities {
        ca_pem: ca.into(),
        is_optional,
    };
    let [ours, optional, other] = [
        authorities("ours", false),
        authorities("ours", true),
        authorities("other", false),
    ];
    for (tls, wanted, expected) in [
        (None, &ours, false),
        (None, &optional, true),
        (Some(connection(None)), &ours, false),
        (Some(connection(None)), &optional, false),
        (Some(connection(Some(&optional))), &ours, false),
        (Some(connection(Some(&other))), &ours, false),
        (Some(connection(Some(&ours))), &ours, true),
        (Some(connection(Some(&optional))), &optional, true),
    ] {
        let is_served = has_asked(tls.as_ref(), wanted);
        assert_eq!(is_served, expected, "{tls:?} {wanted:?}");
    }
}
