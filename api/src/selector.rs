//! Selectors: which objects a list, a watch or a command is about.
//!
//! [`Labels`] go by what users attach (`tier=web,env in (a,b),!old`), [`Fields`] by what an object
//! says of itself (`status.phase=Running`). Both are lists of requirements of which every one must
//! hold. Pure: it refuses to know which fields a kind has, whoever asks names them.

mod scan;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;

use scan::Scanner;

/// Most requirements of a selector.
pub const REQUIREMENTS_MAX: usize = 64;

/// What is wrong with a selector, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("position {position}: {message}")]
pub struct SelectorError {
    /// The character at which reading stopped, counted from 1.
    pub position: usize,
    /// What was expected there.
    pub message: String,
}

/// What must hold for the value under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    /// There is one.
    Present,
    /// There is none.
    Absent,
    /// It is one of these.
    In(Vec<String>),
    /// There is none, or it is none of these.
    NotIn(Vec<String>),
}

impl Condition {
    fn holds(&self, value: Option<&str>) -> bool {
        match self {
            Self::Present => value.is_some(),
            Self::Absent => value.is_none(),
            Self::In(values) => value.is_some_and(|value| values.iter().any(|v| v == value)),
            Self::NotIn(values) => value.is_none_or(|value| values.iter().all(|v| v != value)),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    condition: Condition,
}

/// A label selector. The empty one selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(Vec<Requirement>);

impl Labels {
    /// Reads `key`, `!key`, `key=value` (or `==`), `key!=value`, `key in (a,b)` and
    /// `key notin (a,b)`, separated by commas.
    ///
    /// # Errors
    /// The text is none of these; the error names the position.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut scanner = Scanner::new(text);
        let mut requirements = Vec::new();
        while scanner.goes_on(requirements.len())? {
            requirements.push(label(&mut scanner)?);
        }
        Ok(Self(requirements))
    }

    /// True when every requirement holds.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let mut requirements = self.0.iter();
        requirements.all(|r| r.condition.holds(labels.get(&r.key).map(String::as_str)))
    }

    /// True for the selector that selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn label(scanner: &mut Scanner<'_>) -> Result<Requirement, SelectorError> {
    if scanner.takes("!") {
        let key = scanner.key("the key of a label")?;
        let condition = Condition::Absent;
        return Ok(Requirement { key, condition });
    }
    let key = scanner.key("the key of a label, or !")?;
    let condition = match scanner.equality() {
        Some(is_equal) => one(is_equal, scanner.value()),
        None if scanner.takes_word("notin") => Condition::NotIn(scanner.values()?),
        None if scanner.takes_word("in") => Condition::In(scanner.values()?),
        None => Condition::Present,
    };
    scanner.must_end("=, !=, in, notin or a comma")?;
    Ok(Requirement { key, condition })
}

fn one(is_equal: bool, value: String) -> Condition {
    if is_equal {
        Condition::In(vec![value])
    } else {
        Condition::NotIn(vec![value])
    }
}

/// A field selector. The empty one selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<Requirement>);

impl Fields {
    /// Reads `field=value` (or `==`) and `field!=value`, separated by commas. Only `known` fields
    /// can be asked for.
    ///
    /// # Errors
    /// The text is neither, or a field is not known; the error names the position.
    pub fn parse(text: &str, known: &[&str]) -> Result<Self, SelectorError> {
        let mut scanner = Scanner::new(text);
        let mut requirements = Vec::new();
        while scanner.goes_on(requirements.len())? {
            let place = scanner.position();
            let key = scanner.key("a field")?;
            if !known.contains(&key.as_str()) {
                return Err(SelectorError {
                    position: place,
                    message: format!(
                        "field {key:?} cannot be selected by: there are {}",
                        known.join(", ")
                    ),
                });
            }
            let Some(is_equal) = scanner.equality() else {
                return Err(scanner.expected("= or !="));
            };
            let condition = one(is_equal, scanner.value());
            scanner.must_end("a comma")?;
            requirements.push(Requirement { key, condition });
        }
        Ok(Self(requirements))
    }

    /// True when every requirement holds for the values that `of` gives; a field without value
    /// counts as empty.
    pub fn selects<'a>(&self, of: impl Fn(&str) -> Cow<'a, str>) -> bool {
        let mut requirements = self.0.iter();
        requirements.all(|r| r.condition.holds(Some(&of(&r.key))))
    }

    /// True for the selector that selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
