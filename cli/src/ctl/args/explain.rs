//! Options of `explain`.

/// What is to be explained.
#[derive(Debug, clap::Args)]
pub struct Topic {
    /// A code such as E-NOT-FOUND, or a kind with a field of it, such as
    /// project.spec.services.image; everything that there is when left out
    #[arg(value_name = "CODE|KIND[.FIELD...]")]
    pub topic: Option<String>,
}
