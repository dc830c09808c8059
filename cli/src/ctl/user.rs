//! `user` and `federation`: who may do what.

use cara_api::access::{FederationSpec, Grant, UserSpec};
use cara_api::client::Method;
use cara_api::{Federation, List, ObjectMeta, Resource, User, paths};

use super::args::{FederationCommand, NewFederation, NewUser, Output, SetUser, UserCommand};
use super::failure::Failure;
use super::table::{json, or, table, yaml};
use super::{Context, out};

/// Grants as people write them.
pub fn grants(grants: &[Grant]) -> String {
    let all: Vec<String> = grants.iter().map(ToString::to_string).collect();
    or(&all.join(" "), "-").to_owned()
}

/// Prints a list in the form that was asked for.
///
/// # Errors
/// Nobody reads it.
pub fn print_list<T: Resource>(
    context: &Context,
    noun: &str,
    list: &List<T>,
    header: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> Result<(), Failure> {
    let text = match &context.output {
        Output::Json => json(list)?,
        Output::Yaml => yaml(list)?,
        Output::Name => {
            let names = list.items.iter();
            names
                .map(|item| format!("{noun}/{}\n", item.meta().name))
                .collect()
        }
        _ => {
            let rows: Vec<Vec<String>> = list.items.iter().map(row).collect();
            table(header, &rows)
        }
    };
    out(&text)
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: name.to_owned(),
        ..ObjectMeta::default()
    }
}

/// Does what is asked for with users.
///
/// # Errors
/// The server refuses it, or does not answer.
pub async fn run(context: &Context, what: UserCommand) -> Result<(), Failure> {
    match what {
        UserCommand::Create(options) => create(context, options).await,
        UserCommand::Set(options) => set(context, options).await,
        UserCommand::List => {
            let list: List<User> = context
                .client
                .list(paths::USERS, &[])
                .await
                .map_err(|error| Failure::of("list users", &error))?;
            let header = ["NAME", "MAY", "STATE", "WHO"];
            print_list(context, "user", &list, &header, |user| {
                let state = if user.spec.suspended {
                    "suspended"
                } else {
                    "active"
                };
                let who = or(&user.spec.display_name, "-");
                vec![
                    user.metadata.name.clone(),
                    grants(&user.spec.grants),
                    state.to_owned(),
                    who.to_owned(),
                ]
            })
        }
        UserCommand::Delete { name } => {
            let path = paths::fill(paths::USER, &[&name]);
            let gone = context.client.delete(&path, false).await;
            gone.map_err(|error| Failure::of(&format!("delete user {name:?}"), &error))?;
            out(&format!("user/{name} deleted\n"))
        }
    }
}

async fn create(context: &Context, options: NewUser) -> Result<(), Failure> {
    let name = &options.name;
    let user = User {
        metadata: named(name),
        spec: UserSpec {
            display_name: options.display_name.unwrap_or_default(),
            grants: options.grants,
            suspended: false,
        },
        ..User::default()
    };
    let made = context
        .client
        .write::<User, _>(Method::POST, paths::USERS, &user)
        .await;
    made.map_err(|error| Failure::of(&format!("create user {name:?}"), &error))?;
    out(&format!("user/{name} created\n"))
}

/// Changes the user as it was read, so that nobody's change in between is lost.
async fn set(context: &Context, options: SetUser) -> Result<(), Failure> {
    let name = &options.name;
    let failed = |error| Failure::of(&format!("change user {name:?}"), &error);
    let path = paths::fill(paths::USER, &[name]);
    let mut user: User = context.client.get(&path).await.map_err(failed)?;
    if options.grants.is_empty() && options.suspended.is_none() {
        return Err(Failure::usage("say what to change: --grant or --suspended"));
    }
    if !options.grants.is_empty() {
        user.spec.grants = options.grants;
    }
    user.spec.suspended = options.suspended.unwrap_or(user.spec.suspended);
    let made = context
        .client
        .write::<User, _>(Method::PUT, &path, &user)
        .await;
    made.map_err(failed)?;
    out(&format!("user/{name} changed\n"))
}

/// Does what is asked for with federation rules.
///
/// # Errors
/// The server refuses it, or does not answer.
pub async fn federation(context: &Context, what: FederationCommand) -> Result<(), Failure> {
    match what {
        FederationCommand::Create(options) => create_rule(context, options).await,
        FederationCommand::List => {
            let list: List<Federation> = context
                .client
                .list(paths::FEDERATIONS, &[])
                .await
                .map_err(|error| Failure::of("list federation rules", &error))?;
            let header = ["NAME", "ISSUER", "CLAIMS", "MAY"];
            print_list(context, "federation", &list, &header, |rule| {
                let claims = rule.spec.claims.iter();
                let claims: Vec<String> = claims.map(|(k, v)| format!("{k}={v}")).collect();
                vec![
                    rule.metadata.name.clone(),
                    rule.spec.issuer.clone(),
                    claims.join(" "),
                    grants(&rule.spec.grants),
                ]
            })
        }
        FederationCommand::Delete { name } => {
            let path = paths::fill(paths::FEDERATION, &[&name]);
            let gone = context.client.delete(&path, false).await;
            gone.map_err(|error| Failure::of(&format!("delete federation rule {name:?}"), &error))?;
            out(&format!("federation/{name} deleted\n"))
        }
    }
}

async fn create_rule(context: &Context, options: NewFederation) -> Result<(), Failure> {
    let name = &options.name;
    let rule = Federation {
        metadata: named(name),
        spec: FederationSpec {
            issuer: options.issuer,
            audience: options.audience,
            claims: options.claims.into_iter().collect(),
            grants: options.grants,
            expires_in: options.expires_in.unwrap_or_default(),
        },
        ..Federation::default()
    };
    let made = context
        .client
        .write::<Federation, _>(Method::POST, paths::FEDERATIONS, &rule)
        .await;
    made.map_err(|error| Failure::of(&format!("create federation rule {name:?}"), &error))?;
    out(&format!("federation/{name} created\n"))
}
