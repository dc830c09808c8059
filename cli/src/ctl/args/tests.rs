use super::*;
use clap::CommandFactory;

#[test]
fn the_definition_is_consistent() {
    Args::command().debug_assert();
}

#[test]
fn global_flags_work_before_and_after_the_subcommand() {
    for line in [
        "caractrl --output json get projects",
        "caractrl get projects --output json",
        "caractrl get project -o json",
    ] {
        let args = Args::try_parse_from(line.split(' ')).expect("valid");
        assert_eq!(args.output, Output::Json, "{line}");
    }
}

#[test]
fn singular_and_plural_name_the_same_kind() {
    for word in ["node", "nodes"] {
        let args = Args::try_parse_from(["caractrl", "describe", word, "a"]).expect("valid");
        assert!(matches!(
            args.command,
            Command::Describe(Target {
                kind: Kind::Nodes,
                ..
            })
        ));
    }
}

/// What the line was taken for, or the kind of error.
fn parse(line: &str) -> Result<Command, clap::error::ErrorKind> {
    Args::try_parse_from(std::iter::once("caractrl").chain(line.split(' ')))
        .map(|args| args.command)
        .map_err(|error| error.kind())
}

#[test]
fn a_drain_looks_on_for_ten_minutes_unless_told_otherwise() {
    let drain = |line| match parse(line) {
        Ok(Command::Drain(drain)) => (
            drain.node,
            drain.delete_ephemeral_data,
            drain.no_wait,
            drain.timeout.as_secs(),
        ),
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(drain("drain a"), ("a".to_owned(), false, false, 600));
    assert_eq!(
        drain("drain a --delete-ephemeral-data --no-wait --timeout 90s"),
        ("a".to_owned(), true, true, 90)
    );
}

#[test]
fn a_rollback_names_a_generation_from_one() {
    for (line, expected) in [
        ("rollback shop", Some(None)),
        ("rollback shop --to 3", Some(Some(3))),
        ("rollback shop --to 0", None),
        ("rollback shop --to x", None),
    ] {
        let found = match parse(line) {
            Ok(Command::Rollback(rollback)) => Some(rollback.to),
            Ok(other) => panic!("{line}: {other:?}"),
            Err(_) => None,
        };
        assert_eq!(found, expected, "{line}");
    }
}

#[test]
fn a_secret_comes_from_files_and_never_from_flags() {
    for (line, is_valid) in [
        ("create secret db --from-file password=/run/p", true),
        (
            "create secret db --from-file a=b --from-file c=d --from-env-file -",
            true,
        ),
        ("create secret db --from-env-file .env --replace", true),
        ("create secret db", false),
        ("create secret db --from-literal a=b", false),
        ("create project db --from-file a=b", false),
    ] {
        assert_eq!(parse(line).is_ok(), is_valid, "{line}");
    }
}

#[test]
fn events_are_of_everything_of_a_kind_or_of_one_object() {
    for (line, expected) in [
        ("events", Some((None, None))),
        ("events nodes", Some((Some(Kind::Nodes), None))),
        (
            "events project shop",
            Some((Some(Kind::Projects), Some("shop".to_owned()))),
        ),
        ("events shop", None),
    ] {
        let found = match parse(line) {
            Ok(Command::Events(events)) => Some((events.kind, events.name)),
            Ok(other) => panic!("{line}: {other:?}"),
            Err(_) => None,
        };
        assert_eq!(found, expected, "{line}");
    }
}
