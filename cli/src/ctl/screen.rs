//! What the program reads from and writes on: how wide it is, whether it shows colours and moving
//! lines, and whether there is somebody to ask.
//!
//! Owns the questions to the terminal and the environment; nobody else asks them. It refuses to
//! know what is shown, and the modes of a terminal, which are in [`super::terminal`].

use std::io::IsTerminal;

use cara_api::stream::Size;
use rustix::termios;

/// What is known of stdin, stdout and stderr.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Screen {
    /// Columns of the terminal that stdout is; none when it is none, and nothing is shortened.
    pub columns: Option<usize>,
    /// Whether what is said on stderr may have colours.
    pub colours: Paint,
    /// Whether what is printed on stdout may have colours.
    pub prints: Paint,
    /// Whether lines on stderr may be drawn again.
    pub moves: bool,
    /// Whether stdout may be drawn again.
    pub draws: bool,
    /// Whether stdout is a terminal: a person sees it, and no program reads it.
    pub shows: bool,
    /// Whether stdin is a terminal: somebody types.
    pub types: bool,
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

/// What the environment says about the terminal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Seen {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    /// `TERM`.
    term: Option<String>,
    /// `NO_COLOR` with any value, as <https://no-color.org> has it.
    no_color: bool,
    /// `COLUMNS`, where a shell exports it.
    exported: Option<String>,
    /// The width that the terminal tells.
    width: Option<usize>,
}

impl Screen {
    /// Looks at the terminal and the environment; `no_colour` is the user's wish.
    pub fn look(no_colour: bool) -> Self {
        let text = |name: &str| std::env::var_os(name).map(|v| v.to_string_lossy().into_owned());
        let seen = Seen {
            stdin: std::io::stdin().is_terminal(),
            stdout: std::io::stdout().is_terminal(),
            stderr: std::io::stderr().is_terminal(),
            term: text("TERM"),
            no_color: text("NO_COLOR").is_some_and(|value| !value.is_empty()),
            exported: text("COLUMNS"),
            width: size().map(|size| usize::from(size.cols)),
        };
        Self::decide(&seen, no_colour)
    }

    fn decide(seen: &Seen, no_colour: bool) -> Self {
        let is_able = seen.term.as_ref().is_some_and(|term| term != "dumb");
        let paint = |is_terminal: bool| match is_terminal && is_able {
            true if !seen.no_color && !no_colour => Paint::Coloured,
            true | false => Paint::Plain,
        };
        // A shell that exports its width knows better.
        let exported = seen.exported.as_ref().and_then(|text| text.parse().ok());
        let columns = exported.or(seen.width).filter(|columns| *columns > 0);
        Self {
            columns: columns.filter(|_| seen.stdout),
            colours: paint(seen.stderr),
            prints: paint(seen.stdout),
            moves: seen.stderr && is_able,
            draws: seen.stdout && is_able,
            shows: seen.stdout,
            types: seen.stdin,
            asks: seen.stdin && seen.stderr,
        }
    }
}

/// Size of the terminal now, if stdout or stdin is one.
pub fn size() -> Option<Size> {
    let size = termios::tcgetwinsize(std::io::stdout());
    let size = size.or_else(|_| termios::tcgetwinsize(std::io::stdin()));
    let size = size
        .ok()
        .filter(|size| size.ws_col > 0 && size.ws_row > 0)?;
    Some(Size {
        cols: size.ws_col,
        rows: size.ws_row,
    })
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
    fn what_is_shown_follows_from_the_terminal_and_the_environment() {
        let terminal = Seen {
            stdin: true,
            stdout: true,
            stderr: true,
            term: Some("xterm".to_owned()),
            width: Some(80),
            ..Seen::default()
        };
        let shown = |screen: Screen| {
            [
                ("colours", screen.colours == Paint::Coloured),
                ("prints", screen.prints == Paint::Coloured),
                ("moves", screen.moves),
                ("draws", screen.draws),
                ("shows", screen.shows),
                ("types", screen.types),
                ("asks", screen.asks),
            ]
            .iter()
            .filter(|(_, is_so)| *is_so)
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(" ")
        };
        let all = "colours prints moves draws shows types asks";
        let plain = "moves draws shows types asks";
        let with = |change: fn(&mut Seen)| {
            let mut seen = terminal.clone();
            change(&mut seen);
            seen
        };
        for (seen, no_colour, expected) in [
            (terminal.clone(), false, all),
            (terminal.clone(), true, plain),
            (with(|s| s.no_color = true), false, plain),
            (
                with(|s| s.term = Some("dumb".into())),
                false,
                "shows types asks",
            ),
            (with(|s| s.term = None), false, "shows types asks"),
            (
                with(|s| s.stdout = false),
                false,
                "colours moves types asks",
            ),
            (
                with(|s| s.stderr = false),
                false,
                "prints draws shows types",
            ),
            (
                with(|s| s.stdin = false),
                false,
                "colours prints moves draws shows",
            ),
            (Seen::default(), false, ""),
        ] {
            assert_eq!(
                shown(Screen::decide(&seen, no_colour)),
                expected,
                "{seen:?}"
            );
        }
        let columns = |seen: Seen| Screen::decide(&seen, false).columns;
        assert_eq!(columns(terminal.clone()), Some(80));
        assert_eq!(
            columns(with(|s| s.exported = Some("132".into()))),
            Some(132)
        );
        assert_eq!(columns(with(|s| s.exported = Some("0".into()))), None);
        assert_eq!(columns(with(|s| s.stdout = false)), None);
    }
}
