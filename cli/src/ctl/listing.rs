//! Lists of anything in every form: what a table of them shows is given, the forms for programs
//! are common.

use serde::Serialize;

use super::args::Output;
use super::failure::Failure;
use super::table::Layout;

/// How things of a type are shown to people.
pub struct Listing<'a, T> {
    /// Headers of the columns that are always shown.
    pub header: &'static [&'static str],
    /// Headers of those that `wide` adds.
    pub wide: &'static [&'static str],
    /// The name by which other commands know it.
    pub name: &'a dyn Fn(&T) -> String,
    /// The cells that are always shown.
    pub row: &'a dyn Fn(&T) -> Vec<String>,
    /// Those that `wide` adds.
    pub more: &'a dyn Fn(&T) -> Vec<String>,
}

impl<T: Serialize> Listing<'_, T> {
    /// The list in the form that was asked for; `columns` is the width of the terminal, if it is
    /// one.
    ///
    /// # Errors
    /// The list cannot be written.
    pub fn show(
        &self,
        list: &impl Serialize,
        items: &[T],
        output: Output,
        columns: Option<usize>,
    ) -> Result<String, Failure> {
        if let Some(text) = output.list(list, items)? {
            return Ok(text);
        }
        Ok(match output {
            Output::Name => items.iter().map(|i| (self.name)(i) + "\n").collect(),
            Output::Wide => {
                let rows = items
                    .iter()
                    .map(|i| [(self.row)(i), (self.more)(i)].concat());
                let rows: Vec<Vec<String>> = rows.collect();
                Layout::new([self.header, self.wide].concat(), None).head(&rows)
            }
            Output::Table | Output::Json | Output::Jsonl | Output::Yaml | Output::Jsonpath(_) => {
                let rows: Vec<Vec<String>> = items.iter().map(self.row).collect();
                Layout::new(self.header.to_vec(), columns).head(&rows)
            }
        })
    }
}
