//! `completion`: scripts for shells, and the live names that they ask this program for.
//!
//! A script calls the program with `CARA_COMPLETE=SHELL` for every TAB. Names come from a small
//! file that is a few seconds old at most, else from the server, which has [`DEADLINE`] to answer,
//! else from an older file; lists that `get` reads are kept there too, for servers that are far
//! away. Nothing here ever fails aloud: a shell that completes has nobody to tell.

mod cache;
mod names;

use std::ffi::OsStr;
use std::time::Duration;

use clap::CommandFactory;
use clap_complete::CompletionCandidate;
use clap_complete::engine::ArgValueCompleter;
use clap_complete::env::{CompleteEnv, Shells};

use super::args::{Args, Completion};
use super::failure::Failure;
use super::out;
use names::Source;

/// The variable by which a script says for which shell it asks.
const VARIABLE: &str = "CARA_COMPLETE";
/// How long the server may take to tell names.
const DEADLINE: Duration = Duration::from_millis(60);
/// The name of the program.
const PROGRAM: &str = "caractrl";

/// Prints the script of a shell.
pub fn script(options: &Completion) -> Result<(), Failure> {
    let shell = options.shell.to_string();
    let shells = Shells::builtins();
    let completer = shells
        .completer(&shell)
        .ok_or_else(|| Failure::usage(format!("there is no completion for {shell}")))?;
    let mut script = Vec::new();
    completer
        .write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script)
        .map_err(|error| Failure::other(error.to_string()))?;
    out(&ready(&shell, &String::from_utf8_lossy(&script)))
}

/// The script so that it can be sourced anywhere: a zsh that did not start its completion yet
/// knows no `compdef`. The first line, by which zsh finds files, stays the first.
fn ready(shell: &str, script: &str) -> String {
    const START: &str = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }";
    match (shell, script.split_once('\n')) {
        ("zsh", Some((first, rest))) => format!("{first}\n{START}\n{rest}"),
        (_, Some(_) | None) => script.to_owned(),
    }
}

/// Answers a shell, if one asks. Whether it did.
pub fn answer() -> bool {
    if std::env::var_os(VARIABLE).is_none() {
        return false;
    }
    let words: Vec<String> = std::env::args_os()
        .skip_while(|word| word != "--")
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let command = move || prepared(&words);
    let current = std::env::current_dir().ok();
    let answered = CompleteEnv::with_factory(command)
        .var(VARIABLE)
        .bin(PROGRAM)
        .completer(PROGRAM)
        .try_complete(std::env::args_os(), current.as_deref());
    // A fault has nobody to be told to; the shell offers nothing.
    answered.unwrap_or(true)
}

/// Keeps the names of a list that was read anyway.
pub fn remember(server: &str, noun: &str, names: &[String]) {
    cache::write(server, noun, names);
}

/// The command line as it is completed. It is built first, since that adds `--help`.
fn prepared(words: &[String]) -> clap::Command {
    let mut command = Args::command();
    command.build();
    with_names(command, words)
}

/// The command line, with live names for the arguments that stand for objects.
fn with_names(command: clap::Command, words: &[String]) -> clap::Command {
    let wants_flags = words.last().is_some_and(|word| word.starts_with('-'));
    let command = command.mut_args(|arg| {
        // Names first: flags are offered where there is nothing else, or when they are asked for.
        let is_aside = !arg.is_positional() && !wants_flags;
        let arg = if is_aside { arg.hide(true) } else { arg };
        let value_name = arg
            .get_value_names()
            .and_then(|names| names.first())
            .map_or_else(|| arg.get_id().as_str().to_uppercase(), ToString::to_string);
        let is_free = arg.get_possible_values().is_empty() && arg.get_action().takes_values();
        let source = names::source(&value_name, words);
        match source.filter(|_| is_free) {
            Some(source) => {
                let words = words.to_vec();
                arg.add(ArgValueCompleter::new(move |current: &OsStr| {
                    candidates(source, &words, current)
                }))
            }
            None => arg,
        }
    });
    let own: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    own.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |sub| with_names(sub, words))
    })
}

fn candidates(source: Source, words: &[String], current: &OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let all = names::all(source, words).into_iter();
    let fitting = all.filter(|name| name.starts_with(&*current));
    fitting.map(CompletionCandidate::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_has_a_script() {
        for name in Shells::builtins().names() {
            let mut script = Vec::new();
            let shells = Shells::builtins();
            let completer = shells.completer(name).expect("a shell");
            completer
                .write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script)
                .expect("written");
            let script = String::from_utf8(script).expect("text");
            assert!(
                script.contains(VARIABLE) && script.contains(PROGRAM),
                "{name}"
            );
        }
    }

    /// What is offered for the last word.
    fn offered(line: &str) -> Vec<String> {
        let words: Vec<std::ffi::OsString> = line.split(' ').map(Into::into).collect();
        let index = words.len() - 1;
        let mut command = Args::command();
        let found = clap_complete::engine::complete(&mut command, words, index, None);
        let found = found.expect("completed").into_iter();
        found
            .map(|c| c.get_value().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn flags_stand_back_behind_names() {
        let offered = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let mut command = prepared(&words);
            let index = words.len() - 1;
            let words = words.into_iter().map(Into::into).collect();
            let found = clap_complete::engine::complete(&mut command, words, index, None);
            let found = found.expect("completed").into_iter();
            found
                .map(|c| c.get_value().to_string_lossy().into_owned())
                .collect::<Vec<_>>()
        };
        let kinds = offered("caractrl get ");
        assert!(kinds.iter().all(|word| !word.starts_with('-')), "{kinds:?}");
        let flags = offered("caractrl get --");
        assert!(flags.contains(&"--watch".to_owned()), "{flags:?}");
        let needed = offered("caractrl apply ");
        assert!(needed.contains(&"--filename".to_owned()), "{needed:?}");
    }

    #[test]
    fn commands_flags_and_kinds_are_offered() {
        for (line, expected) in [
            ("caractrl dr", "drain"),
            ("caractrl rollb", "rollback"),
            ("caractrl get ", "projects"),
            ("caractrl get sec", "secrets"),
            ("caractrl drain --del", "--delete-ephemeral-data"),
            ("caractrl create secret db --from-e", "--from-env-file"),
            ("caractrl get nodes -o jso", "jsonl"),
        ] {
            let found = offered(line);
            assert!(
                found.iter().any(|word| word == expected),
                "{line}: {found:?}"
            );
        }
    }
}
