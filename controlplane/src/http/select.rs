//! Which objects a list or a watch shows: what the kind's own parameters say, and the selectors
//! that all kinds have.

use cara_api::selector::{Fields, Labels, SelectorError};

use super::failure::Failure;
use super::query::{Parameters, value};
use super::watch::{Filter, Watched};

/// A kind's own filter, narrowed down by selectors.
#[derive(Debug, Clone)]
pub(super) struct Selector<F> {
    own: F,
    labels: Labels,
    fields: Fields,
}

impl<F> Selector<F> {
    /// What a query asks for.
    pub(super) fn of<T: Watched>(query: &Parameters, own: F) -> Result<Self, Failure> {
        let text = |key: &str| value(query, key).unwrap_or_default();
        let labels = Labels::parse(text(LABELS)).map_err(|error| bad(LABELS, &error))?;
        let fields = Fields::parse(text(FIELDS), T::FIELDS).map_err(|error| bad(FIELDS, &error))?;
        Ok(Self {
            own,
            labels,
            fields,
        })
    }
}

const LABELS: &str = "labelSelector";
const FIELDS: &str = "fieldSelector";

fn bad(parameter: &str, error: &SelectorError) -> Failure {
    Failure::bad_request(format!("{parameter}: {error}"))
}

impl<T: Watched, F: Filter<T>> Filter<T> for Selector<F> {
    fn selects(&self, object: &T) -> bool {
        self.own.selects(object)
            && self.labels.selects(&object.meta().labels)
            && self.fields.selects(|field| object.field(field))
    }

    fn shows(&self, object: &T) -> bool {
        self.own.shows(object)
    }
}
