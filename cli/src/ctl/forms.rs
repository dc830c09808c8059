//! Which forms of the output a command has. Pure.
//!
//! A read that cannot be had in the form that was asked for is refused before anything is done:
//! a program that asked for JSON must not get a table. Commands that do something say so in a
//! line, whatever the form.

use super::args::{Ca, Command, NodeCommand, Output};
use super::failure::Failure;

/// A read that does not have every form.
struct Limited {
    /// As it is called.
    name: &'static str,
    /// The forms that it has.
    has: &'static [&'static str],
    /// What it prints, in words.
    prints: &'static str,
}

const TEXT: &[&str] = &["table"];
const LINES: &[&str] = &["table", "wide", "json", "jsonl"];
const NAMELESS: &[&str] = &[
    "table",
    "wide",
    "json",
    "jsonl",
    "yaml",
    "jsonpath=EXPRESSION",
];

/// Refuses a form that the command does not have.
///
/// # Errors
/// The command is a read, and does not have that form.
pub fn check(command: &Command, output: Output) -> Result<(), Failure> {
    let form = output.as_str();
    match limited(command) {
        Some(read)
            if !read
                .has
                .iter()
                .any(|has| has.split('=').next() == Some(form)) =>
        {
            let (name, prints) = (read.name, read.prints);
            let message = format!("{name} has no form {form}: it prints {prints}");
            Err(Failure::usage(message).with(format!("use -o {}", read.has.join(", -o "))))
        }
        Some(_) | None => Ok(()),
    }
}

fn limited(command: &Command) -> Option<Limited> {
    let read = |name, has, prints| Some(Limited { name, has, prints });
    match command {
        Command::Logs(_) => read("logs", LINES, "lines as they are written"),
        Command::Diff(_) => read("diff", TEXT, "a unified diff"),
        Command::Convert(_) => read("convert", TEXT, "a document in YAML"),
        Command::Completion(_) => read("completion", TEXT, "a script"),
        Command::Open(_) => read("open", TEXT, "a URL"),
        Command::Ca { what: Ca::Print } => read("ca print", TEXT, "a certificate as PEM"),
        Command::Version => read("version", NAMELESS, "two versions, which have no names"),
        Command::Share(_) => read("share", NAMELESS, "a link, which has no name"),
        Command::Node {
            what: NodeCommand::JoinToken(_),
        } => read("node join-token", NAMELESS, "a token, which has no name"),
        Command::Ca {
            what: Ca::Install(_),
        }
        | Command::Node {
            what: NodeCommand::JoinTokens | NodeCommand::DeleteJoinToken(_) | NodeCommand::Revoke(_),
        }
        // These have every form.
        | Command::Get(_)
        | Command::Describe(_)
        | Command::Events(_)
        | Command::Revisions(_)
        | Command::Whoami
        | Command::Routes(_)
        | Command::Tail(_)
        | Command::Explain(_)
        | Command::Top(_)
        | Command::Doctor
        | Command::Context { .. }
        | Command::Token { .. }
        | Command::User { .. }
        | Command::Federation { .. }
        | Command::Secret { .. }
        // These do something.
        | Command::Apply(_)
        | Command::Create { .. }
        | Command::Delete(_)
        | Command::Rollback(_)
        | Command::Cordon(_)
        | Command::Uncordon(_)
        | Command::Drain(_)
        | Command::Login(_)
        | Command::Logout
        | Command::Exec(_)
        | Command::PortForward(_)
        | Command::Cp(_)
        | Command::Backup { .. }
        | Command::Edit(_)
        | Command::Wait(_)
        | Command::Init(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::args::Args;
    use clap::Parser;

    #[test]
    fn a_read_has_a_form_or_says_which_it_has() {
        for (line, expected) in [
            ("logs shop -o jsonl", None),
            (
                "logs shop -o yaml",
                Some("logs has no form yaml: it prints lines as they are written"),
            ),
            (
                "logs shop -o jsonpath=$.line",
                Some("logs has no form jsonpath: it prints lines as they are written"),
            ),
            ("version -o jsonpath=$.client", None),
            (
                "version -o name",
                Some("version has no form name: it prints two versions, which have no names"),
            ),
            (
                "ca print -o json",
                Some("ca print has no form json: it prints a certificate as PEM"),
            ),
            (
                "diff -f a -o json",
                Some("diff has no form json: it prints a unified diff"),
            ),
            ("top -o name", None),
            ("whoami -o jsonl", None),
            ("context list -o jsonpath=$.items", None),
            ("delete project shop -o json", None),
        ] {
            let words = std::iter::once("caractrl").chain(line.split(' '));
            let args = Args::try_parse_from(words).expect(line);
            let said = check(&args.command, args.output).err();
            let said = said.map(|failure| (failure.code(), failure.lines()));
            let first = said.as_ref().and_then(|(_, lines)| lines.first());
            assert_eq!(first.map(String::as_str), expected, "{line}");
            if let Some((code, lines)) = said {
                assert_eq!(code, 2);
                assert!(
                    lines.iter().any(|l| l.contains("use -o table")),
                    "{lines:?}"
                );
            }
        }
    }
}
