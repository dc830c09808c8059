//! Progress on stderr: lines that are redrawn on a terminal, else printed when they change.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use unicode_width::UnicodeWidthStr;

use super::screen::{self, Paint, Screen, Tone};
use super::table::clip;

/// A sign and what sets it off, in columns.
const SIGN_WIDTH: usize = 2;

/// A line of progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Tells the line from others; begins it where lines are printed one after the other.
    pub key: String,
    /// What begins it on a terminal, such as a branch of a tree.
    pub branch: String,
    /// What is named on a terminal; padded by the caller.
    pub label: String,
    /// How it stands.
    pub mark: Mark,
    /// What goes on.
    pub text: String,
    /// What changes too often to be printed line by line: shown on a terminal only.
    pub detail: String,
}

/// How a thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// On its way.
    Busy,
    /// As it should be.
    Good,
    /// Failed.
    Bad,
}

/// One line for each key.
pub struct Progress {
    bars: Option<(MultiProgress, BTreeMap<String, Bar>)>,
    printed: BTreeMap<String, String>,
    paint: Paint,
}

struct Bar {
    bar: ProgressBar,
    since: Instant,
    shown: Option<(Mark, String)>,
}

impl Progress {
    /// Nothing is shown yet.
    pub fn new(screen: Screen) -> Self {
        Self {
            bars: screen
                .moves
                .then(|| (MultiProgress::new(), BTreeMap::new())),
            printed: BTreeMap::new(),
            paint: screen.colours,
        }
    }

    /// Whether lines are redrawn.
    pub fn is_live(&self) -> bool {
        self.bars.is_some()
    }

    /// Sets a line; of a text of several lines the first is shown. What did not change is not
    /// said again.
    pub fn line(&mut self, key: &str, text: &str) {
        self.item(&Item {
            key: key.to_owned(),
            branch: String::new(),
            label: key.to_owned(),
            mark: Mark::Busy,
            text: text.to_owned(),
            detail: String::new(),
        });
    }

    /// Sets a line that does not change any more.
    pub fn done(&mut self, key: &str, text: &str) {
        self.item(&Item {
            key: key.to_owned(),
            branch: String::new(),
            label: key.to_owned(),
            mark: Mark::Good,
            text: text.to_owned(),
            detail: String::new(),
        });
    }

    /// Sets a line of a tree.
    pub fn item(&mut self, item: &Item) {
        let text = item.text.lines().next().unwrap_or_default().trim_end();
        let Some((all, bars)) = &mut self.bars else {
            let is_shown = self.printed.get(&item.key).is_some_and(|t| t == text);
            if !is_shown {
                super::tell(format_args!("{}  {text}", item.key));
                self.printed.insert(item.key.clone(), text.to_owned());
            }
            return;
        };
        let bar = bars.entry(item.key.clone()).or_insert_with(|| Bar {
            bar: all.add(ProgressBar::new_spinner()),
            since: Instant::now(),
            shown: None,
        });
        bar.show(item, text, self.paint);
    }

    /// Leaves the lines as they are.
    pub fn finish(&mut self) {
        for bar in self.bars.iter_mut().flat_map(|(_, bars)| bars.values_mut()) {
            if bar
                .shown
                .as_ref()
                .is_some_and(|(mark, _)| *mark == Mark::Busy)
            {
                bar.bar.set_style(style("{prefix}- {wide_msg}"));
            }
            bar.bar.disable_steady_tick();
            bar.bar.abandon();
        }
    }
}

impl Bar {
    fn show(&mut self, item: &Item, text: &str, paint: Paint) {
        let text = match item.detail.as_str() {
            "" => text.to_owned(),
            detail => format!("{text} {detail}"),
        };
        let shown = (item.mark, text.clone());
        self.bar.set_prefix(item.branch.clone());
        if self.shown.as_ref() == Some(&shown) {
            return;
        }
        let was = self.shown.replace(shown).map(|(mark, _)| mark);
        if was != Some(item.mark) {
            let sign = match item.mark {
                Mark::Busy => "{spinner}".to_owned(),
                Mark::Good => paint.text(Tone::Good, "✓"),
                Mark::Bad => paint.text(Tone::Bad, "✗"),
            };
            self.bar
                .set_style(style(&format!("{{prefix}}{sign} {{wide_msg}}")));
            match item.mark {
                Mark::Busy => self.bar.enable_steady_tick(Duration::from_millis(120)),
                Mark::Good | Mark::Bad => self.bar.disable_steady_tick(),
            }
        }
        let took = match item.mark {
            // What was so from the beginning took no time.
            Mark::Good if self.since.elapsed() > Duration::from_millis(100) => {
                format!("  {:.1} s", self.since.elapsed().as_secs_f64())
            }
            Mark::Good | Mark::Busy | Mark::Bad => String::new(),
        };
        let columns = screen::size().map_or(usize::MAX, |size| usize::from(size.cols));
        let room = columns.saturating_sub(item.branch.width() + SIGN_WIDTH + took.width());
        let line = clip(&format!("{}  {text}", item.label), room);
        let took = match took.as_str() {
            "" => took,
            took => paint.text(Tone::Aside, took),
        };
        self.bar.set_message(format!("{line}{took}"));
        self.bar.tick();
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    style.unwrap_or_else(|_| ProgressStyle::default_spinner())
}
