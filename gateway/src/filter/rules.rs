//! What a policy comes to, made ready when its rule becomes live, so that requests parse and
//! allocate nothing. Rules with the same policy share it.

use cara_api::gateway::{HeaderRules, Policy};
use cara_routes::rate::Rate;
use http::{HeaderName, HeaderValue, header};
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use super::cors::Cors;

/// Headers that belong to one connection and its framing. Rules cannot touch them: what they said
/// would not be true of what is sent.
const FRAMING: [HeaderName; 6] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// A policy, ready to use.
#[derive(Debug)]
pub(crate) struct Filters {
    pub(crate) per_client: Option<Rate>,
    pub(crate) total: Option<Rate>,
    pub(crate) request_headers: Changes,
    pub(crate) response_headers: Changes,
    pub(crate) hsts: Option<HeaderValue>,
    pub(crate) cors: Option<Cors>,
}

impl Filters {
    /// Makes a policy ready.
    pub(crate) fn of(policy: &Policy) -> Self {
        let rate =
            |limit: cara_api::gateway::RateLimit| Rate::new(limit.requests, limit.per, limit.burst);
        Self {
            per_client: policy.per_client.map(rate),
            total: policy.total.map(rate),
            request_headers: Changes::of(&policy.request_headers),
            response_headers: Changes::of(&policy.response_headers),
            hsts: policy
                .hsts
                .as_ref()
                .and_then(|hsts| HeaderValue::from_str(&hsts.value).ok()),
            cors: policy.cors.as_ref().map(Cors::of),
        }
    }
}

/// Changes to the headers of a message: first `remove`, then `set`, then `add`.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

impl Changes {
    /// What cannot be a header, or frames the message, is left out.
    fn of(rules: &HeaderRules) -> Self {
        let name = |text: &str| {
            let name = HeaderName::from_bytes(text.as_bytes()).ok()?;
            (!FRAMING.contains(&name)).then_some(name)
        };
        let pairs = |pairs: &[(String, String)]| {
            let parsed = pairs
                .iter()
                .filter_map(|(n, v)| Some((name(n)?, HeaderValue::from_str(v).ok()?)));
            parsed.collect()
        };
        Self {
            remove: rules.remove.iter().filter_map(|n| name(n)).collect(),
            set: pairs(&rules.set),
            add: pairs(&rules.add),
        }
    }

    /// Changes a request on its way to a service.
    ///
    /// # Errors
    /// There are more headers than a message can have.
    pub(crate) fn apply_to_request(&self, head: &mut RequestHeader) -> Result<()> {
        for name in &self.remove {
            // A request without a host is none.
            if *name != header::HOST {
                head.remove_header(name);
            }
        }
        for (name, value) in &self.set {
            if *name == header::HOST {
                forget_authority(head);
            }
            head.insert_header(name, value.clone())?;
        }
        for (name, value) in &self.add {
            if *name != header::HOST {
                head.append_header(name, value.clone())?;
            }
        }
        Ok(())
    }

    /// Changes an answer on its way to the client.
    ///
    /// # Errors
    /// There are more headers than a message can have.
    pub(crate) fn apply_to_response(&self, head: &mut ResponseHeader) -> Result<()> {
        for name in &self.remove {
            head.remove_header(name);
        }
        for (name, value) in &self.set {
            head.insert_header(name, value.clone())?;
        }
        for (name, value) in &self.add {
            head.append_header(name, value.clone())?;
        }
        Ok(())
    }
}

/// Leaves only path and query of a request's target, so that its `Host` alone says the host.
pub(crate) fn forget_authority(head: &mut RequestHeader) {
    if head.uri.authority().is_none() {
        return;
    }
    let path = head.uri.path_and_query().map_or("/", |p| p.as_str());
    if let Ok(uri) = path.parse() {
        head.set_uri(uri);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(own).collect()
    }

    #[test]
    fn headers_are_removed_then_set_then_added() {
        let changes = Changes::of(&HeaderRules {
            remove: vec!["x-a".into(), "host".into(), "content-length".into()],
            set: pairs(&[("x-a", "1"), ("x-b", "2"), ("x bad", "3")]),
            add: pairs(&[("x-b", "3"), ("transfer-encoding", "chunked")]),
        });
        let mut head = RequestHeader::build("GET", b"/", None).expect("a request");
        for (name, value) in [
            ("host", "h"),
            ("x-a", "0"),
            ("x-b", "0"),
            ("content-length", "5"),
        ] {
            head.insert_header(name, value).expect("a header");
        }
        changes.apply_to_request(&mut head).expect("applies");
        let mut shown: Vec<String> = head
            .headers
            .iter()
            .map(|(k, v)| format!("{k}: {}", v.to_str().expect("text")))
            .collect();
        shown.sort();
        assert_eq!(
            shown,
            ["content-length: 5", "host: h", "x-a: 1", "x-b: 2", "x-b: 3"]
        );
    }
}
