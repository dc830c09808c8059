//! A small issuer of OpenID Connect on loopback, where everybody who comes is Ann, unless told
//! otherwise, and has logged in already. It checks what a gateway has to send: client, secret and PKCE. Devices log in
//! once somebody approved their code; jobs get tokens for the asking.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use reqwest::Url;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The client that it knows.
pub const CLIENT: &str = "previews";
/// The client's secret.
pub const SECRET: &str = "of-the-client";
/// How long its tokens are good, in seconds.
const LIFE_S: u64 = 300;

type Form = BTreeMap<String, String>;

/// An issuer that listens until it is dropped.
pub struct Issuer {
    /// Its name, and where it is reached.
    pub url: String,
    inner: Arc<Inner>,
    _tasks: JoinSet<()>,
}

struct Inner {
    url: String,
    key: EcdsaKeyPair,
    /// What was asked for, by the codes that were given for it.
    grants: Mutex<BTreeMap<String, Form>>,
    /// Codes of devices, and whether somebody approved them.
    devices: Mutex<BTreeMap<String, bool>>,
    /// What claims say of who comes: `sub`, `email` and `groups`.
    person: Mutex<Value>,
    /// How often devices asked.
    polls: AtomicUsize,
}

impl Issuer {
    /// Starts an issuer that gateways reach at its name, and browsers of another network at the
    /// same port of an address of this machine.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(other: Ipv4Addr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let other = TcpListener::bind((other, address.port())).await;
        let listeners = [listener, other.expect("a port")];
        let url = format!("http://{address}");
        let inner = Arc::new(Inner {
            url: url.clone(),
            key: new_key(),
            grants: Mutex::default(),
            devices: Mutex::default(),
            person: Mutex::new(json!({
                "sub": "u-1", "email": "ann@example.com", "groups": ["dev", "ops"],
            })),
            polls: AtomicUsize::new(0),
        });
        let mut tasks = JoinSet::new();
        for listener in listeners {
            tasks.spawn(serve(listener, Arc::clone(&inner)));
        }
        Self {
            url,
            inner,
            _tasks: tasks,
        }
    }

    /// A token as a CI gives one to a job, with these claims beside issuer and times.
    ///
    /// # Panics
    /// When the clock is before 1970.
    pub fn job_token(&self, claims: &Value) -> String {
        let mut all = self.inner.times(LIFE_S);
        if let (Value::Object(all), Value::Object(claims)) = (&mut all, claims.clone()) {
            all.extend(claims);
        }
        self.inner.sign(&all)
    }

    /// Approves the code that a device shows, as a person with a browser does.
    pub fn approve(&self, user_code: &str) {
        let devices = &self.inner.devices;
        let mut devices = devices.lock().unwrap_or_else(PoisonError::into_inner);
        devices.insert(user_code.to_owned(), true);
    }

    /// Puts who comes into other groups.
    pub fn move_to(&self, groups: &[&str]) {
        self.inner.person()["groups"] = json!(groups);
    }

    /// From now on, this is what claims say of who comes.
    pub fn become_whom(&self, claims: Value) {
        *self.inner.person() = claims;
    }

    /// How often it was asked whether a device's login is complete.
    pub fn polls(&self) -> usize {
        self.inner.polls.load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, inner: Arc<Inner>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let inner = Arc::clone(&inner);
        let service = service_fn(move |request| {
            let inner = Arc::clone(&inner);
            async move { Ok::<_, Infallible>(inner.answer(request).await) }
        });
        let http = hyper::server::conn::http1::Builder::new();
        let serving = http.serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move { drop(serving.await) });
    }
}

impl Inner {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let query = form(request.uri().query().unwrap_or_default());
        let client = request.headers().get("authorization").cloned();
        let body = request.into_body().collect().await;
        let body = body.map(http_body_util::Collected::to_bytes);
        let body = form(&String::from_utf8_lossy(&body.unwrap_or_default()));
        match path.as_str() {
            "/.well-known/openid-configuration" => answer(200, &self.discovery()),
            "/keys" => answer(200, &self.keys()),
            "/device" => self.begin_device(),
            "/authorize" => self.authorize(query).unwrap_or_else(|| refuse("request")),
            "/token" => {
                let expected = BASE64_STANDARD.encode(format!("{CLIENT}:{SECRET}"));
                let is_client = client.is_some_and(|c| c == format!("Basic {expected}").as_str());
                let is_device = body
                    .get("grant_type")
                    .is_some_and(|kind| kind.ends_with("device_code"));
                if is_device && is_client {
                    return self.poll(&body);
                }
                match self.exchange(&body).filter(|_| is_client) {
                    Some(tokens) => answer(200, &tokens),
                    None => refuse("grant"),
                }
            }
            _ => answer(404, &json!({})),
        }
    }

    fn discovery(&self) -> Value {
        let at = |path: &str| format!("{}/{path}", self.url);
        json!({
            "issuer": self.url,
            "authorization_endpoint": at("authorize"),
            "token_endpoint": at("token"),
            "device_authorization_endpoint": at("device"),
            "jwks_uri": at("keys"),
        })
    }

    fn keys(&self) -> Value {
        // An uncompressed point: a mark of one byte, then both halves.
        let (x, y) = self.key.public_key().as_ref()[1..].split_at(32);
        json!({"keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "one",
            "x": base64(x), "y": base64(y),
        }]})
    }

    /// Sends the browser back with a code at once.
    fn authorize(&self, asked: Form) -> Option<Response<Full<Bytes>>> {
        let is = |name: &str, value: &str| asked.get(name).is_some_and(|given| given == value);
        let is_right = is("response_type", "code")
            && is("client_id", CLIENT)
            && is("code_challenge_method", "S256");
        let mut back = Url::parse(asked.get("redirect_uri").filter(|_| is_right)?).ok()?;
        let code = fastrand::u64(..).to_string();
        back.query_pairs_mut()
            .append_pair("code", &code)
            .append_pair("state", asked.get("state")?);
        self.grants
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(code, asked);
        let response = Response::builder().status(302);
        let response = response.header("location", back.as_str());
        response.body(Full::default()).ok()
    }

    /// Tokens for a code, once.
    fn exchange(&self, given: &Form) -> Option<Value> {
        let mut grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = grants.remove(given.get("code")?)?;
        let challenge = base64(Sha256::digest(given.get("code_verifier")?));
        let is_right = given.get("redirect_uri") == asked.get("redirect_uri")
            && Some(&challenge) == asked.get("code_challenge");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        let mut claims = json!({
            "iss": self.url, "aud": CLIENT, "iat": now, "exp": now + LIFE_S, "nonce": asked.get("nonce"),
        });
        self.add_person(&mut claims);
        is_right.then(
            || json!({"id_token": self.sign(&claims), "access_token": "a", "token_type": "Bearer"}),
        )
    }

    /// One code is both that of the device and that of the person.
    fn begin_device(&self) -> Response<Full<Bytes>> {
        let code = fastrand::u64(..).to_string();
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        devices.insert(code.clone(), false);
        let begun = json!({
            "device_code": code, "user_code": code, "verification_uri": format!("{}/activate", self.url),
            "expires_in": 60, "interval": 1,
        });
        answer(200, &begun)
    }

    fn poll(&self, given: &Form) -> Response<Full<Bytes>> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let code = given.get("device_code").cloned().unwrap_or_default();
        match devices.get(&code) {
            None => answer(400, &json!({"error": "invalid_grant"})),
            Some(false) => answer(400, &json!({"error": "authorization_pending"})),
            Some(true) => {
                devices.remove(&code);
                let mut claims = self.times(LIFE_S);
                claims["aud"] = json!(CLIENT);
                self.add_person(&mut claims);
                let id_token = self.sign(&claims);
                answer(
                    200,
                    &json!({"id_token": id_token, "access_token": "a", "token_type": "Bearer"}),
                )
            }
        }
    }

    fn person(&self) -> MutexGuard<'_, Value> {
        self.person.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_person(&self, claims: &mut Value) {
        if let (Value::Object(all), Value::Object(person)) = (claims, self.person().clone()) {
            all.extend(person);
        }
    }

    fn times(&self, life_s: u64) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.expect("after 1970").as_secs();
        json!({"iss": self.url, "iat": now, "exp": now + life_s})
    }

    fn sign(&self, claims: &Value) -> String {
        let head = json!({"alg": "ES256", "kid": "one", "typ": "JWT"}).to_string();
        let message = format!("{}.{}", base64(head), base64(claims.to_string()));
        let tag = self.key.sign(&SystemRandom::new(), message.as_bytes());
        format!("{message}.{}", base64(tag.expect("a signature")))
    }
}

fn new_key() -> EcdsaKeyPair {
    let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
    EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).expect("the same key")
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The pairs of a query or a form.
fn form(text: &str) -> Form {
    let url = Url::parse(&format!("http://form/?{text}"));
    let pairs = url.map(|url| url.query_pairs().into_owned().collect());
    pairs.unwrap_or_default()
}

fn refuse(what: &str) -> Response<Full<Bytes>> {
    answer(400, &json!({"error": format!("invalid_{what}")}))
}

fn answer(status: u16, value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(value.to_string()));
    *response.status_mut() = status.try_into().expect("a status");
    let json = "application/json".parse().expect("a value");
    response.headers_mut().insert("content-type", json);
    response
}
