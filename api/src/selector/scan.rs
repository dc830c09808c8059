//! Reads a selector from left to right, and remembers where it is.

use super::{REQUIREMENTS_MAX, SelectorError};

/// Longest key or value, in bytes: longer labels do not exist.
const WORD_MAX: usize = 512;

pub(super) struct Scanner<'t> {
    text: &'t str,
    /// In bytes, on the border of a character.
    at: usize,
}

impl<'t> Scanner<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    /// Counted in characters, from 1.
    pub(super) fn position(&self) -> usize {
        self.text.get(..self.at).unwrap_or_default().chars().count() + 1
    }

    pub(super) fn expected(&self, what: &str) -> SelectorError {
        let found = match self.rest().chars().next() {
            None => "the end".to_owned(),
            Some(char) => format!("{char:?}"),
        };
        self.fault(format!("expected {what}, found {found}"))
    }

    fn fault(&self, message: String) -> SelectorError {
        SelectorError {
            position: self.position(),
            message,
        }
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// Whether another requirement follows the ones that were read.
    pub(super) fn goes_on(&mut self, read: usize) -> Result<bool, SelectorError> {
        self.skip_space();
        if self.rest().is_empty() && read == 0 {
            return Ok(false);
        }
        if read > 0 {
            if self.rest().is_empty() {
                return Ok(false);
            }
            if !self.takes(",") {
                return Err(self.expected("a comma"));
            }
            self.skip_space();
        }
        if read >= REQUIREMENTS_MAX {
            return Err(self.fault(format!(
                "a selector has at most {REQUIREMENTS_MAX} requirements"
            )));
        }
        Ok(true)
    }

    pub(super) fn takes(&mut self, token: &str) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// A word that is followed by something else than a word.
    pub(super) fn takes_word(&mut self, word: &str) -> bool {
        self.skip_space();
        let follows = self.rest().strip_prefix(word).map(|rest| {
            rest.chars()
                .next()
                .is_none_or(|char| char.is_whitespace() || char == '(')
        });
        let found = follows == Some(true);
        if found {
            self.at += word.len();
        }
        found
    }

    /// Whether `=`, `==` (true) or `!=` (false) follows.
    pub(super) fn equality(&mut self) -> Option<bool> {
        if self.takes("!=") {
            return Some(false);
        }
        (self.takes("==") || self.takes("=")).then_some(true)
    }

    /// A key, which is not empty.
    pub(super) fn key(&mut self, what: &str) -> Result<String, SelectorError> {
        self.skip_space();
        // Comparisons do not exist, and are no part of a key by accident.
        let word = self.word(|char| !char.is_whitespace() && !"=!,()<>".contains(char));
        if word.is_empty() {
            return Err(self.expected(what));
        }
        if word.len() > WORD_MAX {
            return Err(self.fault(format!("a key has at most {WORD_MAX} bytes")));
        }
        Ok(word)
    }

    /// A value, which may be empty.
    pub(super) fn value(&mut self) -> String {
        self.skip_space();
        self.word(|char| !char.is_whitespace() && !"=!,()".contains(char))
    }

    /// Values in parentheses.
    pub(super) fn values(&mut self) -> Result<Vec<String>, SelectorError> {
        if !self.takes("(") {
            return Err(self.expected("("));
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value());
            if self.takes(")") {
                return Ok(values);
            }
            if !self.takes(",") {
                return Err(self.expected("a comma or )"));
            }
        }
    }

    /// Refuses everything but a comma or the end.
    pub(super) fn must_end(&mut self, what: &str) -> Result<(), SelectorError> {
        self.skip_space();
        match self.rest().chars().next() {
            None | Some(',') => Ok(()),
            Some(_) => Err(self.expected(what)),
        }
    }

    fn word(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let rest = self.rest();
        let end = rest.find(|char| !belongs(char)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default().to_owned()
    }
}
