//! Which ports count as accepting connections.

use std::collections::{BTreeMap, BTreeSet};

use super::Start;

/// A port of one start of a container.
pub type Probe = (Start, u16);

/// Ports that accept connections.
pub type Probes = BTreeSet<Probe>;

/// A port that was open counts as closed after this many probes in a row that failed: a service
/// that is busy for a moment must not lose its route.
const FAILURES_MAX: u32 = 3;

/// Failed probes of ports that still count as open.
#[derive(Debug, Clone, Default)]
pub struct Doubts(BTreeMap<Probe, u32>);

impl Doubts {
    /// The ports that count as open after these results; `before` are those that did so far.
    pub fn judge(&mut self, results: &[(Probe, bool)], before: &Probes) -> Probes {
        let mut open = Probes::new();
        let mut doubts = BTreeMap::new();
        for (probe, is_open) in results {
            if *is_open {
                open.insert(probe.clone());
                continue;
            }
            let failures = self.0.get(probe).map_or(1, |count| count + 1);
            if before.contains(probe) && failures < FAILURES_MAX {
                open.insert(probe.clone());
                doubts.insert(probe.clone(), failures);
            }
        }
        self.0 = doubts;
        open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_opens_at_once_and_closes_after_three_failures_in_a_row() {
        let start = Start {
            container: "c".into(),
            at: "t".into(),
        };
        let probe: Probe = (start, 80);
        let (mut doubts, mut open) = (Doubts::default(), Probes::new());
        let mut seen = Vec::new();
        for is_open in [
            false, true, false, false, true, false, false, false, false, true,
        ] {
            open = doubts.judge(&[(probe.clone(), is_open)], &open);
            seen.push(open.contains(&probe));
        }
        assert_eq!(
            seen,
            [
                false, true, true, true, true, true, true, false, false, true
            ]
        );
        assert_eq!(
            doubts.judge(&[], &open),
            Probes::new(),
            "what is not probed is not open"
        );
    }
}
