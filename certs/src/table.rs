//! The table that finds a certificate for a server name.
//!
//! Readers share one table; a change makes a new one. It refuses to know the time: an expired
//! certificate is served rather than none, since its error says more than a closed connection.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use crate::Bundle;

/// All certificates by name.
#[derive(Debug, Clone, Default)]
pub struct CertTable {
    exact: HashMap<Box<str>, Arc<Bundle>>,
    /// Under what follows `*.`.
    wildcard: HashMap<Box<str>, Arc<Bundle>>,
}

impl CertTable {
    /// A table of the given certificates. Where two cover a name, the one that ends later wins; the
    /// order in which they are given makes no difference.
    pub fn new(bundles: impl IntoIterator<Item = Arc<Bundle>>) -> Self {
        let mut bundles: Vec<_> = bundles.into_iter().collect();
        bundles.sort_by_key(|b| Reverse((b.not_after(), b.not_before(), b.fingerprint())));
        let mut table = Self::default();
        for bundle in &bundles {
            for name in bundle.names() {
                let (map, key) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut table.wildcard, parent),
                    None => (&mut table.exact, name.as_str()),
                };
                map.entry(key.into()).or_insert_with(|| Arc::clone(bundle));
            }
        }
        table
    }

    /// The certificate for a server name in lower case (as rustls gives it), or an IP address: an
    /// exact one before a wildcard. Allocates nothing.
    pub fn find(&self, name: &str) -> Option<&Arc<Bundle>> {
        let wildcard = || {
            let (label, parent) = name.split_once('.')?;
            let bundle = self.wildcard.get(parent)?;
            (!label.is_empty()).then_some(bundle)
        };
        self.exact.get(name).or_else(wildcard)
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.exact.len() + self.wildcard.len()
    }

    /// Whether there is no certificate at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
