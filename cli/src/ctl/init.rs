//! `init`: a first document, with comments that say what else there is.
//!
//! Nothing is asked where there is no terminal: what is not given is guessed, and said.

mod template;

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use cara_api::{ProjectName, schema};

use super::args::Init;
use super::failure::Failure;
use super::{Context, out};
use template::{Choice, render};

/// Where the schema goes, beside the document: editors find it without a network.
const SCHEMA: &str = ".caravanserai/project.schema.json";

/// Writes the document and its schema.
pub async fn run(context: &Context, options: Init) -> Result<(), Failure> {
    if options.file.exists() && !options.force {
        return Err(
            Failure::other(format!("init: {} is there already", options.file.display()))
                .with("--force writes over it, -f FILE names another one"),
        );
    }
    let choice = choose(&options, context.screen.asks)?;
    let directory = match options.file.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    };
    let schema_file = directory.join(SCHEMA);
    write(&schema_file, &format!("{:#}\n", schema::PROJECT.document()))?;
    write(&options.file, &render(&choice, SCHEMA))?;
    let file = options.file.display();
    out(&format!("{file} written\n"))?;
    super::tell(format_args!(
        "its schema, for editors: {}\nnext: caractrl apply -f {file} --wait\n      caractrl open {}",
        schema_file.display(),
        choice.name
    ));
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error| Failure::other(format!("init: {}: {error}", file.display()));
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    std::fs::write(file, text).map_err(failed)
}

fn choose(options: &Init, asks: bool) -> Result<Choice, Failure> {
    let guessed = std::env::current_dir().ok();
    let guessed = guessed.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let guessed = template::name_of(guessed.as_deref().unwrap_or_default());
    let ask = |question: &str, given: Option<&str>, guess: &str| match given {
        Some(given) => given.to_owned(),
        None if asks => answer(question, guess),
        None => guess.to_owned(),
    };
    let name = ask("Name of the project", options.name.as_deref(), &guessed);
    if let Err(error) = ProjectName::parse(&name) {
        return Err(Failure::usage(format!("init: {error}")));
    }
    let image = ask("Image", options.image.as_deref(), template::IMAGE);
    let port = options.port.map(|port| port.to_string());
    let port = ask("Port that it listens at", port.as_deref(), template::PORT);
    let port = port
        .parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| Failure::usage(format!("init: {port:?} is not a port")))?;
    let host = ask("Host that it is reached at", options.host.as_deref(), &name);
    Ok(Choice {
        name,
        image,
        port,
        host,
    })
}

/// What a person says, or what was guessed.
fn answer(question: &str, guess: &str) -> String {
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "{question} [{guess}]: ");
    let _ = stderr.flush();
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    match (read, line.trim()) {
        (Ok(_), said) if !said.is_empty() => said.to_owned(),
        _ => guess.to_owned(),
    }
}
