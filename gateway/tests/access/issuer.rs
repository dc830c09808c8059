//! A small issuer of OpenID Connect: discovery, keys, authorization and tokens, with PKCE.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

pub const CLIENT: &str = "preview";
pub const SECRET: &str = "client&secret";

struct Grant {
    nonce: String,
    challenge: String,
    redirect: String,
}

/// What the issuer is, and what the tests change of it.
pub struct Inner {
    key: EcdsaKeyPair,
    key_id: String,
    grants: BTreeMap<String, Grant>,
    /// Claims that differ in the next id tokens.
    pub tweaks: BTreeMap<String, Value>,
    pub key_fetches: u32,
}

pub struct Issuer {
    pub url: String,
    pub inner: Arc<Mutex<Inner>>,
    serving: AbortHandle,
    _tasks: JoinSet<()>,
}

fn new_key() -> EcdsaKeyPair {
    let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap()
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

impl Issuer {
    pub async fn start() -> Self {
        Self::start_as("http", None).await
    }

    /// With a certificate of its own authority, whose PEM is returned.
    pub async fn start_with_tls() -> (Self, String) {
        let names = vec!["127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let issuer = Self::start_as("https", Some(acceptor)).await;
        (issuer, made.cert.pem())
    }

    async fn start_as(scheme: &str, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let url = format!("{scheme}://{address}");
        let inner = Arc::new(Mutex::new(Inner {
            key: new_key(),
            key_id: "first".into(),
            grants: BTreeMap::new(),
            tweaks: BTreeMap::new(),
            key_fetches: 0,
        }));
        let (own_url, own_inner) = (url.clone(), Arc::clone(&inner));
        let mut tasks = JoinSet::new();
        let serving = tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (url, inner) = (own_url.clone(), Arc::clone(&own_inner));
                let service = service_fn(move |request| {
                    let (url, inner) = (url.clone(), Arc::clone(&inner));
                    async move { Ok::<_, Infallible>(answer(&url, &inner, request).await) }
                });
                let (http, tls) = (hyper::server::conn::http1::Builder::new(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => drop(http.serve_connection(TokioIo::new(stream), service).await),
                        Some(tls) => {
                            // A client that does not trust it goes away.
                            let Ok(stream) = tls.accept(stream).await else {
                                return;
                            };
                            drop(http.serve_connection(TokioIo::new(stream), service).await);
                        }
                    }
                });
            }
        });
        Self {
            url,
            inner,
            serving,
            _tasks: tasks,
        }
    }

    /// Neither listens nor answers any more.
    pub fn stop(&self) {
        self.serving.abort();
    }

    pub fn tweak(&self, name: &str, value: Value) {
        let mut inner = self.inner.lock().unwrap();
        inner.tweaks = BTreeMap::from([(name.to_owned(), value)]);
    }

    pub fn rotate(&self) {
        let mut inner = self.inner.lock().unwrap();
        inner.key = new_key();
        inner.key_id = "second".into();
    }

    /// A token for programs.
    pub fn token(&self, change: &Value) -> String {
        let now = jiff::Timestamp::now().as_second();
        let mut claims = json!({
            "iss": self.url, "aud": "api", "sub": "robot", "exp": now + 300,
        });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        sign(&self.inner.lock().unwrap(), &claims)
    }
}

fn sign(inner: &Inner, claims: &Value) -> String {
    let head = json!({"alg": "ES256", "kid": inner.key_id, "typ": "JWT"});
    let message = format!(
        "{}.{}",
        base64(head.to_string()),
        base64(claims.to_string())
    );
    let tag = inner.key.sign(&SystemRandom::new(), message.as_bytes());
    format!("{message}.{}", base64(tag.unwrap()))
}

async fn answer(
    url: &str,
    inner: &Mutex<Inner>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let authorization = request.headers().get("authorization").cloned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let json = |status: u16, value: &Value| {
        let body = Full::from(value.to_string());
        Response::builder()
            .status(status)
            .header("content-type", "application/json")
            .header("cache-control", "max-age=3600")
            .body(body)
            .unwrap()
    };
    match path.as_str() {
        "/.well-known/openid-configuration" => json(
            200,
            &json!({
                "issuer": url,
                "authorization_endpoint": format!("{url}/authorize"),
                "token_endpoint": format!("{url}/token"),
                "jwks_uri": format!("{url}/keys"),
            }),
        ),
        "/keys" => {
            let mut inner = inner.lock().unwrap();
            inner.key_fetches += 1;
            let point = &inner.key.public_key().as_ref()[1..];
            let (x, y) = point.split_at(32);
            let key = json!({
                "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256",
                "kid": inner.key_id, "x": base64(x), "y": base64(y),
            });
            json(200, &json!({"keys": [key]}))
        }
        "/authorize" => authorize(inner, &query),
        "/token" => match exchange(url, inner, authorization.as_ref(), &body) {
            Ok(tokens) => json(200, &tokens),
            Err(error) => json(400, &json!({"error": error})),
        },
        _ => json(404, &json!({})),
    }
}

fn form(text: &[u8]) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(text).into_owned().collect()
}

/// Everybody is logged in at once.
fn authorize(inner: &Mutex<Inner>, query: &str) -> Response<Full<Bytes>> {
    let asked = form(query.as_bytes());
    assert_eq!(asked["response_type"], "code");
    assert_eq!(asked["client_id"], CLIENT);
    assert_eq!(asked["code_challenge_method"], "S256");
    assert!(asked["scope"].split(' ').any(|s| s == "openid"));
    let code = fastrand::u64(..).to_string();
    let grant = Grant {
        nonce: asked["nonce"].clone(),
        challenge: asked["code_challenge"].clone(),
        redirect: asked["redirect_uri"].clone(),
    };
    inner.lock().unwrap().grants.insert(code.clone(), grant);
    let mut back = url::Url::parse(&asked["redirect_uri"]).unwrap();
    back.query_pairs_mut()
        .append_pair("code", &code)
        .append_pair("state", &asked["state"]);
    Response::builder()
        .status(302)
        .header("location", back.as_str())
        .body(Full::default())
        .unwrap()
}

fn exchange(
    url: &str,
    inner: &Mutex<Inner>,
    authorization: Option<&hyper::header::HeaderValue>,
    body: &[u8],
) -> Result<Value, &'static str> {
    let secret: String = url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
    let client = format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("{CLIENT}:{secret}"))
    );
    if authorization.is_none_or(|given| given != client.as_str()) {
        return Err("invalid_client");
    }
    let given = form(body);
    let mut inner = inner.lock().unwrap();
    let grant = inner.grants.remove(&given["code"]).ok_or("invalid_grant")?;
    let challenge = ring::digest::digest(&ring::digest::SHA256, given["code_verifier"].as_bytes());
    let is_right = given["grant_type"] == "authorization_code"
        && given["redirect_uri"] == grant.redirect
        && base64(challenge) == grant.challenge;
    if !is_right {
        return Err("invalid_grant");
    }
    let now = jiff::Timestamp::now().as_second();
    let mut claims = json!({
        "iss": url, "aud": CLIENT, "sub": "u-1", "exp": now + 300, "iat": now,
        "nonce": grant.nonce, "email": "ann@example.com", "email_verified": true,
        "groups": ["dev", "ops"],
    });
    for (name, value) in &inner.tweaks {
        claims[name] = value.clone();
    }
    Ok(json!({
        "id_token": sign(&inner, &claims), "access_token": "opaque", "token_type": "Bearer",
    }))
}
