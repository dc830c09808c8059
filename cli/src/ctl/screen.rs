//! What the program writes on: how wide it is, and whether it shows colours and moving lines.
//!
//! Owns the questions to the terminal and the environment; nobody else asks them. It refuses to
//! know what is shown.

use std::ffi::OsStr;
use std::io::IsTerminal;

/// What is known of stdin, stdout and stderr.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Screen {
    /// Columns of the terminal that stdout is; none when it is none, and nothing is shortened.
    pub columns: Option<usize>,
    /// Whether what is said on stderr may have colours.
    pub colours: Paint,
    /// Whether lines on stderr may be drawn again.
    pub moves: bool,
    /// Whether there is somebody to ask: stdin and stderr are terminals.
    pub asks: bool,
}

/// Whether there are colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Paint {
    /// Text alone.
    #[default]
    Plain,
    /// Colours by escape sequences.
    Coloured,
}

impl Screen {
    /// Looks at the terminal and the environment; `no_colour` is the user's wish.
    pub fn look(no_colour: bool) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
        let moves = stderr.is_terminal() && !is_dumb;
        let colours = match moves && !unwanted && !no_colour {
            true => Paint::Coloured,
            false => Paint::Plain,
        };
        Self {
            columns: stdout
                .is_terminal()
                .then(|| columns(std::env::var_os("COLUMNS").as_deref()))
                .flatten(),
            colours,
            moves,
            asks: std::io::stdin().is_terminal() && stderr.is_terminal(),
        }
    }
}

/// How wide the terminal is; a shell that exports `COLUMNS` knows better.
fn columns(exported: Option<&OsStr>) -> Option<usize> {
    let exported = exported.and_then(OsStr::to_str);
    let exported = exported.and_then(|text| text.parse().ok());
    exported
        .or_else(|| terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)))
        .filter(|columns| *columns > 0)
}

/// What a text means, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It went well.
    Good,
    /// Somebody should know.
    Warning,
    /// It failed.
    Bad,
    /// Beside the point.
    Aside,
}

impl Paint {
    /// The text in the colour of what it means.
    pub fn text(self, tone: Tone, text: &str) -> String {
        let code = match (self, tone) {
            (Self::Plain, _) => return text.to_owned(),
            (Self::Coloured, Tone::Good) => 32,
            (Self::Coloured, Tone::Warning) => 33,
            (Self::Coloured, Tone::Bad) => 31,
            (Self::Coloured, Tone::Aside) => 2,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_there_only_where_they_show() {
        assert_eq!(Paint::Plain.text(Tone::Bad, "no"), "no");
        assert_eq!(
            Paint::Coloured.text(Tone::Bad, "no"),
            "\u{1b}[31mno\u{1b}[0m"
        );
    }

    #[test]
    fn an_exported_width_counts_first() {
        assert_eq!(columns(Some(OsStr::new("132"))), Some(132));
        assert_eq!(columns(Some(OsStr::new("0"))), None);
    }
}
