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
        value_parser = said,
        allow_hyphen_values = true
    )]
    pub selector: Option<String>,
    /// Those with these values, such as status.phase!=Running
    #[arg(long, value_name = "SELECTOR", conflicts_with = "names", value_parser = said)]
    pub field_selector: Option<String>,
}

/// Reads a selector, which must say something: a variable that is not set would select everything.
pub fn said(text: &str) -> Result<String, &'static str> {
    match text.trim().is_empty() {
        false => Ok(text.to_owned()),
        true => Err("it is empty, which selects everything; leave it out if that is meant"),
    }
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
