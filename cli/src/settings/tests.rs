use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::*;

static SETTINGS: [Setting; 4] = [
    Setting {
        key: "listen",
        value: "ADDRESS",
        default: "127.0.0.1:80",
        help: "Where to listen",
    },
    Setting {
        key: "name",
        value: "NAME",
        default: "",
        help: "A name",
    },
    Setting {
        key: "with-agent",
        value: "BOOL",
        default: "false",
        help: "A switch",
    },
    Setting {
        key: "pause",
        value: "DURATION",
        default: "15s",
        help: "A pause",
    },
];

fn layers(args: &[&str], env: &[(&str, &str)], file: &str) -> Layers {
    let args = std::iter::once("test").chain(args.iter().copied());
    let flags = command("test", "A test", &SETTINGS).get_matches_from(args);
    let env: BTreeMap<String, String> = env
        .iter()
        .map(|(k, v)| (k.to_string(), v.to_string()))
        .collect();
    Layers::read(
        &SETTINGS,
        &flags,
        |name| env.get(name).cloned(),
        |_| Ok(file.to_owned()),
    )
}

fn listen(args: &[&str], env: &[(&str, &str)], file: &str) -> String {
    Reader::new(layers(args, env, file))
        .text("listen")
        .unwrap_or_default()
}

#[test]
fn flags_win_over_variables_over_the_file_over_defaults() {
    let (env, file) = ([("CARA_LISTEN", "env")], "listen = \"file\"");
    let with_file = ["--config", "f.toml"];
    assert_eq!(listen(&[], &[], ""), "127.0.0.1:80");
    assert_eq!(listen(&with_file, &[], file), "file");
    assert_eq!(listen(&[], &[("CARA_CONFIG", "f.toml")], file), "file");
    assert_eq!(listen(&with_file, &env, file), "env");
    assert_eq!(
        listen(&["--config", "f.toml", "--listen", "flag"], &env, file),
        "flag"
    );
}

#[test]
fn every_fault_is_reported_at_once_with_its_key_and_origin() {
    let file = "listn = 1\npause = [1]";
    let args = [
        "--config",
        "f.toml",
        "--listen",
        "here",
        "--with-agent=perhaps",
    ];
    let mut reader = Reader::new(layers(&args, &[("CARA_PAUSE", "0s")], file));
    reader.value::<SocketAddr>(
        "listen",
        "an address such as 127.0.0.1:8080",
        ([0, 0, 0, 0], 0).into(),
    );
    reader.switch("with-agent");
    reader.duration("pause");
    let error = reader.finish(()).expect_err("faults").to_string();
    assert_eq!(
        error,
        "the settings are not usable:
  listn: unknown key in f.toml, did you mean \"listen\"?
  pause: must be a text, number or boolean, not array (file f.toml)
  listen: \"here\" is not valid (flag --listen): must be an address such as 127.0.0.1:8080
  with-agent: \"perhaps\" is not valid (flag --with-agent): must be true or false
  pause: \"0s\" is not valid (variable CARA_PAUSE): must be a duration such as 500ms, 15s or 3m"
    );
}

#[test]
fn a_switch_can_be_given_bare_and_switched_off_again() {
    let is_on =
        |args: &[&str], file: &str| Reader::new(layers(args, &[], file)).switch("with-agent");
    assert!(is_on(&["--with-agent"], ""));
    assert!(is_on(&["--config", "f"], "with-agent = true"));
    assert!(!is_on(
        &["--config", "f", "--with-agent=false"],
        "with-agent = true"
    ));
}

#[test]
fn help_states_variable_and_default_of_every_flag() {
    let help = command("test", "A test", &SETTINGS)
        .render_long_help()
        .to_string();
    assert!(
        help.contains("[env: CARA_LISTEN, default: 127.0.0.1:80]"),
        "{help}"
    );
    assert!(help.contains("[env: CARA_NAME]"), "{help}");
}
