//! The form of the output.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Command, Error, error::ErrorKind};

use crate::ctl::jsonpath::Template;

/// Form of the output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Output {
    /// Columns, as many as a terminal is wide
    Table,
    /// More columns, nothing shortened, times as they are
    Wide,
    /// JSON
    Json,
    /// JSON, an object a line
    Jsonl,
    /// YAML
    Yaml,
    /// kind/name
    Name,
    /// What an expression selects. It lives as long as the command line.
    Jsonpath(&'static Template),
}

impl Output {
    /// The form as it is asked for, without an expression.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Wide => "wide",
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Yaml => "yaml",
            Self::Name => "name",
            Self::Jsonpath(_) => "jsonpath",
        }
    }
}

const FORMS: [(&str, Output, &str); 6] = [
    ("table", Output::Table, "Columns"),
    ("wide", Output::Wide, "More columns"),
    ("json", Output::Json, "JSON"),
    ("jsonl", Output::Jsonl, "JSON, an object a line"),
    ("yaml", Output::Yaml, "YAML"),
    ("name", Output::Name, "kind/name"),
];
const JSONPATH: &str = "jsonpath=";

/// Reads the form of the output.
#[derive(Debug, Clone, Copy)]
pub struct FormParser;

impl TypedValueParser for FormParser {
    type Value = Output;

    fn parse_ref(&self, _: &Command, _: Option<&Arg>, value: &OsStr) -> Result<Output, Error> {
        let text = value.to_string_lossy();
        parse(&text).map_err(|message| Error::raw(ErrorKind::ValueValidation, message + "\n"))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let forms = FORMS.map(|(name, _, help)| PossibleValue::new(name).help(help));
        let path = PossibleValue::new(JSONPATH).help("What an expression selects");
        Some(Box::new(forms.into_iter().chain([path])))
    }
}

fn parse(text: &str) -> Result<Output, String> {
    if let Some(expression) = text.strip_prefix(JSONPATH) {
        let template = Template::parse(expression)
            .map_err(|error| format!("--output {JSONPATH}{expression}: {error}"))?;
        return Ok(Output::Jsonpath(Box::leak(Box::new(template))));
    }
    let found = FORMS.iter().find(|(name, _, _)| *name == text);
    found.map(|(_, form, _)| *form).ok_or_else(|| {
        let names: Vec<&str> = FORMS.iter().map(|(name, _, _)| *name).collect();
        format!(
            "--output {text:?} is not a form: use {} or {JSONPATH}EXPRESSION",
            names.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_a_name_or_an_expression() {
        for (name, form, _) in FORMS {
            assert_eq!(parse(name), Ok(form));
            assert_eq!(form.as_str(), name);
        }
        for path in ["{.items[*].metadata.name}", "$.items[*].metadata.name"] {
            let form = parse(&format!("jsonpath={path}"));
            assert!(matches!(form, Ok(Output::Jsonpath(_))), "{path}: {form:?}");
        }
        for (text, message) in [
            (
                "xml",
                "use table, wide, json, jsonl, yaml, name or jsonpath=EXPRESSION",
            ),
            ("jsonpath={.a", "}"),
            ("jsonpath=$[", "--output jsonpath=$["),
        ] {
            let said = parse(text).expect_err("refused");
            assert!(said.contains(message), "{said}");
        }
    }
}
