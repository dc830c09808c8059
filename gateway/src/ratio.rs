//! A part of all requests, chosen by chance. Pure: chance comes in as an argument.

use std::str::FromStr;

/// A share from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio {
    /// Draws below this are in.
    below: u64,
}

impl Ratio {
    /// All.
    pub const ALL: Self = Self {
        below: 1 << u32::BITS,
    };
    /// None.
    pub const NONE: Self = Self { below: 0 };

    /// Whether a request is among them. `draw` is asked only when chance decides.
    pub(crate) fn takes(self, draw: impl FnOnce() -> u32) -> bool {
        match self {
            Self::ALL => true,
            Self::NONE => false,
            Self { below } => u64::from(draw()) < below,
        }
    }
}

impl FromStr for Ratio {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let share: f64 = text.parse().map_err(|_| ())?;
        if !(0.0..=1.0).contains(&share) {
            return Err(());
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 2^32"
        )]
        let below = (share * f64::from(u32::MAX)).round() as u64;
        Ok(match below {
            0 => Self::NONE,
            below if below >= u64::from(u32::MAX) => Self::ALL,
            below => Self { below },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_takes_that_part_of_all_draws() {
        for (text, draw, expected) in [
            ("1", u32::MAX, true),
            ("1.0", 0, true),
            ("0", 0, false),
            ("0.5", u32::MAX / 2 - 1, true),
            ("0.5", u32::MAX / 2 + 2, false),
            ("0.01", 0, true),
            ("0.01", u32::MAX / 99, false),
        ] {
            let ratio: Ratio = text.parse().expect("a share");
            assert_eq!(ratio.takes(|| draw), expected, "{text} {draw}");
        }
        for text in ["-0.1", "1.1", "NaN", "", "a", "inf"] {
            assert_eq!(text.parse::<Ratio>(), Err(()), "{text}");
        }
    }
}
