//! Image references: `[registry[:port]/]path[:tag][@digest]`.
//!
//! Grammar after the reference format of the OCI distribution specification.

use std::fmt;

/// A reference, taken apart and completed as Docker does it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRef {
    /// Registry host, with port if one was given; `docker.io` when none was.
    pub registry: String,
    /// Path in the registry; `library/` is added to a bare name on `docker.io`.
    pub path: String,
    /// Tag; `latest` when neither tag nor digest was given.
    pub tag: Option<String>,
    /// Digest, such as `sha256:…`.
    pub digest: Option<String>,
}

/// Why a text is not an image reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The name part is empty.
    #[error("the image name is empty")]
    Empty,
    /// The registry is no host.
    #[error("the registry must be a host name or address, with a port if need be")]
    Registry,
    /// A path component breaks the rule.
    #[error(
        "each part of the image name must consist of lowercase letters and digits, separated by '.', '_', '__' or '-'"
    )]
    Path,
    /// The tag breaks the rule.
    #[error(
        "the tag must consist of at most 128 letters, digits, '_', '.' or '-', not starting with '.' or '-'"
    )]
    Tag,
    /// The digest breaks the rule.
    #[error("the digest must look like sha256: followed by 64 hexadecimal digits")]
    Digest,
    /// The name is too long.
    #[error("the image name must be no more than 255 characters")]
    TooLong,
}

impl ImageRef {
    /// Reads a reference.
    ///
    /// # Errors
    /// Says which part breaks its rule.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_owned())),
            Some(_) => return Err(ImageError::Digest),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|t| !is_tag(t)) {
            return Err(ImageError::Tag);
        }
        if name.is_empty() {
            return Err(ImageError::Empty);
        }
        if name.len() > 255 {
            return Err(ImageError::TooLong);
        }
        let (registry, path) = split_registry(name);
        if !is_registry(registry) {
            return Err(ImageError::Registry);
        }
        if !path.split('/').all(is_component) {
            return Err(ImageError::Path);
        }
        let bare = registry == "docker.io" && !path.contains('/');
        let tag = tag
            .map(str::to_owned)
            .or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Self {
            registry: registry.to_owned(),
            path: if bare {
                format!("library/{path}")
            } else {
                path.to_owned()
            },
            tag,
            digest,
        })
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
        _ => ("docker.io", name),
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_port = |p: &str| p.parse::<u16>().is_ok_and(|number| number > 0);
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let is_v6 = host.starts_with('[') && host.ends_with(']');
    port.is_none_or(is_port) && (is_v6 || host.split('.').all(is_label))
}

fn is_component(part: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let edges = bytes.first().is_some_and(|b| alnum(*b)) && bytes.last().is_some_and(|b| alnum(*b));
    let separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let mut separators = separators.filter(|s| !s.is_empty());
    edges && separators.all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128
        && tag.as_bytes().first().is_some_and(|b| word(*b))
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        let sized = if algorithm == "sha256" {
            hex.len() == 64
        } else {
            hex.len() >= 32
        };
        !algorithm.is_empty() && sized && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        ImageRef::parse(text).map_or_else(|error| error.to_string(), |image| image.to_string())
    }

    #[test]
    fn references_are_completed_as_docker_does() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, expected) in [
            ("nginx", "docker.io/library/nginx:latest".to_owned()),
            ("nginx:alpine", "docker.io/library/nginx:alpine".to_owned()),
            ("bitnami/redis:7", "docker.io/bitnami/redis:7".to_owned()),
            ("localhost:5000/a/b", "localhost:5000/a/b:latest".to_owned()),
            ("localhost/a", "localhost/a:latest".to_owned()),
            ("ghcr.io/x/y-z__w:1.2", "ghcr.io/x/y-z__w:1.2".to_owned()),
            (
                &format!("nginx@{digest}"),
                format!("docker.io/library/nginx@{digest}"),
            ),
            (
                &format!("nginx:1@{digest}"),
                format!("docker.io/library/nginx:1@{digest}"),
            ),
        ] {
            assert_eq!(read(text), expected);
        }
    }

    #[test]
    fn bad_references_are_refused() {
        for (text, expected) in [
            ("", ImageError::Empty),
            (":tag", ImageError::Empty),
            ("Nginx", ImageError::Path),
            ("a b", ImageError::Path),
            ("a//b", ImageError::Path),
            ("a___b", ImageError::Path),
            ("-a", ImageError::Path),
            ("http://a.com/b", ImageError::Registry),
            ("exa mple.com/x", ImageError::Registry),
            ("foo:bar/x", ImageError::Registry),
            ("a:.x", ImageError::Tag),
            ("a:", ImageError::Tag),
            ("a@sha256:12", ImageError::Digest),
        ] {
            assert_eq!(ImageRef::parse(text), Err(expected), "{text}");
        }
    }
}
