//! The modes of the user's terminal. What is changed is put back when the guard is dropped, on
//! every way out. What a terminal can do is decided in [`super::screen`].

use rustix::termios::{self, OptionalActions, Termios};

/// A terminal whose every key goes to a program, until this is dropped.
pub struct Raw {
    before: Termios,
}

impl Raw {
    /// Changes the terminal that stdin is; none when it is none.
    pub fn begin() -> Option<Self> {
        let stdin = std::io::stdin();
        // What is no terminal has no modes.
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
