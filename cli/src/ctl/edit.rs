//! `edit`: an object in the editor, and back.
//!
//! The write is on condition that nobody else wrote meanwhile. After a fault the editor opens again
//! with what is wrong above the text; whoever gives up finds their text in the file that is named.

mod text;

use std::io::Write;
use std::path::{Path, PathBuf};

use cara_api::ResourceVersion;
use cara_api::client::{Error, Method, Terms, Written};
use serde_json::Value;

use super::args::{Edit, Kind};
use super::diff::{own_part, unified};
use super::failure::Failure;
use super::live::version_of;
use super::manifest;
use super::table::yaml;
use super::{Context, address, out};
use text::{with_notes, without_notes};

/// How often a text is sent again because the status moved on.
const TRIES: usize = 8;
const HELP: &str =
    "Save and close to change the object; close without a change to leave it as it is.";

/// Edits an object until it is taken, or the user gives up.
pub async fn run(context: &Context, options: Edit) -> Result<(), Failure> {
    let object = format!("{}/{}", options.kind.noun(), options.name);
    if options.kind == Kind::Secrets {
        return Err(Failure::usage(format!(
            "edit {object}: its values cannot be read, so they cannot be edited"
        ))
        .with(format!(
            "caractrl create secret {} --replace --from-file KEY=PATH",
            options.name
        )));
    }
    let mut session = Session::begin(context, &options, object).await?;
    let mut notes = vec![HELP.to_owned()];
    loop {
        let before = session.text.clone();
        session.open(&options.editor, &notes).await?;
        if session.text.trim().is_empty() || session.text == before {
            return session.end_unchanged(&notes);
        }
        let mut sent = session.send(context).await?;
        for _ in 0..TRIES {
            let Sent::Late = sent else { break };
            sent = session.send(context).await?;
        }
        match sent {
            Sent::Taken => return session.end(),
            Sent::Refused(why) => notes = why,
            Sent::Late => notes = vec!["the object does not stand still: try again".to_owned()],
        }
    }
}

/// What became of a text.
enum Sent {
    Taken,
    /// Why not, in lines.
    Refused(Vec<String>),
    /// Only the status had moved on, which is nobody's change.
    Late,
}

/// An object that is being edited.
struct Session {
    kind: Kind,
    name: String,
    /// As messages name it.
    object: String,
    /// The state that the text is based on.
    base: Value,
    version: ResourceVersion,
    file: PathBuf,
    /// What the user wrote, without notes.
    text: String,
    /// Whether there is something in the file that is not anywhere else.
    is_precious: bool,
}

impl Session {
    async fn begin(context: &Context, options: &Edit, object: String) -> Result<Self, Failure> {
        let path = address::one(options.kind, &options.name);
        let live: Value = context
            .client
            .get(&path)
            .await
            .map_err(|error| Failure::of(&format!("edit {object:?}"), &error))?;
        let base = own_part(&live);
        let file = tempfile::Builder::new()
            .prefix(&format!(
                "caractrl-{}-{}-",
                options.kind.noun(),
                options.name
            ))
            .suffix(".yaml")
            .tempfile()
            .and_then(|file| file.keep().map_err(|error| error.error))
            .map_err(|error| Failure::other(format!("edit {object}: {error}")))?;
        Ok(Self {
            kind: options.kind,
            name: options.name.clone(),
            text: yaml(&base)?,
            version: version_of(&live),
            base,
            object,
            file: file.1,
            is_precious: false,
        })
    }

    /// Shows the text below notes, and takes what comes back.
    async fn open(&mut self, editor: &str, notes: &[String]) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display, path: &Path| {
            let name = path.display();
            Failure::other(format!("edit: {name}: {error}"))
        };
        let shown = with_notes(notes, &self.text);
        write(&self.file, &shown).map_err(|error| failed(&error, &self.file))?;
        // The editor may have arguments: a shell takes them apart, as it does for git.
        let status = tokio::process::Command::new("sh")
            .arg("-c")
            .arg(format!("{editor} \"$1\""))
            .arg("sh")
            .arg(&self.file)
            .status()
            .await;
        let read = std::fs::read_to_string(&self.file);
        let read = read.map_err(|error| failed(&error, &self.file))?;
        self.text = without_notes(&read);
        let is_done = status.as_ref().is_ok_and(std::process::ExitStatus::success);
        if is_done {
            return Ok(());
        }
        let why = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        Err(self.kept(
            Failure::other(format!(
                "edit {}: the editor {editor:?} failed: {why}",
                self.object
            ))
            .with("name another one with EDITOR or --editor"),
        ))
    }

    /// Sends the text; what is wrong with it comes back as notes.
    async fn send(&mut self, context: &Context) -> Result<Sent, Failure> {
        self.is_precious = true;
        let body = match self.document() {
            Ok(body) => body,
            Err(failure) => return Ok(Sent::Refused(failure.lines())),
        };
        let path = address::one(self.kind, &self.name);
        let terms = Terms {
            if_match: Some(self.version),
            ..Terms::default()
        };
        let sent: Result<Written<Value>, Error> = context
            .client
            .write_on((Method::PUT, &path), terms, &body)
            .await;
        match sent {
            Ok(written) => {
                for warning in &written.warnings {
                    context.warn(format_args!("{}: {warning}", self.object));
                }
                Ok(Sent::Taken)
            }
            Err(error) if error.status() == Some(400) => {
                let failure = Failure::of(&format!("edit {}", self.object), &error);
                Ok(Sent::Refused(failure.lines()))
            }
            Err(error) if error.status() == Some(409) => {
                let failure = Failure::of(&format!("edit {}", self.object), &error);
                self.look_again(context, failure).await
            }
            Err(error) => {
                let failure = Failure::of(&format!("edit {}", self.object), &error);
                Err(self.kept(failure))
            }
        }
    }

    /// After a conflict: if somebody else wrote, what they did goes above the text.
    async fn look_again(&mut self, context: &Context, failure: Failure) -> Result<Sent, Failure> {
        let path = address::one(self.kind, &self.name);
        let live: Value = match context.client.get(&path).await {
            Ok(live) => live,
            Err(_) => return Err(self.kept(failure)),
        };
        if version_of(&live) == self.version {
            return Ok(Sent::Refused(failure.lines()));
        }
        self.version = version_of(&live);
        let theirs = own_part(&live);
        let diff = unified(&self.object, Some(&self.base), Some(&theirs))?;
        self.base = theirs;
        if diff.is_empty() {
            return Ok(Sent::Late);
        }
        let mut notes = vec![
            format!("{} changed meanwhile. What others did:", self.object),
            String::new(),
        ];
        notes.extend(diff.lines().skip(2).map(ToOwned::to_owned));
        notes.push(String::new());
        notes.push(
            "Take over what you want to keep of it: your text below replaces it all.".to_owned(),
        );
        Ok(Sent::Refused(notes))
    }

    /// The text as a document of this object.
    fn document(&self) -> Result<Value, Failure> {
        let documents = manifest::parse("the text", &self.text)?;
        let [document] = documents.as_slice() else {
            return Err(Failure::other(format!(
                "the text has {} documents instead of one",
                documents.len()
            )));
        };
        if document.kind != self.kind || document.name != self.name {
            return Err(Failure::other(format!(
                "kind and metadata.name stay as they are: {}",
                self.object
            )));
        }
        Ok(document.body.clone())
    }

    fn end(self) -> Result<(), Failure> {
        // A copy of what is stored is no loss.
        let _ = std::fs::remove_file(&self.file);
        out(&format!("{} edited\n", self.object))
    }

    fn end_unchanged(self, notes: &[String]) -> Result<(), Failure> {
        if !self.is_precious {
            let _ = std::fs::remove_file(&self.file);
            super::tell(format_args!(
                "{} is as it was: nothing was changed",
                self.object
            ));
            return Ok(());
        }
        let failure = Failure::other(format!("edit {}: nothing was changed", self.object));
        let failure = notes
            .iter()
            .filter(|note| !note.is_empty())
            .fold(failure, Failure::with);
        Err(self.kept(failure))
    }

    /// Names the file in which the user's text is.
    fn kept(&self, failure: Failure) -> Failure {
        let file = self.file.display();
        failure
            .with(format!("your text is in {file}"))
            .with(format!("caractrl apply -f {file}"))
    }
}

/// Writes over the file; only its owner can read it, as it was made.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(file)?;
    file.write_all(text.as_bytes())
}
