//! `secret`: values that nobody reads back.
//!
//! They come from files, standard input and a prompt that does not show them; never by a flag,
//! since others can read command lines.

use std::collections::BTreeMap;

use cara_api::secret::Hidden;
use cara_api::{List, Project, Secret, Timestamp, paths};
use serde_json::json;

use super::apply;
use super::args::{Kind, SecretCommand, SetSecret};
use super::create;
use super::describe::secret_users;
use super::failure::Failure;
use super::listing::Listing;
use super::manifest::Document;
use super::places::Places;
use super::table::{age, moment, or};
use super::{Context, args, delete, out};

/// Does what was asked for.
///
/// # Errors
/// The server refuses it, or does not answer.
pub async fn run(context: &Context, what: SecretCommand) -> Result<(), Failure> {
    match what {
        SecretCommand::List => list(context).await,
        SecretCommand::UsedBy { name } => used_by(context, &name).await,
        SecretCommand::Set(options) => set(context, options).await,
        SecretCommand::Delete(options) => {
            let delete = args::Delete::of(Kind::Secrets, options);
            delete::run(context, delete).await
        }
    }
}

/// Who uses a secret; none when projects cannot be read.
type Users = BTreeMap<String, Vec<String>>;

async fn users(context: &Context, secrets: &[Secret]) -> Option<Users> {
    let projects: List<Project> = context.client.query(paths::PROJECTS, &[]).await.ok()?;
    let name = |secret: &Secret| secret.metadata.name.clone();
    let of = |secret: &Secret| secret_users(&secret.metadata.name, &projects.items);
    Some(secrets.iter().map(|s| (name(s), of(s))).collect())
}

async fn list(context: &Context) -> Result<(), Failure> {
    let read = context.client.query(paths::SECRETS, &[]).await;
    let mut list: List<Secret> = read.map_err(|error| Failure::of("list secrets", &error))?;
    list.items.iter_mut().for_each(|secret| secret.data.clear());
    let users = users(context, &list.items).await;
    let shown = shown(context, &list, users.as_ref(), Timestamp::now())?;
    out(&shown)
}

fn shown(
    context: &Context,
    list: &List<Secret>,
    users: Option<&Users>,
    now: Timestamp,
) -> Result<String, Failure> {
    let used_by = |secret: &Secret| match users {
        None => "<unknown>".to_owned(),
        Some(users) => {
            let users = users.get(&secret.metadata.name).map(|all| all.join(","));
            or(&users.unwrap_or_default(), "-").to_owned()
        }
    };
    let listing = Listing {
        header: &["NAME", "KEYS", "USED BY", "AGE"],
        wide: &["CHANGED", "CREATED"],
        name: &|secret: &Secret| format!("secret/{}", secret.metadata.name),
        row: &|secret| {
            vec![
                secret.metadata.name.clone(),
                or(&secret.keys.join(","), "<none>").to_owned(),
                used_by(secret),
                age(secret.metadata.created_at, now),
            ]
        },
        more: &|secret| {
            vec![
                moment(secret.metadata.updated_at),
                moment(secret.metadata.created_at),
            ]
        },
    };
    listing.show(list, &list.items, context.output, context.screen.columns)
}

async fn used_by(context: &Context, name: &str) -> Result<(), Failure> {
    let action = format!("secret used-by {name:?}");
    let failed = |error| Failure::of(&action, &error);
    let path = paths::fill(paths::SECRET, &[name]);
    let secret: Secret = context.client.get(&path).await.map_err(failed)?;
    let projects = context.client.query(paths::PROJECTS, &[]).await;
    let projects: List<Project> = projects.map_err(failed)?;
    let users = secret_users(&secret.metadata.name, &projects.items);
    let items: Vec<_> = users
        .iter()
        .filter_map(|user| user.split_once('/'))
        .map(|(project, service)| json!({"project": project, "service": service}))
        .collect();
    let text =
        |item: &serde_json::Value, key: &str| item[key].as_str().unwrap_or_default().to_owned();
    let listing = Listing {
        header: &["PROJECT", "SERVICE"],
        wide: &[],
        name: &|user| format!("{}/{}", text(user, "project"), text(user, "service")),
        row: &|user| vec![text(user, "project"), text(user, "service")],
        more: &|_| Vec::new(),
    };
    let list = json!({"items": items});
    out(&listing.show(&list, &items, context.output, context.screen.columns)?)
}

/// Creates the secret, or replaces all its values, after the question that `apply` asks.
async fn set(context: &Context, options: SetSecret) -> Result<(), Failure> {
    let mut data = create::values(&options.sources)?;
    for key in &options.keys {
        if data.contains_key(key) {
            return Err(Failure::usage(format!("key {key:?} is given twice")));
        }
        data.insert(key.clone(), typed(context, key, options.keys.len())?);
    }
    let data: BTreeMap<&String, &str> = data.iter().map(|(k, v)| (k, v.reveal())).collect();
    let document = Document {
        kind: Kind::Secrets,
        name: options.name.clone(),
        body: json!({"kind": "Secret", "metadata": {"name": options.name}, "data": data}),
        places: Places::default(),
    };
    apply::one(context, document, options.consent, options.trial.dry_run).await
}

/// A value that somebody types and nobody sees, or that comes by standard input; its last newline
/// is none of it.
fn typed(context: &Context, key: &str, count: usize) -> Result<Hidden, Failure> {
    if context.screen.types {
        let prompt = format!("Value of {key}: ");
        let typed = rpassword::prompt_password(prompt);
        return typed
            .map(Hidden::new)
            .map_err(|error| Failure::other(format!("read the value of {key}: {error}")));
    }
    if count > 1 {
        let message = "standard input holds one value, and several keys are named";
        return Err(Failure::usage(message)
            .with("--from-file KEY=PATH and --from-env-file take the others"));
    }
    let text = create::standard_input()?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Hidden::new(text.strip_suffix('\r').unwrap_or(text)))
}
