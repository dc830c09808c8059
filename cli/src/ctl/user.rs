//! `user` and `federation`: who may do what.

use cara_api::access::{FederationSpec, UserSpec};
use cara_api::client::Method;
use cara_api::{Federation, List, ObjectMeta, Timestamp, User, paths};

use super::args::{FederationCommand, NewFederation, NewUser, SetUser, UserCommand};
use super::failure::Failure;
use super::get::{Reserved, Rows, Then, View};
use super::{Context, out};

/// Prints a list in the form that was asked for.
///
/// # Errors
/// Nobody reads it.
pub fn print_list<T: Rows>(context: &Context, mut list: List<T>) -> Result<(), Failure> {
    list.items.iter_mut().for_each(T::conceal);
    let mut view = View::new::<T>(context.output, context.screen.columns, Then::Done);
    out(&view.list(&list, &Reserved::default(), Timestamp::now())?)
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
                .query(paths::USERS, &[])
                .await
                .map_err(|error| Failure::of("list users", &error))?;
            print_list(context, list)
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
                .query(paths::FEDERATIONS, &[])
                .await
                .map_err(|error| Failure::of("list federation rules", &error))?;
            print_list(context, list)
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
