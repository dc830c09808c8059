//! A certificate with its key, and the table that finds one for a server name.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

/// A value that must not be shown: it has no `Display`, and `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Hides a value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for the one who needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A certificate chain with its private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Names that the leaf covers, in lower case; `*.x` stands for one label.
    pub names: Vec<String>,
    /// Leaf first, DER.
    pub chain: Vec<Vec<u8>>,
    /// Private key, PKCS #8 DER.
    pub key: Secret<Vec<u8>>,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
}

/// All certificates by name. Readers share it; a change makes a new one.
#[derive(Debug, Clone, Default)]
pub struct CertTable {
    by_name: HashMap<String, Arc<Bundle>>,
}

impl CertTable {
    /// A table of the given certificates. Where two cover a name, the one that ends later wins.
    pub fn new(bundles: impl IntoIterator<Item = Arc<Bundle>>) -> Self {
        let mut by_name: HashMap<String, Arc<Bundle>> = HashMap::new();
        for bundle in bundles {
            for name in &bundle.names {
                let is_better = by_name
                    .get(name)
                    .is_none_or(|old| old.not_after < bundle.not_after);
                if is_better {
                    by_name.insert(name.clone(), Arc::clone(&bundle));
                }
            }
        }
        Self { by_name }
    }

    /// The certificate for a server name in lower case: an exact one before a wildcard.
    pub fn find(&self, name: &str) -> Option<&Arc<Bundle>> {
        let wildcard = || {
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(&format!("*.{parent}"))
        };
        self.by_name.get(name).or_else(wildcard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(names: &[&str], end: i64) -> Arc<Bundle> {
        let at = |second| Timestamp::from_second(second).expect("in range");
        Arc::new(Bundle {
            names: names.iter().map(ToString::to_string).collect(),
            chain: Vec::new(),
            key: Secret::new(vec![1, 2, 3]),
            not_before: at(0),
            not_after: at(end),
        })
    }

    #[test]
    fn an_exact_name_wins_over_a_wildcard_and_a_wildcard_covers_one_label() {
        let table = CertTable::new([
            bundle(&["*.dev.x"], 10),
            bundle(&["web.dev.x"], 5),
            bundle(&["web.dev.x"], 7),
        ]);
        let end = |name: &str| table.find(name).map(|b| b.not_after.as_second());
        assert_eq!(end("web.dev.x"), Some(7));
        assert_eq!(end("api.dev.x"), Some(10));
        assert_eq!(end("a.api.dev.x"), None);
        assert_eq!(end("dev.x"), None);
        assert_eq!(end("x"), None);
    }

    #[test]
    fn a_key_is_not_shown() {
        let text = format!("{:?}", bundle(&["a"], 1));
        assert!(text.contains("key: ***"), "{text}");
    }
}
