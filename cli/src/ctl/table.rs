//! Columns, ages and YAML.

use cara_api::Timestamp;
use serde::Serialize;

use super::failure::Failure;

/// Left-aligned columns, padded with three spaces; the header is always shown.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells
            .chain(header.get(column).map(|h| h.chars().count()))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", padded.collect::<Vec<_>>().join("   ").trim_end())
    };
    let body = rows
        .iter()
        .map(|row| line(row.iter().map(String::as_str).collect()));
    std::iter::once(line(header.to_vec())).chain(body).collect()
}

/// How long ago, in the largest unit, truncated.
pub fn age(since: Option<Timestamp>, now: Timestamp) -> String {
    let Some(since) = since else {
        return "<unknown>".to_owned();
    };
    match now.duration_since(since).as_secs().max(0) {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3_600 => format!("{}m", s / 60),
        s @ 3_600..86_400 => format!("{}h", s / 3_600),
        s => format!("{}d", s / 86_400),
    }
}

/// A text, or a word for its absence.
pub fn or<'a>(text: &'a str, absent: &'a str) -> &'a str {
    if text.is_empty() { absent } else { text }
}

/// Indented JSON with a newline.
///
/// # Errors
/// The value cannot be written as JSON.
pub fn json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|e| Failure::other(e.to_string()))
}

/// YAML with a newline.
///
/// # Errors
/// The value cannot be written as YAML.
pub fn yaml(value: &impl Serialize) -> Result<String, Failure> {
    // By way of JSON, so that both outputs show the same fields.
    let value = serde_json::to_value(value).map_err(|e| Failure::other(e.to_string()))?;
    serde_saphyr::to_string(&value).map_err(|e| Failure::other(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_padded_with_three_spaces() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        assert_eq!(table(&["NAME", "AGE"], &[]), "NAME   AGE\n");
        assert_eq!(
            table(&["NAME", "AGE"], &[row(["longer", "1s"])]),
            "NAME     AGE\nlonger   1s\n"
        );
    }

    #[test]
    fn an_age_is_shown_in_its_largest_unit() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3_600, "1h"),
            (86_400, "1d"),
            (-5, "0s"),
        ] {
            assert_eq!(age(Some(at(0)), at(seconds)), expected);
        }
        assert_eq!(age(None, at(0)), "<unknown>");
    }
}
