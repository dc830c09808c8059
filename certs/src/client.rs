//! The HTTPS client that ACME and webhooks share.

use std::time::Duration;

/// The largest answer that is read, in bytes: chains and problem documents are a few kilobytes.
const LARGEST_ANSWER: usize = 1 << 20;

/// Why an HTTP exchange failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// The client cannot be made.
    #[error("the HTTPS client cannot be made")]
    Client(#[source] reqwest::Error),
    /// Certificates to trust cannot be read.
    #[error("the additional roots cannot be read")]
    Roots(#[source] reqwest::Error),
    /// Certificates to trust were given, but there are none.
    #[error("the additional roots hold no certificate: give them as PEM")]
    NoRoots,
    /// No answer came.
    #[error("no answer from {url}")]
    NoAnswer {
        /// Whom was asked.
        url: String,
        #[source]
        source: reqwest::Error,
    },
    /// The answer is too large to be what was asked for.
    #[error("the answer of {url} is larger than 1 MiB")]
    TooLarge {
        /// Who answered.
        url: String,
    },
    /// An error that is not of the protocol, such as one of a proxy.
    #[error("{url} answered with status {status}")]
    Status {
        /// Who answered.
        url: String,
        /// HTTP status.
        status: u16,
    },
}

/// A client that trusts what the system trusts, and the given roots (PEM) as well. Follows no
/// redirects; each request ends within `timeout`.
pub(crate) fn client(
    extra_roots_pem: Option<&str>,
    timeout: Duration,
) -> Result<reqwest::Client, HttpError> {
    // Fails only when a provider is installed already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let pem = extra_roots_pem.unwrap_or_default().as_bytes();
    let roots = reqwest::Certificate::from_pem_bundle(pem).map_err(HttpError::Roots)?;
    if extra_roots_pem.is_some() && roots.is_empty() {
        return Err(HttpError::NoRoots);
    }
    let builder = || {
        reqwest::Client::builder()
            .timeout(timeout)
            .connect_timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
    };
    // A system without any authorities, such as a small container, trusts the given ones alone.
    let with_system = builder().tls_certs_merge(roots.clone()).build();
    with_system
        .or_else(|_| builder().tls_certs_only(roots).build())
        .map_err(HttpError::Client)
}

/// A URL as errors and logs show it: without its user and its query, which may be secrets.
pub(crate) fn shown(url: &reqwest::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}"));
    let port = port.unwrap_or_default();
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}

/// Sends a request and reads the whole answer. Cancel-safe: an unfinished exchange is dropped with
/// its connection.
pub(crate) async fn exchange(
    client: &reqwest::Client,
    request: reqwest::Request,
) -> Result<http::Response<bytes::Bytes>, HttpError> {
    let url = shown(request.url());
    let no_answer = |source: reqwest::Error| HttpError::NoAnswer {
        url: url.clone(),
        source: source.without_url(),
    };
    let mut response = client.execute(request).await.map_err(&no_answer)?;
    let mut body = bytes::BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(&no_answer)? {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST_ANSWER {
            return Err(HttpError::TooLarge { url });
        }
    }
    let mut answer = http::Response::new(body.freeze());
    *answer.status_mut() = response.status();
    *answer.headers_mut() = std::mem::take(response.headers_mut());
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_that_are_none_are_refused() {
        for (roots, is_taken) in [(None, true), (Some(""), false), (Some("no PEM"), false)] {
            let made = client(roots, Duration::from_secs(5));
            assert_eq!(made.is_ok(), is_taken, "{roots:?}");
        }
    }

    #[tokio::test]
    async fn errors_show_neither_users_nor_queries() {
        for (url, expected) in [
            (
                "https://ann:hush@dns.x/a/b?token=hush#hush",
                "https://dns.x/a/b",
            ),
            ("https://hush@dns.x:8443", "https://dns.x:8443/"),
            ("http://[::1]:80/a", "http://[::1]/a"),
        ] {
            let parsed = reqwest::Url::parse(url).expect("a URL");
            assert_eq!(shown(&parsed), expected, "{url}");
        }
        let client = client(None, Duration::from_secs(5)).expect("a client");
        // Port 0 takes no connections.
        let url = reqwest::Url::parse("http://ann:hush@127.0.0.1:0/a?token=hush").expect("a URL");
        let request = reqwest::Request::new(reqwest::Method::GET, url);
        let error = exchange(&client, request).await.expect_err("no answer");
        assert_eq!(error.to_string(), "no answer from http://127.0.0.1:0/a");
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    }
}
