//! How a line of a log looks.

use std::collections::BTreeMap;
use std::fmt::Write;

use cara_api::stream::{LogLine, LogStream};

use super::super::args::Logs;
use super::super::screen::Paint;

/// Colours of services, in the order in which they first speak: no red, which is for stderr.
const COLOURS: [&str; 6] = ["36", "33", "32", "35", "34", "96"];

/// How lines are shown.
pub(super) struct Style {
    pub(super) is_json: bool,
    has_prefix: bool,
    has_colour: bool,
    has_time: bool,
    /// Colour of each service.
    colours: BTreeMap<String, &'static str>,
    /// Widest service so far.
    width: usize,
    /// The last line goes on.
    is_open: bool,
}

impl Style {
    /// For the lines of these services.
    pub(super) fn new(options: &Logs, services: &[String], paint: Paint) -> Self {
        Self {
            is_json: false,
            has_prefix: services.len() != 1,
            has_colour: paint == Paint::Coloured,
            has_time: options.timestamps,
            colours: BTreeMap::new(),
            width: services.iter().map(String::len).max().unwrap_or(0),
            is_open: false,
        }
    }

    /// The text of a line, with its end.
    pub(super) fn line(&mut self, line: &LogLine) -> String {
        if self.is_json {
            return serde_json::to_string(line).unwrap_or_default() + "\n";
        }
        let mut text = String::with_capacity(line.line.len() + 48);
        let goes_on = std::mem::replace(&mut self.is_open, line.partial && !self.has_prefix);
        if !goes_on {
            self.prefix(line, &mut text);
        }
        match line.stream {
            LogStream::Stderr if self.has_colour => {
                let _ = write!(text, "\x1b[31m{}\x1b[0m", line.line);
            }
            LogStream::Stderr | LogStream::Stdout => text.push_str(&line.line),
        }
        if !self.is_open {
            text.push('\n');
        }
        text
    }

    fn prefix(&mut self, line: &LogLine, text: &mut String) {
        if self.has_prefix {
            self.width = self.width.max(line.service.len());
            let width = self.width;
            let next = COLOURS[self.colours.len() % COLOURS.len()];
            let colour = self.colours.entry(line.service.clone()).or_insert(next);
            let _ = match self.has_colour {
                true => write!(text, "\x1b[{colour}m{:<width$} |\x1b[0m ", line.service),
                false => write!(text, "{:<width$} | ", line.service),
            };
        }
        if self.has_time {
            let time = line.time.strftime("%Y-%m-%dT%H:%M:%S%.9fZ");
            let _ = write!(text, "{time} ");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn style(has_prefix: bool, has_colour: bool, has_time: bool) -> Style {
        Style {
            is_json: false,
            has_prefix,
            has_colour,
            has_time,
            colours: BTreeMap::new(),
            width: 0,
            is_open: false,
        }
    }

    fn line(service: &str, stream: LogStream, text: &str) -> LogLine {
        LogLine {
            stream,
            time: "2026-01-01T00:00:01.5Z".parse().expect("a time"),
            service: service.to_owned(),
            line: text.to_owned(),
            container: "c".to_owned(),
            partial: false,
        }
    }

    fn check(mut style: Style, expected: &[&str]) {
        let lines = [
            line("web", LogStream::Stdout, "one"),
            line("database", LogStream::Stderr, "two"),
            line("web", LogStream::Stdout, "three"),
        ];
        let found: Vec<String> = lines.iter().map(|line| style.line(line)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn lines_are_as_plain_as_their_reader() {
        check(style(false, false, false), &["one\n", "two\n", "three\n"]);
        check(
            style(true, false, false),
            &["web | one\n", "database | two\n", "web      | three\n"],
        );
        check(
            style(true, true, false),
            &[
                "\x1b[36mweb |\x1b[0m one\n",
                "\x1b[33mdatabase |\x1b[0m \x1b[31mtwo\x1b[0m\n",
                "\x1b[36mweb      |\x1b[0m three\n",
            ],
        );
        check(
            style(false, false, true),
            &[
                "2026-01-01T00:00:01.500000000Z one\n",
                "2026-01-01T00:00:01.500000000Z two\n",
                "2026-01-01T00:00:01.500000000Z three\n",
            ],
        );
    }

    #[test]
    fn a_line_in_pieces_is_one_line_where_nobody_comes_between() {
        let mut first = line("web", LogStream::Stdout, "one ");
        first.partial = true;
        let last = line("web", LogStream::Stdout, "line");
        let mut single = style(false, false, true);
        assert_eq!(
            single.line(&first) + &single.line(&last),
            "2026-01-01T00:00:01.500000000Z one line\n"
        );
    }
}
