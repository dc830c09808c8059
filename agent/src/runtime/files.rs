//! Files that containers are given, kept in memory (tmpfs) on the host and mounted read-only.
//!
//! Layout: `{root}/{project}/{service}.{fingerprint}/{number}`. The root belongs to the agent's
//! user alone; each file is readable in its container by every user there.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::plan::WantedService;

/// Magic number of tmpfs, statfs(2).
const TMPFS: i64 = 0x0102_1994;

/// Where files are kept.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    root: PathBuf,
}

impl Files {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn of_service(&self, project: &str, service: &WantedService) -> PathBuf {
        let name = format!("{}.{}", service.name, service.fingerprint);
        self.root.join(project).join(name)
    }

    /// Where the files of a service are on the host, and where they appear in its container.
    pub(crate) fn places(&self, project: &str, service: &WantedService) -> Vec<(PathBuf, String)> {
        let directory = self.of_service(project, service);
        let files = service.files.iter().enumerate();
        files
            .map(|(number, file)| (directory.join(number.to_string()), file.path.clone()))
            .collect()
    }

    /// Writes the files of a service; those that are there already stay. Blocking.
    ///
    /// # Errors
    /// The files cannot be written, or the root is not in memory.
    pub(crate) fn write(&self, project: &str, service: &WantedService) -> io::Result<()> {
        if service.files.is_empty() {
            return Ok(());
        }
        self.prepare()?;
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(self.of_service(project, service))?;
        for ((path, _), file) in self.places(project, service).iter().zip(&service.files) {
            write_once(path, file.content.reveal().as_bytes())?;
        }
        Ok(())
    }

    /// Names of projects that have files here. Blocking.
    pub(crate) fn projects(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.root)
            .into_iter()
            .flatten()
            .flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.collect()
    }

    /// Makes the root, and mounts a tmpfs there unless it is on one.
    fn prepare(&self) -> io::Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.root)?;
        if rustix::fs::statfs(&self.root)?.f_type as i64 == TMPFS {
            return Ok(());
        }
        use rustix::mount::MountFlags;
        let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
        let mounted = rustix::mount::mount(
            "tmpfs",
            &self.root,
            "tmpfs",
            flags,
            Some(c"mode=0700,size=64m"),
        );
        mounted.map_err(|error| {
            let text = format!(
                "{} is not in memory, and no tmpfs can be mounted there ({error}): choose another --files-dir",
                self.root.display()
            );
            io::Error::other(text)
        })
    }

    /// Removes the files of services that are neither wanted nor have a container. Blocking.
    pub(crate) fn prune(&self, project: &str, keep: &BTreeSet<String>) -> io::Result<()> {
        let directory = self.root.join(project);
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut is_empty = true;
        for entry in entries {
            let entry = entry?;
            if keep.contains(&*entry.file_name().to_string_lossy()) {
                is_empty = false;
            } else {
                std::fs::remove_dir_all(entry.path())?;
            }
        }
        if is_empty {
            std::fs::remove_dir(&directory)?;
        }
        Ok(())
    }
}

/// Writes a file under another name first, so that nobody reads half of it.
fn write_once(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::io::Write;
    if std::fs::read(path).is_ok_and(|found| found == content) {
        return Ok(());
    }
    let draft = path.with_extension("new");
    // One that a crash left cannot be written to.
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o444);
    options.open(&draft)?.write_all(content)?;
    std::fs::rename(draft, path)
}

/// The directory behind a path of the host, if it lies under one of the allowed roots after all
/// links are followed. Blocking.
///
/// # Errors
/// Says in words why it may not be mounted.
pub(crate) fn allowed_directory(path: &str, roots: &[PathBuf]) -> Result<String, String> {
    let real = std::fs::canonicalize(path)
        .map_err(|error| format!("the directory {path} cannot be used: {error}"))?;
    if !real.is_dir() {
        return Err(format!("{path} is not a directory"));
    }
    let roots = roots
        .iter()
        .filter_map(|root| std::fs::canonicalize(root).ok());
    if roots.into_iter().any(|root| real.starts_with(root)) {
        return Ok(real.to_string_lossy().into_owned());
    }
    Err(format!(
        "{path} is not under a directory that this node allows: its agent's --allow-host-path lists them"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_does_not_lead_out_of_the_allowed_roots() {
        let base = tempfile::tempdir().expect("a directory");
        let (root, other) = (base.path().join("root"), base.path().join("other"));
        for directory in [&root, &other, &root.join("data")] {
            std::fs::create_dir(directory).expect("made");
        }
        std::os::unix::fs::symlink(&other, root.join("link")).expect("made");
        let roots = [root.clone()];
        let verdict = |path: PathBuf| allowed_directory(&path.to_string_lossy(), &roots).is_ok();
        assert!(verdict(root.join("data")));
        assert!(verdict(root.clone()));
        for bad in [
            root.join("link"),
            root.join("data/../../other"),
            root.join("none"),
            other,
        ] {
            assert!(!verdict(bad.clone()), "{}", bad.display());
        }
    }
}
