//! Amounts as people write them: resources such as `1500m`, `3584Mi`, `2`, and durations such as
//! `1m30s`. Pure.

use std::time::Duration;

/// The amount in thousandths of the unit (a core, a byte); none when the text is no amount.
/// Suffixes as in Kubernetes: `m`, `k`, `M`, `G`, `T`, `Ki`, `Mi`, `Gi`, `Ti`.
pub fn milli(text: &str) -> Option<u128> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u128 = match text.get(digits.len()..)? {
        "m" => 1,
        "" => 1_000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "Ki" => 1_000 << 10,
        "Mi" => 1_000 << 20,
        "Gi" => 1_000 << 30,
        "Ti" => 1_000 << 40,
        _ => return None,
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole: u128 = whole.parse().ok()?;
    let mut amount = whole.checked_mul(factor)?;
    if !fraction.is_empty() {
        let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        amount = amount.checked_add(fraction.parse::<u128>().ok()?.checked_mul(factor)? / scale)?;
    }
    Some(amount)
}

/// A duration such as `10s`, `1m30s`, `500ms`; none when the text is none. A bare number has no
/// unit and is none.
pub fn duration(text: &str) -> Option<Duration> {
    let span: jiff::SignedDuration = text.trim().parse().ok()?;
    Duration::try_from(span).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_with_their_suffix() {
        for (text, expected) in [
            ("1500m", Some(1_500)),
            ("2", Some(2_000)),
            ("0.5", Some(500)),
            ("1Ki", Some(1_024_000)),
            ("4Gi", Some(4_294_967_296_000)),
            ("1.5Ki", Some(1_536_000)),
            ("1M", Some(1_000_000_000)),
            ("", None),
            ("Mi", None),
            ("1 Mi", None),
            ("-1", None),
            ("100Mbps", None),
        ] {
            assert_eq!(milli(text), expected, "{text}");
        }
    }

    #[test]
    fn durations_carry_their_unit() {
        for (text, expected_ms) in [
            ("10s", Some(10_000)),
            ("1m30s", Some(90_000)),
            ("500ms", Some(500)),
            ("10", None),
            ("-1s", None),
            ("soon", None),
            ("", None),
        ] {
            let expected = expected_ms.map(Duration::from_millis);
            assert_eq!(duration(text), expected, "{text}");
        }
    }
}
