//! One line about one request.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::LogRules;
use crate::request;

/// The current second as text, made once a second.
#[derive(Default)]
pub(crate) struct Clock {
    second: i64,
    text: String,
}

impl Clock {
    /// Appends a time in RFC 3339 form with milliseconds.
    fn render(&mut self, time: jiff::Timestamp, out: &mut Vec<u8>) {
        let second = time.as_second();
        if second != self.second || self.text.is_empty() {
            let whole = jiff::Timestamp::from_second(second).unwrap_or(time);
            self.text = format!("{whole:.0}");
            self.second = second;
        }
        let millis = time.subsec_millisecond().unsigned_abs();
        out.extend_from_slice(self.text.trim_end_matches('Z').as_bytes());
        let digit = |value: u32| b'0' + u8::try_from(value % 10).unwrap_or(0);
        out.extend_from_slice(&[
            b'.',
            digit(millis / 100),
            digit(millis / 10),
            digit(millis),
            b'Z',
        ]);
    }
}

/// What a line says. The same is told to those who look on, and in traces.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    /// When the request ended.
    pub(crate) time: jiff::Timestamp,
    pub(crate) id: &'a str,
    pub(crate) client: Option<IpAddr>,
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    /// With its query, as the client sent it.
    pub(crate) path: &'a str,
    /// 0 when no answer was sent.
    pub(crate) status: u16,
    /// Of the answer's body.
    pub(crate) bytes: usize,
    /// Of the request's body.
    pub(crate) bytes_in: usize,
    pub(crate) duration: Duration,
    /// `http` or `https`.
    pub(crate) listener: &'a str,
    /// Version of TLS; empty without it.
    pub(crate) tls: &'a str,
    /// `h1` or `h2`.
    pub(crate) protocol: &'a str,
    /// Empty when no rule took it.
    pub(crate) project: &'a str,
    pub(crate) ingress: &'a str,
    /// Empty when it was not forwarded.
    pub(crate) service: &'a str,
    /// The endpoint of the last try.
    pub(crate) endpoint: Option<SocketAddr>,
    /// From the last try's begin to the head of its answer.
    pub(crate) upstream: Option<Duration>,
    /// Tries after the first one.
    pub(crate) retries: u32,
    pub(crate) user_agent: Option<&'a [u8]>,
    pub(crate) referer: Option<&'a [u8]>,
    /// The trace that it is part of.
    pub(crate) trace: Option<u128>,
}

impl Line<'_> {
    /// Appends the line as JSON with its newline.
    pub(crate) fn render(&self, rules: &LogRules, clock: &mut Clock, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"".as_slice());
        clock.render(self.time, out);
        out.push(b'"');
        text(out, ",\"id\":", self.id);
        if let Some(client) = self.client {
            out.extend_from_slice(b",\"client\":\"");
            request::push_address(out, client);
            out.push(b'"');
        }
        text(out, ",\"method\":", self.method);
        text(out, ",\"host\":", self.host);
        url(out, ",\"path\":", self.path, rules);
        number(out, ",\"status\":", self.status);
        number(out, ",\"bytes\":", self.bytes);
        number(out, ",\"bytes_in\":", self.bytes_in);
        number(out, ",\"duration_us\":", micros(self.duration));
        text(out, ",\"listener\":", self.listener);
        if !self.tls.is_empty() {
            text(out, ",\"tls\":", self.tls);
        }
        text(out, ",\"protocol\":", self.protocol);
        self.render_rule(out);
        self.render_headers(rules, out);
        if let Some(trace) = self.trace {
            out.extend_from_slice(b",\"trace\":\"");
            request::push_hexadecimal(out, &trace.to_be_bytes());
            out.push(b'"');
        }
        out.extend_from_slice(b"}\n");
    }

    fn render_rule(&self, out: &mut Vec<u8>) {
        if self.project.is_empty() {
            return;
        }
        text(out, ",\"project\":", self.project);
        text(out, ",\"ingress\":", self.ingress);
        text(out, ",\"service\":", self.service);
        if let Some(endpoint) = self.endpoint {
            let (open, close): (&[u8], &[u8]) = match endpoint {
                SocketAddr::V4(_) => (b"", b":"),
                SocketAddr::V6(_) => (b"[", b"]:"),
            };
            out.extend_from_slice(b",\"endpoint\":\"");
            out.extend_from_slice(open);
            request::push_address(out, endpoint.ip());
            out.extend_from_slice(close);
            out.extend_from_slice(itoa::Buffer::new().format(endpoint.port()).as_bytes());
            out.push(b'"');
        }
        if let Some(upstream) = self.upstream {
            number(out, ",\"upstream_us\":", micros(upstream));
        }
        if self.retries > 0 {
            number(out, ",\"retries\":", self.retries);
        }
    }

    fn render_headers(&self, rules: &LogRules, out: &mut Vec<u8>) {
        if let Some(agent) = self.user_agent.filter(|_| rules.user_agent) {
            text(out, ",\"user_agent\":", &String::from_utf8_lossy(agent));
        }
        if let Some(referer) = self.referer.filter(|_| rules.referer) {
            let referer = String::from_utf8_lossy(referer);
            url(out, ",\"referer\":", &referer, rules);
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Appends a key and a URL without its secrets.
fn url(out: &mut Vec<u8>, key: &str, value: &str, rules: &LogRules) {
    if value.contains('?') && !value.bytes().all(is_plain) {
        let pieces: String = rules.redact.pieces(value).collect();
        return text(out, key, &pieces);
    }
    if !value.contains('?') {
        return text(out, key, value);
    }
    out.extend_from_slice(key.as_bytes());
    out.push(b'"');
    for piece in rules.redact.pieces(value) {
        out.extend_from_slice(piece.as_bytes());
    }
    out.push(b'"');
}

/// Whether a byte stands for itself within a string of JSON.
fn is_plain(byte: u8) -> bool {
    byte >= b' ' && byte != b'"' && byte != b'\\'
}

/// Appends a key and a string; nearly all strings need no escapes and are copied as they are.
fn text(out: &mut Vec<u8>, key: &str, value: &str) {
    out.extend_from_slice(key.as_bytes());
    if value.bytes().all(is_plain) {
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    } else {
        // Writing to a vector does not fail.
        let _ = serde_json::to_writer(out, value);
    }
}

/// Appends a key and a number.
fn number(out: &mut Vec<u8>, key: &str, value: impl itoa::Integer) {
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn line<'a>() -> Line<'a> {
        Line {
            time: jiff::Timestamp::UNIX_EPOCH,
            id: "1",
            client: "192.0.2.1".parse().ok(),
            method: "GET",
            host: "web.x",
            path: "/x?y=1&token=abc",
            status: 200,
            bytes: 12,
            bytes_in: 3,
            duration: Duration::from_micros(345),
            listener: "https",
            tls: "TLSv1.3",
            protocol: "h2",
            project: "shop",
            ingress: "main",
            service: "web",
            endpoint: "[::1]:8080".parse().ok(),
            upstream: Some(Duration::from_micros(120)),
            retries: 1,
            user_agent: Some(b"curl/8 \"x\""),
            referer: Some(b"https://a.x/?code=1"),
            trace: Some(0xabc),
        }
    }

    fn rendered(line: &Line<'_>, rules: &LogRules) -> serde_json::Value {
        let mut out = Vec::new();
        line.render(rules, &mut Clock::default(), &mut out);
        assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 1);
        serde_json::from_slice(&out).expect("JSON")
    }

    #[test]
    fn a_line_says_everything_that_is_known() {
        let rules = LogRules {
            user_agent: true,
            referer: true,
            ..LogRules::default()
        };
        let expected = json!({
            "time": "1970-01-01T00:00:00.000Z", "id": "1", "client": "192.0.2.1",
            "method": "GET", "host": "web.x", "path": "/x?y=1&token=***", "status": 200,
            "bytes": 12, "bytes_in": 3, "duration_us": 345, "listener": "https",
            "tls": "TLSv1.3", "protocol": "h2", "project": "shop", "ingress": "main",
            "service": "web", "endpoint": "[::1]:8080", "upstream_us": 120, "retries": 1,
            "user_agent": "curl/8 \"x\"", "referer": "https://a.x/?code=***",
            "trace": "00000000000000000000000000000abc",
        });
        assert_eq!(rendered(&line(), &rules), expected);
    }

    #[test]
    fn a_line_leaves_out_what_there_is_not() {
        let line = Line {
            client: None,
            tls: "",
            project: "",
            trace: None,
            status: 0,
            ..line()
        };
        let json = rendered(&line, &LogRules::default());
        let keys: Vec<&String> = json.as_object().expect("an object").keys().collect();
        assert_eq!(
            keys,
            [
                "time",
                "id",
                "method",
                "host",
                "path",
                "status",
                "bytes",
                "bytes_in",
                "duration_us",
                "listener",
                "protocol"
            ]
        );
    }

    proptest! {
        #[test]
        fn a_line_is_json_whatever_the_client_sent(
            host in ".*", path in ".*", agent in prop::collection::vec(any::<u8>(), 0..20)
        ) {
            let rules = LogRules { user_agent: true, referer: true, ..LogRules::default() };
            let line = Line {
                host: &host,
                path: &path,
                user_agent: Some(&agent),
                referer: Some(&agent),
                ..line()
            };
            prop_assert_eq!(&rendered(&line, &rules)["host"], &host);
        }
    }
}
