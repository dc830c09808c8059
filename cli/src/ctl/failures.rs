//! Several things are done, and some of them fail.

use super::failure::Failure;
use super::screen::Paint;

/// Keeps the first failure, which decides the exit code and is told last; the others are told at
/// once.
pub struct Failures {
    first: Option<Failure>,
    paint: Paint,
}

impl Failures {
    /// There are none.
    pub fn new(paint: Paint) -> Self {
        Self { first: None, paint }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// One more.
    pub fn keep(&mut self, failure: Failure) {
        match self.first {
            None => self.first = Some(failure),
            Some(_) => failure.print(self.paint),
        }
    }

    /// The first one, if there is one.
    ///
    /// # Errors
    /// Something failed.
    pub fn end(self) -> Result<(), Failure> {
        self.first.map_or(Ok(()), Err)
    }
}
