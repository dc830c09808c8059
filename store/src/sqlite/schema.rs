//! Tables, pragmas and the format number of the database file.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::OpenError;

/// Format of the file, kept in SQLite's `user_version`.
const FORMAT: i64 = 1;

const TABLES: &str = "
    CREATE TABLE log (
        revision INTEGER NOT NULL,
        seq      INTEGER NOT NULL,
        key      TEXT    NOT NULL,
        value    BLOB,
        created  INTEGER NOT NULL,
        PRIMARY KEY (revision, seq)
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX log_by_key ON log (key, revision);
    CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO state VALUES ('compacted', 0);
";

/// Opens the file for writing, making it when absent.
pub(super) fn open(path: &Path) -> Result<Connection, OpenError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > FORMAT {
        return Err(OpenError::Format {
            found,
            known: FORMAT,
        });
    }
    if found == 0 {
        let transaction = connection.transaction()?;
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
        transaction.commit()?;
    }
    Ok(connection)
}

/// Opens the file for reading only.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags =
        rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    Ok(connection)
}
