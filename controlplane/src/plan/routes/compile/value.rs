//! Single values: of documents, and of the Secrets that they name.

use std::time::Duration;

use cara_api::quantity;
use cara_api::secret::Hidden;
use ipnet::IpNet;

use super::{Gaps, Ground};

/// A duration; none when left out.
pub(super) fn span(text: &str) -> Option<Duration> {
    quantity::duration(text)
}

/// Networks; an address alone is one of its own.
pub(super) fn nets(texts: &[String]) -> Vec<IpNet> {
    let parse = |text: &String| cara_api::network::parse(text);
    texts.iter().filter_map(parse).collect()
}

/// A value of a Secret; notes that it is missing.
pub(super) fn value(
    secret: &str,
    key: &str,
    ground: &Ground<'_>,
    gaps: &mut Gaps,
) -> Option<Hidden> {
    match ground.material.secret(secret) {
        Ok(values) => {
            let found = values.get(key).filter(|v| !v.reveal().is_empty()).cloned();
            if found.is_none() {
                gaps.note_key(secret, key);
            }
            found
        }
        Err(why) => {
            gaps.note("secret", secret, why);
            None
        }
    }
}
