//! Reads the operator's pages out of a directory that is looked at once a second.
//!
//! `DIRECTORY/404.html` is for all hosts, `DIRECTORY/dev/404.html` for those of the environment
//! `dev`. Nothing outside the directory is read, also where a link leads there.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use cara_api::names::check_label;
use tokio::time::MissedTickBehavior;

use super::custom::{CustomPages, For, PageSet, Template};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Largest page in bytes.
const PAGE_MAX: u64 = 256 * 1024;
/// What all pages together may have, in bytes: they are kept in memory.
const PAGES_MAX: u64 = 32 * 1024 * 1024;

/// Where an operator's own error pages are.
#[derive(Debug, Clone)]
pub struct ErrorPages {
    /// Pages for all hosts; a directory in it has those for the environment of its name.
    pub directory: PathBuf,
    /// What comes after the environment in hostnames: `{host}.{environment}.{base_domain}`.
    pub base_domain: String,
}

/// A file of the directory that is a page by its name. Sorted, those for all hosts come first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct File {
    /// None: for all.
    environment: Option<String>,
    stands_for: For,
    path: PathBuf,
}

fn files(directory: &Path) -> Vec<File> {
    let mut files = files_of(directory, None);
    for (name, path) in entries(directory) {
        // A label of a hostname is neither empty nor `..`, and has no separator.
        if check_label(&name).is_ok() && path.is_dir() {
            files.extend(files_of(&path, Some(&name)));
        }
    }
    files.sort();
    files
}

fn files_of(directory: &Path, environment: Option<&str>) -> Vec<File> {
    let pages = entries(directory).filter_map(|(name, path)| {
        Some(File {
            environment: environment.map(str::to_owned),
            stands_for: For::parse(&name)?,
            path,
        })
    });
    pages.collect()
}

/// Names and paths of what is in a directory; nothing where it cannot be read.
fn entries(directory: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| {
        let entry = entry.ok()?;
        Some((entry.file_name().into_string().ok()?, entry.path()))
    })
}

/// Reads all pages. What cannot be read is said once and left out.
fn read(settings: &ErrorPages) -> CustomPages {
    let mut pages = CustomPages {
        base_domain: settings.base_domain.clone(),
        common: PageSet::default(),
        environments: BTreeMap::new(),
    };
    let Ok(root) = settings.directory.canonicalize() else {
        return pages;
    };
    let mut left = PAGES_MAX;
    for file in files(&settings.directory) {
        let text = match read_page(&root, &file.path, left) {
            Ok(text) => text,
            Err(error) => {
                tracing::warn!(path = %file.path.display(), error = %error,
                    "an error page cannot be used; the next that fits stands for it");
                continue;
            }
        };
        left = left.saturating_sub(text.len() as u64);
        let set = match file.environment {
            None => &mut pages.common,
            Some(name) => pages.environments.entry(name).or_default(),
        };
        set.0.insert(file.stands_for, Template(text));
    }
    pages
}

fn read_page(root: &Path, path: &Path, left: u64) -> io::Result<String> {
    let refused = |text: String| Err(io::Error::new(io::ErrorKind::InvalidData, text));
    let path = path.canonicalize()?;
    if !path.starts_with(root) {
        return refused("leads out of the directory".to_owned());
    }
    let found = std::fs::metadata(&path)?;
    if !found.is_file() {
        return refused("is no file".to_owned());
    }
    let size = found.len();
    if size > PAGE_MAX {
        return refused(format!("{size} bytes; a page has at most {PAGE_MAX}"));
    }
    if size > left {
        return refused(format!("all pages together have at most {PAGES_MAX} bytes"));
    }
    std::fs::read_to_string(path)
}

/// What changes when a page does.
type Stamp = Vec<(File, Option<SystemTime>, u64)>;

fn stamp(directory: &Path) -> Stamp {
    let files = files(directory).into_iter().map(|file| {
        let found = std::fs::metadata(&file.path).ok();
        let size = found.as_ref().map_or(0, std::fs::Metadata::len);
        (file, found.and_then(|f| f.modified().ok()), size)
    });
    files.collect()
}

/// Keeps `pages` as a directory has them; never ends. Cancel-safe.
pub(crate) async fn follow(settings: ErrorPages, pages: &ArcSwap<CustomPages>) -> Infallible {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen: Option<Stamp> = None;
    loop {
        ticks.tick().await;
        let (settings, before) = (settings.clone(), seen.clone());
        let look = tokio::task::spawn_blocking(move || {
            let now = stamp(&settings.directory);
            let is_new = before.as_ref() != Some(&now);
            is_new.then(|| (read(&settings), now))
        });
        if let Ok(Some((found, stamp))) = look.await {
            tracing::info!(pages = found.len(), "error pages");
            pages.store(Arc::new(found));
            seen = Some(stamp);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, name: &str, text: &[u8]) {
        std::fs::write(directory.join(name), text).expect("writes");
    }

    fn read_from(directory: &Path) -> CustomPages {
        read(&ErrorPages {
            directory: directory.to_owned(),
            base_domain: "x.org".to_owned(),
        })
    }

    /// Where a page was found, by what it says.
    fn shown(pages: &CustomPages) -> Vec<String> {
        let environments = pages.environments.iter().map(|(name, set)| (&**name, set));
        let sets = [("", &pages.common)].into_iter().chain(environments);
        let lines = sets.flat_map(|(name, set)| {
            let pages = set.0.iter();
            pages.map(move |(which, page)| format!("{name}/{which:?} {}", page.0))
        });
        lines.collect()
    }

    #[test]
    fn what_is_a_page_is_read_and_broken_ones_are_left_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = directory.path();
        write(at, "404.html", b"not found");
        write(at, "5xx.html", b"fault");
        write(at, "default.html", b"any");
        write(at, "503.html", &[0xff, 0xfe]);
        write(at, "504.html", &vec![b'a'; 300 * 1024]);
        write(at, "200.html", b"never");
        write(at, "notes.txt", b"never");
        std::fs::create_dir(at.join("500.html")).expect("a directory");
        for name in ["dev", "Prod", "a.b", "..dots", "under_score"] {
            std::fs::create_dir(at.join(name)).expect("a directory");
            write(&at.join(name), "404.html", name.as_bytes());
        }
        std::fs::create_dir(at.join("dev/deeper")).expect("a directory");
        write(&at.join("dev/deeper"), "404.html", b"never");
        let expected = ["/Status(404) not found", "/Class(5) fault", "/All any"];
        let expected = [&expected[..], &["dev/Status(404) dev"]].concat();
        assert_eq!(shown(&read_from(at)), expected);
        let nowhere = read_from(Path::new("/nowhere"));
        assert_eq!(nowhere.len(), 0);
    }

    #[test]
    fn nothing_outside_the_directory_is_read() {
        let outside = tempfile::tempdir().expect("a directory");
        write(outside.path(), "404.html", b"secret");
        let directory = tempfile::tempdir().expect("a directory");
        let at = directory.path();
        let link = |to: &Path, name: &str| {
            std::os::unix::fs::symlink(to, at.join(name)).expect("a link");
        };
        link(&outside.path().join("404.html"), "404.html");
        link(outside.path(), "dev");
        link(Path::new("/dev/zero"), "5xx.html");
        // Links that stay inside are how some systems swap whole directories.
        std::fs::create_dir(at.join("version1")).expect("a directory");
        write(&at.join("version1"), "404.html", b"inside");
        link(Path::new("version1"), "prod");
        let expected = ["prod/Status(404) inside", "version1/Status(404) inside"];
        assert_eq!(shown(&read_from(at)), expected);
    }
}
