//! W3C Trace Context: reading and writing `traceparent`. Pure.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::request::push_hexadecimal;

/// The header that names trace and parent.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header in which tracing systems keep what is theirs.
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Length of version 00.
const LENGTH: usize = 55;
/// The bit that says that somebody keeps the trace.
const SAMPLED: u8 = 1;

/// A trace, and a place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parent {
    /// Never 0.
    pub(crate) trace: u128,
    /// Never 0.
    pub(crate) span: u64,
    /// Who sent it keeps the trace.
    pub(crate) is_sampled: bool,
}

impl Parent {
    /// Reads what a request brings; none when there is nothing or it is not valid, which must
    /// then be ignored.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(&TRACEPARENT).iter();
        let value = values.next()?;
        match values.next() {
            None => Self::parse(value.as_bytes()),
            Some(_) => None,
        }
    }

    /// Reads a header's value. Later versions are read as far as they are like version 00.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let (known, rest) = value.split_at_checked(LENGTH)?;
        let mut parts = known.split(|b| *b == b'-');
        let mut number = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits)?;
            hexadecimal(part)
        };
        let (version, trace, span, flags) = (number(2)?, number(32)?, number(16)?, number(2)?);
        match version {
            0 if !rest.is_empty() => return None,
            0xff => return None,
            _ if !rest.is_empty() && !rest.starts_with(b"-") => return None,
            _ => {}
        }
        let span = u64::try_from(span).ok()?;
        let is_sampled = u8::try_from(flags).ok()? & SAMPLED != 0;
        (trace != 0 && span != 0).then_some(Self {
            trace,
            span,
            is_sampled,
        })
    }

    /// The header's value.
    pub(crate) fn value(self) -> Option<HeaderValue> {
        let mut text = Vec::with_capacity(LENGTH);
        text.extend_from_slice(b"00-");
        push_hexadecimal(&mut text, &self.trace.to_be_bytes());
        text.push(b'-');
        push_hexadecimal(&mut text, &self.span.to_be_bytes());
        text.push(b'-');
        push_hexadecimal(&mut text, &[u8::from(self.is_sampled)]);
        HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok()
    }
}

/// A number in lower case digits, as the standard wants them.
fn hexadecimal(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_header_is_read_and_any_other_ignored() {
        let parent = |is_sampled| {
            Some(Parent {
                trace: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
                span: 0x00f0_67aa_0ba9_02b7,
                is_sampled,
            })
        };
        for (value, expected) in [
            (VALID, parent(true)),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
                parent(false),
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03",
                parent(true),
            ),
            (
                "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                parent(true),
            ),
            (
                "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
                parent(true),
            ),
            (
                "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
                None,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
                None,
            ),
            (
                "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                None,
            ),
            (
                "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                None,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                None,
            ),
            (
                "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
                None,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
                None,
            ),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", None),
            ("", None),
        ] {
            assert_eq!(Parent::parse(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn two_headers_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, HeaderValue::from_static(VALID));
        assert!(Parent::of(&headers).is_some());
        headers.append(TRACEPARENT, HeaderValue::from_static(VALID));
        assert_eq!(Parent::of(&headers), None);
    }

    proptest! {
        #[test]
        fn never_panics(value in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Parent::parse(&value);
        }

        #[test]
        fn what_is_written_is_read(trace in 1_u128.., span in 1_u64.., is_sampled: bool) {
            let parent = Parent { trace, span, is_sampled };
            let value = parent.value().expect("a value");
            prop_assert_eq!(Parent::parse(value.as_bytes()), Some(parent));
        }
    }
}
