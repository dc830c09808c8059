//! The command reference and the man pages, from the definitions of the command line. Pure.

use std::fmt::Write;

use clap::{Arg, Command, CommandFactory};

use super::args::Args;
use super::codes;

/// A file that follows from the definitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its name, without a folder.
    pub name: String,
    /// What stands in it.
    pub text: String,
}

/// The command reference in Markdown: an overview, and a page for each command.
pub fn markdown() -> Vec<Page> {
    let root = built();
    let mut pages = vec![Page {
        name: "README.md".to_owned(),
        text: overview(&root),
    }];
    pages.extend(visible(&root).map(|command| Page {
        name: format!("{}.md", command.get_name()),
        text: page(command),
    }));
    pages
}

/// The man pages, of commands below commands too.
///
/// # Errors
/// A page cannot be written to memory, which does not happen.
pub fn man() -> std::io::Result<Vec<Page>> {
    let mut pages = Vec::new();
    manual(&built(), &mut pages)?;
    Ok(pages)
}

fn built() -> Command {
    let mut command = Args::command().disable_help_subcommand(true);
    command.build();
    command
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|sub| !sub.is_hide_set())
}

/// `caractrl create secret`, from `caractrl-create-secret` as clap calls it.
fn words(command: &Command) -> String {
    command
        .get_bin_name()
        .unwrap_or(command.get_name())
        .to_owned()
}

fn manual(command: &Command, pages: &mut Vec<Page>) -> std::io::Result<()> {
    let name = words(command).replace(' ', "-");
    let titled = command.clone().display_name(name.clone());
    let mut text = Vec::new();
    clap_mangen::Man::new(titled)
        .manual("Caravanserai")
        .source(concat!("caravanserai ", env!("CARGO_PKG_VERSION")))
        .render(&mut text)?;
    pages.push(Page {
        name: format!("{name}.1"),
        text: String::from_utf8_lossy(&text).into_owned(),
    });
    visible(command).try_for_each(|sub| manual(sub, pages))
}

const GENERATED: &str =
    "<!-- Written by `make references` from the command line's definitions. -->\n\n";

fn overview(root: &Command) -> String {
    let mut text = format!(
        "{GENERATED}# Command reference\n\n{}. `caractrl COMMAND --help` says the same; man pages are in \
         [deploy/man](../../deploy/man). How the command line speaks as a whole is told in [the guide](../cli.md).\n\n\
         | command | what it does |\n|---|---|\n",
        about(root)
    );
    for command in visible(root) {
        let name = command.get_name();
        let _ = writeln!(text, "| [`{name}`]({name}.md) | {} |", about(command));
    }
    text.push_str("\n## Options of every command\n\n");
    options(root, &mut text, Global::Shown);
    text.push_str("\n## Codes of errors\n\n| code | what happened | what to do |\n|---|---|---|\n");
    for code in codes::ALL {
        let mend = cell(&code.mend.join(" "));
        let _ = writeln!(text, "| `{}` | {} | {mend} |", code.id, cell(code.means));
    }
    text
}

fn page(command: &Command) -> String {
    let mut text = GENERATED.to_owned();
    section(command, 1, &mut text);
    text.push_str("\nOptions of every command: [README.md](README.md#options-of-every-command).\n");
    text
}

fn section(command: &Command, level: usize, text: &mut String) {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let _ = write!(
        text,
        "{} {}\n\n{}.\n\n```text\n{usage}\n```\n",
        "#".repeat(level),
        words(command),
        about(command)
    );
    if let Some(more) = command.get_after_help() {
        let _ = write!(text, "\n```text\n{}\n```\n", more.to_string().trim_end());
    }
    let mut table = String::new();
    arguments(command, &mut table);
    options(command, &mut table, Global::Hidden);
    if !table.is_empty() {
        let _ = write!(text, "\n{table}");
    }
    for sub in visible(command) {
        text.push('\n');
        section(sub, level + 1, text);
    }
}

fn about(command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string);
    about.unwrap_or_default().trim_end_matches('.').to_owned()
}

fn arguments(command: &Command, text: &mut String) {
    let arguments: Vec<&Arg> = command
        .get_positionals()
        .filter(|a| !a.is_hide_set())
        .collect();
    if arguments.is_empty() {
        return;
    }
    text.push_str("| argument | meaning |\n|---|---|\n");
    for arg in arguments {
        let optional = if arg.is_required_set() {
            ""
        } else {
            " (may be left out)"
        };
        let _ = writeln!(
            text,
            "| `{}`{optional} | {} |",
            values(arg).trim(),
            meaning(arg)
        );
    }
    text.push('\n');
}

/// Whether the options that every command has are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Global {
    Shown,
    Hidden,
}

fn options(command: &Command, text: &mut String, global: Global) {
    let is_own = |arg: &&Arg| {
        let is_builtin = matches!(arg.get_id().as_str(), "help" | "version");
        !arg.is_positional()
            && !arg.is_hide_set()
            && (global == Global::Shown || (!arg.is_global_set() && !is_builtin))
    };
    let own: Vec<&Arg> = command.get_arguments().filter(is_own).collect();
    if own.is_empty() {
        return;
    }
    text.push_str("| option | default | meaning |\n|---|---|---|\n");
    for arg in own {
        let long = arg.get_long().map(|long| format!("--{long}"));
        let short = arg.get_short().map(|short| format!("-{short}"));
        let names: Vec<String> = [short, long].into_iter().flatten().collect();
        let defaults = arg.get_default_values().iter();
        let defaults: Vec<String> = defaults
            .map(|v| format!("`{}`", v.to_string_lossy()))
            .collect();
        let defaults = match arg.get_action().takes_values() {
            true => defaults.join(", "),
            false => String::new(),
        };
        let _ = writeln!(
            text,
            "| `{}{}` | {defaults} | {} |",
            names.join("`, `"),
            values(arg),
            meaning(arg)
        );
    }
}

/// ` URL`, ` KIND`; nothing for a flag.
fn values(arg: &Arg) -> String {
    if !arg.get_action().takes_values() {
        return String::new();
    }
    let names = arg.get_value_names().unwrap_or_default();
    let names: Vec<String> = names.iter().map(|name| cell(name)).collect();
    match names.is_empty() {
        true => format!(" {}", arg.get_id().as_str().to_uppercase()),
        false => format!(" {}", names.join(" ")),
    }
}

fn meaning(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let mut text = cell(&help);
    let is_listed = arg.get_action().takes_values();
    let choices = arg.get_possible_values().into_iter();
    let choices = choices.filter(|choice| is_listed && !choice.is_hide_set());
    let choices: Vec<String> = choices.map(|c| format!("`{}`", c.get_name())).collect();
    if !choices.is_empty() {
        let _ = write!(text, ": {}", choices.join(", "));
    }
    if let Some(variable) = arg.get_env() {
        let _ = write!(text, " (`{}`)", variable.to_string_lossy());
    }
    text
}

/// A text that stands in a cell of a table.
fn cell(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_a_manual() {
        let pages = markdown();
        let find = |name: &str| pages.iter().find(|page| page.name == name);
        let apply = find("apply.md").expect("a page");
        assert!(
            apply.text.contains("| `-f`, `--filename FILE`"),
            "{}",
            apply.text
        );
        let create = find("create.md").expect("a page");
        assert!(
            create.text.contains("## caractrl create secret"),
            "{}",
            create.text
        );
        assert!(find("README.md").is_some_and(|page| page.text.contains("`E-NOT-FOUND`")));
        let manuals = man().expect("written");
        let names: Vec<&str> = manuals.iter().map(|page| page.name.as_str()).collect();
        for name in ["caractrl.1", "caractrl-apply.1", "caractrl-create-secret.1"] {
            assert!(names.contains(&name), "{names:?}");
        }
        assert!(manuals.iter().all(|page| page.text.contains(".TH ")));
    }
}
