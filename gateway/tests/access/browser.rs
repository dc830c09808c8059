//! A browser: cookies by host, and redirects that can be looked at.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use reqwest::header::{HeaderMap, LOCATION, SET_COOKIE};
use url::Url;

/// What came.
#[derive(Debug, Clone)]
pub struct Page {
    pub url: Url,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Page {
    pub fn location(&self) -> String {
        let location = self.headers.get(LOCATION);
        location.map_or_else(String::new, |v| v.to_str().unwrap().to_owned())
    }

    /// What the service saw, as it says itself.
    pub fn seen(&self) -> serde_json::Value {
        assert_eq!(self.status, 200, "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }
}

pub struct Browser {
    client: reqwest::Client,
    /// By host, without port.
    pub cookies: BTreeMap<String, BTreeMap<String, String>>,
    pub headers: HeaderMap,
}

impl Browser {
    /// All hosts are at the gateway; addresses are where they say.
    pub fn new(hosts: &[&str], gateway: SocketAddr) -> Self {
        // Another test may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            // The certificate is looked at elsewhere.
            .tls_danger_accept_invalid_certs(true)
            .no_proxy();
        for host in hosts {
            client = client.resolve(host, gateway);
        }
        let mut headers = HeaderMap::new();
        headers.insert("accept", "text/html,*/*".parse().unwrap());
        Self {
            client: client.build().unwrap(),
            cookies: BTreeMap::new(),
            headers,
        }
    }

    pub async fn get(&mut self, url: &str) -> Page {
        self.ask(reqwest::Method::GET, url).await
    }

    pub async fn post(&mut self, url: &str) -> Page {
        self.ask(reqwest::Method::POST, url).await
    }

    async fn ask(&mut self, method: reqwest::Method, url: &str) -> Page {
        let url = Url::parse(url).unwrap();
        let host = url.host_str().unwrap().to_owned();
        let request = self.client.request(method, url.clone());
        let mut request = request.headers(self.headers.clone());
        let cookies = self.cookies.entry(host).or_default();
        if !cookies.is_empty() {
            let pairs = cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            let all: Vec<String> = pairs.collect();
            request = request.header("cookie", all.join("; "));
        }
        let response = request.send().await.unwrap();
        for cookie in response.headers().get_all(SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            assert!(!cookie.to_ascii_lowercase().contains("domain="), "{cookie}");
            assert!(cookie.contains("HttpOnly; SameSite=Lax"), "{cookie}");
            let (name, rest) = cookie.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if cookie.contains("Max-Age=0") {
                cookies.remove(name);
            } else {
                cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        Page {
            url,
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.text().await.unwrap(),
        }
    }

    /// Follows redirects to their end.
    pub async fn visit(&mut self, url: &str) -> Page {
        self.visit_until(url, |_| false).await
    }

    /// Follows redirects until one leads where `stop` says; returns the page that leads there.
    pub async fn visit_until(&mut self, url: &str, stop: impl Fn(&str) -> bool) -> Page {
        let mut page = self.get(url).await;
        for _ in 0..10 {
            let location = page.location();
            if location.is_empty() || stop(&location) {
                return page;
            }
            let next = page.url.join(&location).unwrap();
            page = self.get(next.as_str()).await;
        }
        panic!("redirects without end: {page:?}");
    }
}
