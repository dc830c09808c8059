//! Cross-origin resource sharing, as the Fetch standard has it. Pure.

use cara_api::gateway::Cors as Policy;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// A policy, ready to use.
#[derive(Debug)]
pub(crate) struct Cors {
    origins: Origins,
    /// None: whatever is asked for.
    methods: Option<HeaderValue>,
    /// None: whatever is asked for.
    headers: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    credentials: bool,
    max_age: Option<HeaderValue>,
}

#[derive(Debug)]
enum Origins {
    All,
    Some(Vec<String>),
}

/// Headers of an answer by which a browser decides. Services that have opinions of their own are
/// overruled: two answers to one question are none.
const DECISIVE: [HeaderName; 6] = [
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
];

/// What an answer gets.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) set: Vec<(HeaderName, HeaderValue)>,
    /// The answer differs by origin, which caches must know.
    pub(crate) varies: bool,
}

impl Cors {
    /// Makes a policy ready.
    pub(crate) fn of(policy: &Policy) -> Self {
        let is_any = |list: &[String]| list.is_empty() || list.iter().any(|item| item == "*");
        let joined = |list: &[String]| HeaderValue::from_str(&list.join(", ")).ok();
        let all = policy.origins.iter().any(|origin| origin == "*");
        Self {
            origins: if all {
                Origins::All
            } else {
                let lower = policy.origins.iter().map(|o| o.to_ascii_lowercase());
                Origins::Some(lower.collect())
            },
            methods: (!is_any(&policy.methods))
                .then(|| joined(&policy.methods))
                .flatten(),
            headers: (!is_any(&policy.headers))
                .then(|| joined(&policy.headers))
                .flatten(),
            expose: (!policy.expose.is_empty())
                .then(|| joined(&policy.expose))
                .flatten(),
            credentials: policy.credentials,
            max_age: policy.max_age.map(|age| HeaderValue::from(age.as_secs())),
        }
    }

    /// The headers that the answer to a preflight has; none when the request is no preflight.
    pub(crate) fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Granted> {
        let wanted = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
        let origin = headers.get(header::ORIGIN)?;
        if method != Method::OPTIONS {
            return None;
        }
        let mut granted = self.answer(Some(origin));
        if granted.set.is_empty() {
            return Some(granted);
        }
        let methods = self.methods.as_ref().unwrap_or(wanted);
        granted
            .set
            .push((header::ACCESS_CONTROL_ALLOW_METHODS, methods.clone()));
        let asked = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
        if let Some(names) = self.headers.as_ref().or(asked) {
            granted
                .set
                .push((header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone()));
        }
        if let Some(age) = &self.max_age {
            granted
                .set
                .push((header::ACCESS_CONTROL_MAX_AGE, age.clone()));
        }
        granted
            .set
            .retain(|(name, _)| *name != header::ACCESS_CONTROL_EXPOSE_HEADERS);
        Some(granted)
    }

    /// The headers that an answer has besides its own.
    pub(crate) fn answer(&self, origin: Option<&HeaderValue>) -> Granted {
        // With credentials a wildcard means nothing to browsers: the origin itself is named.
        let is_wildcard = matches!(self.origins, Origins::All) && !self.credentials;
        let mut granted = Granted {
            varies: !is_wildcard,
            ..Granted::default()
        };
        let Some(origin) = origin.filter(|origin| self.allows(origin)) else {
            return granted;
        };
        let named = if is_wildcard {
            HeaderValue::from_static("*")
        } else {
            origin.clone()
        };
        granted
            .set
            .push((header::ACCESS_CONTROL_ALLOW_ORIGIN, named));
        if self.credentials {
            let yes = HeaderValue::from_static("true");
            granted
                .set
                .push((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes));
        }
        if let Some(names) = &self.expose {
            granted
                .set
                .push((header::ACCESS_CONTROL_EXPOSE_HEADERS, names.clone()));
        }
        granted
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        match &self.origins {
            Origins::All => true,
            Origins::Some(origins) => origins
                .iter()
                .any(|known| known.as_bytes().eq_ignore_ascii_case(origin.as_bytes())),
        }
    }
}

/// Headers that a service may have set and that the policy decides instead.
pub(crate) fn decisive() -> &'static [HeaderName] {
    &DECISIVE
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn policy() -> Policy {
        Policy {
            origins: vec!["https://app.x".into()],
            methods: vec!["GET".into(), "PUT".into()],
            headers: vec!["x-a".into()],
            expose: vec!["x-b".into()],
            credentials: true,
            max_age: Some(Duration::from_secs(600)),
        }
    }

    fn open() -> Policy {
        Policy {
            origins: vec!["*".into()],
            methods: Vec::new(),
            headers: vec!["*".into()],
            expose: Vec::new(),
            credentials: false,
            max_age: None,
        }
    }

    fn shown(granted: &Granted) -> Vec<String> {
        let line = |(name, value): &(HeaderName, HeaderValue)| {
            let name = name.as_str().trim_start_matches("access-control-");
            format!("{name}: {}", value.to_str().expect("text"))
        };
        let mut lines: Vec<String> = granted.set.iter().map(line).collect();
        if granted.varies {
            lines.push("vary".into());
        }
        lines
    }

    #[test]
    fn answers_name_an_origin_that_is_allowed() {
        let credentialed = Policy {
            credentials: true,
            ..open()
        };
        for (policy, origin, expected) in [
            (
                policy(),
                Some("https://APP.x"),
                &[
                    "allow-origin: https://APP.x",
                    "allow-credentials: true",
                    "expose-headers: x-b",
                    "vary",
                ][..],
            ),
            (policy(), Some("https://app.x.evil"), &["vary"]),
            (policy(), Some("null"), &["vary"]),
            (policy(), None, &["vary"]),
            (open(), Some("https://any"), &["allow-origin: *"]),
            (open(), None, &[]),
            (
                credentialed,
                Some("https://any"),
                &[
                    "allow-origin: https://any",
                    "allow-credentials: true",
                    "vary",
                ],
            ),
        ] {
            let origin = origin.map(|o| HeaderValue::from_str(o).expect("a value"));
            assert_eq!(shown(&Cors::of(&policy).answer(origin.as_ref())), expected);
        }
    }

    #[test]
    fn preflights_are_answered_and_other_requests_are_not() {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            let pair = |(n, v): &(&'static str, &'static str)| {
                (HeaderName::from_static(n), HeaderValue::from_static(v))
            };
            pairs.iter().map(pair).collect()
        };
        let asked = headers(&[
            ("origin", "https://app.x"),
            ("access-control-request-method", "PATCH"),
            ("access-control-request-headers", "x-c"),
        ]);
        let closed = Cors::of(&policy()).preflight(&Method::OPTIONS, &asked);
        assert_eq!(
            shown(&closed.expect("a preflight")),
            [
                "allow-origin: https://app.x",
                "allow-credentials: true",
                "allow-methods: GET, PUT",
                "allow-headers: x-a",
                "max-age: 600",
                "vary"
            ]
        );
        let open = Cors::of(&open());
        let granted = open.preflight(&Method::OPTIONS, &asked);
        assert_eq!(
            shown(&granted.expect("a preflight")),
            [
                "allow-origin: *",
                "allow-methods: PATCH",
                "allow-headers: x-c"
            ]
        );
        assert_eq!(open.preflight(&Method::GET, &asked), None);
        let plain = headers(&[("origin", "https://app.x")]);
        assert_eq!(open.preflight(&Method::OPTIONS, &plain), None);
    }
}
