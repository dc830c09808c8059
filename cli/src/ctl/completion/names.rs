//! The names of things, for completion: which ones an argument stands for, and reading them.

use std::time::Duration;

use cara_api::client::Client;
use cara_api::paths;
use clap::{Parser, ValueEnum};
use serde_json::Value;

use super::super::args::{Args, Kind};
use super::super::{address, codes, context};
use super::{DEADLINE, cache};

/// What an argument stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Objects of a kind.
    Objects(Kind),
    /// `PROJECT/SERVICE`.
    Services,
    /// Codes and kinds that can be explained.
    Topics,
}

/// How long names are good for.
const FRESH: Duration = Duration::from_secs(5);
/// How long they are better than none.
const STALE: Duration = Duration::from_secs(3_600);

/// What an argument of that value name stands for, in a line of these words.
pub fn source(value_name: &str, words: &[String]) -> Option<Source> {
    match value_name {
        "PROJECT" | "HOST|PROJECT" => Some(Source::Objects(Kind::Projects)),
        "NODE" => Some(Source::Objects(Kind::Nodes)),
        "SECRET" => Some(Source::Objects(Kind::Secrets)),
        name if name.contains("PROJECT/SERVICE") || name.contains("PROJECT[/SERVICE]") => {
            Some(Source::Services)
        }
        name if name.starts_with("CODE|KIND") => Some(Source::Topics),
        // Behind a kind, as in `get nodes NAME`.
        "NAME" | "NAMES" => {
            let verb = words.iter().skip(1).find(|word| !word.starts_with('-'));
            let is_new = verb.is_some_and(|verb| verb == "create");
            let mut kinds = words
                .iter()
                .filter_map(|word| Kind::from_str(word, true).ok());
            kinds.next_back().filter(|_| !is_new).map(Source::Objects)
        }
        _ => None,
    }
}

/// All names of a source; none when they are not known in time.
pub fn all(source: Source, words: &[String]) -> Vec<String> {
    let key = match source {
        Source::Topics => {
            let kinds = Kind::ALL.iter().map(|kind| kind.noun().to_owned());
            return codes::ALL
                .iter()
                .map(|c| c.id.to_owned())
                .chain(kinds)
                .collect();
        }
        Source::Objects(kind) => kind.noun(),
        Source::Services => "service",
    };
    let Some(args) = connection(words) else {
        return Vec::new();
    };
    // The one that `get` keeps names under.
    let Some(server) = context::server(&args) else {
        return Vec::new();
    };
    if let Some(names) = cache::read(&server, key, FRESH) {
        return names;
    }
    match ask(source, &args) {
        Some(names) => {
            cache::write(&server, key, &names);
            names
        }
        None => cache::read(&server, key, STALE).unwrap_or_default(),
    }
}

/// Flags that say which server a line is for.
const OF_SERVER: [&str; 3] = ["--server", "--context", "--ca-file"];

/// What the line says about its server; the environment and the contexts say the rest.
fn connection(words: &[String]) -> Option<Args> {
    // The line is not finished: nothing else is read from it.
    let mut line = vec!["caractrl".to_owned()];
    for (at, word) in words.iter().enumerate() {
        let flag = word.split('=').next().unwrap_or_default();
        if OF_SERVER.contains(&flag) {
            line.push(word.clone());
            if !word.contains('=') {
                line.push(words.get(at + 1)?.clone());
            }
        }
    }
    line.push("version".to_owned());
    Args::try_parse_from(line).ok()
}

fn ask(source: Source, args: &Args) -> Option<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    let asked = async {
        let client = context::connect(args).await.ok()?;
        match source {
            Source::Topics => None,
            Source::Objects(kind) => names(&client, address::all(kind)).await,
            Source::Services => services(&client).await,
        }
    };
    let names = runtime.block_on(async { tokio::time::timeout(DEADLINE, asked).await });
    runtime.shutdown_timeout(Duration::ZERO);
    names.ok().flatten()
}

async fn names(client: &Client, path: &str) -> Option<Vec<String>> {
    let list: Value = client.query(path, &[]).await.ok()?;
    Some(address::names(&list))
}

async fn services(client: &Client) -> Option<Vec<String>> {
    let list: Value = client.query(paths::PROJECTS, &[]).await.ok()?;
    let name = |object: &Value, at: &str| object.pointer(at)?.as_str().map(str::to_owned);
    let of = |project: &Value| {
        let services = project.pointer("/spec/services").and_then(Value::as_array);
        let project = name(project, "/metadata/name").unwrap_or_default();
        let services = services.into_iter().flatten();
        services
            .filter_map(|service| Some(format!("{project}/{}", name(service, "/name")?)))
            .collect::<Vec<String>>()
    };
    let items = list["items"].as_array()?;
    Some(items.iter().flat_map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_stands_for_what_its_name_says() {
        let check = |name: &str, line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            source(name, &words)
        };
        let objects = |kind| Some(Source::Objects(kind));
        for (name, line, expected) in [
            ("PROJECT", "caractrl open", objects(Kind::Projects)),
            ("NODE", "caractrl drain", objects(Kind::Nodes)),
            ("NAME", "caractrl get nodes", objects(Kind::Nodes)),
            ("NAME", "caractrl describe secret", objects(Kind::Secrets)),
            ("NAME", "caractrl create secret", None),
            ("NAME", "caractrl get", None),
            ("PROJECT[/SERVICE]", "caractrl logs", Some(Source::Services)),
            ("PROJECT/SERVICE", "caractrl tail", Some(Source::Services)),
            ("FILE", "caractrl apply -f", None),
        ] {
            assert_eq!(check(name, line), expected, "{name} in {line}");
        }
    }

    #[test]
    fn the_server_is_read_from_an_unfinished_line() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for line in [
            "caractrl --server http://a get no",
            "caractrl get --server=http://a no",
        ] {
            let server = connection(&words(line)).and_then(|args| args.server);
            assert_eq!(server.as_deref(), Some("http://a"));
        }
    }
}
