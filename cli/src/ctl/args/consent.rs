//! What the user agreed to beforehand.

/// The option of every command that asks before it changes or deletes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::Args)]
pub struct Consent {
    /// Do it without asking
    #[arg(long, short)]
    pub yes: bool,
}
