//! Columns, ages and YAML.

use cara_api::Timestamp;
use serde::Serialize;

use super::failure::Failure;

/// Left-aligned columns, padded with three spaces; the header is always shown. The last cell of
/// a row may have several lines; those after the first stand below it.
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
    let body = rows.iter().map(|row| {
        let (last, others) = row.split_last().map_or(("", &[][..]), |(l, o)| (l, o));
        let mut below = last.lines();
        let mut cells: Vec<&str> = others.iter().map(String::as_str).collect();
        cells.push(below.next().unwrap_or_default());
        let first = line(cells);
        let blank = vec![""; others.len()];
        let rest = below.map(|text| line([&blank[..], &[text]].concat()));
        std::iter::once(first).chain(rest).collect::<String>()
    });
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

/// Thousandths of a core as people write them: `1500m`.
pub fn cores(milli: u128) -> String {
    format!("{milli}m")
}

/// Thousandths of a byte as people write them, in whole mebibytes, rounded up: `512Mi`.
pub fn mebibytes(milli: u128) -> String {
    format!("{}Mi", milli.div_ceil(1_000 << 20))
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
        assert_eq!(
            table(&["NAME", "SAYS"], &[row(["a", "one\ntwo"])]),
            "NAME   SAYS\na      one\n       two\n"
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

    #[test]
    fn amounts_are_written_as_they_are_read() {
        assert_eq!(cores(1_500), "1500m");
        for text in ["512Mi", "0Mi"] {
            let milli = cara_api::quantity::milli(text).expect("an amount");
            assert_eq!(mebibytes(milli), text);
        }
        assert_eq!(mebibytes(1), "1Mi", "what is there is not shown as nothing");
    }
}
