//! The archive: JSON lines, compressed with zstd.
//!
//! ```text
//! {"format":"caravanserai-backup","version":1,"createdAt":…,"revision":812,"keyId":"1f…",…}
//! {"key":"projects/shop","modified":790,"value":"{…}"}
//! …
//! {"entries":17,"sha256":"…"}        of all bytes before this line
//! ```
//!
//! A value that is not text stands under `base64`. Unknown fields are for later versions.

use std::io::Read;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use cara_api::Timestamp;
use cara_store::{Entry, Key, Revision};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::is_carried;
use crate::vault;

const FORMAT: &str = "caravanserai-backup";
/// Grows when older versions could not read what is written.
const VERSION: u32 = 1;
const LEVEL: i32 = 6;
/// The most that an archive may unfold to, in bytes.
const UNFOLDED_MAX: u64 = 2 << 30;
/// Revisions beyond this are no revisions.
const REVISION_MAX: u64 = 1 << 53;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Header {
    format: String,
    version: u32,
    pub(crate) created_at: Timestamp,
    /// The revision that all entries show.
    pub(crate) revision: u64,
    /// Names the master key that opens what is sealed.
    pub(crate) key_id: String,
    pub(crate) server_version: String,
    pub(crate) environment: String,
    pub(crate) base_domain: String,
}

impl Header {
    /// A header of this version.
    pub(crate) fn new(created_at: Timestamp, revision: Revision, key_id: String) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            created_at,
            revision: revision.0,
            key_id,
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            environment: String::new(),
            base_domain: String::new(),
        }
    }
}

/// One entry of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: String,
    pub(crate) modified: u64,
    pub(crate) value: Bytes,
}

impl Record {
    /// The entry as it was in the store that it was read from.
    pub(crate) fn entry(&self) -> Entry {
        Entry {
            key: Key::new(self.key.as_str()),
            value: self.value.clone(),
            created: Revision(self.modified),
            modified: Revision(self.modified),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    modified: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Footer {
    entries: u64,
    sha256: String,
}

/// An archive that was read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Archive {
    pub(crate) header: Header,
    /// Sorted by key, each once.
    pub(crate) records: Vec<Record>,
}

impl Archive {
    /// How many entries hold something that a key opens.
    pub(crate) fn sealed_with(&self, key_id: &str) -> usize {
        let is_sealed = |record: &&Record| {
            let value = serde_json::from_slice(&record.value).unwrap_or_default();
            vault::keys_in(&value).iter().any(|id| id == key_id)
        };
        self.records.iter().filter(is_sealed).count()
    }
}

/// Why bytes are no archive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("it is not a backup: it cannot be unpacked ({0})")]
    Packing(std::io::Error),
    #[error("it unfolds to more than {UNFOLDED_MAX} bytes")]
    TooLarge,
    #[error("it is not a backup of this product")]
    Foreign,
    #[error("it was made by a newer version (format {0}, this server reads up to {VERSION})")]
    Newer(u32),
    #[error("it is cut off: the last line, with the checksum, is missing")]
    Cut,
    #[error("it is damaged: its checksum is not that of its content")]
    Checksum,
    #[error("line {0} is not an entry")]
    Line(usize),
}

/// Packs entries. Blocks for as long as compressing takes.
///
/// # Errors
/// The compressor failed.
pub(crate) fn encode(header: &Header, entries: &[Entry]) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    line(&mut text, header);
    let carried = entries
        .iter()
        .filter(|entry| is_carried(entry.key.as_str()));
    let mut count = 0;
    for entry in carried {
        let value = std::str::from_utf8(&entry.value)
            .ok()
            .map(ToOwned::to_owned);
        let base64 = value
            .is_none()
            .then(|| BASE64_STANDARD.encode(&entry.value));
        let (key, modified) = (entry.key.to_string(), entry.modified.0);
        line(
            &mut text,
            &Line {
                key,
                modified,
                value,
                base64,
            },
        );
        count += 1;
    }
    let sha256 = checksum(&text);
    line(
        &mut text,
        &Footer {
            entries: count,
            sha256,
        },
    );
    zstd::encode_all(text.as_slice(), LEVEL)
}

fn line<T: Serialize>(text: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(&mut *text, value).expect("lines are JSON");
    text.push(b'\n');
}

fn checksum(text: &[u8]) -> String {
    let mut context = Context::new(&SHA256);
    context.update(text);
    let hash = context.finish();
    hash.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Unpacks and checks an archive whole. Blocks for as long as that takes.
///
/// # Errors
/// See [`ArchiveError`].
pub(crate) fn decode(bytes: &[u8]) -> Result<Archive, ArchiveError> {
    let mut text = Vec::new();
    let unpacker = zstd::stream::read::Decoder::new(bytes).map_err(ArchiveError::Packing)?;
    let mut unpacker = unpacker.take(UNFOLDED_MAX + 1);
    unpacker
        .read_to_end(&mut text)
        .map_err(ArchiveError::Packing)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > UNFOLDED_MAX) {
        return Err(ArchiveError::TooLarge);
    }
    let (first, rest) = cut(&text);
    #[derive(Deserialize)]
    struct Start {
        format: String,
        version: u32,
    }
    let start: Start = serde_json::from_slice(first).map_err(|_| ArchiveError::Foreign)?;
    if start.format != FORMAT {
        return Err(ArchiveError::Foreign);
    }
    if start.version > VERSION {
        return Err(ArchiveError::Newer(start.version));
    }
    let header: Header = serde_json::from_slice(first).map_err(|_| ArchiveError::Foreign)?;
    if header.revision > REVISION_MAX {
        return Err(ArchiveError::Foreign);
    }
    let body = rest.strip_suffix(b"\n").ok_or(ArchiveError::Cut)?;
    let last_at = body
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let (body, last) = body.split_at_checked(last_at).ok_or(ArchiveError::Cut)?;
    let footer: Footer = serde_json::from_slice(last).map_err(|_| ArchiveError::Cut)?;
    let covered = text
        .get(..first.len() + 1 + body.len())
        .ok_or(ArchiveError::Cut)?;
    if checksum(covered) != footer.sha256 {
        return Err(ArchiveError::Checksum);
    }
    let records = records(body)?;
    if u64::try_from(records.len()).ok() != Some(footer.entries) {
        return Err(ArchiveError::Checksum);
    }
    Ok(Archive { header, records })
}

fn cut(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(text.len());
    let (first, rest) = text.split_at(end);
    (first, rest.get(1..).unwrap_or_default())
}

fn records(body: &[u8]) -> Result<Vec<Record>, ArchiveError> {
    let mut found: Vec<Record> = Vec::new();
    let lines = body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    for (index, text) in lines.enumerate() {
        let wrong = || ArchiveError::Line(index + 2);
        let line: Line = serde_json::from_slice(text).map_err(|_| wrong())?;
        let is_key = !line.key.is_empty() && line.key.bytes().all(|b| (0x20..0x7f).contains(&b));
        let is_next = found.last().is_none_or(|last| last.key < line.key);
        if !is_key || !is_next || line.modified > REVISION_MAX {
            return Err(wrong());
        }
        let value = match (line.value, line.base64) {
            (Some(text), None) => Bytes::from(text),
            (None, Some(text)) => Bytes::from(BASE64_STANDARD.decode(text).map_err(|_| wrong())?),
            (Some(_), Some(_)) | (None, None) => return Err(wrong()),
        };
        found.push(Record {
            key: line.key,
            modified: line.modified,
            value,
        });
    }
    Ok(found)
}
