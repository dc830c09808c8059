//! Contexts: which server, how it is known, and who somebody is there.
//!
//! They stand in one file that only its owner may read, since it holds tokens. What flags and
//! variables say comes first; a token goes to the server that it is for, and to no other.

mod file;
mod place;

use cara_api::access::pin;
use cara_api::client::{Client, Credential, Trust, fetch_authority};
use serde::Serialize;
use serde_json::json;

use super::args::{Args, ContextCommand, Output, SetContext};
use super::failure::Failure;
use super::listing::Listing;
use super::screen::Screen;
use super::table::or;
use super::{out, tell};
use crate::process::variable;
pub(super) use file::{Contexts, Entry};
use place::{Given, Place, decide};

/// Token, for CI.
const TOKEN: &str = "CARA_TOKEN";
/// The default project, for CI.
const PROJECT: &str = "CARA_PROJECT";
/// The authority of the server: its certificate as PEM, or the SHA-256 of it, for CI.
const CA: &str = "CARA_CA";

/// A client of the server that is meant, and who somebody is there.
///
/// # Errors
/// The file cannot be read, there is no such context, or a token would travel where others see it.
pub async fn connect(args: &Args) -> Result<Client, Failure> {
    let place = place(args)?;
    client(&place.server, authority(args, &place).await?, &place)
}

/// The project that is meant where none is named: that of `CARA_PROJECT`, else that of the
/// context. An empty variable means none.
///
/// # Errors
/// See [`connect`].
pub fn project(args: &Args) -> Result<Option<String>, Failure> {
    let project = match variable(PROJECT) {
        Some(project) => Some(project),
        None => place(args)?.project,
    };
    Ok(project.filter(|name| !name.is_empty()))
}

/// URL of the server that a command line is for; none when its context is not there.
pub fn server(args: &Args) -> Option<String> {
    let place = place(args).ok()?;
    Some(place.server.trim_end_matches('/').to_owned())
}

fn place(args: &Args) -> Result<Place, Failure> {
    let contexts = file::load()?;
    let given = Given {
        server: args.server.clone(),
        context: args.context.clone(),
        token: variable(TOKEN).filter(|token| !token.is_empty()),
    };
    decide(&contexts, given).map_err(Failure::usage)
}

fn client(server: &str, authority: Option<String>, place: &Place) -> Result<Client, Failure> {
    let credential = match &place.token {
        Some(token) => Credential::Bearer(token.clone()),
        None => Credential::None,
    };
    let trust = Trust {
        authority,
        credential,
    };
    let client = Client::with_trust(server, &trust);
    client
        .map(Client::with_keys)
        .map_err(|e| Failure::of("connect", &e))
}

/// The only authority that the server's certificate may come from, if one is known.
async fn authority(args: &Args, place: &Place) -> Result<Option<String>, Failure> {
    if let Some(path) = &args.ca_file {
        let text = std::fs::read_to_string(path);
        let text =
            text.map_err(|error| Failure::other(format!("ca-file {}: {error}", path.display())))?;
        return Ok(Some(text));
    }
    match variable(CA).filter(|text| !text.is_empty()) {
        None => Ok(place.authority.clone()),
        Some(text) => match pin::parse(&text) {
            Some(pin) => pinned(&place.server, &pin).await.map(Some),
            None if text.contains("-----BEGIN") => Ok(Some(text)),
            None => Err(Failure::usage(format!(
                "{CA} is neither a certificate (PEM) nor the SHA-256 of one"
            ))),
        },
    }
}

/// Asks the server for its authority, and compares. Nothing is shown to it before.
async fn pinned(server: &str, pin: &str) -> Result<String, Failure> {
    let told = fetch_authority(server).await;
    let told = told.map_err(|error| Failure::of("ask the server for its authority", &error))?;
    match pin::of_pem(&told.certificate) {
        Some(found) if found == pin => Ok(told.certificate),
        found => Err(Failure::denied(format!(
            "{server} is not the server that is meant: its authority has the hash {}, wanted is {pin}",
            found.unwrap_or_else(|| "of no certificate".to_owned())
        ))),
    }
}

/// Does what is asked for with contexts.
///
/// # Errors
/// The file cannot be read or written, or there is no such context.
pub async fn run(args: &Args, what: &ContextCommand) -> Result<(), Failure> {
    match what {
        ContextCommand::List => {
            let columns = Screen::look(args.no_color).columns;
            list(args.output, columns)
        }
        ContextCommand::Use { name } => {
            file::change(|contexts| {
                known(contexts, name)?;
                contexts.current.clone_from(name);
                Ok(())
            })?;
            out(&format!("context {name:?} is the current one\n"))
        }
        ContextCommand::Set(options) => set(args, options).await,
        ContextCommand::Delete { name } => {
            file::change(|contexts| {
                known(contexts, name)?;
                contexts.contexts.remove(name);
                if contexts.current == *name {
                    contexts.current.clear();
                }
                Ok(())
            })?;
            out(&format!("context {name:?} deleted\n"))
        }
    }
}

fn known(contexts: &Contexts, name: &str) -> Result<(), Failure> {
    match contexts.contexts.contains_key(name) {
        true => Ok(()),
        false => Err(Failure::usage(place::no_such(contexts, name))),
    }
}

async fn set(args: &Args, options: &SetContext) -> Result<(), Failure> {
    let name = &options.name;
    let before = file::load()?.contexts.remove(name);
    let is_new = before.is_none();
    let mut entry = before.unwrap_or_default();
    if let Some(server) = &args.server {
        let server = server.trim_end_matches('/');
        if entry.server != server {
            // Neither is for another server.
            entry.token = None;
            entry.ca = None;
        }
        server.clone_into(&mut entry.server);
    }
    if entry.server.is_empty() {
        place::DEFAULT_SERVER.clone_into(&mut entry.server);
    }
    if let Some(path) = &args.ca_file {
        let text = std::fs::read_to_string(path);
        let text =
            text.map_err(|error| Failure::other(format!("ca-file {}: {error}", path.display())))?;
        entry.ca = Some(text);
    }
    if let Some(text) = &options.ca_pin {
        let pin = pin::parse(text).ok_or_else(|| {
            Failure::usage("--ca-pin is not a SHA-256: give its 64 hexadecimal digits")
        })?;
        entry.ca = Some(pinned(&entry.server, &pin).await?);
    }
    if let Some(project) = &options.project {
        entry.project.clone_from(project);
    }
    file::change(|contexts| {
        if contexts.current.is_empty() {
            contexts.current.clone_from(name);
        }
        contexts.contexts.insert(name.clone(), entry);
        Ok(())
    })?;
    let done = if is_new { "created" } else { "changed" };
    out(&format!("context {name:?} {done}\n"))
}

fn list(output: Output, columns: Option<usize>) -> Result<(), Failure> {
    let contexts = file::load()?;
    if contexts.contexts.is_empty() {
        tell(format_args!(
            "There are no contexts: `caractrl --server URL context set NAME` makes one."
        ));
    }
    out(&shown(&contexts, output, columns)?)
}

/// A context as it is listed: without what only its owner may see.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    name: String,
    current: bool,
    server: String,
    project: String,
    has_ca: bool,
    logged_in: bool,
}

/// The contexts in the form that was asked for; `columns` is the width of the terminal.
pub(super) fn shown(
    contexts: &Contexts,
    output: Output,
    columns: Option<usize>,
) -> Result<String, Failure> {
    let listed = |(name, entry): (&String, &Entry)| Listed {
        name: name.clone(),
        current: *name == contexts.current,
        server: entry.server.clone(),
        project: entry.project.clone(),
        has_ca: entry.ca.is_some(),
        logged_in: entry.token.is_some(),
    };
    let items: Vec<Listed> = contexts.contexts.iter().map(listed).collect();
    let listing = Listing {
        header: &["", "NAME", "SERVER", "CA", "LOGGED IN", "PROJECT"],
        wide: &[],
        name: &|context: &Listed| format!("context/{}", context.name),
        row: &|context| {
            let mark = if context.current { "*" } else { "" };
            let ca = if context.has_ca { "pinned" } else { "system" };
            let login = if context.logged_in { "yes" } else { "no" };
            let project = or(&context.project, "-");
            [mark, &context.name, &context.server, ca, login, project]
                .map(str::to_owned)
                .to_vec()
        },
        more: &|_| Vec::new(),
    };
    let list = json!({"apiVersion": cara_api::API_VERSION, "kind": "ContextList", "items": items});
    listing.show(&list, &items, output, columns)
}

/// A client that shows another token, or none, and what it is called in the file.
pub struct Session {
    /// The context that a login belongs to.
    pub name: String,
    /// The server.
    pub server: String,
    authority: Option<String>,
}

impl Session {
    /// Where somebody logs in: the context that is meant, or the first one.
    ///
    /// # Errors
    /// See [`connect`].
    pub async fn open(args: &Args) -> Result<Self, Failure> {
        let place = place(args)?;
        Ok(Self {
            authority: authority(args, &place).await?,
            name: place.context.unwrap_or_else(|| "default".to_owned()),
            server: place.server,
        })
    }

    /// A client that shows this.
    ///
    /// # Errors
    /// It would travel where others see it.
    pub fn client(&self, token: Option<cara_api::secret::Hidden>) -> Result<Client, Failure> {
        let place = Place::of_server(&self.server, token).map_err(Failure::usage)?;
        client(&self.server, self.authority.clone(), &place)
    }

    /// Keeps or forgets who somebody is.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep(&self, token: Option<cara_api::secret::Hidden>) -> Result<(), Failure> {
        file::change(|contexts| {
            let entry = contexts.contexts.entry(self.name.clone()).or_default();
            entry.server.clone_from(&self.server);
            if self.authority.is_some() {
                entry.ca.clone_from(&self.authority);
            }
            entry.token = token;
            if contexts.current.is_empty() {
                contexts.current.clone_from(&self.name);
            }
            Ok(())
        })
    }
}
