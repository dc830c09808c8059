//! Files of variables: `.env` and what `env_file` names.
//!
//! Messages name lines, never values.

use super::interpolate::{Variables, expand};

/// A line without `=` asks for the variable of that name from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub value: Option<String>,
    /// Variables that have no value.
    pub unset: Vec<String>,
}

/// Whether values are taken as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Quotes are taken off, and variables filled in.
    Quoted,
    /// `format: raw`.
    Raw,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineFault {
    /// From 1.
    pub line: usize,
    pub message: String,
}

/// Reads a file of variables. Later lines see earlier ones; `outside` comes before both.
///
/// # Errors
/// Names the line.
pub fn parse(text: &str, form: Form, outside: &Variables) -> Result<Vec<Entry>, LineFault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut entries: Vec<Entry> = Vec::new();
    let mut known = Variables::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let fault = |message: String| LineFault {
            line: index + 1,
            message,
        };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        // A colon does as well, but not where values are taken as they are.
        let is_sign = |c: char| c == '=' || (c == ':' && form == Form::Quoted);
        let (name, rest) = match line.split_once(is_sign) {
            Some((name, rest)) => (name.trim_end(), Some(rest.trim_start())),
            None => (line, None),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(fault("expected NAME=VALUE".to_owned()));
        }
        let mut entry = Entry {
            name: name.to_owned(),
            value: None,
            unset: Vec::new(),
        };
        if let Some(rest) = rest {
            let mut more = || lines.next().map(|(_, line)| line);
            let value = match form {
                Form::Raw => Written {
                    text: rest.to_owned(),
                    has_variables: false,
                },
                Form::Quoted => value(rest, &mut more).map_err(fault)?,
            };
            entry.value = Some(if value.has_variables {
                let mut all = known.clone();
                all.extend(outside.clone());
                let expanded = expand(&value.text, &all).map_err(fault)?;
                entry.unset = expanded.unset.into_iter().collect();
                expanded.text
            } else {
                value.text
            });
        }
        if let Some(value) = &entry.value {
            known.insert(entry.name.clone(), value.clone());
        }
        entries.push(entry);
    }
    Ok(entries)
}

struct Written {
    text: String,
    has_variables: bool,
}

/// Takes quotes and comments off; a text in quotes may go on over the next lines.
fn value<'a>(rest: &str, more: &mut impl FnMut() -> Option<&'a str>) -> Result<Written, String> {
    if let Some(quoted) = rest.strip_prefix('\'') {
        let text = until('\'', quoted, more)?;
        return Ok(Written {
            text,
            has_variables: false,
        });
    }
    if let Some(quoted) = rest.strip_prefix('"') {
        let text = unescape(&until('"', quoted, more)?);
        return Ok(Written {
            text,
            has_variables: true,
        });
    }
    let comment = rest.split_once(" #").or_else(|| rest.split_once("\t#"));
    let text = match comment {
        _ if rest.starts_with('#') => "",
        Some((text, _)) => text,
        None => rest,
    };
    Ok(Written {
        text: text.trim_end().to_owned(),
        has_variables: true,
    })
}

fn until<'a>(
    quote: char,
    begun: &str,
    more: &mut impl FnMut() -> Option<&'a str>,
) -> Result<String, String> {
    let mut text = String::new();
    let mut line = begun;
    loop {
        let mut is_escaped = false;
        for (at, c) in line.char_indices() {
            if c == quote && !is_escaped {
                text.push_str(line.split_at(at).0);
                return Ok(text);
            }
            is_escaped = c == '\\' && !is_escaped && quote == '"';
        }
        text.push_str(line);
        text.push('\n');
        line = more().ok_or_else(|| format!("the value is not closed by {quote}"))?;
    }
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('"') => out.push('"'),
            Some('\\') => out.push('\\'),
            // For the variables to see.
            Some('$') => out.push_str("$$"),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, form: Form) -> Result<Vec<(String, Option<String>)>, LineFault> {
        let outside = Variables::from([("OUT".to_owned(), "outside".to_owned())]);
        let entries = parse(text, form, &outside)?;
        Ok(entries.into_iter().map(|e| (e.name, e.value)).collect())
    }

    #[test]
    fn lines_are_read_as_compose_reads_them() {
        let text = "\u{feff}# comment\n\nA=1\nexport B = two words # said\nC='$A # \\n'\nD=\"$A\\n\\$A \\\"q\\\"\"\n\
                    E: colon\nF\nG=\nH=${OUT}/${A}\nI=\"one\ntwo\"\nJ=a#b\nK=#nothing\nL='it\nis'\nU=http://x:80/?a=b\r\n";
        let some = |text: &str| Some(text.to_owned());
        let expected = [
            ("A", some("1")),
            ("B", some("two words")),
            ("C", some("$A # \\n")),
            ("D", some("1\n$A \"q\"")),
            ("E", some("colon")),
            ("F", None),
            ("G", some("")),
            ("H", some("outside/1")),
            ("I", some("one\ntwo")),
            ("J", some("a#b")),
            ("K", some("")),
            ("L", some("it\nis")),
            ("U", some("http://x:80/?a=b")),
        ];
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v))
            .collect();
        assert_eq!(check(text, Form::Quoted), Ok(expected));
        let raw = [
            ("A".to_owned(), some("\"$B\" # x")),
            ("B".to_owned(), some("it's")),
        ];
        assert_eq!(check("A=\"$B\" # x\nB=it's\n", Form::Raw), Ok(raw.to_vec()));
    }

    #[test]
    fn a_fault_names_the_line_and_no_value() {
        for (text, line) in [
            ("A=1\nswordfish and more\n", 2),
            ("A='swordfish\nB=1\n", 1),
            ("=swordfish", 1),
            ("\nA=\"${swordfish\"", 2),
        ] {
            let fault = check(text, Form::Quoted).expect_err("refused");
            assert_eq!(fault.line, line, "{text}");
        }
    }
}
