//! Heads of answers, as they are written for clients of HTTP/1.1. Pure.

use super::text::{Refusal, push};

/// The head of an answer that is being written.
pub(super) trait Head: Default + Send {
    /// Bodies are told from what follows by their framing, which heads describe.
    const IS_FRAMED: bool;

    /// Throws away what was written.
    fn clear(&mut self);

    /// Writes the status, before anything else.
    ///
    /// # Errors
    /// There is no such status.
    fn status(&mut self, status: u16, reason: &str) -> Result<(), Refusal>;

    /// Writes a header whose value comes in parts.
    ///
    /// # Errors
    /// Such a header cannot be said.
    fn header(&mut self, name: &str, value: &[&[u8]]) -> Result<(), Refusal>;

    /// Writes the end.
    fn end(&mut self);
}

impl Head for Vec<u8> {
    const IS_FRAMED: bool = true;

    fn clear(&mut self) {
        Self::clear(self);
    }

    fn status(&mut self, status: u16, reason: &str) -> Result<(), Refusal> {
        // More than most heads and small bodies need.
        self.reserve(4 * 1024);
        let mut digits = itoa::Buffer::new();
        let number = digits.format(status).as_bytes();
        push(
            self,
            &[b"HTTP/1.1 ", number, b" ", reason.as_bytes(), b"\r\n"],
        );
        Ok(())
    }

    fn header(&mut self, name: &str, value: &[&[u8]]) -> Result<(), Refusal> {
        push(self, &[name.as_bytes(), b": "]);
        push(self, value);
        push(self, &[b"\r\n"]);
        Ok(())
    }

    fn end(&mut self) {
        push(self, &[b"\r\n"]);
    }
}
