//! Where something stands, what is wrong with it, and what was not carried over.

use std::cmp::Ordering;
use std::fmt;
use std::rc::Rc;

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    file: Rc<str>,
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
}

impl Place {
    pub fn new(file: &Rc<str>, line: usize, column: usize) -> Self {
        let file = Rc::clone(file);
        Self { file, line, column }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Why there is no project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    place: Option<Place>,
    message: String,
}

impl Fault {
    pub fn new(place: &Place, message: impl Into<String>) -> Self {
        Self {
            place: Some(place.clone()),
            message: message.into(),
        }
    }

    /// A fault that stands in no file.
    pub fn nowhere(message: impl Into<String>) -> Self {
        Self {
            place: None,
            message: message.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Something that the project does not have, why, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub place: Place,
    /// The service; none when it stands beside the services.
    pub service: Option<String>,
    /// Such as `deploy.replicas`.
    pub field: String,
    pub why: String,
    pub way_out: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            field,
            why,
            way_out,
            ..
        } = self;
        match &self.service {
            Some(service) => write!(f, "{service}: {field} ({place}): {why}")?,
            None => write!(f, "{field} ({place}): {why}")?,
        }
        if way_out.is_empty() {
            return Ok(());
        }
        write!(f, "; {way_out}")
    }
}

/// By place; what stands nowhere comes last.
pub fn order_of_faults(a: &Fault, b: &Fault) -> Ordering {
    let place = |fault: &Fault| match &fault.place {
        Some(place) => (false, place.line, place.column),
        None => (true, 0, 0),
    };
    place(a).cmp(&place(b))
}

/// By service, then by place; what stands beside the services comes last.
pub fn order(a: &Note, b: &Note) -> Ordering {
    let key = |note: &Note| (note.service.is_none(), note.service.clone());
    let place = |note: &Note| (note.place.line, note.place.column);
    key(a).cmp(&key(b)).then_with(|| place(a).cmp(&place(b)))
}
