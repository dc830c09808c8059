//! Certificates: given by users, issued by the internal authority, and never shown with their keys.

use cara_api::paths;
use cara_tests::acme::openssl;
use cara_tests::{Server, eventually, unique};
use serde_json::{Value, json};

const CERTIFICATES: &str = "/api/v1/certificates";

/// What a certificate is made with.
struct Pem {
    chain: String,
    key: String,
}

/// A self-signed certificate for these names.
fn pem(names: &[&str], days: &str) -> Pem {
    let directory = tempfile::tempdir().expect("a directory");
    let names: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
    let names = format!("subjectAltName={}", names.join(","));
    let request = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=test",
        "-addext",
        &names,
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-days",
        days,
        "-keyout",
        "key.pem",
        "-out",
        "chain.pem",
    ];
    openssl(directory.path(), &request);
    let read = |name| std::fs::read_to_string(directory.path().join(name)).expect("written");
    Pem {
        chain: read("chain.pem"),
        key: read("key.pem"),
    }
}

fn body(name: &str, pem: &Pem, hosts: &[&str]) -> String {
    let spec = json!({"certificate": pem.chain, "privateKey": pem.key, "hosts": hosts});
    json!({"metadata": {"name": name}, "spec": spec}).to_string()
}

/// A part of a private key that stands out in any file.
fn secret_part(pem: &Pem) -> &str {
    let line = pem.key.lines().nth(1).expect("a line of base64");
    &line[line.len() - 24..]
}

#[tokio::test]
async fn a_certificate_follows_the_conventions_of_every_kind() {
    let server = Server::start(&[]).await;
    let first = pem(&["shop.example.com", "*.shop.example.com"], "90");
    let hosts = ["shop.example.com", "a.shop.example.com"];
    let (status, created) = server
        .call("POST", CERTIFICATES, &body("shop", &first, &hosts))
        .await;
    assert_eq!(status, 201, "{created}");
    assert_eq!(created["kind"], "Certificate");
    assert_eq!(created["spec"]["certificate"], first.chain);
    assert_eq!(created["spec"]["privateKey"], Value::Null);
    assert_eq!(created["status"]["managedBy"], "user");
    assert_eq!(
        created["status"]["names"],
        json!(["shop.example.com", "*.shop.example.com"])
    );
    assert_eq!(created["status"]["issuer"], "test");
    assert_eq!(created["status"]["conditions"][0]["reason"], "Valid");
    let (status, again) = server
        .call("POST", CERTIFICATES, &body("shop", &first, &[]))
        .await;
    assert_eq!(status, 409, "{again}");
    let path = "/api/v1/certificates/shop";
    assert_eq!(server.call("GET", path, "").await.1, created);
    let (status, same) = server
        .call("PUT", path, &body("shop", &first, &hosts))
        .await;
    assert_eq!((status, &same), (200, &created), "no new version");
    // What was read can be sent back: the key that is stored stays.
    let mut read = created.clone();
    read["metadata"]["labels"] = json!({"team": "blue"});
    let (status, labelled) = server.call("PUT", path, &read.to_string()).await;
    assert_eq!(status, 200, "{labelled}");
    assert_eq!(labelled["metadata"]["generation"], 1);
    let second = pem(&["shop.example.com"], "60");
    let (status, replaced) = server.call("PUT", path, &body("shop", &second, &[])).await;
    assert_eq!(status, 200, "{replaced}");
    assert_eq!(replaced["metadata"]["generation"], 2);
    assert_ne!(
        replaced["status"]["fingerprint"],
        created["status"]["fingerprint"]
    );
    let keyless = json!({"spec": {"certificate": first.chain}}).to_string();
    let (status, refused) = server.call("PUT", path, &keyless).await;
    assert_eq!(status, 400, "the stored key does not fit: {refused}");
    let stale = json!({"metadata": {"resourceVersion": created["metadata"]["resourceVersion"]},
        "spec": {"certificate": second.chain}});
    assert_eq!(server.call("PUT", path, &stale.to_string()).await.0, 409);
    assert_eq!(server.call("DELETE", path, "").await.0, 204);
    assert_eq!(server.call("GET", path, "").await.0, 404);
    for pem in [&first, &second] {
        assert!(!server.log().contains(secret_part(pem)));
        for file in std::fs::read_dir(server.directory()).expect("a directory") {
            let path = file.expect("an entry").path();
            let bytes = std::fs::read(&path).unwrap_or_default();
            let part = secret_part(pem).as_bytes();
            assert!(
                !bytes.windows(part.len()).any(|w| w == part),
                "{}",
                path.display()
            );
        }
    }
    let audit = std::fs::read_to_string(server.directory().join("audit.jsonl")).expect("a log");
    assert!(
        audit.contains("/spec/privateKey") && audit.contains("shop.example.com"),
        "{audit}"
    );
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_by_field() {
    let server = Server::start(&[]).await;
    let (good, other) = (pem(&["a.example.com"], "90"), pem(&["a.example.com"], "90"));
    let mixed = Pem {
        chain: good.chain.clone(),
        key: other.key.clone(),
    };
    let none = Pem {
        chain: "hello".to_owned(),
        key: good.key.clone(),
    };
    let encrypted = Pem {
        chain: good.chain.clone(),
        key: good.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
    };
    for (name, pem, hosts, field, said) in [
        ("a", &mixed, &[][..], "spec.privateKey", "does not belong"),
        ("a", &none, &[], "spec.certificate", "BEGIN CERTIFICATE"),
        ("a", &encrypted, &[], "spec.privateKey", "decrypt it first"),
        (
            "a",
            &good,
            &["b.example.com"],
            "spec.hosts[0]",
            "does not cover",
        ),
        ("A", &good, &[], "metadata.name", "is invalid"),
        (
            "acme.b.example.com",
            &good,
            &[],
            "metadata.name",
            "reserved",
        ),
    ] {
        let (status, problem) = server
            .call("POST", CERTIFICATES, &body(name, pem, hosts))
            .await;
        let text = problem["errors"].to_string();
        assert_eq!(status, 400, "{problem}");
        assert!(text.contains(field) && text.contains(said), "{text}");
        assert!(!text.contains(secret_part(pem)), "{text}");
    }
    let short = pem(&["a.example.com"], "5");
    let request = crate::certificates::post(&server, &body("a", &short, &[])).await;
    let warning = request.headers().get("warning").expect("a warning");
    assert!(
        warning
            .to_str()
            .expect("text")
            .contains("replace it in time")
    );
}

async fn post(server: &Server, body: &str) -> reqwest::Response {
    let request = cara_tests::http().post(server.url(CERTIFICATES));
    request
        .body(body.to_owned())
        .send()
        .await
        .expect("an answer")
}

#[tokio::test]
async fn the_internal_authority_outlives_a_restart() {
    let mut server = Server::start(&[]).await;
    let issued = |server: &Server| {
        let path = paths::fill(paths::CERTIFICATE, &["ca-wildcard.dev.localhost"]);
        let client = server.client();
        async move { client.get::<Value>(&path).await.ok() }
    };
    let leaf = eventually("the wildcard is issued", async || issued(&server).await).await;
    assert_eq!(leaf["status"]["managedBy"], "ca");
    assert_eq!(leaf["status"]["names"], json!(["*.dev.localhost"]));
    let (code, pem, err) = server.ctl(&["ca", "print"]).await;
    assert_eq!(code, 0, "{err}");
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("ca.pem"), &pem).expect("written");
    let chain = leaf["spec"]["certificate"].as_str().expect("PEM");
    std::fs::write(directory.path().join("leaf.pem"), chain).expect("written");
    let verify = [
        "verify",
        "-CAfile",
        "ca.pem",
        "-verify_hostname",
        "shop.dev.localhost",
        "leaf.pem",
    ];
    openssl(directory.path(), &verify);
    let apex = paths::fill(paths::CERTIFICATE, &["ca.dev.localhost"]);
    let (status, refused) = server.call("DELETE", &apex, "").await;
    assert_eq!(status, 409, "{refused}");
    let (status, refused) = server
        .call("PUT", &apex, &body("", &pem_of(&leaf), &[]))
        .await;
    assert_eq!(status, 409, "{refused}");
    eventually("its end is measured", async || {
        let (_, metrics) = server.call("GET", "/metrics", "").await;
        let series = "cara_certificate_not_after_seconds{managed_by=\"ca\"}";
        metrics.as_str()?.contains(series).then_some(())
    })
    .await;
    server.kill();
    server.start_again().await;
    let (_, again, _) = server.ctl(&["ca", "print"]).await;
    assert_eq!(again, pem, "the same authority");
    let kept = eventually("the wildcard is there", async || issued(&server).await).await;
    assert_eq!(kept["status"]["fingerprint"], leaf["status"]["fingerprint"]);
    // One whose key may not be safe is made anew.
    let wildcard = "/api/v1/certificates/ca-wildcard.dev.localhost?force=true";
    assert_eq!(server.call("DELETE", wildcard, "").await.0, 204);
    eventually("it is issued again", async || {
        let found = issued(&server).await?;
        (found["status"]["fingerprint"] != leaf["status"]["fingerprint"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_its_key_the_server_makes_a_new_authority_but_keeps_what_users_gave() {
    let mut server = Server::start(&[]).await;
    let first = eventually("there is an authority", async || {
        let (code, first, _) = server.ctl(&["ca", "print"]).await;
        (code == 0).then_some(first)
    })
    .await;
    server.kill();
    std::fs::remove_file(server.directory().join("secret.key")).expect("removed");
    server.start_again().await;
    eventually("there is another authority", async || {
        let (code, second, _) = server.ctl(&["ca", "print"]).await;
        (code == 0 && second != first).then_some(())
    })
    .await;
    let given = pem(&["a.example.com"], "90");
    let (status, _) = server
        .call("POST", CERTIFICATES, &body("given", &given, &[]))
        .await;
    assert_eq!(status, 201);
    server.kill();
    std::fs::remove_file(server.directory().join("secret.key")).expect("removed");
    let output = std::process::Command::new(cara_tests::process::program("cara-server"))
        .args([
            "--api-listen",
            "127.0.0.1:0",
            "--http-listen",
            "127.0.0.1:0",
            "--data-dir",
        ])
        .arg(server.directory())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("is missing"),
        "{said}"
    );
}

fn pem_of(certificate: &Value) -> Pem {
    let chain = certificate["spec"]["certificate"]
        .as_str()
        .unwrap_or_default();
    Pem {
        chain: chain.to_owned(),
        key: String::new(),
    }
}

#[tokio::test]
async fn certificates_are_handled_by_the_client() {
    let server = Server::start(&[]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let (name, host) = (unique("cert"), "shop.example.com");
    let pem = pem(&[host], "90");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let (cert, key) = (file("cert.pem", &pem.chain), file("key.pem", &pem.key));
    let create = [
        "create",
        "certificate",
        &name,
        "--cert",
        &cert,
        "--key",
        &key,
        "--host",
        host,
    ];
    let (code, out, err) = server.ctl(&create).await;
    assert_eq!(
        (code, out),
        (0, format!("certificate/{name} created\n")),
        "{err}"
    );
    let (code, _, err) = server.ctl(&create).await;
    assert!(code == 4 && err.contains("--replace"), "{err}");
    let (code, out, _) = server.ctl(&[&create[..], &["--replace"]].concat()).await;
    assert_eq!((code, out), (0, format!("certificate/{name} replaced\n")));
    let (_, out, _) = server.ctl(&["get", "certificates", "-o", "wide"]).await;
    let line = out
        .lines()
        .find(|line| line.starts_with(&name))
        .expect("a row");
    for word in [host, "test", "89d", "Valid", "user"] {
        assert!(line.contains(word), "{word}: {out}");
    }
    // Applied from a file, read back, and named by a project.
    let spec = json!({"certificate": pem.chain, "privateKey": pem.key});
    let document = json!({"kind": "Certificate", "metadata": {"name": name}, "spec": spec});
    let applied = file("applied.yaml", &document.to_string());
    let (code, out, err) = server.ctl(&["apply", "-f", &applied]).await;
    assert_eq!(
        (code, out),
        (0, format!("certificate/{name} configured\n")),
        "{err}"
    );
    let project = json!({"services": [{"name": "web", "image": "cara-test/app:1"}],
        "ingress": [{"name": "web", "host": host, "tls": name,
            "target": {"service": "web", "port": 8080}}]});
    server.create("shop", &project).await;
    let (_, out, _) = server.ctl(&["describe", "certificate", &name]).await;
    for text in [
        "Named By:\n  shop/web",
        &format!("Serves:\n  {host}"),
        "Created",
    ] {
        assert!(out.contains(text), "{text}: {out}");
    }
    assert!(!out.contains("PRIVATE KEY"), "{out}");
    let (code, _, err) = server.ctl(&["delete", "certificate", &name]).await;
    assert!(code == 4 && err.contains("shop"), "{err}");
    let (code, out, _) = server
        .ctl(&["delete", "certificate", &name, "--force"])
        .await;
    assert_eq!(
        (code, out),
        (0, format!("certificate \"{name}\" deleted\n"))
    );
    eventually("the events tell of it", async || {
        let (_, out, _) = server.ctl(&["events", "certificates", &name]).await;
        ["Created", "Removed"]
            .iter()
            .all(|word| out.contains(word))
            .then_some(())
    })
    .await;
    let (code, out, _) = server.ctl(&["ca", "install", "--dry-run"]).await;
    assert!(code == 1 || out.starts_with("would write "), "{out}");
    server.delete("shop").await;
}
