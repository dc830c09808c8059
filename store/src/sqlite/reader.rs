//! Queries, and the connections that run them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::schema;
use crate::{Changes, Entry, Event, Key, Listing, ReadError, Revision};

/// Idle connections that are kept.
const IDLE_MAX: usize = 4;
/// Rows of history that one query of a watch reads.
const PAGE_ROWS: i64 = 1_000;

/// Connections for reading, opened on demand.
pub(super) struct Readers {
    path: PathBuf,
    // Held only to push or pop.
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Runs a query on a thread that may block.
    pub(super) async fn run<T: Send + 'static>(
        self: Arc<Self>,
        query: impl FnOnce(&mut Connection) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let task = tokio::task::spawn_blocking(move || {
            let mut connection = self.take()?;
            let result = query(&mut connection);
            self.put_back(connection);
            result
        });
        task.await
            .unwrap_or_else(|error| Err(ReadError::Unavailable(Arc::new(error))))
    }

    fn take(&self) -> Result<Connection, ReadError> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        idle.map_or_else(|| schema::open_reader(&self.path).map_err(unavailable), Ok)
    }

    fn put_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }
}

pub(super) fn unavailable(error: rusqlite::Error) -> ReadError {
    ReadError::Unavailable(Arc::new(error))
}

pub(super) fn compacted(connection: &Connection) -> rusqlite::Result<Revision> {
    let mut query =
        connection.prepare_cached("SELECT value FROM state WHERE name = 'compacted'")?;
    query.query_row([], |row| row.get(0)).map(from_sql)
}

/// The newest row of a key; the value is none when the key is deleted.
pub(super) fn newest(
    connection: &Connection,
    key: &str,
) -> rusqlite::Result<Option<(Revision, Revision, bool)>> {
    let mut query = connection.prepare_cached(
        "SELECT revision, created, value IS NOT NULL FROM log WHERE key = ?1 ORDER BY revision DESC LIMIT 1",
    )?;
    query
        .query_row([key], |row| {
            Ok((from_sql(row.get(0)?), from_sql(row.get(1)?), row.get(2)?))
        })
        .optional()
}

pub(super) fn head(connection: &mut Connection) -> Result<Revision, ReadError> {
    newest_revision(connection).map_err(unavailable)
}

/// The newest rows may be tombstones that compaction took, never newer than its mark.
pub(super) fn newest_revision(connection: &Connection) -> rusqlite::Result<Revision> {
    let mut query = connection.prepare_cached("SELECT max(revision) FROM log")?;
    let last: Option<i64> = query.query_row([], |row| row.get(0))?;
    let compacted = compacted(connection)?;
    Ok(last.map_or(compacted, from_sql).max(compacted))
}

pub(super) fn get(connection: &mut Connection, key: &Key) -> Result<Option<Entry>, ReadError> {
    let read = || -> rusqlite::Result<Option<Entry>> {
        let mut query = connection.prepare_cached(
            "SELECT revision, key, value, created FROM log WHERE key = ?1 ORDER BY revision DESC LIMIT 1",
        )?;
        Ok(query
            .query_row([key.as_str()], row_to_entry)
            .optional()?
            .flatten())
    };
    read().map_err(unavailable)
}

pub(super) fn list(
    connection: &mut Connection,
    prefix: &str,
    at: Revision,
) -> Result<Listing, ReadError> {
    let transaction = connection.transaction().map_err(unavailable)?;
    let oldest = compacted(&transaction).map_err(unavailable)?;
    if at < oldest {
        return Err(ReadError::Compacted { oldest });
    }
    let read = || -> rusqlite::Result<Vec<Entry>> {
        let mut query = transaction.prepare_cached(
            "SELECT revision, key, value, created FROM log AS l
             WHERE key >= ?1 AND key < ?2 AND value IS NOT NULL AND revision =
                 (SELECT max(revision) FROM log WHERE key = l.key AND revision <= ?3)
             ORDER BY key",
        )?;
        let rows = query.query_map(params![prefix, end_of(prefix), to_sql(at)], row_to_entry)?;
        rows.filter_map(Result::transpose).collect()
    };
    Ok(Listing {
        revision: at,
        entries: read().map_err(unavailable)?,
    })
}

/// A stretch of history.
pub(super) struct Page {
    pub(super) changes: Vec<Changes>,
    /// Everything up to here was read.
    pub(super) read_to: Revision,
}

pub(super) fn changes(
    connection: &mut Connection,
    prefix: &str,
    after: Revision,
    head: Revision,
) -> Result<Page, ReadError> {
    let transaction = connection.transaction().map_err(unavailable)?;
    let oldest = compacted(&transaction).map_err(unavailable)?;
    if after < oldest {
        return Err(ReadError::Compacted { oldest });
    }
    read_changes(&transaction, prefix, after, head).map_err(unavailable)
}

fn read_changes(
    connection: &Connection,
    prefix: &str,
    after: Revision,
    head: Revision,
) -> rusqlite::Result<Page> {
    let mut query = connection.prepare_cached(
        "SELECT revision, key, value, created FROM log
         WHERE revision > ?1 AND revision <= ?2 ORDER BY revision, seq LIMIT ?3",
    )?;
    let mut rows = query.query(params![to_sql(after), to_sql(head), PAGE_ROWS])?;
    let (mut all, mut count): (Vec<Changes>, i64) = (Vec::new(), 0);
    let mut last = after;
    while let Some(row) = rows.next()? {
        count += 1;
        last = from_sql(row.get(0)?);
        let key: String = row.get(1)?;
        if !key.starts_with(prefix) {
            continue;
        }
        let event = match row_to_entry(row)? {
            Some(entry) => Event::Put(entry),
            None => Event::Delete(Key::new(key)),
        };
        match all.last_mut() {
            Some(changes) if changes.revision == last => changes.events.push(event),
            _ => all.push(Changes {
                revision: last,
                events: vec![event],
            }),
        }
    }
    if count < PAGE_ROWS {
        return Ok(Page {
            changes: all,
            read_to: head,
        });
    }
    // The page may end inside a batch: leave its last revision for the next page, unless the
    // batch alone fills a page.
    let whole = Revision(last.0.saturating_sub(1));
    if whole > after {
        all.retain(|changes| changes.revision <= whole);
        return Ok(Page {
            changes: all,
            read_to: whole,
        });
    }
    let rest = read_revision(connection, prefix, last)?;
    Ok(Page {
        changes: rest.into_iter().collect(),
        read_to: last,
    })
}

fn read_revision(
    connection: &Connection,
    prefix: &str,
    revision: Revision,
) -> rusqlite::Result<Option<Changes>> {
    let mut query = connection.prepare_cached(
        "SELECT revision, key, value, created FROM log WHERE revision = ?1 ORDER BY seq",
    )?;
    let rows = query.query_map([to_sql(revision)], |row| {
        let key: String = row.get(1)?;
        let entry = row_to_entry(row)?;
        Ok(key
            .starts_with(prefix)
            .then(|| entry.map_or_else(|| Event::Delete(Key::new(key)), Event::Put)))
    })?;
    let events: Vec<Event> = rows
        .filter_map(Result::transpose)
        .collect::<rusqlite::Result<_>>()?;
    Ok((!events.is_empty()).then_some(Changes { revision, events }))
}

fn row_to_entry(row: &Row<'_>) -> rusqlite::Result<Option<Entry>> {
    let value: Option<Vec<u8>> = row.get(2)?;
    let Some(value) = value else { return Ok(None) };
    let key: String = row.get(1)?;
    Ok(Some(Entry {
        key: Key::new(key),
        value: Bytes::from(value),
        created: from_sql(row.get(3)?),
        modified: from_sql(row.get(0)?),
    }))
}

/// The smallest text that is larger than every key with this prefix: keys are ASCII below DEL.
fn end_of(prefix: &str) -> String {
    format!("{prefix}\u{7f}")
}

pub(super) fn to_sql(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

pub(super) fn from_sql(number: i64) -> Revision {
    Revision(u64::try_from(number).unwrap_or(0))
}
