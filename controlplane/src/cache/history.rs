//! The recent changes of objects, for watchers and reconcilers: bounded by the memory that they take, about.
//! Refuses to know what is there now.

use std::collections::VecDeque;
use std::sync::Arc;

use cara_api::{Node, Project};
use cara_store::Revision;

use crate::repo::{self, SealedCertificate, SealedSecret};

/// Bytes of memory that the changes may take which are kept for watchers: the oldest go first,
/// though never the last few.
pub(super) const BYTES_MAX: usize = 8 << 20;
/// What an object takes in memory besides its text: most fields of most objects are left out.
pub(super) const OBJECT_BYTES: usize = 6 << 10;
/// Changes that are kept however large they are.
const LEAST: usize = 32;

/// An object of any kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Object {
    Project(Arc<Project>),
    Node(Arc<Node>),
    Secret(Arc<SealedSecret>),
    Certificate(Arc<SealedCertificate>),
}

impl Object {
    /// Bytes of its text in the store.
    fn text_bytes(&self) -> usize {
        match self {
            Self::Project(project) => repo::encode(&**project).len(),
            Self::Node(node) => repo::encode(&**node).len(),
            Self::Secret(secret) => repo::encode(&**secret).len(),
            Self::Certificate(certificate) => repo::encode(&**certificate).len(),
        }
    }
}

/// One change of one object.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) revision: Revision,
    pub(crate) before: Option<Object>,
    pub(crate) after: Option<Object>,
}

impl Change {
    /// The project that changed, if it was one.
    pub(crate) fn project(&self) -> Option<&Arc<Project>> {
        match self.after.as_ref().or(self.before.as_ref()) {
            Some(Object::Project(project)) => Some(project),
            Some(Object::Node(_) | Object::Secret(_) | Object::Certificate(_)) | None => None,
        }
    }

    /// The secret that changed, if it was one.
    pub(crate) fn secret(&self) -> Option<&Arc<SealedSecret>> {
        match self.after.as_ref().or(self.before.as_ref()) {
            Some(Object::Secret(secret)) => Some(secret),
            Some(Object::Node(_) | Object::Project(_) | Object::Certificate(_)) | None => None,
        }
    }

    /// The certificate that changed, if it was one.
    pub(crate) fn certificate(&self) -> Option<&Arc<SealedCertificate>> {
        match self.after.as_ref().or(self.before.as_ref()) {
            Some(Object::Certificate(certificate)) => Some(certificate),
            Some(Object::Node(_) | Object::Project(_) | Object::Secret(_)) | None => None,
        }
    }
}

/// A change in the history.
struct Remembered {
    change: Arc<Change>,
    /// Of memory, about.
    bytes: usize,
}

/// The history does not reach back that far: read everything again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooOld;

/// The changes that are remembered.
#[derive(Default)]
pub(super) struct History {
    changes: VecDeque<Remembered>,
    /// Of memory, about.
    bytes: usize,
    /// Everything after this revision is here.
    floor: Revision,
}

impl History {
    /// All changes after `revision`, oldest first.
    pub(super) fn since(&self, revision: Revision) -> Result<Vec<Arc<Change>>, TooOld> {
        if revision < self.floor {
            return Err(TooOld);
        }
        let is_earlier = |kept: &Remembered| kept.change.revision <= revision;
        let start = self.changes.partition_point(is_earlier);
        let later = self.changes.range(start..);
        Ok(later.map(|kept| Arc::clone(&kept.change)).collect())
    }

    /// The revision that it begins after.
    pub(super) fn floor(&self) -> Revision {
        self.floor
    }

    /// Begins anew: everything after this revision will be here.
    pub(super) fn begin(&mut self, floor: Revision) {
        *self = Self {
            floor,
            ..Self::default()
        };
    }

    /// Remembers a change whose new object has so many bytes of text in the store.
    pub(super) fn remember(&mut self, change: Change, text_bytes: usize) {
        // What was there before is shared with the change before, which may be forgotten first.
        let old = change.before.as_ref().map_or(0, Object::text_bytes);
        self.keep(change, OBJECT_BYTES + 2 * old.max(text_bytes));
    }

    fn keep(&mut self, change: Change, bytes: usize) {
        let change = Arc::new(change);
        self.changes.push_back(Remembered { change, bytes });
        self.bytes += bytes;
        while self.bytes > BYTES_MAX
            && self.changes.len() > LEAST
            && let Some(oldest) = self.changes.pop_front()
        {
            self.bytes -= oldest.bytes;
            self.floor = oldest.change.revision;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_objects_make_the_history_short() {
        let mut history = History::default();
        let mut remember = |revision, bytes| {
            let change = Change {
                revision: Revision(revision),
                before: None,
                after: None,
            };
            history.keep(change, bytes);
            (history.floor(), history.changes.len())
        };
        let mut last = (Revision(0), 0);
        for revision in 1..=100 {
            last = remember(revision, BYTES_MAX / 50);
        }
        assert_eq!(last, (Revision(50), 50), "what is left fits");
        for revision in 101..=200 {
            last = remember(revision, BYTES_MAX);
        }
        assert_eq!(last.1, LEAST);
    }

    #[test]
    fn large_objects_that_shrink_or_go_count_as_what_they_were() {
        let object = |note: &str| {
            let mut project = Project::default();
            project.metadata.annotations = [("note".into(), note.into())].into();
            Some(Object::Project(Arc::new(project)))
        };
        let text = |object: &Option<Object>| object.as_ref().map_or(0, Object::text_bytes);
        let (large, small) = (object(&"x".repeat(1 << 20)), object(""));
        let mut history = History::default();
        let mut revision = 0;
        let mut remember = |before: &Option<Object>, after: &Option<Object>| {
            let taken = history.bytes;
            revision += 1;
            let change = Change {
                revision: Revision(revision),
                before: before.clone(),
                after: after.clone(),
            };
            history.remember(change, text(after));
            (history.bytes - taken) >> 20
        };
        assert_eq!(remember(&None, &large), 2, "of two copies, in MiB");
        assert_eq!(remember(&large, &small), 2);
        assert_eq!(remember(&small, &large), 2);
        assert_eq!(remember(&large, &None), 2);
    }
}
