//! Nodes that join by a token over TLS: in once, for themselves alone, and out at once.

mod entry;
mod identity;
mod listener;

use std::path::Path;
use std::time::Duration;

use cara_tests::{Agent, Server};
use serde_json::{Value, json};

/// A server whose API has TLS and wants to know who asks, on loopback.
const GUARDED: [&str; 3] = ["--api-tls", "internal", "--auth=true"];

/// Makes a token; `more` are flags of `caractrl node join-token`.
async fn token(server: &Server, more: &[&str]) -> String {
    let args = [&["node", "join-token", "--token-only"], more].concat();
    let (code, out, err) = server.ctl(&args).await;
    assert_eq!(code, 0, "{err}");
    out.trim().to_owned()
}

async fn joined(server: &Server, node: &str) -> Agent {
    let agent = Agent::join(server, node, &token(server, &[]).await);
    server.node_ready(node).await;
    agent
}

/// What an agent keeps of its identity.
fn identity(directory: &Path) -> Value {
    let text = std::fs::read_to_string(directory.join("identity.json")).expect("an identity");
    serde_json::from_str(&text).expect("JSON")
}

/// Somebody who got hold of what an agent keeps.
struct Thief {
    client: reqwest::Client,
    base: String,
}

impl Thief {
    fn of(server: &Server, directory: &Path) -> Self {
        let stolen = identity(directory);
        let text = |key: &str| stolen[key].as_str().expect("text").to_owned();
        let pem = format!("{}\n{}", text("certificate"), text("key"));
        let roots = reqwest::Certificate::from_pem_bundle(text("authority").as_bytes());
        let client = server
            .api_http_builder()
            .tls_certs_only(roots.expect("PEM"))
            .identity(reqwest::Identity::from_pem(pem.as_bytes()).expect("an identity"))
            .timeout(Duration::from_secs(20))
            .build();
        Self {
            client: client.expect("a client"),
            base: server.url(""),
        }
    }

    /// Status and detail of a request; 0 when there was no answer.
    async fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let method = method.parse().expect("a method");
        let request = self.client.request(method, format!("{}{path}", self.base));
        let request = request.json(&json!({}));
        let Ok(answer) = request.send().await else {
            return (0, String::new());
        };
        let status = answer.status().as_u16();
        if path.ends_with("/assignments") && status == 200 {
            return (status, String::new());
        }
        let text = answer.text().await.unwrap_or_default();
        let problem: Value = serde_json::from_str(&text).unwrap_or_default();
        (
            status,
            problem["detail"].as_str().unwrap_or_default().to_owned(),
        )
    }
}
