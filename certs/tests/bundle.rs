//! Bundles, the table and the internal authority, with what operators have: files made by openssl.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cara_certs::ca::{CaError, CertificateAuthority, LEAF_LIFE};
use cara_certs::{Bundle, BundleError, CertTable};
use jiff::{SignedDuration, Timestamp};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// Runs openssl in a directory.
fn openssl(dir: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(dir)
        .output()
        .expect("openssl is missing: run `deploy/dev/setup.sh test`");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments}: {error}");
}

fn read(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(name)).expect("a file that openssl made")
}

/// A self-signed leaf made by openssl with a new key.
fn self_signed(dir: &Path, key: &str, more: &str) -> (String, String) {
    openssl(
        dir,
        &format!(
            "req -x509 -newkey {key} -nodes -keyout key.pem -out cert.pem -days 30 \
             -addext basicConstraints=critical,CA:FALSE {more}"
        ),
    );
    (read(dir, "cert.pem"), read(dir, "key.pem"))
}

#[test]
fn keys_of_all_promised_kinds_are_read() {
    let kinds = [
        "rsa:2048",
        "ed25519",
        "ec -pkeyopt ec_paramgen_curve:P-256",
        "ec -pkeyopt ec_paramgen_curve:P-384",
    ];
    for kind in kinds {
        let dir = tempfile::tempdir().unwrap();
        let san = "-subj /CN=x -addext subjectAltName=DNS:Web.Example,IP:192.0.2.7,IP:::1";
        let (cert, key) = self_signed(dir.path(), kind, san);
        let bundle = Bundle::from_pem(&cert, &key).unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert_eq!(bundle.names(), ["web.example", "192.0.2.7", "::1"]);
        assert!(bundle.covers("WEB.example") && bundle.covers("192.0.2.7"));
        assert!(bundle.is_valid_at(Timestamp::now()));
        assert!(!bundle.is_valid_at(Timestamp::now() + SignedDuration::from_hours(24 * 31)));
    }
}

#[test]
fn keys_in_older_containers_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, _) = self_signed(
        dir.path(),
        "rsa:2048",
        "-subj /CN=x -addext subjectAltName=DNS:a",
    );
    openssl(dir.path(), "rsa -in key.pem -traditional -out pkcs1.pem");
    let pkcs1 = read(dir.path(), "pkcs1.pem");
    assert!(pkcs1.starts_with("-----BEGIN RSA PRIVATE KEY-----"));
    Bundle::from_pem(&cert, &pkcs1).unwrap();

    let kind = "ec -pkeyopt ec_paramgen_curve:P-256";
    let (cert, _) = self_signed(dir.path(), kind, "-subj /CN=x -addext subjectAltName=DNS:a");
    openssl(dir.path(), "ec -in key.pem -out sec1.pem");
    let sec1 = read(dir.path(), "sec1.pem");
    assert!(sec1.starts_with("-----BEGIN EC PRIVATE KEY-----"));
    Bundle::from_pem(&cert, &sec1).unwrap();
}

#[test]
fn what_cannot_be_served_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let kind = "ec -pkeyopt ec_paramgen_curve:P-256";
    let san = "-subj /CN=x -addext subjectAltName=DNS:a.example";
    let (cert, key) = self_signed(dir.path(), kind, san);
    let check = |cert: &str, key: &str, wanted: &str| {
        let error = Bundle::from_pem(cert, key).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{error:?} does not say {wanted:?}");
    };
    check("", &key, "holds no certificate");
    check(&key, &key, "holds no certificate");
    check(&cert, "", "there is no private key");
    check(&cert, &cert, "there is no private key");
    check(
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        &key,
        "certificate 1 of the chain cannot be read",
    );
    openssl(
        dir.path(),
        "pkcs8 -topk8 -in key.pem -out sealed.pem -passout pass:secret",
    );
    check(
        &cert,
        &read(dir.path(), "sealed.pem"),
        "decrypt it first (`openssl pkey",
    );
    openssl(dir.path(), "genpkey -algorithm ed25519 -out other.pem");
    check(
        &cert,
        &read(dir.path(), "other.pem"),
        "does not belong to the certificate a.example",
    );
    openssl(
        dir.path(),
        "ecparam -name secp521r1 -genkey -noout -out p521.pem",
    );
    check(
        &cert,
        &read(dir.path(), "p521.pem"),
        "unsupported type: use ECDSA P-256",
    );

    let (nameless, its_key) = self_signed(dir.path(), kind, "-subj /CN=only.example");
    check(
        &nameless,
        &its_key,
        "`CN=only.example` has no subject alternative names",
    );
}

#[test]
fn the_chain_must_be_whole_and_in_order() {
    let now = Timestamp::now();
    let (ca, other) = (
        CertificateAuthority::create(now).unwrap(),
        CertificateAuthority::create(now).unwrap(),
    );
    let leaf = ca.issue_server(&strings(&["a.example"]), now).unwrap();
    let (leaf_pem, key) = (leaf.chain_pem(), leaf.key_pem().expose());
    let chain = format!("{leaf_pem}{}", ca.certificate_pem());
    assert_eq!(
        Bundle::from_pem(&chain, key).unwrap().names(),
        ["a.example"]
    );

    let foreign = format!("{leaf_pem}{}", other.certificate_pem());
    let error = Bundle::from_pem(&foreign, key).unwrap_err();
    assert!(
        matches!(error, BundleError::OutOfOrder { position: 1, .. }),
        "{error}"
    );
    let reversed = format!("{}{leaf_pem}", ca.certificate_pem());
    let error = Bundle::from_pem(&reversed, key).unwrap_err();
    assert!(
        matches!(error, BundleError::OutOfOrder { position: 1, .. }),
        "{error}"
    );

    let error = Bundle::from_pem(ca.certificate_pem(), ca.key_pem().expose()).unwrap_err();
    assert!(
        matches!(error, BundleError::LeafIsAuthority { .. }),
        "{error}"
    );
}

#[test]
fn a_key_is_not_shown() {
    let now = Timestamp::now();
    let ca = CertificateAuthority::create(now).unwrap();
    let bundle = ca.issue_server(&strings(&["a.example"]), now).unwrap();
    let text = format!("{bundle:?} {ca:?} {:?}", ca.key_pem());
    assert!(text.contains("key_pem: ***"), "{text}");
    assert!(!text.contains("PRIVATE"), "{text}");
}

#[test]
fn an_exact_name_wins_over_a_wildcard_and_a_wildcard_covers_one_label() {
    let now = Timestamp::now();
    let ca = CertificateAuthority::create(now).unwrap();
    let issue = |names: &[&str], hours: i64| {
        let at = now - SignedDuration::from_hours(hours);
        Arc::new(ca.issue_server(&strings(names), at).unwrap())
    };
    let wildcard = issue(&["*.dev.x"], 0);
    let (older, newer) = (issue(&["web.dev.x"], 9), issue(&["web.dev.x", "dev.x"], 5));
    let expectations = [
        ("web.dev.x", Some(&newer)),
        ("dev.x", Some(&newer)),
        ("api.dev.x", Some(&wildcard)),
        ("a.api.dev.x", None),
        (".dev.x", None),
        ("x", None),
        ("", None),
    ];
    let orders = [[&wildcard, &older, &newer], [&newer, &older, &wildcard]];
    for order in orders {
        let table = CertTable::new(order.map(Arc::clone));
        for (name, expected) in expectations {
            assert_eq!(table.find(name), expected, "{name}");
            let covered = order.iter().any(|bundle| bundle.covers(name));
            assert_eq!(covered, expected.is_some(), "{name}");
        }
        assert_eq!(table.len(), 3);
    }
    assert!(CertTable::default().is_empty());
}

/// What a client that trusts only the root says to a server that shows the bundle.
fn verify(ca: &CertificateAuthority, bundle: &Bundle, name: &str) -> Result<(), rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(ca.certificate_pem().as_bytes()).expect("a root");
    roots.add(root).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .expect("a verifier");
    let (leaf, rest) = bundle.certified_key().cert.split_first().expect("a leaf");
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    verifier
        .verify_server_cert(leaf, rest, &name, &[], UnixTime::now())
        .map(|_verified| ())
}

#[test]
fn clients_with_the_root_accept_what_it_issues() {
    let now = Timestamp::now();
    let made = CertificateAuthority::create(now).unwrap();
    let loaded =
        CertificateAuthority::from_pem(made.certificate_pem(), made.key_pem().expose()).unwrap();
    assert_eq!(made.fingerprint(), loaded.fingerprint());
    let names = strings(&["*.dev.localhost", "dev.localhost", "127.0.0.1", "::1"]);
    let bundle = loaded.issue_server(&names, now).unwrap();
    assert_eq!(bundle.names(), names);
    assert_eq!(
        bundle.not_after().as_second(),
        (now + LEAF_LIFE).as_second()
    );
    for name in ["web.dev.localhost", "dev.localhost", "127.0.0.1", "::1"] {
        verify(&made, &bundle, name).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    verify(&made, &bundle, "a.web.dev.localhost").expect_err("a wildcard covers one label");
    let other = CertificateAuthority::create(now).unwrap();
    verify(&other, &bundle, "web.dev.localhost").expect_err("another root");
    let client = made.issue_client("node-1", now).unwrap();
    verify(&made, &client, "node-1").expect_err("a client's certificate is no server's");
}

/// openssl, as an independent reader, accepts root, server and client for their purposes.
#[test]
fn openssl_accepts_what_the_authority_issues() {
    let dir = tempfile::tempdir().unwrap();
    let now = Timestamp::now();
    let ca = CertificateAuthority::create(now).unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("root.pem", ca.certificate_pem());
    let server = ca
        .issue_server(&strings(&["*.dev.localhost"]), now)
        .unwrap();
    write("server.pem", server.chain_pem());
    let client = ca.issue_client("node-1", now).unwrap();
    write("client.pem", client.chain_pem());
    let verify = "verify -x509_strict -CAfile root.pem";
    openssl(
        dir.path(),
        &format!("{verify} -purpose sslserver -verify_hostname web.dev.localhost server.pem"),
    );
    openssl(
        dir.path(),
        &format!("{verify} -purpose sslclient client.pem"),
    );
}

#[test]
fn an_authority_refuses_what_it_cannot_do() {
    let now = Timestamp::now();
    let ca = CertificateAuthority::create(now).unwrap();
    let other = CertificateAuthority::create(now).unwrap();
    let issue = |names: &[&str]| ca.issue_server(&strings(names), now).unwrap_err();
    assert!(matches!(issue(&[]), CaError::NoNames));
    for name in ["", "a b", "*.*.x", "x.", "ä.x", "*", "a..b"] {
        assert!(
            matches!(issue(&[name]), CaError::BadName(bad) if bad == name),
            "{name:?}"
        );
    }
    let error = ca
        .issue_server(&strings(&["a"]), ca.not_after())
        .unwrap_err();
    assert!(matches!(error, CaError::Expired(_)), "{error}");
    let error = CertificateAuthority::from_pem(ca.certificate_pem(), other.key_pem().expose());
    assert!(matches!(error, Err(CaError::KeyMismatch(_))));
    let leaf = ca.issue_server(&strings(&["a"]), now).unwrap();
    let error = CertificateAuthority::from_pem(leaf.chain_pem(), leaf.key_pem().expose());
    assert!(matches!(error, Err(CaError::NotAnAuthority(_))));

    let last_day = ca.not_after() - SignedDuration::from_hours(24);
    let short = ca.issue_server(&strings(&["a"]), last_day).unwrap();
    assert_eq!(
        short.not_after(),
        ca.not_after(),
        "no leaf outlives its root"
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2000))]

    /// What users upload is read or refused, whatever it is.
    #[test]
    fn damaged_certificates_never_panic(
        changes in proptest::collection::vec((0..700_usize, 0..=255_u8), 1..4),
        cut in 0..1500_usize,
    ) {
        static MADE: std::sync::OnceLock<Bundle> = std::sync::OnceLock::new();
        let bundle = MADE.get_or_init(|| {
            let now = Timestamp::now();
            let ca = CertificateAuthority::create(now).unwrap();
            ca.issue_server(&strings(&["*.a.example", "::1", "192.0.2.1"]), now).unwrap()
        });
        let mut der = bundle.certified_key().cert[0].to_vec();
        for (position, value) in changes {
            let position = position % der.len();
            der[position] = value;
        }
        der.truncate(cut);
        let body = BASE64_STANDARD.encode(&der);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
        if let Ok(read) = Bundle::from_pem(&pem, bundle.key_pem().expose()) {
            let _ = CertTable::new([Arc::new(read)]);
        }
        let _ = CertificateAuthority::from_pem(&pem, bundle.key_pem().expose());
    }
}
