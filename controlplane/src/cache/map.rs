//! What maps of the cache have in common.

use std::collections::BTreeMap;

/// Puts a value under a key, or takes away what is there; gives what was there.
pub(super) fn replace<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) -> Option<V> {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    }
}
