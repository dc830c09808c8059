//! When a node is short of disk or memory, and which images to remove then. Pure.

use std::collections::{BTreeMap, BTreeSet};

use cara_api::Timestamp;

/// Disk is short below this share of free space, in percent; as the older system planned it.
const DISK_LOW: u64 = 15;
/// Disk is short no more above this share, so that a node does not flap.
const DISK_FINE: u64 = 20;
/// Memory is short below this share, in percent; as the older system planned it.
const MEMORY_LOW: u64 = 10;
/// Memory is short no more above this share.
const MEMORY_FINE: u64 = 15;

/// What is free and what there is, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes that can be used now.
    pub available: u64,
    /// All bytes; 0 when nobody knows.
    pub total: u64,
}

impl Room {
    fn percent(self) -> Option<u64> {
        let share = u128::from(self.available) * 100 / u128::from(self.total.max(1));
        (self.total > 0).then(|| u64::try_from(share).unwrap_or(100))
    }
}

/// What a node is short of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Short of disk.
    pub disk: bool,
    /// Short of memory.
    pub memory: bool,
}

impl Pressure {
    /// The pressure now. What cannot be measured stays as it was.
    #[must_use]
    pub fn next(self, disk: Room, memory: Room) -> Self {
        let judge = |before: bool, room: Room, low: u64, fine: u64| match room.percent() {
            Some(percent) => percent < low || (before && percent < fine),
            None => before,
        };
        Self {
            disk: judge(self.disk, disk, DISK_LOW, DISK_FINE),
            memory: judge(self.memory, memory, MEMORY_LOW, MEMORY_FINE),
        }
    }
}

/// Images that this agent pulled, with the time of their last use.
pub type Pulled = BTreeMap<String, Timestamp>;

/// Images to remove when disk is short, longest unused first: only such as this agent pulled,
/// that no container is made from and no service waits for.
pub fn removable(pulled: &Pulled, in_use: &BTreeSet<String>) -> Vec<String> {
    let mut spare: Vec<(&Timestamp, &String)> = pulled
        .iter()
        .filter(|(image, _)| !in_use.contains(*image))
        .map(|(image, used_at)| (used_at, image))
        .collect();
    spare.sort();
    spare.into_iter().map(|(_, image)| image.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_comes_at_one_mark_and_goes_at_another() {
        let mut pressure = Pressure::default();
        let unknown = Room::default();
        let mut seen = Vec::new();
        for percent in [50, 15, 14, 17, 19, 20, 17, 5] {
            let disk = Room {
                available: percent,
                total: 100,
            };
            pressure = pressure.next(disk, unknown);
            seen.push(pressure.disk);
            assert!(!pressure.memory);
        }
        assert_eq!(seen, [false, false, true, true, true, false, false, true]);
        assert!(pressure.next(unknown, unknown).disk, "unknown is not fine");
    }

    #[test]
    fn only_own_unused_images_go_and_the_oldest_first() {
        let at = |s| Timestamp::from_second(s).expect("in range");
        let pulled = Pulled::from([
            ("new".to_owned(), at(3)),
            ("used".to_owned(), at(1)),
            ("old".to_owned(), at(2)),
        ]);
        let in_use = BTreeSet::from(["used".to_owned(), "foreign".to_owned()]);
        assert_eq!(removable(&pulled, &in_use), ["old", "new"]);
    }
}
