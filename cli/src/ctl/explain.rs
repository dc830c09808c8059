//! `explain`: what a code means, and what a field takes. Needs no server.

mod field;

use serde::Serialize;

use super::args::{Kind, Output, Topic};
use super::codes::{self, Code};
use super::failure::Failure;
use super::out;
use super::table::table;

/// Explains a code or a field, or lists what can be explained.
pub fn run(options: &Topic, output: Output) -> Result<(), Failure> {
    let Some(topic) = options.topic.as_deref() else {
        return out(&everything());
    };
    if topic.to_ascii_uppercase().starts_with("E-") {
        let code = codes::find(topic).ok_or_else(|| unknown_code(topic))?;
        return out(&match output.document(&CodeView::of(code))? {
            Some(text) => text,
            None if output == Output::Name => format!("{}\n", code.id),
            None => in_words(code),
        });
    }
    let field = field::find(topic).map_err(Failure::usage)?;
    out(&match output.document(&field)? {
        Some(text) => text,
        None if output == Output::Name => format!("{}\n", field.field),
        None => field.to_string(),
    })
}

fn in_words(code: &Code) -> String {
    let mend: String = code
        .mend
        .iter()
        .map(|line| format!("  - {line}\n"))
        .collect();
    format!("{}\n\n{}\n\nWhat to do:\n{mend}", code.id, code.means)
}

fn everything() -> String {
    let kinds: Vec<String> = Kind::ALL
        .iter()
        .map(|kind| kind.noun().to_owned())
        .collect();
    let rows: Vec<Vec<String>> = codes::ALL
        .iter()
        .map(|code| vec![code.id.to_owned(), code.means.to_owned()])
        .collect();
    format!(
        "Kinds: {} (caractrl explain project.spec)\n\n{}",
        kinds.join(", "),
        table(&["CODE", "MEANS"], &rows)
    )
}

fn unknown_code(topic: &str) -> Failure {
    let wanted = topic.to_ascii_uppercase();
    let ids = codes::ALL.iter().map(|code| code.id);
    let failure = Failure::usage(format!("there is no code {topic:?}"));
    match nearest(&wanted, ids) {
        Some(id) => failure.with(format!("did you mean {id}?")),
        None => failure.with("caractrl explain lists them all"),
    }
}

/// The name that was probably meant.
fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = wanted.to_ascii_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&name.to_ascii_lowercase(), &wanted);
    let near = names.map(|name| (distance(name), name)).min()?;
    (near.0 <= 1 + wanted.len() / 4).then_some(near.1)
}

/// A code for programs.
#[derive(Debug, Serialize)]
struct CodeView {
    code: &'static str,
    means: &'static str,
    mend: &'static [&'static str],
}

impl CodeView {
    fn of(code: &'static Code) -> Self {
        Self {
            code: code.id,
            means: code.means,
            mend: code.mend,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_explained_with_what_to_do() {
        let text = in_words(&codes::NOT_FOUND);
        assert!(text.starts_with("E-NOT-FOUND\n\nThere is no such object.\n\nWhat to do:\n  - "));
        assert!(everything().contains("E-UNREACHABLE"));
    }

    #[test]
    fn a_misspelt_code_is_guessed() {
        let failure = unknown_code("E-NOT-FUOND");
        assert!(format!("{failure:?}").contains("did you mean E-NOT-FOUND?"));
        assert!(!format!("{:?}", unknown_code("E-XYZXYZXYZ")).contains("did you mean"));
    }
}
