//! Certificates of clients, of the gateway towards services, and RSA: from the document to the
//! service, as `curl` and `openssl` see it.

use cara_tests::acme::openssl;
use cara_tests::pki::{Authority, Curl, Issued, KeyKind};
use cara_tests::{Server, eventually, unique};
use serde_json::{Value, json};

const HTTPS: [&str; 2] = ["--https-listen", "127.0.0.1:0"];

async fn store(server: &Server, kind: &str, body: &Value) {
    let path = format!("/api/v1/{kind}");
    let (status, answer) = server.call("POST", &path, &body.to_string()).await;
    assert_eq!(status, 201, "{answer}");
}

fn secret(name: &str, data: &Value) -> Value {
    json!({"metadata": {"name": name}, "data": data})
}

/// The internal authority's root, in a file of the server's directory.
async fn internal_root(server: &Server) -> std::path::PathBuf {
    let pem = eventually("there is an authority", async || {
        let (code, pem, _) = server.ctl(&["ca", "print"]).await;
        (code == 0).then_some(pem)
    })
    .await;
    let path = server.directory().join("internal.pem");
    std::fs::write(&path, pem).expect("written");
    path
}

#[tokio::test]
async fn an_ingress_lets_in_whom_its_authority_vouches_for() {
    let node = unique("node");
    let server = Server::with_agent(&node, &HTTPS).await;
    let root = internal_root(&server).await;
    let clients = Authority::new("clients", KeyKind::Ec);
    let strangers = Authority::new("strangers", KeyKind::Ec);
    let (ci, eve) = (
        clients.issue("ci", &["ci.internal"], KeyKind::Rsa),
        strangers.issue("eve", &["eve.internal"], KeyKind::Ec),
    );
    let name = unique("mtls");
    let authorities = unique("authorities");
    let ca = secret(&authorities, &json!({"ca.crt": clients.root_pem()}));
    store(&server, "secrets", &ca).await;
    let (closed, asking, open) = (
        format!("closed-{name}"),
        format!("asking-{name}"),
        format!("open-{name}"),
    );
    let target = json!({"service": "web", "port": 8080});
    let spec = json!({
        "services": [{"name": "web", "image": "cara-test/app:1",
            "env": [{"name": "VERSION", "value": "1"}]}],
        "ingress": [
            {"name": "closed", "host": closed, "target": target,
                "clientCertificate": {"ca": authorities}},
            {"name": "asking", "host": asking, "target": target,
                "clientCertificate": {"ca": authorities, "optional": true}},
            {"name": "open", "host": open, "target": target},
        ],
    });
    server.create(&name, &spec).await;
    server.running(&name).await;
    let port = server.https().port();
    let [closed, asking, open] = [closed, asking, open].map(|host| format!("{host}.dev.localhost"));
    let ask = async |tls: &str, host: &str, shows: Option<&Issued>, version: &str| {
        let url = format!("https://{tls}:{port}/");
        let curl = Curl {
            url: &url,
            host: (tls != host).then_some(host),
            trusts: &root,
            shows,
            more: &[version],
        };
        curl.ask().await
    };
    eventually("it is served", async || {
        let (status, body) = ask(&closed, &closed, Some(&ci), "--http2").await;
        (status == 200 && body == "version 1\n").then_some(())
    })
    .await;
    for (tls, host, shown, expected) in [
        (&closed, &closed, Some(&ci), 200),
        // No answer at all: the handshake fails.
        (&closed, &closed, None, 0),
        (&closed, &closed, Some(&eve), 0),
        (&asking, &asking, None, 200),
        (&asking, &asking, Some(&ci), 200),
        (&asking, &asking, Some(&eve), 0),
        (&open, &open, None, 200),
        // One certificate covers all of them, so clients may use a connection for several hosts.
        (&open, &closed, None, 421),
        (&open, &closed, Some(&ci), 421),
        (&closed, &open, Some(&ci), 421),
        (&asking, &closed, None, 421),
        (&asking, &closed, Some(&ci), 421),
    ] {
        for version in ["--http1.1", "--http2"] {
            let (status, body) = ask(tls, host, shown, version).await;
            assert_eq!(status, expected, "{version} {tls} {host}: {body}");
            assert!(status == 200 || !body.contains("version 1"), "{body}");
        }
    }
    let (status, _) = server.page(&closed, "/").await;
    assert_eq!(status, 421, "without TLS");

    // The service learns which certificate it was, and nothing that a client makes up.
    let pem = ci.cert_pem();
    let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    for (host, shown, expected) in [
        (&closed, Some(&ci), json!(format!(":{der}:"))),
        (&asking, Some(&ci), json!(format!(":{der}:"))),
        (&asking, None, Value::Null),
        (&open, Some(&ci), Value::Null),
    ] {
        for version in ["--http1.1", "--http2"] {
            let curl = Curl {
                url: &format!("https://{host}:{port}/headers"),
                host: None,
                trusts: &root,
                shows: shown,
                more: &[version, "-H", "Client-Cert: :ZXZpbA==:"],
            };
            let (_, body) = curl.ask().await;
            let headers: Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!(headers["client-cert"], expected, "{version} {host}");
        }
    }

    // Another authority takes its place: who came in stays out, and the other way round.
    let path = format!("/api/v1/secrets/{authorities}");
    let ca = secret(&authorities, &json!({"ca.crt": strangers.root_pem()}));
    let (status, answer) = server.call("PUT", &path, &ca.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    eventually("the new authority counts", async || {
        let (status, _) = ask(&closed, &closed, Some(&eve), "--http2").await;
        (status == 200).then_some(())
    })
    .await;
    assert_eq!(ask(&closed, &closed, Some(&ci), "--http2").await.0, 0);
    server.delete(&name).await;
}

/// A service that wants to see a certificate.
const NGINX: &str = "daemon off;
user root;
error_log stderr;
pid /run/nginx.pid;
events {}
http {
  access_log off;
  server {
    listen 8443 ssl;
    ssl_certificate /run/tls/tls.crt;
    ssl_certificate_key /run/tls/tls.key;
    ssl_client_certificate /run/tls/clients.crt;
    ssl_verify_client on;
    location / { return 200 \"$ssl_client_verify $ssl_client_s_dn\\n\"; }
  }
}
";

#[tokio::test]
async fn a_service_knows_the_gateway_by_its_certificate() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let services = Authority::new("services", KeyKind::Ec);
    let gateways = Authority::new("gateways", KeyKind::Ec);
    let (own, gateway, stranger) = (
        services.issue("backend", &["backend.internal"], KeyKind::Rsa),
        gateways.issue("gateway", &["gateway.internal"], KeyKind::Ec),
        services.issue("stranger", &["gateway.internal"], KeyKind::Ec),
    );
    let name = unique("upstream");
    let files = json!({"tls.crt": own.cert_pem(), "tls.key": own.key_pem(),
        "clients.crt": gateways.root_pem()});
    store(&server, "secrets", &secret(&format!("{name}-tls"), &files)).await;
    let roots = json!({"ca.crt": services.root_pem()});
    store(&server, "secrets", &secret(&format!("{name}-ca"), &roots)).await;
    for (suffix, issued) in [("gateway", &gateway), ("stranger", &stranger)] {
        let document = issued.document(&format!("{name}-{suffix}"));
        store(&server, "certificates", &document).await;
    }
    let rule = |rule: &str, tls: Value| {
        let target = json!({"service": "web", "port": 8443, "protocol": "HTTPS", "tls": tls});
        json!({"name": rule, "host": name, "path": format!("/{rule}"), "target": target})
    };
    let ca = format!("{name}-ca");
    let good = json!({"serverName": "backend.internal", "ca": ca,
        "certificate": format!("{name}-gateway")});
    let unlike = |field: &str, value: Value| {
        let mut tls = good.clone();
        tls[field] = value;
        tls
    };
    let spec = json!({
        "services": [{"name": "web", "image": "nginx:alpine",
            "configs": [{"path": "/etc/nginx/nginx.conf", "content": NGINX}],
            "secrets": [{"secret": format!("{name}-tls"), "path": "/run/tls"}]}],
        "ingress": [
            rule("good", good.clone()),
            rule("nothing", unlike("certificate", json!(""))),
            rule("stranger", unlike("certificate", json!(format!("{name}-stranger")))),
            rule("name", unlike("serverName", json!("other.internal"))),
            rule("unsigned", unlike("ca", json!(""))),
            rule("insecure", json!({"insecure": true, "certificate": format!("{name}-gateway")})),
        ],
    });
    server.create(&name, &spec).await;
    server.running(&name).await;
    let host = format!("{name}.dev.localhost");
    let page = async |rule: &str| server.page(&host, &format!("/{rule}")).await;
    let known = "SUCCESS CN=gateway\n";
    eventually("it is served", async || {
        (page("good").await == (200, known.to_owned())).then_some(())
    })
    .await;
    for (rule, expected, says) in [
        ("good", 200, known),
        ("insecure", 200, known),
        ("nothing", 400, "No required SSL certificate was sent"),
        ("stranger", 400, "The SSL certificate error"),
        ("name", 502, ""),
        ("unsigned", 502, ""),
    ] {
        let (status, body) = page(rule).await;
        assert_eq!(status, expected, "{rule}: {body}");
        assert!(body.contains(says), "{rule}: {body}");
    }

    // A new certificate of the gateway is shown without a change of the project.
    let next = gateways.issue("next", &["gateway.internal"], KeyKind::Rsa);
    let path = format!("/api/v1/certificates/{name}-gateway");
    let document = next.document(&format!("{name}-gateway")).to_string();
    let (status, answer) = server.call("PUT", &path, &document).await;
    assert_eq!(status, 200, "{answer}");
    eventually("the new one is shown", async || {
        (page("good").await == (200, "SUCCESS CN=next\n".to_owned())).then_some(())
    })
    .await;
    server.delete(&name).await;
}

#[tokio::test]
async fn an_rsa_certificate_is_served_beside_others() {
    let server = Server::start(&HTTPS).await;
    let authority = Authority::new("company", KeyKind::Rsa);
    let (rsa, ec) = (
        authority.issue("rsa", &["rsa.example.com"], KeyKind::Rsa),
        authority.issue("ec", &["ec.example.com"], KeyKind::Ec),
    );
    // Keys come as PKCS #8 or as PKCS #1.
    let old = openssl(
        server.directory(),
        &["rsa", "-traditional", "-in", &rsa.key.display().to_string()],
    );
    assert!(old.contains("BEGIN RSA PRIVATE KEY"));
    let mut document = rsa.document("rsa");
    document["spec"]["privateKey"] = json!(old);
    store(&server, "certificates", &document).await;
    store(&server, "certificates", &ec.document("ec")).await;
    let rule = |name: &str| {
        json!({"name": name, "host": format!("{name}.example.com"), "tls": name,
            "respond": {"body": format!("this is {name}")}})
    };
    let spec = json!({"services": [{"name": "web", "image": "cara-test/app:1"}],
        "ingress": [rule("rsa"), rule("ec")]});
    let name = unique("rsa");
    server.create(&name, &spec).await;
    let (address, root) = (server.https().to_string(), authority.root());
    let root_path = root.display().to_string();
    let shown = |host: &str, version: &str| {
        let connect = [
            "s_client",
            "-connect",
            &address,
            "-servername",
            host,
            "-verify_hostname",
            host,
            "-CAfile",
            &root_path,
            version,
        ];
        openssl(server.directory(), &connect)
    };
    let ok = "Verify return code: 0 (ok)";
    eventually("both are served", async || {
        let are_served = ["rsa.example.com", "ec.example.com"]
            .iter()
            .all(|host| shown(host, "-tls1_3").contains(ok));
        are_served.then_some(())
    })
    .await;
    for version in ["-tls1_2", "-tls1_3"] {
        for (host, key, signature) in [
            (
                "rsa.example.com",
                "Server public key is 2048 bit",
                "Peer signature type: RSA-PSS",
            ),
            (
                "ec.example.com",
                "Server public key is 256 bit",
                "Peer signature type: ECDSA",
            ),
        ] {
            let text = shown(host, version);
            for part in [ok, key, signature] {
                assert!(text.contains(part), "{part} {version}: {text}");
            }
        }
    }
    let port = server.https().port();
    for (name, more) in [
        ("rsa", "--tls-max=1.2"),
        ("rsa", "--http2"),
        ("ec", "--http2"),
    ] {
        let url = format!("https://{name}.example.com:{port}/");
        let curl = Curl {
            url: &url,
            host: None,
            trusts: &root,
            shows: None,
            more: &more.split('=').collect::<Vec<_>>(),
        };
        let expected = (200, format!("this is {name}"));
        assert_eq!(curl.ask().await, expected, "{more}");
    }
    server.delete(&name).await;
}
