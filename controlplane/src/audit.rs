//! The audit log: who changed what, from where, and how it was before.
//!
//! An append-only file of JSON lines. Each line carries the SHA-256 of the line before, over
//! restarts and rotation too, so that a line that is taken out or changed later shows. One task
//! writes; handlers hand over and go on. What cannot be written (the disk is full, the queue is)
//! is counted and logged as an error, and fails no request.

mod diff;
mod journal;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use cara_api::{Generation, ObjectMeta, Resource, ResourceVersion, Timestamp};
use prometheus::{IntCounterVec, Opts, Registry};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(crate) use diff::{Op, Operation, diff, pointer};
use journal::Journal;

/// Name of the file in the data directory.
pub const FILE_NAME: &str = "audit.jsonl";

/// Records that may wait to be written.
const QUEUE: usize = 256;
/// Records that are written, and made durable, together.
const BATCH: usize = 64;

/// What a user did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verb {
    Create,
    Replace,
    Delete,
    Cordon,
    Uncordon,
    Drain,
    Rollback,
    Share,
    /// A node was let in by a token.
    Join,
    /// A node got its next certificate.
    Renew,
    /// A node was shut out.
    Revoke,
    Login,
    Logout,
    /// Everything that is stored was given out.
    Backup,
    /// Everything that is stored was replaced by what a backup shows.
    Restore,
    Exec,
    Copy,
    Forward,
}

/// Who made a request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) request_id: uuid::Uuid,
    pub(crate) actor: String,
    /// Name of the token that was shown.
    pub(crate) token: Option<String>,
    pub(crate) user_agent: String,
    /// None when the listener does not tell.
    pub(crate) remote: Option<SocketAddr>,
}

/// One accepted write.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    time: Timestamp,
    request_id: uuid::Uuid,
    actor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    user_agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<SocketAddr>,
    verb: Verb,
    kind: &'static str,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<uuid::Uuid>,
    #[serde(skip_serializing_if = "Generation::is_zero")]
    generation: Generation,
    resource_version: ResourceVersion,
    diff: Vec<Operation>,
}

impl Record {
    pub(crate) fn new<T: Resource>(
        caller: &Caller,
        verb: Verb,
        meta: &ObjectMeta,
        diff: Vec<Operation>,
    ) -> Self {
        let caller = caller.clone();
        Self {
            time: Timestamp::now(),
            request_id: caller.request_id,
            actor: caller.actor,
            token: caller.token,
            user_agent: caller.user_agent,
            remote: caller.remote,
            verb,
            kind: T::KIND,
            name: meta.name.clone(),
            uid: meta.uid,
            generation: meta.generation,
            resource_version: meta.resource_version,
            diff,
        }
    }
}

impl Record {
    /// About something that is no object of the API, and of which only the name is told.
    pub(crate) fn named(caller: &Caller, verb: Verb, kind: &'static str, name: &str) -> Self {
        let meta = ObjectMeta {
            name: name.to_owned(),
            ..ObjectMeta::default()
        };
        Self {
            kind,
            ..Self::new::<cara_api::Node>(caller, verb, &meta, Vec::new())
        }
    }
}

/// What of an object is the user's: spec, labels and annotations.
pub(crate) fn user_part<T: Resource>(object: &T) -> Value {
    let mut part = meta_part(object.meta());
    let spec = serde_json::to_value(object)
        .ok()
        .and_then(|mut value| Some(value.get_mut("spec")?.take()));
    if let (Value::Object(map), Some(spec)) = (&mut part, spec) {
        map.insert("spec".to_owned(), spec);
    }
    part
}

/// Labels and annotations, those that there are.
pub(crate) fn meta_part(meta: &ObjectMeta) -> Value {
    let mut map = Map::new();
    for (key, texts) in [("labels", &meta.labels), ("annotations", &meta.annotations)] {
        if !texts.is_empty() {
            map.insert(key.to_owned(), json!(texts));
        }
    }
    if map.is_empty() {
        return json!({});
    }
    json!({ "metadata": map })
}

/// Takes records; made once, and written by [`run`].
pub(crate) struct Audit {
    sender: Option<mpsc::Sender<Record>>,
    /// Taken by the task that writes.
    writer: Mutex<Option<Writer>>,
    records: IntCounterVec,
}

/// What the writing task owns.
pub(crate) struct Writer {
    queue: mpsc::Receiver<Record>,
    journal: Journal,
    records: IntCounterVec,
    is_failing: bool,
}

impl Audit {
    /// Opens the log, or none. Blocks for disk access.
    ///
    /// # Errors
    /// The file cannot be made or read.
    pub(crate) fn open(path: Option<&Path>, registry: &Registry) -> std::io::Result<Self> {
        let records = counter(registry);
        let Some(path) = path else {
            return Ok(Self {
                sender: None,
                writer: Mutex::new(None),
                records,
            });
        };
        let (sender, queue) = mpsc::channel(QUEUE);
        let writer = Writer {
            queue,
            journal: Journal::open(path)?,
            records: records.clone(),
            is_failing: false,
        };
        Ok(Self {
            sender: Some(sender),
            writer: Mutex::new(Some(writer)),
            records,
        })
    }

    /// Hands a record over. Never waits.
    pub(crate) fn record(&self, record: Record) {
        let Some(sender) = &self.sender else { return };
        if let Err(error) = sender.try_send(record) {
            self.records.with_label_values(&["lost"]).inc();
            let record = error.into_inner();
            tracing::error!(request = %record.request_id, kind = record.kind, name = record.name, "the audit log is behind: a record is lost");
        }
    }

    /// What [`run`] needs; none when the log is off or was taken before.
    pub(crate) fn take_writer(&self) -> Option<Writer> {
        self.writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

fn counter(registry: &Registry) -> IntCounterVec {
    let opts = Opts::new("cara_audit_records_total", "Records of the audit log");
    let build = || -> prometheus::Result<IntCounterVec> {
        let counter = IntCounterVec::new(opts.clone(), &["result"])?;
        registry.register(Box::new(counter.clone()))?;
        Ok(counter)
    };
    build().expect("the audit log's metric is registered once, under a valid name")
}

/// Writes records until `closing` is cancelled and all that were handed over are written.
pub(crate) async fn run(mut writer: Writer, closing: CancellationToken) {
    let mut is_closing = false;
    loop {
        let mut batch = Vec::with_capacity(BATCH);
        tokio::select! {
            biased;
            count = writer.queue.recv_many(&mut batch, BATCH) => if count == 0 { return },
            () = closing.cancelled(), if !is_closing => {
                is_closing = true;
                writer.queue.close();
                continue;
            }
        }
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let mut journal = writer.journal;
        let written = tokio::task::spawn_blocking(move || {
            let result = journal.append(&batch);
            (journal, result)
        });
        let Ok((journal, result)) = written.await else {
            tracing::error!("the audit log's writer panicked: no more records are written");
            return;
        };
        writer.journal = journal;
        match result {
            Ok(()) => {
                writer.records.with_label_values(&["written"]).inc_by(count);
                if std::mem::take(&mut writer.is_failing) {
                    tracing::info!("the audit log can be written again");
                }
            }
            Err(error) => {
                writer.records.with_label_values(&["lost"]).inc_by(count);
                writer.is_failing = true;
                tracing::error!(error = %error, count, "cannot write the audit log: records are lost");
            }
        }
    }
}
