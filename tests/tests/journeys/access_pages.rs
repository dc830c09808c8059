//! A server that asks nobody who they are, and pages and names of somebody else.

use cara_tests::Server;
use serde_json::json;

use crate::access_people::project;

/// A request as bytes, so that nothing is added to it; the status and the answer.
async fn raw(server: &Server, request: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(server.api)
        .await
        .expect("connected");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (status.unwrap_or_default(), text)
}

#[tokio::test]
async fn a_server_that_asks_nobody_answers_neither_other_names_nor_pages_of_others() {
    let server = Server::start(&["--api-names", "cara.lan"]).await;
    let port = server.api.port();
    let body = project("shop", &json!({})).to_string();
    let post = |headers: &str| {
        format!(
            "POST /api/v1/projects HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        )
    };
    let get = |headers: &str| {
        format!("GET /api/v1/secrets HTTP/1.1\r\nConnection: close\r\n{headers}\r\n")
    };
    let json = "Content-Type: application/json\r\n";
    let own = format!("Host: localhost:{port}\r\n");
    for (request, expected, says) in [
        // DNS rebinding: a name of somebody else leads here.
        (
            get(&format!("Host: evil.example:{port}\r\n")),
            421,
            "api-names",
        ),
        (get("Host: localhost.evil.example\r\n"), 421, "evil.example"),
        (get("Host: 127.0.0.1.nip.example\r\n"), 421, "nip.example"),
        (
            post(&format!(
                "Host: evil.example\r\nOrigin: http://evil.example\r\n{json}"
            )),
            421,
            "evil.example",
        ),
        // A page of somebody else sends what needs no question of the browser.
        (
            post(&format!(
                "{own}Origin: http://evil.example\r\nContent-Type: text/plain\r\n"
            )),
            403,
            "evil.example",
        ),
        (post(&format!("{own}Origin: null\r\n{json}")), 403, "null"),
        (
            post(&format!("{own}Origin: http://localhost:3000\r\n{json}")),
            403,
            "localhost:3000",
        ),
        (
            post(&format!(
                "{own}Sec-Fetch-Site: cross-site\r\nContent-Type: text/plain\r\n"
            )),
            403,
            "another site",
        ),
        // A form without any of these, as older browsers send it.
        (
            post(&format!(
                "{own}User-Agent: Mozilla/5.0\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            )),
            415,
            "application/json",
        ),
        (
            post(&format!("{own}Content-Type: text/plain\r\n")),
            415,
            "text/plain",
        ),
        (
            get(&format!("{own}Origin: http://evil.example\r\n")),
            403,
            "evil.example",
        ),
        // What is served on.
        (get(&own), 200, "SecretList"),
        (
            get(&format!("Host: 127.0.0.1:{port}\r\n")),
            200,
            "SecretList",
        ),
        (get("Host: [::1]:1\r\n"), 200, "SecretList"),
        (
            get(&format!("Host: cara.lan:{port}\r\n")),
            200,
            "SecretList",
        ),
        (
            get(&format!("{own}Origin: http://localhost:{port}\r\n")),
            200,
            "SecretList",
        ),
        // `curl -d` as the README prints it.
        (
            post(&format!(
                "{own}User-Agent: curl/8.5.0\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            )),
            201,
            "shop",
        ),
    ] {
        let (status, answer) = raw(&server, &request).await;
        assert_eq!(status, expected, "{request}\n{answer}");
        assert!(answer.contains(says), "{request}\n{answer}");
        if expected >= 400 {
            assert!(answer.contains("application/problem+json"), "{answer}");
        }
    }
}
