//! Selecting from a document: JSONPath (RFC 9535), also in the braces of kubectl's templates.
//!
//! Owns the template: text, `{path}`, `{"literal"}`, and `{range path}…{end}`. It refuses to know
//! how a path is evaluated, and what the document means.

use serde_json::Value;
use serde_json_path::JsonPath;

/// What is printed of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    parts: Vec<Part>,
    /// Values of a bare path stand in lines, those in braces are separated by spaces.
    separator: &'static str,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Path(JsonPath),
    Range(JsonPath, Vec<Part>),
}

impl Template {
    /// Reads a bare path, with or without `$`, or a template with paths in braces.
    ///
    /// # Errors
    /// A brace is not closed, or what stands in it is no path; in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.contains('{') {
            return Ok(Self {
                parts: vec![Part::Path(path(text)?)],
                separator: "\n",
            });
        }
        let mut rest = text;
        let parts = block(&mut rest, Level::Top)?;
        Ok(Self {
            parts,
            separator: " ",
        })
    }

    /// What the document has there, with a newline at the end; nothing when it has nothing.
    pub fn render(&self, document: &Value) -> String {
        let mut text = String::new();
        render(&self.parts, document, self.separator, &mut text);
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text
    }
}

fn render(parts: &[Part], document: &Value, separator: &str, text: &mut String) {
    for part in parts {
        match part {
            Part::Text(literal) => text.push_str(literal),
            Part::Path(path) => {
                let found: Vec<String> = path.query(document).iter().map(|v| plain(v)).collect();
                text.push_str(&found.join(separator));
            }
            Part::Range(path, inner) => {
                for item in path.query(document).iter() {
                    render(inner, item, separator, text);
                }
            }
        }
    }
}

/// A text as it is, everything else as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Top,
    InRange,
}

fn block(rest: &mut &str, level: Level) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    loop {
        let Some((text, after)) = rest.split_once('{') else {
            if level == Level::InRange {
                return Err("{range} has no {end}".to_owned());
            }
            parts.extend((!rest.is_empty()).then(|| Part::Text((*rest).to_owned())));
            return Ok(parts);
        };
        parts.extend((!text.is_empty()).then(|| Part::Text(text.to_owned())));
        let end = closing(after).ok_or_else(|| format!("{{{after} has no }}"))?;
        let (inner, behind) = (after[..end].trim(), &after[end + 1..]);
        *rest = behind;
        if let Some(ranged) = inner.strip_prefix("range ") {
            let ranged = path(ranged.trim())?;
            parts.push(Part::Range(ranged, block(rest, Level::InRange)?));
        } else if inner == "end" {
            return match level {
                Level::InRange => Ok(parts),
                Level::Top => Err("{end} without {range}".to_owned()),
            };
        } else if inner.starts_with(['"', '\'']) {
            parts.push(Part::Text(literal(inner)?));
        } else {
            parts.push(Part::Path(path(inner)?));
        }
    }
}

/// Where the brace is closed; those in quotes do not count.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            _ if is_escaped => is_escaped = false,
            Some(_) if c == '\\' => is_escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '}' => return Some(at),
            None => {}
        }
    }
    None
}

/// `"\n"` and the like.
fn literal(quoted: &str) -> Result<String, String> {
    let inner = quoted.strip_prefix(['"', '\'']);
    let inner = inner.and_then(|text| text.strip_suffix(['"', '\'']));
    let Some(inner) = inner else {
        return Err(format!("{quoted} is not closed"));
    };
    Ok(inner
        .replace("\\n", "\n")
        .replace("\\t", "\t")
        .replace("\\\"", "\""))
}

fn path(text: &str) -> Result<JsonPath, String> {
    let standard = standard(text);
    JsonPath::parse(&standard).map_err(|error| format!("{text}: {error}"))
}

/// The path as the standard writes it: kubectl leaves `$` out, begins with `@` in ranges, and
/// writes names with dashes and escaped dots behind a dot.
fn standard(text: &str) -> String {
    let text = text.strip_prefix(['$', '@']).unwrap_or(text);
    let mut path = String::from("$");
    let mut rest = text;
    if !rest.is_empty() && !rest.starts_with(['.', '[']) {
        // `metadata.name`
        rest = name(rest, &mut path);
    }
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("..") {
            path.push_str("..");
            rest = match after.chars().next() {
                Some('*' | '[') | None => after,
                Some(_) => name(after, &mut path),
            };
        } else if let Some(after) = rest.strip_prefix('.') {
            rest = match after.chars().next() {
                Some('*') => {
                    path.push('.');
                    after
                }
                // `.` alone is the document, and `.[0]` its first item.
                Some('[') | None => after,
                Some(_) => name(after, &mut path),
            };
        } else if first == '[' {
            let end = bracket(rest);
            path.push_str(&rest[..end]);
            rest = &rest[end..];
        } else {
            path.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    path
}

/// Takes a name off the front and writes it in brackets.
fn name<'a>(text: &'a str, path: &mut String) -> &'a str {
    let mut found = String::new();
    let mut is_escaped = false;
    let mut end = text.len();
    for (at, c) in text.char_indices() {
        match c {
            '\\' if !is_escaped => {
                is_escaped = true;
                continue;
            }
            '.' | '[' if !is_escaped => {
                end = at;
                break;
            }
            _ => found.push(c),
        }
        is_escaped = false;
    }
    path.push_str(&format!("[{}]", Value::String(found)));
    &text[end..]
}

/// How long the brackets at the front are.
fn bracket(text: &str) -> usize {
    let mut quote = None;
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            (None, _) => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(template: &str) -> String {
        let document = json!({
            "kind": "List",
            "items": [
                {"metadata": {"name": "a", "labels": {"app.io/tier": "web"}}, "n": 1, "on": true},
                {"metadata": {"name": "b"}, "n": 2, "host-ip": "10.0.0.2"},
            ],
        });
        match Template::parse(template) {
            Ok(template) => template.render(&document),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn paths_of_the_standard_and_of_kubectl_select_the_same() {
        for (template, expected) in [
            ("{.items[*].metadata.name}", "a b\n"),
            ("{$.items[*].metadata.name}", "a b\n"),
            ("$.items[*].metadata.name", "a\nb\n"),
            (".items[*].metadata.name", "a\nb\n"),
            ("items[0].metadata.name", "a\n"),
            ("{.items[0].n}", "1\n"),
            ("{.items[-1].n}", "2\n"),
            ("{.items[1].host-ip}", "10.0.0.2\n"),
            ("{.items[0].metadata.labels.app\\.io/tier}", "web\n"),
            ("{.items[0].metadata.labels['app.io/tier']}", "web\n"),
            ("{.items[?(@.n>1)].metadata.name}", "b\n"),
            ("$.items[?@.n>1].metadata.name", "b\n"),
            ("{..name}", "a b\n"),
            ("{.items[0].metadata.ghost}", ""),
            ("{.kind}/{.items[0].on}", "List/true\n"),
            (
                "{range .items[*]}{.metadata.name}{\"\\t\"}{.n}{\"\\n\"}{end}",
                "a\t1\nb\t2\n",
            ),
            ("{range .items[*]}[{@.n}] {end}done", "[1] [2] done\n"),
        ] {
            assert_eq!(check(template), expected, "{template}");
        }
    }

    #[test]
    fn what_is_no_template_is_told() {
        for (template, message) in [
            ("{.items", "has no }"),
            ("{end}", "without {range}"),
            ("{range .items[*]}{.n}", "no {end}"),
            ("{.items[}", ".items["),
            ("{\"a}", "has no }"),
        ] {
            let said = check(template);
            assert!(said.starts_with("error: "), "{template}: {said}");
            assert!(said.contains(message), "{template}: {said}");
        }
    }
}
