//! Pages of the operator, out of a directory that is looked at once a second.
//!
//! `404.html` stands for one status, `4xx.html` and `5xx.html` for a class, `default.html` for the
//! rest. In them `{status}`, `{title}`, `{detail}`, `{request_id}` and `{host}` are replaced by
//! text that is safe in HTML.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::time::MissedTickBehavior;

use super::html::escape;
use super::{Answer, Shown};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Largest page in bytes.
const PAGE_MAX: u64 = 256 * 1024;

/// Which statuses a page stands for; the first that fits is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum For {
    Status(u16),
    /// The first digit.
    Class(u16),
    All,
}

impl For {
    fn parse(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(".html")?;
        match stem {
            "default" => Some(Self::All),
            "4xx" => Some(Self::Class(4)),
            "5xx" => Some(Self::Class(5)),
            status if status.len() == 3 => {
                let status = status.parse().ok()?;
                (400..600).contains(&status).then_some(Self::Status(status))
            }
            _ => None,
        }
    }
}

/// Pages of an operator by status.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CustomPages {
    pages: BTreeMap<For, Template>,
}

/// A page with gaps.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Template(String);

impl CustomPages {
    /// The page for a status.
    pub(crate) fn find(&self, status: u16) -> Option<&Template> {
        let page = |which| self.pages.get(&which);
        page(For::Status(status))
            .or_else(|| page(For::Class(status / 100)))
            .or_else(|| page(For::All))
    }

    /// Reads a directory. What cannot be read is said once and left out.
    fn read(directory: &Path) -> Self {
        let mut pages = BTreeMap::new();
        for (which, path) in files(directory) {
            match read_page(&path) {
                Ok(page) => {
                    pages.insert(which, Template(page));
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), error = %error,
                        "an error page cannot be used; the built-in one stands for it");
                }
            }
        }
        Self { pages }
    }
}

impl Template {
    /// The page for an answer.
    pub(crate) fn fill(&self, answer: &Answer, shown: Shown<'_>) -> String {
        let mut out = String::with_capacity(self.0.len() + 128);
        let mut rest = self.0.as_str();
        while let Some(at) = rest.find('{') {
            let (plain, tail) = rest.split_at(at);
            out.push_str(plain);
            let end = tail.find('}').map_or(0, |end| end + 1);
            let (name, after) = tail.split_at(end);
            match name {
                "{status}" => out.push_str(&answer.status().to_string()),
                "{title}" => out.push_str(&escape(answer.title())),
                "{detail}" => out.push_str(&escape(&answer.detail())),
                "{request_id}" => out.push_str(&escape(shown.request_id)),
                "{host}" => out.push_str(&escape(shown.host)),
                _ => {
                    // Style sheets have braces too, and gaps within them.
                    out.push('{');
                    rest = tail.strip_prefix('{').unwrap_or_default();
                    continue;
                }
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }
}

fn files(directory: &Path) -> Vec<(For, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut files: Vec<(For, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some((For::parse(path.file_name()?.to_str()?)?, path))
        })
        .collect();
    files.sort();
    files
}

fn read_page(path: &Path) -> std::io::Result<String> {
    let size = std::fs::metadata(path)?.len();
    if size > PAGE_MAX {
        let text = format!("{size} bytes; a page has at most {PAGE_MAX}");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, text));
    }
    std::fs::read_to_string(path)
}

/// What changes when a page does.
type Stamp = Vec<(PathBuf, Option<SystemTime>, u64)>;

fn stamp(directory: &Path) -> Stamp {
    let files = files(directory).into_iter().map(|(_, path)| {
        let found = std::fs::metadata(&path).ok();
        let size = found.as_ref().map_or(0, std::fs::Metadata::len);
        (path, found.and_then(|f| f.modified().ok()), size)
    });
    files.collect()
}

/// Keeps `pages` as a directory has them; never ends. Cancel-safe.
pub(crate) async fn follow(directory: PathBuf, pages: &ArcSwap<CustomPages>) -> Infallible {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen: Option<Stamp> = None;
    loop {
        ticks.tick().await;
        let (directory, before) = (directory.clone(), seen.clone());
        let look = tokio::task::spawn_blocking(move || {
            let now = stamp(&directory);
            let is_new = before.as_ref() != Some(&now);
            is_new.then(|| (CustomPages::read(&directory), now))
        });
        if let Ok(Some((found, stamp))) = look.await {
            tracing::info!(pages = found.pages.len(), "error pages");
            pages.store(Arc::new(found));
            seen = Some(stamp);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: Shown<'static> = Shown {
        host: "a.x\"><script>",
        request_id: "id-1",
    };

    #[test]
    fn gaps_are_filled_with_safe_text_and_other_braces_stay() {
        let template = Template(
            "<style>b{c:d}</style>{status} {title}: {detail} {host} {request_id} {other} {".into(),
        );
        let filled = template.fill(&Answer::Timeout, SHOWN);
        assert_eq!(
            filled,
            "<style>b{c:d}</style>504 No answer in time: The service did not answer in time. \
             a.x&quot;&gt;&lt;script&gt; id-1 {other} {"
        );
    }

    #[test]
    fn the_most_specific_page_is_taken_and_broken_ones_are_left_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &[u8]| {
            std::fs::write(directory.path().join(name), text).expect("writes");
        };
        write("404.html", b"not found");
        write("5xx.html", b"fault");
        write("default.html", b"any");
        write("503.html", &[0xff, 0xfe]);
        write("504.html", &[b'a'; 300 * 1024]);
        write("200.html", b"never");
        write("notes.txt", b"never");
        let pages = CustomPages::read(directory.path());
        let found = |status| pages.find(status).map(|page| page.0.as_str());
        for (status, expected) in [
            (404, "not found"),
            (400, "any"),
            (500, "fault"),
            (503, "fault"),
            (504, "fault"),
        ] {
            assert_eq!(found(status), Some(expected), "{status}");
        }
        assert_eq!(pages.pages.len(), 3);
        assert_eq!(
            CustomPages::read(Path::new("/nowhere")),
            CustomPages::default()
        );
    }
}
