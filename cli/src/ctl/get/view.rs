//! Objects in the form that was asked for. Pure.

use std::collections::BTreeMap;

use cara_api::{List, Timestamp};

use super::super::args::Output;
use super::super::failure::Failure;
use super::super::table::Layout;
use super::rows::{Reserved, Rows};

/// The form, and what a table remembers of the lines that were printed.
pub struct View {
    output: Output,
    layout: Layout,
    age: Option<usize>,
    /// The rows that were printed last, by name, without their ages.
    last: BTreeMap<String, Vec<String>>,
}

/// Whether changes follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing does.
    Done,
    /// They are printed below.
    Watch,
}

impl View {
    /// A view on objects of a kind; `columns` is the width of the terminal, if it is one.
    pub fn new<T: Rows>(output: Output, columns: Option<usize>, then: Then) -> Self {
        let room = match then {
            Then::Done => &[],
            Then::Watch => T::ROOM,
        };
        let layout = match output {
            Output::Wide => Layout::new([T::HEADER, T::WIDE].concat(), None),
            Output::Table
            | Output::Json
            | Output::Jsonl
            | Output::Yaml
            | Output::Name
            | Output::Jsonpath(_) => Layout::new(T::HEADER.to_vec(), columns),
        };
        Self {
            output,
            layout: layout.with_room(room),
            age: T::HEADER.iter().position(|name| *name == "AGE"),
            last: BTreeMap::new(),
        }
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

    /// An object that changed while somebody looks on; nothing when a table would show the same
    /// line again.
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

    /// Forgets an object that is gone.
    pub fn forget(&mut self, name: &str) {
        self.last.remove(name);
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
        let mut rows = Vec::new();
        for item in items {
            let row = row(item);
            let mut without_age = row.clone();
            if let Some(age) = self.age.and_then(|at| without_age.get_mut(at)) {
                age.clear();
            }
            let name = item.meta().name.clone();
            let is_known = self.last.get(&name) == Some(&without_age);
            self.last.insert(name, without_age);
            if head == Head::Shown || !is_known {
                rows.push(row);
            }
        }
        match head {
            Head::Hidden if rows.is_empty() => String::new(),
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
