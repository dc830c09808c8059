//! Progress on stderr: lines that are redrawn on a terminal, else printed when they change.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// One line for each key.
pub struct Progress {
    bars: Option<(MultiProgress, BTreeMap<String, ProgressBar>)>,
    printed: BTreeMap<String, String>,
}

impl Progress {
    /// Nothing is shown yet.
    pub fn new() -> Self {
        let bars = std::io::stderr()
            .is_terminal()
            .then(|| (MultiProgress::new(), BTreeMap::new()));
        Self {
            bars,
            printed: BTreeMap::new(),
        }
    }

    /// Sets a line; of a text of several lines the first is shown. What did not change is not
    /// said again.
    pub fn line(&mut self, key: &str, text: &str) {
        let text = text.lines().next().unwrap_or_default().trim_end();
        if self.printed.get(key).is_some_and(|shown| shown == text) {
            return;
        }
        match &mut self.bars {
            Some((all, bars)) => {
                let bar = bars.entry(key.to_owned()).or_insert_with(|| {
                    let style = ProgressStyle::with_template("{spinner} {prefix}  {msg}");
                    let bar = all.add(ProgressBar::new_spinner());
                    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                    bar.set_prefix(key.to_owned());
                    bar.enable_steady_tick(Duration::from_millis(120));
                    bar
                });
                bar.set_message(text.to_owned());
            }
            None => super::tell(format_args!("{key}  {text}")),
        }
        self.printed.insert(key.to_owned(), text.to_owned());
    }

    /// Sets a line that does not change any more.
    pub fn done(&mut self, key: &str, text: &str) {
        self.line(key, text);
        if let Some(bar) = self.bars.as_ref().and_then(|(_, bars)| bars.get(key)) {
            bar.finish();
        }
    }

    /// Leaves the lines as they are.
    pub fn finish(&mut self) {
        for bar in self.bars.iter().flat_map(|(_, bars)| bars.values()) {
            bar.finish();
        }
    }
}
