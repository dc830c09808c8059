//! The user's terminal: its modes, its size, its colours. What is changed is put back when the
//! guard is dropped, on every way out.

use std::io::IsTerminal;

use cara_api::stream::Size;
use rustix::termios::{self, OptionalActions, Termios};

/// Whether to write colours, where that is a terminal. <https://no-color.org>
pub fn has_colour(is_terminal: bool) -> bool {
    #[expect(
        clippy::disallowed_methods,
        reason = "a custom of terminals, not a setting of ours"
    )]
    let (no_color, term) = (std::env::var("NO_COLOR"), std::env::var("TERM"));
    is_terminal
        && no_color.map_or(true, |value| value.is_empty())
        && term.map_or(true, |value| value != "dumb")
}

/// Size of the terminal, if stdout or stdin is one.
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

/// A terminal whose every key goes to a program, until this is dropped.
pub struct Raw {
    before: Termios,
}

impl Raw {
    /// Changes the terminal that stdin is; none when it is none.
    pub fn begin() -> Option<Self> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let before = termios::tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no mending.
        let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}
