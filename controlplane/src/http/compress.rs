//! Which answers are compressed for clients that take it: those that are whole and worth it.
//!
//! Streams are not: their lines are to arrive when they are written.

use axum::body::HttpBody;
use axum::http::Response;
use tower_http::CompressionLevel;
use tower_http::compression::{CompressionLayer, Predicate};

/// Smaller answers fit into a packet as they are.
const WORTH_BYTES: u64 = 1024;

/// Answers whose length is known, and is not small.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole;

impl Predicate for Whole {
    fn should_compress<B: HttpBody>(&self, response: &Response<B>) -> bool {
        let length = response.body().size_hint().exact();
        length.is_some_and(|length| length >= WORTH_BYTES)
    }
}

/// Compresses by gzip.
pub(super) fn layer() -> CompressionLayer<Whole> {
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(Whole)
}
