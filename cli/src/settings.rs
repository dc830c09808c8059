//! Settings of a program: defaults < TOML file < environment < flags.
//!
//! A program lists its settings once, as data. Flags, variables, keys of the file, `--help` and
//! the reference in `docs/configuration.md` all follow from that list. Values are checked
//! together, and all faults are reported at once.

mod layers;
mod parse;

pub use layers::{Layers, Origin};
pub use parse::{Reader, SettingsError, WEB, without_slash};

use clap::{Arg, ArgAction, Command};

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Key in the file, and the flag without its dashes.
    pub key: &'static str,
    /// Stands for the value in `--help`.
    pub value: &'static str,
    /// What applies when nothing is given; empty when the setting is then off or derived.
    pub default: &'static str,
    /// One sentence.
    pub help: &'static str,
}

impl Setting {
    /// The environment variable: `CARA_` and the key in upper case.
    pub fn variable(&self) -> String {
        format!("CARA_{}", self.key.to_uppercase().replace('-', "_"))
    }
}

/// Key of the setting that names the file; not a key of the file itself.
pub const CONFIG: Setting = Setting {
    key: "config",
    value: "FILE",
    default: "",
    help: "TOML file with settings",
};

/// Settings that several programs have.
pub mod common {
    use super::Setting;

    /// Name of the node.
    pub const NODE_NAME: Setting = Setting {
        key: "node-name",
        value: "NAME",
        default: "",
        help: "Name of this host as a node; the host name if not given",
    };
    /// Address of the engine.
    pub const DOCKER_HOST: Setting = Setting {
        key: "docker-host",
        value: "URL",
        default: "unix:///var/run/docker.sock",
        help: "Address of the container engine",
    };
    /// Directory for files of containers.
    pub const FILES_DIR: Setting = Setting {
        key: "files-dir",
        value: "DIR",
        default: "/run/caravanserai/files",
        help: "Directory for configuration and secrets that containers are given; a tmpfs is mounted there unless it is on one",
    };
    /// Directories that `HostPath` volumes may lie in.
    pub const ALLOW_HOST_PATH: Setting = Setting {
        key: "allow-host-path",
        value: "DIRS",
        default: "",
        help: "Directories of this host, separated by commas, that projects may mount by HostPath volumes; none if not given",
    };
    /// Memory of containers that ask for no limit.
    pub const DEFAULT_MEMORY_LIMIT: Setting = Setting {
        key: "default-memory-limit",
        value: "AMOUNT",
        default: "1Gi",
        help: "Memory limit of containers that ask for none, such as 512Mi; 0 for no limit",
    };
    /// Processes of containers that ask for no limit.
    pub const DEFAULT_PIDS_LIMIT: Setting = Setting {
        key: "default-pids-limit",
        value: "NUMBER",
        default: "2048",
        help: "Limit of processes and threads of containers that ask for none",
    };
    /// Time for requests under way when a container is replaced.
    pub const DRAIN_PERIOD: Setting = Setting {
        key: "drain-period",
        value: "DURATION",
        default: "5s",
        help: "How long an old container runs on after a new one took its place, for requests that are under way",
    };
    /// Time for a service to be ready.
    pub const PROGRESS_DEADLINE: Setting = Setting {
        key: "progress-deadline",
        value: "DURATION",
        default: "2m",
        help: "How long a service may take to be ready before it counts as failed, and a rollout as one to return from",
    };
    /// Pause between heartbeats.
    pub const HEARTBEAT_INTERVAL: Setting = Setting {
        key: "heartbeat-interval",
        value: "DURATION",
        default: "5s",
        help: "Pause between signs of life of the agent; three should fit into the server's node timeout",
    };
    /// Form of the log.
    pub const LOG_FORMAT: Setting = Setting {
        key: "log-format",
        value: "FORMAT",
        default: "text",
        help: "Form of the log: text or json",
    };
    /// What is logged.
    pub const LOG_LEVEL: Setting = Setting {
        key: "log-level",
        value: "FILTER",
        default: "info",
        help: "What to log: error, warn, info, debug, or a filter by module",
    };
}

/// The program's command line, made from its settings.
pub fn command(name: &'static str, about: &'static str, settings: &[Setting]) -> Command {
    let flags = std::iter::once(&CONFIG).chain(settings).map(|setting| {
        let default = match setting.default {
            "" => String::new(),
            default => format!(", default: {default}"),
        };
        let arg = Arg::new(setting.key)
            .long(setting.key)
            .value_name(setting.value)
            .help(format!(
                "{} [env: {}{default}]",
                setting.help,
                setting.variable()
            ))
            .action(ArgAction::Set);
        if setting.value == "BOOL" {
            arg.num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
        } else {
            arg
        }
    });
    // Given twice, the last one counts, so that scripts can append to a given command line.
    Command::new(name)
        .args_override_self(true)
        .about(about)
        .version(env!("CARGO_PKG_VERSION"))
        .args(flags)
}

/// A Markdown table of settings, for the reference.
pub fn reference(settings: &[Setting]) -> String {
    let mut out =
        String::from("| flag and key | variable | default | meaning |\n|---|---|---|---|\n");
    for setting in std::iter::once(&CONFIG).chain(settings) {
        let default = if setting.default.is_empty() {
            "-".to_owned()
        } else {
            format!("`{}`", setting.default)
        };
        out.push_str(&format!(
            "| `--{}` | `{}` | {default} | {} |\n",
            setting.key,
            setting.variable(),
            setting.help
        ));
    }
    out
}

#[cfg(test)]
#[path = "settings/tests.rs"]
mod tests;
