use rcgen::{CertificateParams, KeyPair};

use super::*;
use crate::listen::client::Alpn;

#[test]
fn an_exact_host_goes_before_a_wildcard_of_one_label() {
    let mut map = HostMap::default();
    map.insert("*.x.test", 1);
    map.insert("a.x.test", 2);
    for (host, expected) in [
        ("a.x.test", Some(2)),
        ("b.x.test", Some(1)),
        ("c.b.x.test", None),
        ("x.test", None),
        (".x.test", None),
        ("", None),
    ] {
        assert_eq!(map.find(host).copied(), expected, "{host}");
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
        alpn: Alpn::Http1,
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
