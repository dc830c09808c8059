//! Selectors, for every command that takes them.

/// Which objects of a kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Selectors {
    /// Those with these labels, such as tier=web,env in (a,b),!old
    #[arg(
        long,
        short = 'l',
        value_name = "SELECTOR",
        conflicts_with = "names",
        allow_hyphen_values = true
    )]
    pub selector: Option<String>,
    /// Those with these values, such as status.phase!=Running
    #[arg(long, value_name = "SELECTOR", conflicts_with = "names")]
    pub field_selector: Option<String>,
}

impl Selectors {
    /// As the API takes them.
    pub fn query(&self) -> Vec<(&'static str, &str)> {
        let labels = self.selector.as_deref().map(|s| ("labelSelector", s));
        let fields = self.field_selector.as_deref().map(|s| ("fieldSelector", s));
        labels.into_iter().chain(fields).collect()
    }

    /// Whether anything is selected at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
