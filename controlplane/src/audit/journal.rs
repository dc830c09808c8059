//! The file of the audit log: lines that are chained by their hashes. Blocking.

use std::fs::File;
use std::io::{Read, Result, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};
use serde::Serialize;

/// How much is read at a time while looking for the last line.
const CHUNK: u64 = 64 * 1024;

/// The log, and how it ends.
pub(super) struct Journal {
    path: PathBuf,
    /// None after a failed write: how the file ends is then looked up.
    end: Option<End>,
}

/// How the file ends.
#[derive(Debug, Clone, PartialEq, Eq)]
struct End {
    /// SHA-256 of the last line, in hex; empty when there is none.
    hash: String,
    /// The last line has its line feed. It has none after a crash or on a full disk; what is
    /// there then stays there, as a line that is no record.
    is_whole: bool,
}

/// A line: a record and what links it to the one before.
#[derive(Serialize)]
struct Line<'a, R> {
    #[serde(flatten)]
    record: &'a R,
    previous: &'a str,
}

impl Journal {
    /// Opens the file, or makes it for its owner alone.
    ///
    /// # Errors
    /// The file cannot be made or read.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let path = path.to_owned();
        let end = Some(end_of(&mut file(&path)?)?);
        Ok(Self { path, end })
    }

    /// Appends records and makes them durable.
    ///
    /// # Errors
    /// The file cannot be written; some of the records may be there.
    pub(super) fn append<R: Serialize>(&mut self, records: &[R]) -> Result<()> {
        // Opened each time, so that the file can be moved away; the chain goes on in the next.
        let mut file = file(&self.path)?;
        let end = match self.end.take() {
            Some(end) => end,
            None => end_of(&mut file)?,
        };
        let mut text = Vec::new();
        if !end.is_whole {
            text.push(b'\n');
        }
        let mut previous = end.hash;
        for record in records {
            let line = Line {
                record,
                previous: &previous,
            };
            let line = serde_json::to_vec(&line)?;
            previous = hash(&line);
            text.extend_from_slice(&line);
            text.push(b'\n');
        }
        file.write_all(&text)?;
        file.sync_data()?;
        self.end = Some(End {
            hash: previous,
            is_whole: true,
        });
        Ok(())
    }
}

fn file(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.read(true).append(true).create(true).mode(0o600);
    options.open(path)
}

fn hash(line: &[u8]) -> String {
    let digest = digest(&SHA256, line);
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// Looks up how a file ends, from its end.
fn end_of(file: &mut File) -> Result<End> {
    let length = file.metadata()?.len();
    let mut from = length;
    let mut tail = Vec::new();
    loop {
        let is_whole = tail.last().is_none_or(|b| *b == b'\n');
        let body = tail.strip_suffix(b"\n").unwrap_or(&tail);
        let start = body.iter().rposition(|b| *b == b'\n');
        let last = match start {
            Some(at) => body.get(at + 1..).unwrap_or_default(),
            None if from == 0 => body,
            None => {
                let step = CHUNK.min(from);
                from -= step;
                file.seek(SeekFrom::Start(from))?;
                let mut chunk = Vec::new();
                file.take(step).read_to_end(&mut chunk)?;
                chunk.append(&mut tail);
                tail = chunk;
                continue;
            }
        };
        let hash = if length == 0 {
            String::new()
        } else {
            hash(last)
        };
        return Ok(End { hash, is_whole });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Every line that is a record carries the hash of the line before.
    fn check(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).expect("readable");
        let mut previous = String::new();
        let mut seen = Vec::new();
        for line in text.lines() {
            if let Ok(record) = serde_json::from_str::<Value>(line) {
                assert_eq!(record["previous"], previous, "{line}");
                seen.push(record["n"].to_string());
            }
            previous = hash(line.as_bytes());
        }
        seen
    }

    fn append(journal: &mut Journal, numbers: std::ops::Range<u32>) {
        let records: Vec<Value> = numbers.map(|n| json!({ "n": n })).collect();
        journal.append(&records).expect("written");
    }

    #[test]
    fn the_chain_goes_on_over_restarts_and_long_lines() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("audit.jsonl");
        let mut journal = Journal::open(&path).expect("made");
        append(&mut journal, 0..3);
        append(&mut journal, 3..4);
        let long = json!({"n": 4, "text": "x".repeat(3 * 64 * 1024)});
        journal.append(&[long]).expect("written");
        let mut journal = Journal::open(&path).expect("opened");
        append(&mut journal, 5..7);
        assert_eq!(check(&path), ["0", "1", "2", "3", "4", "5", "6"]);
    }

    #[test]
    fn a_torn_line_stays_and_the_chain_goes_on_behind_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("audit.jsonl");
        append(&mut Journal::open(&path).expect("made"), 0..1);
        file(&path)
            .and_then(|mut f| f.write_all(b"{\"n\":"))
            .expect("written");
        append(&mut Journal::open(&path).expect("opened"), 1..3);
        assert_eq!(check(&path), ["0", "1", "2"]);
        let text = std::fs::read_to_string(&path).expect("readable");
        assert!(text.contains("\n{\"n\":\n"));
    }

    #[test]
    fn the_chain_goes_on_in_a_new_file_when_the_old_one_is_moved_away() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("audit.jsonl");
        let mut journal = Journal::open(&path).expect("made");
        append(&mut journal, 0..2);
        let old = directory.path().join("audit.1.jsonl");
        std::fs::rename(&path, &old).expect("moved");
        append(&mut journal, 2..3);
        let read = |path| std::fs::read_to_string(path).expect("readable");
        std::fs::write(&path, read(&old) + &read(&path)).expect("joined");
        assert_eq!(check(&path), ["0", "1", "2"]);
    }

    #[test]
    fn after_a_failed_write_the_end_is_looked_up_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("audit.jsonl");
        let mut journal = Journal::open(&path).expect("made");
        append(&mut journal, 0..1);
        let away = directory.path().join("away");
        std::fs::rename(&path, &away).expect("moved");
        std::fs::create_dir(&path).expect("in the way");
        assert!(journal.append(&[json!({"n": 9})]).is_err());
        std::fs::remove_dir(&path).expect("removed");
        std::fs::rename(&away, &path).expect("moved back");
        append(&mut journal, 1..2);
        assert_eq!(check(&path), ["0", "1"]);
    }

    #[test]
    fn only_the_owner_may_read_it() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("audit.jsonl");
        Journal::open(&path).expect("made");
        let mode = std::fs::metadata(&path).expect("there").mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
