//! Where to copy from and to, as the command line says it.

use std::fmt;
use std::path::{Path, PathBuf};

use super::super::failure::Failure;

/// A path here or in a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Here(PathBuf),
    There(Remote),
}

/// A path in a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remote {
    pub(super) project: String,
    pub(super) service: String,
    pub(super) path: String,
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.project, self.service, self.path)
    }
}

impl Place {
    /// `PROJECT/SERVICE:/path` is in a service, and so is `SERVICE:/path` where there is a default
    /// project; what begins with `.` or `/` never is.
    pub(super) fn parse(text: &str, home: Option<&str>) -> Self {
        let here = || Self::Here(PathBuf::from(text));
        if text.starts_with(['.', '/']) {
            return here();
        }
        let Some((whom, path)) = text.split_once(":/") else {
            return here();
        };
        let named = match (whom.split('/').collect::<Vec<_>>().as_slice(), home) {
            ([project, service], _) => (*project, *service),
            ([service], Some(home)) => (home, *service),
            _ => return here(),
        };
        match named {
            ("", _) | (_, "") => here(),
            (project, service) => Self::There(Remote {
                project: project.to_owned(),
                service: service.to_owned(),
                path: format!("/{path}"),
            }),
        }
    }
}

impl Remote {
    /// The last part of the path, if it has one.
    pub(super) fn name(&self) -> Option<&str> {
        let name = self.path.trim_end_matches('/').rsplit('/').next();
        name.filter(|name| !name.is_empty() && *name != ".")
    }
}

/// Into which directory of a service, and under which name, something is put; `there` says
/// whether the path is a directory, if anything is there. An empty name: what is in the source,
/// without the source itself.
///
/// # Errors
/// A directory cannot take the place of a file, and a file that ends with / is none.
pub(super) fn destination(
    from: &Path,
    is_directory: bool,
    to: &Remote,
    there: Option<bool>,
) -> Result<(String, String), Failure> {
    let own = from
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let is_content = from.as_os_str().as_encoded_bytes().ends_with(b"/.") || own.is_none();
    match there {
        Some(true) if is_content => Ok((to.path.clone(), String::new())),
        Some(true) => Ok((to.path.clone(), own.unwrap_or_default())),
        Some(false) if is_directory => Err(Failure::other(format!(
            "{to} is a file: a directory cannot take its place"
        ))),
        Some(false) | None => {
            if to.path.ends_with('/') && !is_directory {
                return Err(Failure::other(format!("there is no directory {to}")));
            }
            let path = to.path.trim_end_matches('/');
            let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
            let directory = if directory.is_empty() { "/" } else { directory };
            Ok((directory.to_owned(), name.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(path: &str) -> Remote {
        Remote {
            project: "shop".to_owned(),
            service: "web".to_owned(),
            path: path.to_owned(),
        }
    }

    #[test]
    fn a_path_in_a_service_names_both() {
        assert_eq!(
            Place::parse("shop/web:/a/b", None),
            Place::There(remote("/a/b"))
        );
        assert_eq!(Place::parse("shop/web:/", None), Place::There(remote("/")));
        let at_home = Place::parse("web:/a", Some("shop"));
        assert_eq!(at_home, Place::There(remote("/a")));
        for here in [
            "./shop/web:/a",
            "/shop/web:/a",
            "web:/a",
            "a/b/c:/d",
            "file",
            "shop/web:a",
        ] {
            assert_eq!(Place::parse(here, None), Place::Here(here.into()));
        }
    }

    #[test]
    fn what_is_put_where_follows_what_is_there() {
        let check = |from: &str, is_directory, to: &str, there, expected: Option<(&str, &str)>| {
            let found = destination(Path::new(from), is_directory, &remote(to), there).ok();
            let expected = expected.map(|(d, n)| (d.to_owned(), n.to_owned()));
            assert_eq!(found, expected, "{from} to {to}");
        };
        check("a/file", false, "/tmp", Some(true), Some(("/tmp", "file")));
        check("a/file", false, "/tmp/new", None, Some(("/tmp", "new")));
        check("a/file", false, "/new", None, Some(("/", "new")));
        check(
            "a/file",
            false,
            "/tmp/old",
            Some(false),
            Some(("/tmp", "old")),
        );
        check("a/file", false, "/tmp/none/", None, None);
        check("tree", true, "/tmp", Some(true), Some(("/tmp", "tree")));
        check("tree", true, "/tmp/new/", None, Some(("/tmp", "new")));
        check("tree", true, "/tmp/old", Some(false), None);
        check("tree/.", true, "/tmp", Some(true), Some(("/tmp", "")));
        check(".", true, "/tmp", Some(true), Some(("/tmp", "")));
    }
}
