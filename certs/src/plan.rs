//! Which certificates to get now. Pure: the caller passes the time.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::CertTable;

/// Names for which a certificate is missing or has lived two thirds of its life, sorted.
pub fn due<'a>(
    table: &CertTable,
    wanted: impl IntoIterator<Item = &'a str>,
    now: Timestamp,
) -> Vec<&'a str> {
    let names: BTreeSet<&str> = wanted.into_iter().collect();
    names
        .into_iter()
        .filter(|name| {
            table
                .find(name)
                .is_none_or(|bundle| now >= renew_at(bundle))
        })
        .collect()
}

/// Two thirds into the certificate's life.
fn renew_at(bundle: &crate::Bundle) -> Timestamp {
    let (start, end) = (bundle.not_before.as_second(), bundle.not_after.as_second());
    let second = start.saturating_add(end.saturating_sub(start).saturating_mul(2) / 3);
    Timestamp::from_second(second).unwrap_or(bundle.not_after)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Bundle, Secret};

    #[test]
    fn missing_and_old_certificates_are_due() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let bundle = Bundle {
            names: vec!["a.x".into()],
            chain: Vec::new(),
            key: Secret::new(Vec::new()),
            not_before: at(0),
            not_after: at(90),
        };
        let table = CertTable::new([Arc::new(bundle)]);
        assert_eq!(due(&table, ["a.x", "b.x", "b.x"], at(59)), ["b.x"]);
        assert_eq!(due(&table, ["a.x"], at(60)), ["a.x"]);
        assert_eq!(due(&table, ["a.x"], at(1_000)), ["a.x"]);
    }
}
