//! Choice of an endpoint: the less loaded of two that are drawn.
//!
//! Two choices spread requests almost as evenly as asking everybody, and a slow endpoint is
//! noticed at once, since what it has not answered yet counts as its load.

use std::time::Duration;

/// A full share, in thousandths.
pub const FULL_SHARE: u32 = 1_000;
/// What a new endpoint begins with, in thousandths.
const FIRST_SHARE: u32 = 100;

/// How an endpoint stands at the moment of a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Requests under way.
    pub in_flight: u32,
    /// Part of a full share that it takes, in thousandths: 1 to [`FULL_SHARE`].
    pub share: u32,
}

/// The place of the endpoint for a request; none when all are left out. `load` leaves out those
/// for which it gives none. `draw` is a number that nobody can foresee; all its bits count.
///
/// Of two that are drawn the less loaded one wins. A winner that only takes part of a share gives
/// way to the other as often as its share is short of that one's.
pub fn pick<T>(items: &[T], load: impl Fn(&T) -> Option<Load>, draw: u64) -> Option<usize> {
    let usable = || {
        let places = items.iter().enumerate();
        places.filter_map(|(place, item)| Some((place, load(item)?)))
    };
    let count = usable().count();
    let first = scale(draw >> 42, 22, count);
    let (first_place, first_load) = usable().nth(first)?;
    if count == 1 {
        return Some(first_place);
    }
    // One of the others, each as likely.
    let second = scale((draw >> 20) & 0x3f_ffff, 22, count - 1);
    let second = if second >= first { second + 1 } else { second };
    let (second_place, second_load) = usable().nth(second)?;
    let (winner, loser) = if second_load.in_flight < first_load.in_flight {
        ((second_place, second_load), (first_place, first_load))
    } else {
        ((first_place, first_load), (second_place, second_load))
    };
    let lot = u32::try_from(draw & 0xf_ffff).unwrap_or(0);
    let gives_way = winner.1.share < loser.1.share && lot % loser.1.share >= winner.1.share;
    Some(if gives_way { loser.0 } else { winner.0 })
}

/// The share of an endpoint of this age, in thousandths, when it takes `window` to its full share.
pub fn share(age: Duration, window: Duration) -> u32 {
    if age >= window {
        return FULL_SHARE;
    }
    let ramp = u128::from(FULL_SHARE) * age.as_millis() / window.as_millis().max(1);
    u32::try_from(ramp)
        .unwrap_or(FULL_SHARE)
        .clamp(FIRST_SHARE, FULL_SHARE)
}

/// A number of `bits` bits, brought below `count`.
fn scale(number: u64, bits: u32, count: usize) -> usize {
    let below = (u128::from(number) * count as u128) >> bits;
    usize::try_from(below).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers that are spread over all bits, the same in every run.
    fn draws(count: u64) -> impl Iterator<Item = u64> {
        (1..=count).map(|n| {
            let mixed = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (n << 17)).rotate_left(31);
            let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed ^ (mixed >> 32)
        })
    }

    fn full(in_flight: u32) -> Option<Load> {
        Some(Load {
            in_flight,
            share: FULL_SHARE,
        })
    }

    fn shares(loads: &[Option<Load>]) -> Vec<usize> {
        let mut counts = vec![0; loads.len()];
        for draw in draws(10_000) {
            if let Some(place) = pick(loads, |load| *load, draw) {
                counts[place] += 1;
            }
        }
        counts
    }

    #[test]
    fn idle_endpoints_get_the_same() {
        for count in shares(&[full(0), full(0), full(0), full(0)]) {
            assert!((2_300..2_700).contains(&count), "{count}");
        }
    }

    #[test]
    fn the_busiest_endpoint_gets_nothing_and_those_left_out_neither() {
        assert_eq!(shares(&[full(9), full(1)]), [0, 10_000]);
        assert_eq!(shares(&[None, full(9), None]), [0, 10_000, 0]);
        let counts = shares(&[full(5), full(1), full(1)]);
        assert_eq!(counts[0], 0, "{counts:?}");
        assert_eq!(shares(&[None, None]), [0, 0]);
        assert_eq!(shares(&[]), [0; 0]);
    }

    #[test]
    fn a_new_endpoint_takes_its_part_of_a_share() {
        let new = Some(Load {
            in_flight: 0,
            share: 200,
        });
        let counts = shares(&[full(3), new]);
        // It wins every time and keeps one in five.
        assert!((1_800..2_200).contains(&counts[1]), "{counts:?}");
        // Alone it takes everything.
        assert_eq!(shares(&[new]), [10_000]);
        assert!(shares(&[new, new]).iter().all(|count| *count > 4_500));
    }

    #[test]
    fn the_share_grows_with_age() {
        for (age_s, window_s, expected) in [
            (0, 30, 100),
            (1, 30, 100),
            (15, 30, 500),
            (30, 30, 1_000),
            (99, 30, 1_000),
            (0, 0, 1_000),
        ] {
            let share = share(Duration::from_secs(age_s), Duration::from_secs(window_s));
            assert_eq!(share, expected, "{age_s} s of {window_s} s");
        }
    }

    proptest! {
        #[test]
        fn only_what_is_usable_is_chosen_and_something_is_when_there_is_something(
            loads in prop::collection::vec(prop::option::of((0_u32..9, 1_u32..=FULL_SHARE)), 0..9),
            draw: u64,
        ) {
            let load = |l: &Option<(u32, u32)>| l.map(|(in_flight, share)| Load { in_flight, share });
            let chosen = pick(&loads, load, draw);
            prop_assert_eq!(chosen.is_some(), loads.iter().any(Option::is_some));
            if let Some(place) = chosen {
                prop_assert!(loads[place].is_some());
            }
        }
    }
}
