//! Which endpoint a client's cookie names.
//!
//! A cookie holds a keyed hash of rule, service and address: it says the same on all gateways of an
//! installation and whatever the order of endpoints is, and it tells a client nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cara_api::gateway::{Keys, Route};
use cara_api::secret::Hidden;
use cara_api::signing::{NotASecret, SECRET_LEN, Secret, Signer};
use http::HeaderMap;
use ring::rand::SecureRandom;

use super::{Endpoint, Upstream, targets};

/// Bytes of the hash that a cookie holds: nobody gains anything by guessing one.
const TOKEN_BYTES: usize = 12;

/// Makes the values of cookies.
pub(super) struct Tokens {
    key: ArcSwap<Key>,
}

/// A key for cookies alone, and what it was derived from.
struct Key {
    signing: Hidden,
    signer: Signer,
}

impl Key {
    fn derive(signing: &Hidden) -> Result<Self, NotASecret> {
        Ok(Self {
            signing: signing.clone(),
            signer: Secret::parse(signing)?.signer("sticky cookie"),
        })
    }

    fn token(&self, message: &str) -> Box<str> {
        let tag = self.signer.tag(message.as_bytes());
        let bytes = tag.iter().take(TOKEN_BYTES);
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Default for Tokens {
    fn default() -> Self {
        let mut secret = [0; SECRET_LEN];
        ring::rand::SystemRandom::new()
            .fill(&mut secret)
            .expect("the system gives random numbers to whoever can start a gateway");
        let secret = Hidden::new(BASE64_STANDARD.encode(secret));
        let key = Key::derive(&secret).expect("it is as long as secrets are");
        Self {
            key: ArcSwap::from_pointee(key),
        }
    }
}

impl Tokens {
    /// Follows the installation's key; without one cookies are good for this process only.
    pub(super) fn follow(&self, keys: &Keys) {
        let Some(signing) = &keys.signing else { return };
        if self.key.load().signing == *signing {
            return;
        }
        if let Ok(key) = Key::derive(signing) {
            self.key.store(Arc::new(key));
        }
    }
}

/// What clients' cookies say for the endpoints of a service, in their order. Rules outlive keys:
/// the values are made anew when somebody looks at them after the key has changed.
pub(super) struct Values {
    tokens: Arc<Tokens>,
    /// What each stands for.
    messages: Box<[String]>,
    made: ArcSwap<Made>,
}

struct Made {
    key: Arc<Key>,
    values: Box<[Box<str>]>,
}

impl Made {
    fn new(key: Arc<Key>, messages: &[String]) -> Self {
        Self {
            values: messages.iter().map(|text| key.token(text)).collect(),
            key,
        }
    }
}

impl Values {
    /// The values for the endpoints of a service behind a rule.
    pub(super) fn new(
        tokens: &Arc<Tokens>,
        route: &Route,
        service: &str,
        endpoints: impl Iterator<Item = SocketAddr>,
    ) -> Self {
        let message = |address: SocketAddr| {
            let parts = [
                route.project.as_str(),
                &route.ingress,
                service,
                &address.to_string(),
            ];
            parts.join("\0")
        };
        let messages: Box<[String]> = endpoints.map(message).collect();
        let made = Made::new(tokens.key.load_full(), &messages);
        Self {
            tokens: Arc::clone(tokens),
            messages,
            made: ArcSwap::from_pointee(made),
        }
    }

    /// The values by the key that there is now.
    fn current(&self) -> Arc<Made> {
        let key = self.tokens.key.load_full();
        let made = self.made.load_full();
        if Arc::ptr_eq(&made.key, &key) {
            return made;
        }
        let made = Arc::new(Made::new(key, &self.messages));
        self.made.store(Arc::clone(&made));
        made
    }
}

/// The place of the service and the endpoint that a client is kept with. A service that takes no
/// requests any more keeps nobody.
pub(super) fn find<'a>(
    upstream: &'a Upstream,
    route: &Route,
    headers: &HeaderMap,
) -> Option<(usize, &'a Arc<Endpoint>)> {
    let sticky = route.policy.sticky.as_ref()?;
    let cookies = headers.get_all(http::header::COOKIE).iter();
    // Others beside it may be in any encoding.
    let cookies = cookies.map(http::HeaderValue::as_bytes);
    for value in cookies.flat_map(|c| cara_routes::sticky::values(c, &sticky.cookie)) {
        let numbered = upstream.targets.iter().zip(targets(route)).enumerate();
        for (place, (target, _)) in numbered.filter(|(_, (_, t))| t.weight > 0) {
            let Some(made) = target.sticky.as_deref().map(Values::current) else {
                continue;
            };
            let mut known = made.values.iter().zip(&target.endpoints);
            if let Some((_, endpoint)) = known.find(|(token, _)| token.as_bytes() == value) {
                return Some((place, endpoint));
            }
        }
    }
    None
}

/// The value for an endpoint of a service.
pub(super) fn token_of(
    upstream: &Upstream,
    place: usize,
    endpoint: &Arc<Endpoint>,
) -> Option<Box<str>> {
    let target = upstream.targets.get(place)?;
    let made = target.sticky.as_ref()?.current();
    let mut known = made.values.iter().zip(&target.endpoints);
    let found = known.find(|(_, e)| Arc::ptr_eq(e, endpoint));
    found.map(|(token, _)| token.clone())
}

#[cfg(test)]
mod tests {
    use cara_api::gateway::{Action, Forward, PathMatch, Rewrite};

    use super::*;

    fn keys(byte: u8) -> Keys {
        Keys {
            signing: Some(Hidden::new(BASE64_STANDARD.encode([byte; SECRET_LEN]))),
        }
    }

    fn values(tokens: &Arc<Tokens>) -> Values {
        let route = Route {
            project: "p".into(),
            ingress: "i".into(),
            path: PathMatch::Prefix("/".into()),
            headers: Vec::new(),
            action: Action::Forward(Forward {
                targets: Vec::new(),
                rewrite: Rewrite::Keep,
            }),
            policy: Arc::default(),
        };
        let endpoints = [1, 2].map(|port: u16| SocketAddr::from(([127, 0, 0, 1], port)));
        Values::new(tokens, &route, "s", endpoints.into_iter())
    }

    #[test]
    fn values_follow_the_key_and_are_the_same_wherever_the_key_is() {
        let tokens = Arc::new(Tokens::default());
        let rule = values(&tokens);
        let chance = rule.current().values.clone();
        assert_ne!(chance[0], chance[1]);
        tokens.follow(&keys(1));
        let first = rule.current().values.clone();
        assert_ne!(first, chance, "a rule that was there before the key");
        let made = rule.current();
        tokens.follow(&keys(1));
        assert!(
            Arc::ptr_eq(&made, &rule.current()),
            "the same key changes nothing"
        );
        let others = Arc::new(Tokens::default());
        others.follow(&keys(1));
        assert_eq!(values(&others).current().values, first);
        tokens.follow(&keys(2));
        assert_ne!(rule.current().values, first);
        tokens.follow(&Keys::default());
        tokens.follow(&keys(1));
        assert_eq!(rule.current().values, first);
    }

    #[test]
    fn the_key_is_not_the_secret_itself() {
        let tokens = Arc::new(Tokens::default());
        let keys = keys(1);
        tokens.follow(&keys);
        let rule = values(&tokens);
        let text = keys.signing.expect("a secret");
        for secret in [text.reveal().as_bytes(), &[1; SECRET_LEN]] {
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
            let tag = ring::hmac::sign(&key, rule.messages[0].as_bytes());
            let raw: String = tag.as_ref()[..TOKEN_BYTES]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_ne!(*rule.current().values[0], *raw);
        }
    }
}
