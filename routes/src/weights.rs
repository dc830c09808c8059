//! Choice among services that share requests by weight.

/// The place of the service for a request, or none when all weights are 0. A weight of 0 is never
/// chosen. `draw` is a number that nobody can foresee; its high bits decide.
pub fn choose(weights: impl Iterator<Item = u32> + Clone, draw: u64) -> Option<usize> {
    let sum: u128 = weights.clone().map(u128::from).sum();
    let mut left = (u128::from(draw) * sum) >> 64;
    for (place, weight) in weights.enumerate() {
        let weight = u128::from(weight);
        if left < weight {
            return Some(place);
        }
        left -= weight;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Counts over draws that are spread evenly.
    fn counts(weights: &[u32], steps: u64) -> Vec<u64> {
        let mut counts = vec![0; weights.len()];
        for step in 0..steps {
            if let Some(place) = choose(weights.iter().copied(), u64::MAX / steps * step) {
                counts[place] += 1;
            }
        }
        counts
    }

    #[test]
    fn requests_are_shared_by_weight() {
        for (weights, expected) in [
            (vec![1], vec![1_000]),
            (vec![1, 1], vec![500, 500]),
            (vec![90, 10], vec![900, 100]),
            (vec![0, 5, 0], vec![0, 1_000, 0]),
            (vec![0, 0], vec![0, 0]),
            (vec![], vec![]),
            (vec![u32::MAX, u32::MAX], vec![500, 500]),
        ] {
            let counted = counts(&weights, 1_000);
            let near = counted
                .iter()
                .zip(&expected)
                .all(|(a, b): (&u64, &u64)| a.abs_diff(*b) <= 1);
            assert!(near, "{weights:?}: {counted:?}, not {expected:?}");
        }
    }

    proptest! {
        #[test]
        fn a_weight_of_nothing_is_never_chosen(
            weights in prop::collection::vec(0_u32..5, 0..6), draw: u64
        ) {
            let chosen = choose(weights.iter().copied(), draw);
            prop_assert_eq!(chosen.is_some(), weights.iter().any(|w| *w > 0));
            if let Some(place) = chosen {
                prop_assert!(weights[place] > 0);
            }
        }
    }
}
