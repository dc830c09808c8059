//! Compression of answers that services send as they are.
//!
//! Which coding, if any, is decided from the heads alone. An answer whose length is not known is
//! flushed with every piece that arrives, so that nothing waits in the gateway; event streams and
//! gRPC are never touched.

use std::io::Write;

use bytes::Bytes;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Method, Version, header};
use pingora_error::{ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};

/// Below this many bytes the headers about compression outweigh what it saves.
const LENGTH_MIN: u64 = 1_024;
const GZIP_LEVEL: u32 = 5;
const BROTLI_QUALITY: u32 = 4;
const ZSTD_LEVEL: i32 = 3;
/// Base 2 logarithm of how far encoders look back, in bytes: 512 KiB for each answer under way.
const WINDOW_LOG: u32 = 19;
const BUFFER_BYTES: usize = 16 * 1_024;

/// A content coding that the gateway speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Zstd,
    Brotli,
    Gzip,
}

impl Coding {
    /// The cheapest first.
    const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// The value of `Content-Encoding`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    fn accepted(headers: &HeaderMap) -> Option<Self> {
        let lines = headers.get_all(header::ACCEPT_ENCODING).iter();
        Self::best(lines.filter_map(|line| line.to_str().ok()))
    }

    /// The coding that a client likes best, by the lines of its `Accept-Encoding`; none when it
    /// wants none (RFC 9110 section 12.5.3).
    pub(crate) fn best<'a>(texts: impl Iterator<Item = &'a str>) -> Option<Self> {
        let items: Vec<(&str, u16)> = texts
            .flat_map(|text| text.split(','))
            .filter_map(parse_item)
            .collect();
        let weight = |name: &str| {
            let named = |wanted: &str| {
                let found = items.iter().find(|(n, _)| n.eq_ignore_ascii_case(wanted));
                found.map(|(_, q)| *q)
            };
            // `x-gzip` is the same, RFC 9110 section 8.4.1.3.
            let old = (name == "gzip").then(|| named("x-gzip")).flatten();
            named(name).or(old).or_else(|| named("*")).unwrap_or(0)
        };
        let best = Self::ALL
            .into_iter()
            .rev()
            .max_by_key(|c| weight(c.name()))?;
        let identity = items
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case("identity"));
        let identity = identity.map_or(0, |(_, q)| *q);
        (weight(best.name()) > 0 && weight(best.name()) >= identity).then_some(best)
    }
}

/// A coding and its weight in thousandths.
fn parse_item(item: &str) -> Option<(&str, u16)> {
    let mut parts = item.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?;
    let weight = parts.find_map(|part| {
        let value = part
            .strip_prefix("q=")
            .or_else(|| part.strip_prefix("Q="))?;
        Some(parse_weight(value).unwrap_or(0))
    });
    Some((name, weight.unwrap_or(1_000)))
}

fn parse_weight(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: u16 = whole.parse().ok().filter(|n| *n <= 1)?;
    let digits = fraction.get(..fraction.len().min(3))?;
    let thousandths: u16 = format!("{digits:0<3}").parse().ok()?;
    Some((whole * 1_000 + thousandths).min(1_000))
}

/// Whether a media type is text, or something that is written like it.
fn is_text(content_type: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(content_type) else {
        return false;
    };
    let essence = text.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    if essence == "text/event-stream" {
        return false;
    }
    // They compress by themselves, message by message, whatever their messages are written in.
    if essence.starts_with("application/grpc") || essence.starts_with("application/connect") {
        return false;
    }
    let Some((kind, name)) = essence.split_once('/') else {
        return false;
    };
    kind == "text"
        || name.ends_with("+json")
        || name.ends_with("+xml")
        || name.ends_with("+text")
        || matches!(
            essence.as_str(),
            "application/json"
                | "application/javascript"
                | "application/ecmascript"
                | "application/xml"
                | "application/wasm"
                | "application/x-ndjson"
                | "application/ndjson"
                | "application/yaml"
                | "application/x-yaml"
                | "application/toml"
                | "application/rtf"
                | "application/x-javascript"
                | "application/graphql"
                | "application/vnd.ms-fontobject"
                | "font/ttf"
                | "font/otf"
                | "image/bmp"
                | "image/x-icon"
                | "image/vnd.microsoft.icon"
        )
}

fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name).iter();
    let mut texts = lines.filter_map(|line| line.to_str().ok());
    texts.any(|text| {
        text.split(',')
            .any(|part| part.trim().eq_ignore_ascii_case(token))
    })
}

/// What an answer's head says, as far as it matters here.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Facts<'a> {
    pub(crate) status: u16,
    /// Bytes of the body, where they are known.
    pub(crate) length: Option<u64>,
    pub(crate) content_type: Option<&'a [u8]>,
    /// It is coded already, a part of something, has trailers (compressing leaves no place for
    /// them), or must not be transformed.
    pub(crate) is_fixed: bool,
}

impl Facts<'_> {
    /// Whether the answer may be compressed, for whoever accepts it.
    pub(crate) fn is_eligible(&self) -> bool {
        self.status >= 200
            && !matches!(self.status, 204 | 206 | 304)
            && !self.is_fixed
            && self.length.is_none_or(|length| length >= LENGTH_MIN)
            && self.content_type.is_some_and(is_text)
    }
}

fn facts(answer: &ResponseHeader) -> Facts<'_> {
    let headers = &answer.headers;
    let length = headers.get(header::CONTENT_LENGTH);
    Facts {
        status: answer.status.as_u16(),
        length: length.and_then(|l| l.to_str().ok()?.parse::<u64>().ok()),
        content_type: headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes),
        is_fixed: headers.contains_key(header::CONTENT_ENCODING)
            || headers.contains_key(header::CONTENT_RANGE)
            || headers.contains_key(header::TRAILER)
            || has_token(headers, header::CACHE_CONTROL, "no-transform"),
    }
}

/// Says in an answer's head that it is compressed, and returns what does it; none when it stays
/// as it is.
///
/// # Errors
/// The encoder cannot be made.
pub(crate) fn begin(
    request: &RequestHeader,
    answer: &mut ResponseHeader,
) -> Result<Option<Stream>> {
    let facts = facts(answer);
    if request.method == Method::CONNECT || !facts.is_eligible() {
        return Ok(None);
    }
    let length = facts.length;
    super::vary::vary(answer, "Accept-Encoding")?;
    let Some(coding) = Coding::accepted(&request.headers) else {
        return Ok(None);
    };
    // HTTP/1.0 knows no chunks; and the answer to HEAD has no body to tell the length of.
    if request.version <= Version::HTTP_10 || request.method == Method::HEAD {
        return Ok(None);
    }
    answer.remove_header(&header::CONTENT_LENGTH);
    // Ranges of what the service has are not ranges of what the client gets.
    answer.remove_header(&header::ACCEPT_RANGES);
    answer.insert_header(header::CONTENT_ENCODING, coding.name())?;
    if request.version <= Version::HTTP_11 {
        answer.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    }
    if let Some(weak) = answer.headers.get(header::ETAG).and_then(weakened) {
        answer.insert_header(header::ETAG, weak)?;
    }
    Stream::new(coding, length).map(Some)
}

/// The tag of something equivalent, not equal byte for byte.
fn weakened(tag: &HeaderValue) -> Option<HeaderValue> {
    let text = tag.as_bytes();
    if text.starts_with(b"W/") {
        return None;
    }
    HeaderValue::from_bytes(&[b"W/", text].concat()).ok()
}

/// An answer that is being compressed.
pub(crate) struct Stream {
    /// None once the end was written.
    encoder: Option<Encoder>,
    /// More may come at any time, or not for long.
    flushes: bool,
}

enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

const FAILED: ErrorType = ErrorType::new("CompressionFailed");

impl Stream {
    /// Compresses a body of so many bytes; without a length every piece is flushed.
    ///
    /// # Errors
    /// The encoder cannot be made.
    pub(crate) fn new(coding: Coding, length: Option<u64>) -> Result<Self> {
        let encoder = match coding {
            Coding::Gzip => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                Encoder::Gzip(GzEncoder::new(Vec::new(), level))
            }
            Coding::Brotli => Encoder::Brotli(Box::new(brotli::CompressorWriter::new(
                Vec::new(),
                BUFFER_BYTES,
                BROTLI_QUALITY,
                WINDOW_LOG,
            ))),
            Coding::Zstd => Encoder::Zstd(zstd().or_err(FAILED, "zstd")?),
        };
        Ok(Self {
            encoder: Some(encoder),
            flushes: length.is_none(),
        })
    }

    /// Compresses a piece; what comes out may belong to earlier pieces, or be nothing yet.
    ///
    /// # Errors
    /// The library failed; the answer cannot go on.
    pub(crate) fn push(&mut self, piece: &[u8], is_last: bool) -> Result<Bytes> {
        let Some(encoder) = &mut self.encoder else {
            return Ok(Bytes::new());
        };
        let flushes = self.flushes && !is_last && !piece.is_empty();
        let out = match encoder {
            Encoder::Gzip(writer) => {
                write(writer, piece, flushes)?;
                std::mem::take(writer.get_mut())
            }
            Encoder::Brotli(writer) => {
                write(writer, piece, flushes)?;
                std::mem::take(writer.get_mut())
            }
            Encoder::Zstd(writer) => {
                write(writer, piece, flushes)?;
                std::mem::take(writer.get_mut())
            }
        };
        if !is_last {
            return Ok(out.into());
        }
        let mut whole = out;
        let end = match self.encoder.take() {
            Some(Encoder::Gzip(writer)) => writer.finish().or_err(FAILED, "gzip")?,
            Some(Encoder::Brotli(writer)) => writer.into_inner(),
            Some(Encoder::Zstd(writer)) => writer.finish().or_err(FAILED, "zstd")?,
            None => Vec::new(),
        };
        whole.extend_from_slice(&end);
        Ok(whole.into())
    }
}

fn write(writer: &mut impl Write, piece: &[u8], flushes: bool) -> Result<()> {
    writer
        .write_all(piece)
        .or_err(FAILED, "while compressing")?;
    if flushes {
        writer.flush().or_err(FAILED, "while compressing")?;
    }
    Ok(())
}

fn zstd() -> std::io::Result<zstd::stream::write::Encoder<'static, Vec<u8>>> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
    encoder.set_parameter(zstd::stream::raw::CParameter::WindowLog(WINDOW_LOG))?;
    Ok(encoder)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_clients_weights_decide_and_then_the_cost() {
        for (accept, expected) in [
            ("gzip, deflate, br, zstd", Some(Coding::Zstd)),
            ("gzip, deflate, br", Some(Coding::Brotli)),
            ("gzip", Some(Coding::Gzip)),
            ("x-gzip", Some(Coding::Gzip)),
            ("gzip;q=1.0, br;q=0.5, zstd;q=0", Some(Coding::Gzip)),
            ("br;q=0.001", Some(Coding::Brotli)),
            ("*", Some(Coding::Zstd)),
            ("*;q=0.5, zstd;q=0", Some(Coding::Brotli)),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0.5, GZIP", Some(Coding::Gzip)),
            ("gzip;q=0", None),
            ("gzip;q=nonsense", None),
            ("deflate", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("accept-encoding", accept.parse().expect("a value"));
            assert_eq!(Coding::accepted(&headers), expected, "{accept}");
        }
        assert_eq!(Coding::accepted(&HeaderMap::new()), None);
    }

    fn heads(
        request: &[(&'static str, &str)],
        status: u16,
        answer: &[(&'static str, &str)],
    ) -> (RequestHeader, ResponseHeader) {
        let mut asked = RequestHeader::build("GET", b"/", None).expect("a request");
        for (name, value) in request {
            asked.append_header(*name, *value).expect("a header");
        }
        let mut answered = ResponseHeader::build(status, None).expect("an answer");
        for (name, value) in answer {
            answered.append_header(*name, *value).expect("a header");
        }
        (asked, answered)
    }

    #[test]
    fn only_text_that_is_worth_it_is_compressed() {
        let html = ("content-type", "text/html; charset=utf-8");
        for (status, answer, is_compressed, varies) in [
            (200, &[html][..], true, true),
            (404, &[html], true, true),
            (200, &[html, ("content-length", "1024")], true, true),
            (200, &[html, ("content-length", "1023")], false, false),
            (200, &[html, ("content-encoding", "br")], false, false),
            (
                200,
                &[html, ("cache-control", "public, no-transform")],
                false,
                false,
            ),
            (
                206,
                &[html, ("content-range", "bytes 0-9/10")],
                false,
                false,
            ),
            (204, &[html], false, false),
            (304, &[html], false, false),
            (
                200,
                &[("content-type", "application/vnd.api+json")],
                true,
                true,
            ),
            (200, &[("content-type", "image/svg+xml")], true, true),
            (200, &[("content-type", "image/png")], false, false),
            (
                200,
                &[("content-type", "application/grpc+proto")],
                false,
                false,
            ),
            (
                200,
                &[("content-type", "application/grpc+json")],
                false,
                false,
            ),
            (
                200,
                &[("content-type", "Application/gRPC-Web+json; charset=utf-8")],
                false,
                false,
            ),
            (
                200,
                &[("content-type", "application/connect+json")],
                false,
                false,
            ),
            (200, &[("content-type", "text/event-stream")], false, false),
            (200, &[html, ("trailer", "x-sum")], false, false),
            (200, &[], false, false),
        ] {
            let (asked, mut answered) = heads(&[("accept-encoding", "gzip")], status, answer);
            let stream = begin(&asked, &mut answered).expect("begins");
            assert_eq!(stream.is_some(), is_compressed, "{status} {answer:?}");
            assert_eq!(answered.headers.contains_key("vary"), varies, "{answer:?}");
            assert!(!is_compressed || !answered.headers.contains_key("content-length"));
        }
    }

    #[test]
    fn the_head_tells_what_the_body_is() {
        let plain = [
            ("content-type", "text/css"),
            ("etag", "\"1\""),
            ("accept-ranges", "bytes"),
            ("vary", "Origin"),
        ];
        let (asked, mut answered) = heads(&[("accept-encoding", "br")], 200, &plain);
        assert!(begin(&asked, &mut answered).expect("begins").is_some());
        let get = |name: &str| {
            answered
                .headers
                .get(name)
                .map(|v| v.to_str().expect("text"))
        };
        assert_eq!(get("content-encoding"), Some("br"));
        assert_eq!(get("etag"), Some("W/\"1\""));
        assert_eq!(get("accept-ranges"), None);
        let vary: Vec<_> = answered.headers.get_all("vary").iter().collect();
        assert_eq!(vary, ["Origin", "Accept-Encoding"]);
        // Who wants none is told that others get another answer.
        let (asked, mut answered) = heads(&[], 200, &plain);
        assert!(begin(&asked, &mut answered).expect("begins").is_none());
        assert_eq!(answered.headers.get("etag").expect("a tag"), "\"1\"");
        assert_eq!(answered.headers.get_all("vary").iter().count(), 2);
    }

    fn decode(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        // What was not flushed yet is an end that comes too early.
        let _ = match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
            Coding::Brotli => brotli::Decompressor::new(bytes, 4_096).read_to_end(&mut out),
            Coding::Zstd => zstd::stream::read::Decoder::new(bytes)
                .expect("a decoder")
                .read_to_end(&mut out),
        };
        out
    }

    #[test]
    fn a_stream_of_unknown_length_is_readable_piece_by_piece() {
        for coding in Coding::ALL {
            let mut stream = Stream::new(coding, None).expect("a stream");
            let (mut sent, mut expected) = (Vec::new(), Vec::new());
            for number in 0..50 {
                let piece = format!("piece {number} of a long story\n");
                sent.extend_from_slice(&stream.push(piece.as_bytes(), false).expect("pushes"));
                expected.extend_from_slice(piece.as_bytes());
                assert_eq!(decode(coding, &sent), expected, "{coding:?}");
            }
            sent.extend_from_slice(&stream.push(b"", true).expect("ends"));
            assert_eq!(decode(coding, &sent), expected, "{coding:?}");
            assert_eq!(stream.push(b"late", true).expect("is over"), Bytes::new());
        }
    }

    #[test]
    fn large_answers_become_small() {
        let text = "all work and no play makes a dull page\n".repeat(20_000);
        for coding in Coding::ALL {
            let length = u64::try_from(text.len()).ok();
            let mut stream = Stream::new(coding, length).expect("a stream");
            let mut sent = Vec::new();
            for piece in text.as_bytes().chunks(64 * 1_024) {
                sent.extend_from_slice(&stream.push(piece, false).expect("pushes"));
            }
            sent.extend_from_slice(&stream.push(b"", true).expect("ends"));
            assert_eq!(decode(coding, &sent), text.as_bytes());
            assert!(sent.len() < text.len() / 50, "{coding:?} {}", sent.len());
        }
    }
}
