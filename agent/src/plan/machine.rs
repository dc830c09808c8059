//! When a node is short of disk or memory, and which images to remove then. Pure.

use std::collections::{BTreeMap, BTreeSet};

use cara_api::Timestamp;

/// Marks between which a resource is short or not: below the first it becomes short, above the
/// second it is short no more, so that a node does not flap. Each is a share of all in percent,
/// as the older system planned it, but never more than an amount: a large disk is not full when
/// a tenth of it is free.
struct Marks {
    low: (u64, u64),
    fine: (u64, u64),
}

const GIB: u64 = 1 << 30;
const DISK: Marks = Marks {
    low: (15, 10 * GIB),
    fine: (20, 15 * GIB),
};
const MEMORY: Marks = Marks {
    low: (10, GIB),
    fine: (15, 3 * GIB / 2),
};

/// What is free and what there is, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes that can be used now.
    pub available: u64,
    /// All bytes; 0 when nobody knows.
    pub total: u64,
}

impl Room {
    /// Whether less is free than a mark says; none when nobody knows.
    fn is_below(self, (percent, bytes): (u64, u64)) -> Option<bool> {
        let share = u128::from(self.total) * u128::from(percent) / 100;
        let mark = share.min(u128::from(bytes));
        (self.total > 0).then(|| u128::from(self.available) < mark)
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
        let judge = |before: bool, room: Room, marks: Marks| {
            let mark = if before { marks.fine } else { marks.low };
            room.is_below(mark).unwrap_or(before)
        };
        Self {
            disk: judge(self.disk, disk, DISK),
            memory: judge(self.memory, memory, MEMORY),
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
        let large = |free| Room {
            available: free * GIB,
            total: 250 * GIB,
        };
        let is_short = |free| Pressure::default().next(large(free), unknown).disk;
        assert_eq!(
            [is_short(30), is_short(10), is_short(9)],
            [false, false, true]
        );
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
