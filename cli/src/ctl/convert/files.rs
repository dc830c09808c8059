//! Files as the conversion asks for them; the disk is one place where they may be.

use std::path::Path;

/// What there is under a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    /// A socket or device.
    Other,
    Missing,
}

/// Where files are.
pub trait Files {
    /// What there is.
    fn kind(&self, path: &str) -> Kind;
    /// The content of a file of at most `max` bytes.
    ///
    /// # Errors
    /// It cannot be read, or is larger.
    fn read(&self, path: &str, max: usize) -> std::io::Result<Vec<u8>>;
    /// Names in a directory, sorted.
    ///
    /// # Errors
    /// It cannot be read.
    fn list(&self, path: &str) -> std::io::Result<Vec<String>>;
}

/// The disk.
pub struct Disk;

impl Files for Disk {
    fn kind(&self, path: &str) -> Kind {
        match std::fs::metadata(path) {
            Ok(found) if found.is_file() => Kind::File,
            Ok(found) if found.is_dir() => Kind::Directory,
            Ok(_) => Kind::Other,
            Err(_) => Kind::Missing,
        }
    }

    fn read(&self, path: &str, max: usize) -> std::io::Result<Vec<u8>> {
        use std::io::Read;
        let mut file: Box<dyn Read> = match path {
            "-" => Box::new(std::io::stdin()),
            _ => Box::new(std::fs::File::open(Path::new(path))?),
        };
        let mut bytes = Vec::new();
        let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
        file.by_ref().take(limit).read_to_end(&mut bytes)?;
        if bytes.len() > max {
            let message = format!("it has more than {max} bytes");
            return Err(std::io::Error::new(
                std::io::ErrorKind::FileTooLarge,
                message,
            ));
        }
        Ok(bytes)
    }

    fn list(&self, path: &str) -> std::io::Result<Vec<String>> {
        let entries = std::fs::read_dir(path)?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names: Vec<String> = names.collect::<std::io::Result<_>>()?;
        names.sort();
        Ok(names)
    }
}

/// A path, seen from a directory. Purely of texts: no link is followed.
pub fn join(directory: &str, path: &str) -> String {
    let whole = if path.starts_with('/') || directory.is_empty() {
        path.to_owned()
    } else {
        format!("{directory}/{path}")
    };
    let root = if whole.starts_with('/') { "/" } else { "" };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if !root.is_empty() => {}
            _ => parts.push(part),
        }
    }
    match (root, parts.join("/")) {
        ("", joined) if joined.is_empty() => ".".to_owned(),
        (root, joined) => format!("{root}{joined}"),
    }
}

/// The directory that a file is in; empty for the current one.
pub fn parent(path: &str) -> String {
    match path.rsplit_once('/') {
        Some(("", _)) => "/".to_owned(),
        Some((directory, _)) => directory.to_owned(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_put_together_without_looking() {
        for (directory, path, expected) in [
            ("", "a", "a"),
            ("", "./a/../b", "b"),
            ("x", ".", "x"),
            ("", ".", "."),
            ("x/y", "../z", "x/z"),
            ("", "../z", "../z"),
            ("x", "../../z", "../z"),
            ("x", "/etc//a/", "/etc/a"),
            ("/", "a", "/a"),
            ("/x", "../../a", "/a"),
        ] {
            assert_eq!(join(directory, path), expected, "{directory} {path}");
        }
    }
}
