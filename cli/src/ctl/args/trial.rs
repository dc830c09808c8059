//! Whether a change is made, or only tried: the same for every command that changes something.

use clap::ValueEnum;

/// The option of every command that changes something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::Args)]
pub struct Trial {
    /// Only try it, and write nothing: client looks at what is here, server has everything checked
    /// there as well and says what would be; server when WHERE is left out
    #[arg(
        long,
        value_enum,
        value_name = "WHERE",
        default_value_t,
        hide_default_value = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "server"
    )]
    pub dry_run: DryRun,
}

/// Where a change is tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// It is made
    #[default]
    None,
    /// On this machine, as far as it can tell
    Client,
    /// At the server, with all its checks
    Server,
}

impl DryRun {
    /// What follows the line that says what was done.
    pub fn mark(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }

    /// Whether nothing is changed.
    pub fn is_dry(self) -> bool {
        self != Self::None
    }
}
