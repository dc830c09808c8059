//! Objects in the form that was asked for.
//!
//! Owns the forms for programs. Those for people, and names, are the commands' own.

use serde::Serialize;

use super::args::Output;
use super::failure::Failure;
use super::table::{json, yaml};

impl Output {
    /// A single document; none in the forms for people and for names.
    ///
    /// # Errors
    /// The value cannot be written.
    pub fn document(self, value: &impl Serialize) -> Result<Option<String>, Failure> {
        self.list(value, std::slice::from_ref(value))
    }

    /// A list, in the forms that show objects in lines as its `items` alone; none in the forms
    /// for people and for names.
    ///
    /// # Errors
    /// The value cannot be written.
    pub fn list<T: Serialize>(
        self,
        list: &impl Serialize,
        items: &[T],
    ) -> Result<Option<String>, Failure> {
        match self {
            Self::Json => json(list).map(Some),
            Self::Jsonl => {
                let lines: Result<String, Failure> = items.iter().map(line).collect();
                lines.map(Some)
            }
            Self::Yaml => yaml(list).map(Some),
            Self::Jsonpath(template) => {
                let document =
                    serde_json::to_value(list).map_err(|e| Failure::other(e.to_string()))?;
                Ok(Some(template.render(&document)))
            }
            Self::Table | Self::Wide | Self::Name => Ok(None),
        }
    }

    /// One of many documents that are printed as they come; none in the forms for people and for
    /// names.
    ///
    /// # Errors
    /// The value cannot be written.
    pub fn next_document(self, value: &impl Serialize) -> Result<Option<String>, Failure> {
        let text = self.document(value)?;
        Ok(text.map(|text| match self {
            Self::Yaml => format!("---\n{text}"),
            Self::Table
            | Self::Wide
            | Self::Json
            | Self::Jsonl
            | Self::Name
            | Self::Jsonpath(_) => text,
        }))
    }
}

/// JSON in a line.
fn line(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value)
        .map(|text| text + "\n")
        .map_err(|e| Failure::other(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::jsonpath::Template;
    use super::*;
    use serde_json::json;

    #[test]
    fn each_form_for_programs_holds_the_same_objects() {
        let items = [json!({"metadata": {"name": "a"}}), json!({"count": 1})];
        let list = json!({"items": items});
        let names = Template::parse("{.items[*].metadata.name}").expect("a template");
        for (form, expected) in [
            (Output::Table, None),
            (Output::Wide, None),
            (Output::Name, None),
            (
                Output::Jsonl,
                Some("{\"metadata\":{\"name\":\"a\"}}\n{\"count\":1}\n"),
            ),
            (
                Output::Yaml,
                Some("items:\n- metadata:\n    name: a\n- count: 1\n"),
            ),
            (Output::Jsonpath(Box::leak(Box::new(names))), Some("a\n")),
        ] {
            let text = form.list(&list, &items).expect("written");
            assert_eq!(text.as_deref(), expected, "{form:?}");
        }
        let one = Output::Yaml.next_document(&items[1]).expect("written");
        assert_eq!(one.as_deref(), Some("---\ncount: 1\n"));
    }
}
