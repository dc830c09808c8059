//! Commands in services: what is asked, and what is said meanwhile.

use serde::{Deserialize, Serialize};

use super::is_true;

/// Parameter by which the reader's count is asked for.
const TAKEN: &str = "taken";

/// A command to run in a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecQuery {
    /// The program and its arguments; no shell reads them.
    pub command: Vec<String>,
    /// Give it a terminal.
    pub tty: bool,
    /// Give it what the user types or pipes in.
    pub stdin: bool,
    /// Tell how much of its input it read, as [`Taken`]. Who does not know that channel does not ask.
    pub taken: bool,
    /// Size of the terminal.
    pub size: Option<Size>,
}

impl ExecQuery {
    /// The query of a URL.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let command = self.command.iter().cloned();
        let mut pairs: Vec<_> = command.map(|part| ("command", part)).collect();
        pairs.extend(self.tty.then(|| ("tty", "true".to_owned())));
        pairs.extend(self.stdin.then(|| ("stdin", "true".to_owned())));
        pairs.extend(self.taken.then(|| (TAKEN, "true".to_owned())));
        if let Some(size) = self.size {
            pairs.push(("cols", size.cols.to_string()));
            pairs.push(("rows", size.rows.to_string()));
        }
        pairs
    }

    /// Reads the query of a URL.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub fn parse(pairs: &[(String, String)]) -> Result<Self, String> {
        let mut query = Self::default();
        let (mut cols, mut rows) = (None, None);
        let number = |key: &str, value: &str| {
            let parsed = value.parse::<u16>();
            parsed.map_err(|_| format!("{key} {value:?} is not a number up to 65535"))
        };
        for (key, value) in pairs {
            match key.as_str() {
                "command" => query.command.push(value.clone()),
                "tty" => query.tty = is_true(value),
                "stdin" => query.stdin = is_true(value),
                TAKEN => query.taken = is_true(value),
                "cols" => cols = Some(number(key, value)?),
                "rows" => rows = Some(number(key, value)?),
                other => {
                    return Err(format!(
                        "{other:?} is no parameter: give command, tty, stdin, taken, cols or rows"
                    ));
                }
            }
        }
        if query.command.first().is_none_or(String::is_empty) {
            return Err("command is required: give it once for each word".to_owned());
        }
        query.size = cols.zip(rows).map(|(cols, rows)| Size { cols, rows });
        Ok(query)
    }

    /// Whether a refusal means that this side's [`Self::taken`] is not known there: before it came to be,
    /// as every unknown parameter, it was refused in these words.
    pub fn is_taken_unknown(detail: &str) -> bool {
        detail.starts_with(&format!("{TAKEN:?} is no parameter"))
    }
}

/// Size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Characters in a line.
    pub cols: u16,
    /// Lines.
    pub rows: u16,
}

/// A signal for a command that has no terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "signal", rename_all = "UPPERCASE")]
pub enum Signal {
    /// The user interrupts.
    Int,
    /// Somebody ends the client.
    Term,
    /// The user's terminal is gone.
    Hup,
    /// The user quits.
    Quit,
}

/// Bytes of a command's input that may be on their way to it. So long as senders keep to it, what
/// the command does not read holds up neither signals nor the news that its user went away.
pub const INPUT_WINDOW: usize = 256 * 1024;

/// How much of its input a command read since this was last said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// How many bytes.
    pub bytes: usize,
}

/// How a stream ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct End {
    /// What the command returned; none when that is not known, and for ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// What went wrong, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl End {
    /// Something went wrong.
    pub fn failed(error: impl Into<String>) -> Self {
        Self {
            exit_code: None,
            error: Some(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(pairs: &[(&'static str, String)]) -> Vec<(String, String)> {
        let pairs = pairs.iter();
        pairs.map(|(k, v)| ((*k).to_owned(), v.clone())).collect()
    }

    #[test]
    fn a_query_reads_as_it_was_written() {
        let size = Some(Size { cols: 80, rows: 24 });
        for (tty, stdin, size) in [(false, false, None), (true, true, size)] {
            let command = ["sh", "-c", "echo a b"].map(str::to_owned).to_vec();
            let query = ExecQuery {
                command,
                tty,
                stdin,
                taken: stdin,
                size,
            };
            assert_eq!(ExecQuery::parse(&owned(&query.pairs())), Ok(query));
        }
    }

    #[test]
    fn what_is_missing_or_odd_is_named() {
        let check = |pairs: &[(&'static str, &str)], part: &str| {
            let pairs: Vec<_> = pairs.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
            let error = ExecQuery::parse(&owned(&pairs)).expect_err("refused");
            assert!(error.contains(part), "{error}");
        };
        check(&[], "command is required");
        check(&[("command", "")], "command is required");
        check(&[("command", "sh"), ("cols", "x")], "cols \"x\"");
        check(&[("command", "sh"), ("shell", "1")], "\"shell\"");
    }

    #[test]
    fn one_that_does_not_know_the_count_is_told_from_other_refusals() {
        let older = "\"taken\" is no parameter: give command, tty, stdin, cols or rows";
        assert!(ExecQuery::is_taken_unknown(older));
        for other in ["\"x\" is no parameter: give taken", "command is required"] {
            assert!(!ExecQuery::is_taken_unknown(other), "{other}");
        }
    }

    #[test]
    fn signals_and_ends_are_small_documents() {
        let text = serde_json::to_string(&Signal::Term).expect("JSON");
        assert_eq!(text, r#"{"signal":"TERM"}"#);
        let end = End {
            exit_code: Some(3),
            error: None,
        };
        assert_eq!(
            serde_json::to_string(&end).expect("JSON"),
            r#"{"exitCode":3}"#
        );
    }
}
