//! Columns, ages and YAML.

use std::borrow::Cow;

use cara_api::Timestamp;
use serde::Serialize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::failure::Failure;

/// Left-aligned columns, padded with three spaces; the header is always shown. The last cell of
/// a row may have several lines; those after the first stand below it.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let widths = widths(header, rows);
    lines(header, rows, &widths)
}

/// A table that is written bit by bit, for a terminal of a certain width if it is one: the widest
/// cells are cut off until the lines fit, the names of the columns are not.
#[derive(Debug, Clone)]
pub struct Layout {
    header: Vec<&'static str>,
    columns: Option<usize>,
    /// Columns only grow, so that later lines stand below earlier ones.
    widths: Vec<usize>,
    last: Last,
}

/// What becomes of the last column where there is no room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Cut,
    Wrapped,
}

impl Layout {
    /// `columns` is the width of the terminal; none when nothing shall be cut off.
    pub fn new(header: Vec<&'static str>, columns: Option<usize>) -> Self {
        let widths = vec![0; header.len()];
        Self {
            header,
            columns,
            widths,
            last: Last::Cut,
        }
    }

    /// Goes on below with a last column that is too long for the line, instead of cutting it off.
    #[must_use]
    pub fn with_prose(mut self) -> Self {
        self.last = Last::Wrapped;
        self
    }

    /// Makes room for what may come later, column by column; what is not there yet does not move
    /// what is.
    #[must_use]
    pub fn with_room(mut self, room: &[usize]) -> Self {
        for (width, room) in self.widths.iter_mut().zip(room) {
            *width = (*width).max(*room);
        }
        self
    }

    /// The names of the columns, and rows below them.
    pub fn head(&mut self, rows: &[Vec<String>]) -> String {
        self.fit(rows);
        lines(&self.header, &self.wrapped(rows), &self.widths)
    }

    /// More rows.
    pub fn more(&mut self, rows: &[Vec<String>]) -> String {
        self.fit(rows);
        let text = lines(&self.header, &self.wrapped(rows), &self.widths);
        let below = text.split_once('\n').map_or("", |(_, below)| below);
        below.to_owned()
    }

    /// The rows with their last cells in as many lines as they need.
    fn wrapped<'a>(&self, rows: &'a [Vec<String>]) -> Cow<'a, [Vec<String>]> {
        let (Last::Wrapped, Some(_), Some(width)) = (self.last, self.columns, self.widths.last())
        else {
            return Cow::Borrowed(rows);
        };
        let mut rows = rows.to_vec();
        for last in rows.iter_mut().filter_map(|row| row.last_mut()) {
            *last = wrap(last, *width);
        }
        Cow::Owned(rows)
    }

    fn fit(&mut self, rows: &[Vec<String>]) {
        let mut wanted = widths(&self.header, rows);
        for (width, before) in wanted.iter_mut().zip(&self.widths) {
            *width = (*width).max(*before);
        }
        if let Some(columns) = self.columns {
            let least: Vec<usize> = self
                .header
                .iter()
                .map(|name| name.width().max(CELL_MIN))
                .collect();
            let gaps = GAP.len() * wanted.len().saturating_sub(1);
            let room = columns.saturating_sub(gaps);
            match wanted.split_last_mut() {
                // Names and reasons stay whole before the prose gets the whole line.
                Some((last, others)) if self.last == Last::Wrapped => {
                    let least_last = PROSE_MIN.min(*last);
                    let (least, _) = least.split_at(others.len());
                    shrink(others, least, room.saturating_sub(least_last));
                    let left = room.saturating_sub(others.iter().sum());
                    *last = (*last).min(left.max(least_last));
                }
                Some(_) | None => shrink(&mut wanted, &least, room),
            }
        }
        self.widths = wanted;
    }
}

/// What stands between columns.
const GAP: &str = "   ";
/// Cells are not cut below this width.
const CELL_MIN: usize = 8;

/// A last column in several lines is at least so wide.
const PROSE_MIN: usize = 32;

/// A text in lines of at most `width` columns, between words where there are any.
fn wrap(text: &str, width: usize) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut current = String::new();
        for word in line.split(' ') {
            let is_full = current.width() + 1 + word.width() > width;
            if is_full && !current.is_empty() {
                lines.push(std::mem::take(&mut current));
            }
            if !current.is_empty() {
                current.push(' ');
            }
            for c in word.chars() {
                if current.width() + c.width().unwrap_or(0) > width {
                    lines.push(std::mem::take(&mut current));
                }
                current.push(c);
            }
        }
        lines.push(current);
    }
    lines.join("\n")
}

/// Takes from the widest that may give, one at a time, until the sum is `room` or nobody gives.
fn shrink(widths: &mut [usize], least: &[usize], room: usize) {
    let mut over = widths.iter().sum::<usize>().saturating_sub(room);
    while over > 0 {
        let may_give = widths.iter_mut().zip(least).filter(|(w, l)| **w > **l);
        let Some((widest, _)) = may_give.max_by_key(|(width, _)| **width) else {
            return;
        };
        *widest -= 1;
        over -= 1;
    }
}

fn widths(header: &[&str], rows: &[Vec<String>]) -> Vec<usize> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let lines = cells.flat_map(|cell| cell.lines()).map(|line| line.width());
        lines
            .chain(header.get(column).map(|h| h.width()))
            .max()
            .unwrap_or(0)
    };
    (0..header.len()).map(width).collect()
}

/// A text cut off at a width, with a sign that it was.
pub fn clip(text: &str, width: usize) -> String {
    cell(text, width.min(text.width())).trim_end().to_owned()
}

/// A text cut off and padded to a width.
fn cell(text: &str, width: usize) -> String {
    let mut shown = String::new();
    let is_long = text.width() > width;
    let room = if is_long {
        width.saturating_sub(1)
    } else {
        width
    };
    let mut used = 0;
    // What comes from containers must not move the cursor.
    let printable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    for c in text.chars().map(printable) {
        let wide = c.width().unwrap_or(0);
        if used + wide > room {
            break;
        }
        used += wide;
        shown.push(c);
    }
    if is_long {
        shown.push('…');
        used += 1;
    }
    shown.extend(std::iter::repeat_n(' ', width.saturating_sub(used)));
    shown
}

fn lines(header: &[&str], rows: &[Vec<String>], widths: &[usize]) -> String {
    let line = |cells: Vec<&str>| {
        let padded = cells
            .iter()
            .zip(widths)
            .map(|(text, width)| cell(text, *width));
        format!("{}\n", padded.collect::<Vec<_>>().join(GAP).trim_end())
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

/// A time to the second with its zone, or a word for its absence.
pub fn moment(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "<unknown>".to_owned(), |t| format!("{t:.0}"))
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
    fn a_table_fits_its_terminal_as_far_as_it_can() {
        let cells = ["a-long-name", "1s", "a message that is too long for it"];
        let rows = [cells.map(str::to_owned).to_vec()];
        let header = ["NAME", "AGE", "SAYS"];
        for (columns, expected) in [
            (
                None,
                "NAME          AGE   SAYS\n\
                 a-long-name   1s    a message that is too long for it\n",
            ),
            (
                Some(40),
                "NAME          AGE   SAYS\n\
                 a-long-name   1s    a message that is t…\n",
            ),
            (
                Some(26),
                "NAME        AGE   SAYS\n\
                 a-long-n…   1s    a messa…\n",
            ),
            (
                Some(5),
                "NAME       AGE   SAYS\n\
                 a-long-…   1s    a messa…\n",
            ),
        ] {
            let mut layout = Layout::new(header.to_vec(), columns);
            assert_eq!(layout.head(&rows), expected, "{columns:?}");
        }
        let mut layout = Layout::new(vec!["N", "S"], None);
        layout.head(&[vec!["long".to_owned(), "x".to_owned()]]);
        let later = [vec!["a".to_owned(), "\u{1b}[2J".to_owned()]];
        assert_eq!(layout.more(&later), "a      \u{fffd}[2J\n");
        let wide = [vec!["日本語".to_owned(), "x".to_owned()]];
        assert_eq!(table(&["N", "S"], &wide), "N        S\n日本語   x\n");
    }

    #[test]
    fn prose_goes_on_below() {
        let row = |says: &str| vec!["name".to_owned(), says.to_owned()];
        let says = "a message that goes on and on until it has said all, at http://a.very.long.example.com/";
        let mut layout = Layout::new(vec!["NAME", "SAYS"], Some(40)).with_prose();
        assert_eq!(
            layout.head(&[row(says), row("short")]),
            "NAME   SAYS\n\
             name   a message that goes on and on\n\
             \u{20}      until it has said all, at\n\
             \u{20}      http://a.very.long.example.com/\n\
             name   short\n"
        );
        assert_eq!(wrap("abcdef gh", 4), "abcd\nef\ngh");
        assert_eq!(wrap("", 4), "");
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
