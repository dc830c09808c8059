//! Spans of a request, with the attributes that OpenTelemetry names, as OTLP writes them. Pure.

use std::time::Duration;

use serde_json::{Value, json};

use super::Trace;
use crate::access_log::{Line, Redact};

/// Methods that are shown as they are; others come from clients that may make them up.
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

/// A request that ended.
pub(crate) struct Ended<'a> {
    pub(crate) trace: Trace,
    pub(crate) line: &'a Line<'a>,
    pub(crate) redact: &'a Redact,
    /// The path that the rule takes.
    pub(crate) route: Option<&'a str>,
    /// From the request's begin to that of its last try, if there was one.
    pub(crate) upstream_after: Option<Duration>,
    /// What of the trace is others'.
    pub(crate) state: Option<&'a str>,
}

/// A part of a trace.
#[derive(Debug)]
pub(crate) struct Span(Value);

impl Span {
    /// As OTLP writes it.
    pub(crate) fn into_json(self) -> Value {
        self.0
    }
}

/// OTLP's numbers for the kind of a span.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Server = 2,
    Client = 3,
}

impl Ended<'_> {
    /// The request's span, and the one of the way to its service if it was sent to one.
    pub(crate) fn spans(&self) -> impl Iterator<Item = Span> {
        let upstream = self.upstream_after.map(|after| self.upstream(after));
        std::iter::once(self.request()).chain(upstream)
    }

    fn method(&self) -> &str {
        let known = METHODS.contains(&self.line.method);
        if known { self.line.method } else { "_OTHER" }
    }

    fn times(&self, after: Duration) -> (i128, i128) {
        let end = self.line.time.as_nanosecond();
        let took = i128::try_from(self.line.duration.as_nanos()).unwrap_or(0);
        let after = i128::try_from(after.as_nanos()).unwrap_or(0).min(took);
        (end - took + after, end)
    }

    fn request(&self) -> Span {
        let line = self.line;
        let method = self.method();
        let url: String = self.redact.pieces(line.path).collect();
        let (path, query) = url.split_once('?').unwrap_or((&url, ""));
        let (host, port) = split(line.host);
        let mut attributes = vec![
            text("http.request.method", method),
            text("url.scheme", line.listener),
            text("url.path", path),
            text("server.address", host),
            text("network.protocol.version", version(line.protocol)),
            number("http.response.body.size", line.bytes),
            number("http.request.body.size", line.bytes_in),
            text("cara.request.id", line.id),
        ];
        let client = line.client.map(|client| client.to_string());
        let agent = line.user_agent.map(String::from_utf8_lossy);
        for (key, value) in [
            ("url.query", Some(query)),
            ("http.route", self.route),
            ("client.address", client.as_deref()),
            ("user_agent.original", agent.as_deref()),
            ("cara.project", Some(line.project)),
            ("cara.ingress", Some(line.ingress)),
            ("cara.service", Some(line.service)),
            ("tls.protocol.version", line.tls.strip_prefix("TLSv")),
        ] {
            let value = value.filter(|value| !value.is_empty());
            attributes.extend(value.map(|value| text(key, value)));
        }
        attributes.extend(port.map(|port| number("server.port", port)));
        let shown = if method == "_OTHER" { "HTTP" } else { method };
        let name = match self.route {
            Some(route) => format!("{shown} {route}"),
            None => shown.to_owned(),
        };
        let place = (self.trace.span, self.trace.parent);
        self.span(&name, Kind::Server, place, Duration::ZERO, attributes)
    }

    fn upstream(&self, after: Duration) -> Span {
        let line = self.line;
        let endpoint = line.endpoint.map(|e| e.to_string()).unwrap_or_default();
        let path: String = self.redact.pieces(line.path).collect();
        let mut attributes = vec![
            text("http.request.method", self.method()),
            text("url.full", &format!("http://{endpoint}{path}")),
            text("cara.service", line.service),
        ];
        if let Some(endpoint) = line.endpoint {
            attributes.push(text("server.address", &endpoint.ip().to_string()));
            attributes.push(number("server.port", endpoint.port()));
        }
        if line.retries > 0 {
            attributes.push(number("http.request.resend_count", line.retries));
        }
        let place = (self.trace.upstream, Some(self.trace.span));
        self.span(self.method(), Kind::Client, place, after, attributes)
    }

    fn span(
        &self,
        name: &str,
        kind: Kind,
        (id, parent): (u64, Option<u64>),
        after: Duration,
        mut attributes: Vec<Value>,
    ) -> Span {
        let status = self.line.status;
        let (start, end) = self.times(after);
        let is_error = !(1..500).contains(&status);
        if status > 0 {
            attributes.push(number("http.response.status_code", status));
        }
        if is_error {
            let kind = match status {
                0 => "no_answer".to_owned(),
                status => status.to_string(),
            };
            attributes.push(text("error.type", &kind));
        }
        let parent = parent.map_or_else(String::new, |parent| format!("{parent:016x}"));
        Span(json!({
            "traceId": format!("{:032x}", self.trace.id),
            "spanId": format!("{id:016x}"),
            "parentSpanId": parent,
            "traceState": self.state.unwrap_or_default(),
            "flags": 1,
            "name": name,
            "kind": kind as u8,
            "startTimeUnixNano": start.to_string(),
            "endTimeUnixNano": end.to_string(),
            "attributes": attributes,
            "status": {"code": if is_error { 2 } else { 0 }},
        }))
    }
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// Numbers of 64 bits are strings in JSON.
fn number(key: &str, value: impl ToString) -> Value {
    json!({"key": key, "value": {"intValue": value.to_string()}})
}

fn version(protocol: &str) -> &str {
    if protocol == "h2" { "2" } else { "1.1" }
}

/// Host and port of what a request names as its host.
fn split(host: &str) -> (&str, Option<u16>) {
    let port = host.rsplit_once(':').and_then(|(name, port)| {
        let is_address = name.contains(':') && !name.ends_with(']');
        Some((name, port.parse().ok()?)).filter(|_| !is_address)
    });
    port.map_or((host, None), |(name, port)| (name, Some(port)))
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::LazyLock;

    use super::*;

    static LINE: LazyLock<Line<'static>> = LazyLock::new(|| Line {
        time: jiff::Timestamp::from_second(100).expect("a time"),
        id: "r1",
        client: "192.0.2.1".parse().ok(),
        method: "GET",
        host: "web.x:8443",
        path: "/cart/1?token=abc&a=1",
        status: 503,
        bytes: 12,
        bytes_in: 3,
        duration: Duration::from_millis(20),
        listener: "https",
        tls: "TLSv1.3",
        protocol: "h2",
        project: "shop",
        ingress: "main",
        service: "web",
        endpoint: "10.0.0.1:8080".parse().ok(),
        upstream: Some(Duration::from_millis(10)),
        retries: 1,
        user_agent: Some(b"curl/8"),
        referer: None,
        trace: None,
    });
    static REDACT: LazyLock<Redact> = LazyLock::new(Redact::default);

    /// A request with two spans.
    pub(in super::super) fn ended(trace: Trace) -> Ended<'static> {
        Ended {
            trace,
            line: &LINE,
            redact: &REDACT,
            route: Some("/cart"),
            upstream_after: Some(Duration::from_millis(5)),
            state: None,
        }
    }

    fn attribute<'a>(span: &'a Value, key: &str) -> &'a Value {
        let all = span["attributes"].as_array().expect("a list");
        let found = all.iter().find(|a| a["key"] == key);
        let found = found.unwrap_or_else(|| panic!("{key} is missing in {span}"));
        let value = &found["value"];
        value.get("stringValue").unwrap_or(&value["intValue"])
    }

    #[test]
    fn spans_carry_what_opentelemetry_names() {
        let ended = ended(Trace {
            id: 0xabc,
            parent: Some(1),
            span: 2,
            upstream: 3,
            is_sampled: true,
        });
        let spans: Vec<Value> = ended.spans().map(Span::into_json).collect();
        let [request, upstream] = &spans[..] else {
            panic!("two spans");
        };
        assert_eq!(request["traceId"], "00000000000000000000000000000abc");
        assert_eq!(request["spanId"], "0000000000000002");
        assert_eq!(request["parentSpanId"], "0000000000000001");
        assert_eq!(request["name"], "GET /cart");
        assert_eq!(request["kind"], 2);
        assert_eq!(request["startTimeUnixNano"], "99980000000");
        assert_eq!(request["endTimeUnixNano"], "100000000000");
        assert_eq!(request["status"]["code"], 2);
        for (key, value) in [
            ("http.request.method", "GET"),
            ("http.response.status_code", "503"),
            ("http.route", "/cart"),
            ("url.scheme", "https"),
            ("url.path", "/cart/1"),
            ("url.query", "token=***&a=1"),
            ("server.address", "web.x"),
            ("server.port", "8443"),
            ("client.address", "192.0.2.1"),
            ("network.protocol.version", "2"),
            ("tls.protocol.version", "1.3"),
            ("user_agent.original", "curl/8"),
            ("error.type", "503"),
            ("cara.project", "shop"),
        ] {
            assert_eq!(attribute(request, key), value, "{key}");
        }
        assert_eq!(upstream["parentSpanId"], "0000000000000002");
        assert_eq!(upstream["kind"], 3);
        assert_eq!(upstream["startTimeUnixNano"], "99985000000");
        assert_eq!(attribute(upstream, "server.port"), "8080");
        assert_eq!(attribute(upstream, "http.request.resend_count"), "1");
        assert!(!spans.iter().any(|span| span.to_string().contains("abc&")));
    }

    #[test]
    fn a_host_is_split_from_its_port() {
        for (host, expected) in [
            ("a.x", ("a.x", None)),
            ("a.x:80", ("a.x", Some(80))),
            ("[::1]:80", ("[::1]", Some(80))),
            ("[::1]", ("[::1]", None)),
            ("::1", ("::1", None)),
            ("a.x:", ("a.x:", None)),
            ("", ("", None)),
        ] {
            assert_eq!(split(host), expected, "{host}");
        }
    }
}
