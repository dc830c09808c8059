//! A map from hostnames that shares its structure with copies, and is small and quick to look into
//! at any size: gateways hold one entry for each host and look into it with every request.
//!
//! Two levels of branches lead to leaves by the hash of the name; an entry of a leaf is a few words
//! beside its neighbours, so that a name is compared only where its hash is the same. A change
//! copies two branches and a leaf. A general persistent hash map was seen to take 120 bytes more for
//! each host.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use cara_api::hostname::Hostname;

/// Branches of a level; a power of two.
const WIDTH: usize = 32;

type Leaf<V> = Vec<Entry<V>>;
type Branch<T> = [Arc<T>; WIDTH];

/// A map from hostnames. A copy costs nothing, a change about as much at any size.
#[derive(Debug)]
pub(crate) struct Hosts<V> {
    root: Arc<Branch<Branch<Leaf<V>>>>,
    len: usize,
    hashes: RandomState,
}

/// Within a leaf, entries are in the order of their hashes.
#[derive(Debug)]
struct Entry<V> {
    hash: u64,
    name: Hostname,
    value: Arc<V>,
}

impl<V> Clone for Entry<V> {
    fn clone(&self) -> Self {
        Self {
            hash: self.hash,
            name: self.name.clone(),
            value: Arc::clone(&self.value),
        }
    }
}

impl<V> Clone for Hosts<V> {
    fn clone(&self) -> Self {
        Self {
            root: Arc::clone(&self.root),
            len: self.len,
            hashes: self.hashes.clone(),
        }
    }
}

impl<V> Default for Hosts<V> {
    fn default() -> Self {
        let leaf = Arc::new(Vec::new());
        let branch = Arc::new(std::array::from_fn(|_| Arc::clone(&leaf)));
        Self {
            root: Arc::new(std::array::from_fn(|_| Arc::clone(&branch))),
            len: 0,
            hashes: RandomState::new(),
        }
    }
}

/// The two branches that lead to a hash.
fn way(hash: u64) -> [usize; 2] {
    let step = |shift: u32| (hash >> shift) as usize % WIDTH;
    [step(0), step(WIDTH.trailing_zeros())]
}

/// Where an entry is in a leaf, or where it would be.
fn place<V>(leaf: &[Entry<V>], hash: u64, name: &str) -> Result<usize, usize> {
    let first = leaf.partition_point(|entry| entry.hash < hash);
    let alike = leaf.iter().skip(first).take_while(|e| e.hash == hash);
    let found = alike.enumerate().find(|(_, e)| e.name.as_str() == name);
    found.map(|(at, _)| first + at).ok_or(first)
}

impl<V> Hosts<V> {
    /// The value under exactly this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<V>> {
        let hash = self.hashes.hash_one(name);
        let [first, second] = way(hash);
        let leaf = self.root.get(first)?.get(second)?;
        let at = place(leaf, hash, name).ok()?;
        leaf.get(at).map(|entry| &entry.value)
    }

    /// Puts a value in the place of the one that is there.
    pub(crate) fn insert(&mut self, name: &Hostname, value: Arc<V>) {
        let hash = self.hashes.hash_one(name.as_str());
        let Some(leaf) = leaf_of(&mut self.root, hash) else {
            return;
        };
        match place(leaf, hash, name.as_str()) {
            Ok(at) => {
                if let Some(entry) = leaf.get_mut(at) {
                    entry.value = value;
                }
            }
            Err(at) => {
                let name = name.clone();
                leaf.insert(at, Entry { hash, name, value });
                self.len += 1;
            }
        }
    }

    /// Takes a value out.
    pub(crate) fn remove(&mut self, name: &str) {
        let hash = self.hashes.hash_one(name);
        let Some(leaf) = leaf_of(&mut self.root, hash) else {
            return;
        };
        if let Ok(at) = place(leaf, hash, name) {
            leaf.remove(at);
            self.len -= 1;
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

/// The leaf of a hash, copied with the way to it as far as others share it.
fn leaf_of<V>(root: &mut Arc<Branch<Branch<Leaf<V>>>>, hash: u64) -> Option<&mut Leaf<V>> {
    let [first, second] = way(hash);
    let branch = Arc::make_mut(root).get_mut(first)?;
    let leaf = Arc::make_mut(branch).get_mut(second)?;
    Some(Arc::make_mut(leaf))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn name(number: u32) -> Hostname {
        Hostname::parse(&format!("h{number}.x")).expect("a hostname")
    }

    proptest! {
        /// Whatever is put in and taken out, it holds what a plain map holds, and so does a copy
        /// that was made on the way.
        #[test]
        fn it_is_a_map_and_copies_stay_as_they_are(
            before in prop::collection::vec((0_u32..3_000, any::<Option<u8>>()), 0..2_000),
            after in prop::collection::vec((0_u32..3_000, any::<Option<u8>>()), 0..500),
        ) {
            let mut hosts = Hosts::default();
            let mut plain = BTreeMap::new();
            let mut apply = |hosts: &mut Hosts<u8>, steps: &[(u32, Option<u8>)]| {
                for (number, value) in steps {
                    match value {
                        Some(value) => {
                            hosts.insert(&name(*number), Arc::new(*value));
                            plain.insert(*number, *value);
                        }
                        None => {
                            hosts.remove(name(*number).as_str());
                            plain.remove(number);
                        }
                    }
                }
                plain.clone()
            };
            let expected = apply(&mut hosts, &before);
            let copy = hosts.clone();
            let newest = apply(&mut hosts, &after);
            for (hosts, expected) in [(&copy, &expected), (&hosts, &newest)] {
                prop_assert_eq!(hosts.len(), expected.len());
                for number in 0..3_000 {
                    let found = hosts.get(name(number).as_str()).map(|value| **value);
                    prop_assert_eq!(found, expected.get(&number).copied());
                }
            }
        }
    }

    #[test]
    fn names_with_one_hash_are_told_apart() {
        let entry = |number| Entry {
            hash: 5,
            name: name(number),
            value: Arc::new(number),
        };
        let leaf = [entry(1), entry(2), entry(3)];
        for number in 1..=3 {
            assert_eq!(
                place(&leaf, 5, name(number).as_str()),
                Ok(number as usize - 1)
            );
        }
        assert_eq!(place(&leaf, 5, "other.x"), Err(0));
        assert_eq!(place(&leaf, 6, "h1.x"), Err(3));
        assert_eq!(place(&leaf, 4, "h1.x"), Err(0));
    }
}
