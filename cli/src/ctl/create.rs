//! `create`: objects from values that do not stand in a document.
//!
//! Values come from files and standard input only, and are never printed, not even in messages.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use cara_api::client::{Method, Terms, Written};
use cara_api::secret::Hidden;
use cara_api::{Certificate, ObjectMeta, Resource, Secret, paths};

use super::args::{Create, DryRun, NewCertificate, NewSecret, Sources};
use super::codes;
use super::failure::{self, Failure};
use super::{Context, out};

/// The path that stands for standard input.
const STDIN: &str = "-";

/// Creates what was asked for.
pub async fn run(context: &Context, what: Create) -> Result<(), Failure> {
    match what {
        Create::Secret(options) => {
            let secret = secret(&options)?;
            let at = (paths::SECRETS, paths::SECRET);
            write(
                context,
                &secret,
                at,
                (options.replace, options.trial.dry_run),
            )
            .await
        }
        Create::Certificate(options) => {
            let certificate = certificate(&options)?;
            let at = (paths::CERTIFICATES, paths::CERTIFICATE);
            write(
                context,
                &certificate,
                at,
                (options.replace, options.trial.dry_run),
            )
            .await
        }
    }
}

fn certificate(options: &NewCertificate) -> Result<Certificate, Failure> {
    let mut certificate = Certificate {
        metadata: ObjectMeta {
            name: options.name.clone(),
            ..ObjectMeta::default()
        },
        ..Certificate::default()
    };
    let spec = &mut certificate.spec;
    if options.cert == STDIN && options.key == STDIN {
        return Err(Failure::usage(
            "standard input (-) can be read once: use files for the others",
        ));
    }
    spec.certificate = text(&options.cert, read)?;
    spec.private_key = Hidden::new(text(&options.key, read)?);
    spec.hosts.clone_from(&options.host);
    Ok(certificate)
}

fn secret(options: &NewSecret) -> Result<Secret, Failure> {
    Ok(Secret {
        metadata: ObjectMeta {
            name: options.name.clone(),
            ..ObjectMeta::default()
        },
        data: collect(&options.sources, read)?,
        ..Secret::default()
    })
}

/// Creates the object, or replaces it if that is allowed. `at` are the paths of all and of one.
async fn write<T: Resource>(
    context: &Context,
    object: &T,
    (all, one): (&str, &str),
    (may_replace, dry_run): (bool, DryRun),
) -> Result<(), Failure> {
    let (noun, name) = (T::NOUN, &object.meta().name);
    let action = format!("create {noun} {name:?}");
    let client = &context.client;
    if dry_run == DryRun::Client {
        return out(&format!("{noun}/{name} created{}\n", dry_run.mark()));
    }
    let terms = Terms::tried(dry_run.is_dry());
    let (mut verb, mut written) = (
        "created",
        client
            .write_on::<T, _>((Method::POST, all), terms, object)
            .await,
    );
    let is_taken = written.as_ref().is_err_and(|e| e.status() == Some(409));
    if is_taken && may_replace {
        let path = paths::fill(one, &[name]);
        (verb, written) = (
            "replaced",
            client
                .write_on::<T, _>((Method::PUT, &path), terms, object)
                .await,
        );
    }
    let Written { warnings, .. } = written.map_err(|error| {
        let failure = Failure::of(&action, &error);
        if failure.code() == failure::CONFLICT && !may_replace {
            failure.with("--replace replaces it")
        } else {
            failure
        }
    })?;
    for warning in &warnings {
        context.warn(format_args!("{noun}/{name}: {warning}"));
    }
    out(&format!("{noun}/{name} {verb}{}\n", dry_run.mark()))
}

/// The values by key.
///
/// # Errors
/// A file cannot be read, or a key is given twice.
pub fn values(sources: &Sources) -> Result<BTreeMap<String, Hidden>, Failure> {
    match sources.from_file.is_empty() && sources.from_env_file.is_empty() {
        true => Ok(BTreeMap::new()),
        false => collect(sources, read),
    }
}

/// All of standard input.
///
/// # Errors
/// It cannot be read, or is not text.
pub fn standard_input() -> Result<String, Failure> {
    text(STDIN, read)
}

/// The values by key; `read` gives what is in a file.
fn collect(
    sources: &Sources,
    read: impl Fn(&str) -> std::io::Result<Vec<u8>>,
) -> Result<BTreeMap<String, Hidden>, Failure> {
    let files: Vec<(String, &str)> = sources
        .from_file
        .iter()
        .map(|source| key_and_path(source))
        .collect::<Result<_, _>>()?;
    let paths = files.iter().map(|(_, path)| *path);
    let all = paths.chain(sources.from_env_file.iter().map(String::as_str));
    if all.filter(|path| *path == STDIN).count() > 1 {
        return Err(Failure::usage(
            "standard input (-) can be read once: use files for the others",
        ));
    }
    let mut data = BTreeMap::new();
    for (key, path) in files {
        add(&mut data, key, text(path, &read)?)?;
    }
    for path in &sources.from_env_file {
        for (key, value) in variables(path, &text(path, &read)?)? {
            add(&mut data, key, value)?;
        }
    }
    if data.is_empty() {
        return Err(Failure::usage("there is no value in what was given"));
    }
    Ok(data)
}

fn add(data: &mut BTreeMap<String, Hidden>, key: String, value: String) -> Result<(), Failure> {
    if data.contains_key(&key) {
        return Err(Failure::usage(format!("key {key:?} is given twice")));
    }
    data.insert(key, Hidden::new(value));
    Ok(())
}

/// `KEY=PATH`, or `PATH` with the file's name as key.
fn key_and_path(source: &str) -> Result<(String, &str), Failure> {
    let named = source.split_once('=');
    let key = match named {
        Some((key, _)) => Some(key),
        None => Path::new(source).file_name().and_then(|name| name.to_str()),
    };
    let path = named.map_or(source, |(_, path)| path);
    match key {
        Some(key) if !key.is_empty() && !path.is_empty() && source != STDIN => {
            Ok((key.to_owned(), path))
        }
        Some(_) | None => Err(Failure::usage(format!(
            "--from-file {source:?}: expected KEY=PATH"
        ))),
    }
}

fn text(path: &str, read: impl Fn(&str) -> std::io::Result<Vec<u8>>) -> Result<String, Failure> {
    let bytes = read(path)
        .map_err(|error| Failure::other(format!("read {path}: {error}")).coded(&codes::FILE))?;
    // The error of the conversion would show the bytes.
    String::from_utf8(bytes).map_err(|_| {
        Failure::other(format!("read {path}: it is not text in UTF-8"))
            .with("encode it, in base64 for example, and let the service decode it")
    })
}

/// The lines `KEY=VALUE` of a file.
fn variables(path: &str, text: &str) -> Result<Vec<(String, String)>, Failure> {
    let lines = text.lines().enumerate();
    let meant = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let pair = |(index, line): (usize, &str)| {
        let pair = line.split_once('=').filter(|(key, _)| !key.is_empty());
        let pair = pair.map(|(key, value)| (key.to_owned(), value.to_owned()));
        pair.ok_or_else(|| {
            // The line itself may be a value.
            Failure::other(format!("read {path}: line {} is not KEY=VALUE", index + 1))
        })
    };
    meant.map(pair).collect()
}

fn read(path: &str) -> std::io::Result<Vec<u8>> {
    if path == STDIN {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    std::fs::read(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is collected, or the message.
    fn check(from_file: &[&str], from_env_file: &[&str]) -> Result<Vec<(String, String)>, String> {
        let list = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        let sources = Sources {
            from_file: list(from_file),
            from_env_file: list(from_env_file),
        };
        let files = |path: &str| match path {
            "-" => Ok(b"from stdin\n".to_vec()),
            "/run/password" => Ok(b"swordfish".to_vec()),
            ".env" => Ok(b"# comment\nUSER=shop\r\n\nURL=a=b#c\nEMPTY=\n".to_vec()),
            "bad.env" => Ok(b"USER=shop\nswordfish\n".to_vec()),
            "binary" => Ok(vec![0xff, 0xfe]),
            _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        };
        let found = collect(&sources, files).map_err(|failure| format!("{failure:?}"))?;
        let pair = |(key, value): (String, Hidden)| (key, value.reveal().to_owned());
        Ok(found.into_iter().map(pair).collect())
    }

    #[test]
    fn values_come_from_files_and_standard_input_as_they_are() {
        let pairs = |pairs: &[(&str, &str)]| {
            let owned = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            Ok(owned.collect::<Vec<_>>())
        };
        assert_eq!(
            check(&["token=-", "/run/password"], &[".env"]),
            pairs(&[
                ("EMPTY", ""),
                ("URL", "a=b#c"),
                ("USER", "shop"),
                ("password", "swordfish"),
                ("token", "from stdin\n"),
            ])
        );
    }

    #[test]
    fn what_cannot_be_taken_is_named_without_its_value() {
        for (from_file, from_env_file, message) in [
            (&["-"][..], &[][..], "expected KEY=PATH"),
            (&["=x"], &[], "expected KEY=PATH"),
            (&["a="], &[], "expected KEY=PATH"),
            (&["a=-", "b=-"], &[], "can be read once"),
            (&["a=/run/password", "a=.env"], &[], "is given twice"),
            (&["a=ghost"], &[], "read ghost: "),
            (&["a=binary"], &[], "not text in UTF-8"),
            (&[], &["bad.env"], "line 2 is not KEY=VALUE"),
        ] {
            let said = check(from_file, from_env_file).expect_err("refused");
            assert!(said.contains(message), "{message} is missing: {said}");
            assert!(!said.contains("swordfish"), "{said}");
        }
    }
}
