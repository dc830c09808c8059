//! Which endpoint a client's cookie names.
//!
//! A cookie holds a keyed hash of rule, service and address: it says the same on all gateways of an
//! installation and whatever the order of endpoints is, and it tells a client nothing.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use cara_api::gateway::{Keys, Route};
use http::HeaderMap;
use ring::hmac;

use super::{Endpoint, Upstream, targets};

/// Bytes of the hash that a cookie holds: nobody gains anything by guessing one.
const TOKEN_BYTES: usize = 12;

/// Makes the values of cookies.
pub(crate) struct Tokens {
    key: RwLock<hmac::Key>,
}

impl Default for Tokens {
    fn default() -> Self {
        let chance = ring::rand::SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &chance)
            .expect("the system gives random numbers to whoever can start a gateway");
        Self {
            key: RwLock::new(key),
        }
    }
}

impl Tokens {
    /// Follows the installation's key; without one cookies are good for this process only.
    pub(crate) fn follow(&self, keys: &Keys) {
        if let Some(signing) = &keys.signing {
            let key = hmac::Key::new(hmac::HMAC_SHA256, signing.reveal().as_bytes());
            *self.key.write().unwrap_or_else(PoisonError::into_inner) = key;
        }
    }

    /// The value that stands for an endpoint of a service behind a rule.
    pub(super) fn token(&self, route: &Route, service: &str, address: SocketAddr) -> Box<str> {
        let parts = [
            "sticky",
            &route.project,
            &route.ingress,
            service,
            &address.to_string(),
        ];
        let key = self.key.read().unwrap_or_else(PoisonError::into_inner);
        let tag = hmac::sign(&key, parts.join("\0").as_bytes());
        let bytes = tag.as_ref().iter().take(TOKEN_BYTES);
        bytes.map(|byte| format!("{byte:02x}")).collect()
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
    let cookies = cookies.filter_map(|value| value.to_str().ok());
    for value in cookies.flat_map(|c| cara_routes::sticky::values(c, &sticky.cookie)) {
        let numbered = upstream.targets.iter().zip(targets(route)).enumerate();
        for (place, (target, _)) in numbered.filter(|(_, (_, t))| t.weight > 0) {
            let mut known = target.tokens.iter().zip(&target.endpoints);
            if let Some((_, endpoint)) = known.find(|(token, _)| ***token == *value) {
                return Some((place, endpoint));
            }
        }
    }
    None
}

/// The value for an endpoint of a service.
pub(super) fn token_of<'a>(
    upstream: &'a Upstream,
    place: usize,
    endpoint: &Arc<Endpoint>,
) -> Option<&'a str> {
    let target = upstream.targets.get(place)?;
    let mut known = target.tokens.iter().zip(&target.endpoints);
    let found = known.find(|(_, e)| Arc::ptr_eq(e, endpoint));
    found.map(|(token, _)| &**token)
}
