//! `caractrl`: the command line client.
//!
//! Data goes to stdout, everything said to a person goes to stderr. Exit codes are listed in
//! [`failure`].

mod address;
mod apply;
mod args;
mod backup;
mod ca;
pub mod codes;
mod completion;
mod consent;
mod context;
mod convert;
mod copy;
mod cordon;
mod create;
mod delete;
mod describe;
mod diff;
mod doctor;
mod drain;
mod edit;
mod events;
mod exec;
mod explain;
pub mod failure;
mod failures;
mod follow;
mod forms;
mod forward;
mod get;
mod init;
mod jsonpath;
mod listing;
mod live;
mod login;
mod logs;
mod manifest;
mod node;
mod open;
mod places;
mod print;
mod progress;
mod prune;
pub mod reference;
mod removal;
mod rollback;
mod rollout;
mod routes;
mod screen;
mod secret;
mod share;
#[cfg(test)]
mod snapshots;
mod subject;
mod table;
mod tail;
mod terminal;
mod token;
mod top;
mod user;
mod version;
mod wait;

use std::process::ExitCode;

use cara_api::client::Client;
use clap::Parser;

use args::{Args, Command};
use failure::Failure;
use screen::{Screen, Tone};

/// What every command gets.
struct Context {
    client: Client,
    output: args::Output,
    screen: Screen,
    /// The project that is meant where none is named.
    project: Option<String>,
}

impl Context {
    /// Says on stderr what may be wrong.
    fn warn(&self, text: std::fmt::Arguments<'_>) {
        let head = self.screen.colours.text(Tone::Warning, "Warning:");
        tell(format_args!("{head} {text}"));
    }
}

/// Parses, runs and reports.
pub fn main() -> ExitCode {
    if completion::answer() {
        return ExitCode::SUCCESS;
    }
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are errors to the parser, but not to the user.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() {
                failure::USAGE
            } else {
                0
            });
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let screen = Screen::look(args.no_color);
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(run(args, screen));
            runtime.shutdown_timeout(std::time::Duration::ZERO);
            result
        }
        Err(error) => Err(Failure::other(error.to_string())),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print(screen.colours);
            ExitCode::from(failure.code())
        }
    }
}

async fn run(args: Args, screen: Screen) -> Result<(), Failure> {
    forms::check(&args.command, args.output)?;
    // These choose the server themselves.
    match &args.command {
        Command::Context { what } => return context::run(&args, what).await,
        Command::Login(options) => return login::login(&args, options).await,
        Command::Logout => return login::logout(&args).await,
        _ => {}
    }
    let client = context::connect(&args).await?;
    let context = Context {
        project: context::project(&args)?,
        client,
        output: args.output,
        screen,
    };
    match args.command {
        Command::Apply(options) => apply::run(&context, options).await,
        Command::Ca { what } => ca::run(&context, what).await,
        Command::Create { what } => create::run(&context, what).await,
        Command::Get(options) => get::run(&context, options).await,
        Command::Describe(options) => describe::run(&context, options).await,
        Command::Delete(options) => delete::run(&context, options).await,
        Command::Events(options) => events::run(&context, options).await,
        Command::Revisions(options) => rollback::revisions(&context, options).await,
        Command::Rollback(options) => rollback::run(&context, options).await,
        Command::Cordon(options) => cordon::run(&context, options, cordon::Gate::Close).await,
        Command::Uncordon(options) => cordon::run(&context, options, cordon::Gate::Open).await,
        Command::Drain(options) => drain::run(&context, options).await,
        Command::Node { what } => node::run(&context, what).await,
        Command::Context { .. } | Command::Login(_) | Command::Logout => Ok(()),
        Command::Whoami => login::whoami(&context).await,
        Command::Token { what } => token::run(&context, what).await,
        Command::User { what } => user::run(&context, what).await,
        Command::Federation { what } => user::federation(&context, what).await,
        Command::Secret { what } => secret::run(&context, what).await,
        Command::Routes(options) => routes::run(&context, options).await,
        Command::Tail(options) => tail::run(&context, options).await,
        Command::Logs(options) => logs::run(&context, options).await,
        Command::Exec(options) => exec::run(&context, options).await,
        Command::PortForward(options) => forward::run(&context, options).await,
        Command::Cp(options) => copy::run(&context, options).await,
        Command::Top(options) => top::run(&context, options).await,
        Command::Share(options) => share::run(&context, options).await,
        Command::Open(options) => open::run(&context, options).await,
        Command::Backup { what } => backup::run(&context, what).await,
        Command::Convert(options) => convert::run(options),
        Command::Diff(options) => diff::run(&context, options).await,
        Command::Edit(options) => edit::run(&context, options).await,
        Command::Wait(options) => wait::run(&context, options).await,
        Command::Init(options) => init::run(&context, options).await,
        Command::Doctor => doctor::run(&context).await,
        Command::Version => version::run(&context).await,
        Command::Explain(options) => explain::run(&options, context.output),
        Command::Completion(options) => completion::script(&options),
    }
}

/// Prints a line of data. A reader that went away, such as `head`, ends the program quietly.
fn out(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|_| Failure::closed())
}

/// Says a line to a person, on stderr. Who closed it does not want to hear.
fn tell(text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
