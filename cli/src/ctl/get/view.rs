//! Objects in the form that was asked for. Pure.

use cara_api::{List, Timestamp};

use super::super::args::Output;
use super::super::failure::Failure;
use super::super::table::Layout;
use super::rows::{Reserved, Rows};

/// The form, and what a table remembers of the lines that were printed.
pub struct View {
    output: Output,
    layout: Layout,
}

impl View {
    /// A view on objects of a kind; `columns` is the width of the terminal, if it is one.
    pub fn new<T: Rows>(output: Output, columns: Option<usize>) -> Self {
        let layout = match output {
            Output::Wide => Layout::new([T::HEADER, T::WIDE].concat(), None),
            Output::Table
            | Output::Json
            | Output::Jsonl
            | Output::Yaml
            | Output::Name
            | Output::Jsonpath(_) => Layout::new(T::HEADER.to_vec(), columns),
        };
        Self { output, layout }
    }

    /// A whole list.
    ///
    /// # Errors
    /// The objects cannot be written.
    pub fn list<T: Rows>(
        &mut self,
        list: &List<T>,
        reserved: &Reserved,
        now: Timestamp,
    ) -> Result<String, Failure> {
        match self.output.list(list, &list.items)? {
            Some(text) => Ok(text),
            None => Ok(self.people(&list.items, reserved, Head::Shown, now)),
        }
    }

    /// One object.
    ///
    /// # Errors
    /// The object cannot be written.
    pub fn one<T: Rows>(
        &mut self,
        object: &T,
        reserved: &Reserved,
        now: Timestamp,
    ) -> Result<String, Failure> {
        match self.output.document(object)? {
            Some(text) => Ok(text),
            None => Ok(self.people(std::slice::from_ref(object), reserved, Head::Shown, now)),
        }
    }

    /// An object that changed while somebody looks on.
    ///
    /// # Errors
    /// The object cannot be written.
    pub fn changed<T: Rows>(
        &mut self,
        object: &T,
        reserved: &Reserved,
        now: Timestamp,
    ) -> Result<String, Failure> {
        match self.output.next_document(object)? {
            Some(text) => Ok(text),
            None => Ok(self.people(std::slice::from_ref(object), reserved, Head::Hidden, now)),
        }
    }

    /// Names, or columns.
    fn people<T: Rows>(
        &mut self,
        items: &[T],
        reserved: &Reserved,
        head: Head,
        now: Timestamp,
    ) -> String {
        if self.output == Output::Name {
            let name = |object: &T| format!("{}/{}\n", T::NOUN, object.meta().name);
            return items.iter().map(name).collect();
        }
        let row = |item: &T| {
            let mut row = item.row(now);
            if self.output == Output::Wide {
                row.extend(item.wide(reserved));
            }
            row
        };
        let rows: Vec<Vec<String>> = items.iter().map(row).collect();
        match head {
            Head::Shown => self.layout.head(&rows),
            Head::Hidden => self.layout.more(&rows),
        }
    }
}

/// Whether the names of the columns are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    Shown,
    Hidden,
}
