//! Variables in texts: `$A`, `${A:-b}`, `${A:?why}`, `${A:+b}` and `$$`, one within the other.
//!
//! Pure: variables come as an argument. A variable that is not set is empty, and is named.

use std::collections::{BTreeMap, BTreeSet};

/// Defaults within defaults; deeper ones are refused.
const DEPTH_MAX: usize = 16;

/// Values by name.
pub type Variables = BTreeMap<String, String>;

/// A text with its variables filled in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expanded {
    pub text: String,
    /// Variables without value that nothing stands in for.
    pub unset: BTreeSet<String>,
}

/// Fills in variables.
///
/// # Errors
/// In words: what is wrong with the text, or what its author says about a missing variable.
pub fn expand(text: &str, variables: &Variables) -> Result<Expanded, String> {
    let mut expanded = Expanded::default();
    let mut cursor = Cursor { rest: text };
    let filled = fill(&mut cursor, variables, &mut expanded.unset, 0)?;
    expanded.text = filled;
    Ok(expanded)
}

struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn eat(&mut self, prefix: &str) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Takes everything before the first character that does not fit.
    fn eat_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !fits(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn name(&mut self) -> &'a str {
        if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            return "";
        }
        self.eat_while(|c| c.is_ascii_alphanumeric() || c == '_')
    }
}

/// Reads to the end of the text or, within braces, to the one that closes them.
fn fill(
    cursor: &mut Cursor<'_>,
    variables: &Variables,
    unset: &mut BTreeSet<String>,
    depth: usize,
) -> Result<String, String> {
    if depth > DEPTH_MAX {
        return Err(format!("variables are nested more than {DEPTH_MAX} deep"));
    }
    let mut text = String::new();
    loop {
        text.push_str(cursor.eat_while(|c| c != '$' && (depth == 0 || c != '}')));
        if !cursor.rest.starts_with('$') {
            return Ok(text);
        }
        if cursor.eat("$$") {
            text.push('$');
        } else if cursor.eat("${") {
            text.push_str(&braced(cursor, variables, unset, depth)?);
        } else {
            cursor.eat("$");
            let name = cursor.name();
            if name.is_empty() {
                let message =
                    "a '$' begins a variable, such as ${NAME}: write $$ for the sign itself";
                return Err(message.to_owned());
            }
            text.push_str(&plain(name, variables, unset));
        }
    }
}

fn plain(name: &str, variables: &Variables, unset: &mut BTreeSet<String>) -> String {
    let value = variables.get(name).cloned();
    value.unwrap_or_else(|| {
        unset.insert(name.to_owned());
        String::new()
    })
}

/// What follows `${`, up to the brace that closes it.
fn braced(
    cursor: &mut Cursor<'_>,
    variables: &Variables,
    unset: &mut BTreeSet<String>,
    depth: usize,
) -> Result<String, String> {
    let name = cursor.name();
    if name.is_empty() {
        return Err("${ needs a name of letters, digits and '_', such as ${NAME}".to_owned());
    }
    if cursor.eat("}") {
        return Ok(plain(name, variables, unset));
    }
    let counts_empty = cursor.eat(":");
    let value = variables.get(name);
    let is_there = value.is_some_and(|value| !counts_empty || !value.is_empty());
    let operator = ["-", "?", "+"].into_iter().find(|sign| cursor.eat(sign));
    // What is not used must be sound, but need not be there.
    let mut missing = BTreeSet::new();
    let other = fill(cursor, variables, &mut missing, depth + 1);
    let other = match (operator, is_there) {
        (Some("-"), true) => other.or_else(|e| {
            if e.starts_with(REQUIRED) {
                Ok(String::new())
            } else {
                Err(e)
            }
        })?,
        _ => other?,
    };
    if !cursor.eat("}") {
        return Err(format!("${{{name} is not closed by '}}'"));
    }
    let value = value.cloned().unwrap_or_default();
    match (operator, is_there) {
        (Some("-" | "?"), true) => Ok(value),
        (Some("+"), false) => Ok(String::new()),
        (Some("-"), false) | (Some("+"), true) => {
            unset.append(&mut missing);
            Ok(other)
        }
        (Some("?"), false) => {
            let why = if other.is_empty() {
                "it is not set"
            } else {
                &other
            };
            Err(format!("{REQUIRED}{name} is required: {why}"))
        }
        (Some(_) | None, _) => Err(format!(
            "${{{name} is followed by neither '}}' nor one of :- - :? ? :+ +"
        )),
    }
}

const REQUIRED: &str = "variable ";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<String, String> {
        let variables = [("A", "a"), ("EMPTY", ""), ("B", "b c")];
        let variables = variables.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        expand(text, &variables).map(|found| {
            let unset: Vec<String> = found.unset.into_iter().collect();
            if unset.is_empty() {
                found.text
            } else {
                format!("{} !{}", found.text, unset.join(","))
            }
        })
    }

    #[test]
    fn variables_are_filled_in() {
        for (text, expected) in [
            ("plain", "plain"),
            ("$A-${A}.$B", "a-a.b c"),
            ("$$A costs 5$$", "$A costs 5$"),
            ("${X:-x}${X-y}", "xy"),
            ("${EMPTY:-x}${EMPTY-y}", "x"),
            ("${A:-x}", "a"),
            ("${X:-${Y:-${A}}}!", "a!"),
            ("${A:+yes}${X:+no}${EMPTY:+no}${EMPTY+yes}", "yesyes"),
            ("${A:?why}", "a"),
            ("${X:-a:b/c?d=1}", "a:b/c?d=1"),
            ("${A:-${X:?never asked}}", "a"),
            ("$X and ${Y}", " and  !X,Y"),
            ("${X:-$Y}", " !Y"),
            ("${A:-$Y}", "a"),
            ("}", "}"),
            ("${X:-}", ""),
            ("é${A}ü", "éaü"),
        ] {
            assert_eq!(check(text), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, expected) in [
            (
                "${X:?set it in .env}",
                "variable X is required: set it in .env",
            ),
            ("${EMPTY:?}", "variable EMPTY is required: it is not set"),
            ("${X?${A}}", "variable X is required: a"),
            ("${X:-${Y:?inner}}", "variable Y is required: inner"),
            ("5$", "a '$' begins a variable"),
            ("$(date)", "write $$ for the sign itself"),
            ("${", "${ needs a name"),
            ("${1}", "${ needs a name"),
            ("${A", "${A is not closed"),
            ("${X:-a", "${X is not closed by '}'"),
            ("${A!b}", "is followed by neither"),
        ] {
            let said = check(text).expect_err("refused");
            assert!(said.contains(expected), "{text}: {said}");
        }
        assert!(check(&("${A:-".repeat(40) + &"}".repeat(40))).is_err());
    }
}
