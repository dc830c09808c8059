//! Files in services: what a request names, and what an answer says beside the tar stream.

/// Content type of a tar stream.
pub const TAR: &str = "application/x-tar";
/// Header of an answer: `file`, `directory` or `link`.
pub const KIND: &str = "x-cara-kind";
/// Header of an answer: size of a file in bytes.
pub const SIZE: &str = "x-cara-size";

/// The path that a query names.
///
/// # Errors
/// In words: it is missing, or not absolute.
pub fn path_of(pairs: &[(String, String)]) -> Result<&str, String> {
    let path = pairs.iter().find(|(key, _)| key == "path");
    let path = path.map_or("", |(_, path)| path.as_str());
    if !path.starts_with('/') || path.contains('\0') {
        return Err(format!("path {path:?} is not absolute: begin it with /"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::path_of;

    #[test]
    fn paths_are_absolute() {
        for (path, is_valid) in [
            ("/", true),
            ("/a b/c", true),
            ("a", false),
            ("", false),
            ("/a\0", false),
        ] {
            let pairs = [("path".to_owned(), path.to_owned())];
            assert_eq!(path_of(&pairs).is_ok(), is_valid, "{path:?}");
        }
        assert!(path_of(&[]).is_err());
    }
}
