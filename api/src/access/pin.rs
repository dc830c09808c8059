//! Certificates of authorities by their hashes, as people pass them on.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA256, digest};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Reads a pin: the SHA-256 of a certificate in hexadecimal digits, with or without `sha256:` before
/// it and colons within; none when it is something else.
pub fn parse(text: &str) -> Option<String> {
    let text = text.trim();
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    let digits: String = digits.chars().filter(|c| *c != ':').collect();
    let is_hash = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    is_hash.then(|| digits.to_ascii_lowercase())
}

/// The hash of the one certificate in a PEM; none when there is none, or more than one.
pub fn of_pem(pem: &str) -> Option<String> {
    let (before, rest) = pem.split_once(BEGIN)?;
    let (body, after) = rest.split_once(END)?;
    if before.contains("-----") || after.contains("-----") {
        return None;
    }
    let compact: String = body.split_ascii_whitespace().collect();
    let der = BASE64_STANDARD.decode(compact).ok()?;
    let hash = digest(&SHA256, &der);
    Some(hash.as_ref().iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_a_hash_however_it_is_written() {
        let plain = "ab".repeat(32);
        let colons = vec!["AB"; 32].join(":");
        for text in [&plain, &format!("sha256:{plain}"), &colons] {
            assert_eq!(parse(text).as_ref(), Some(&plain), "{text}");
        }
        for text in ["", "sha256:", "abc", &"zz".repeat(32)] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_pin_is_of_one_certificate() {
        let one = format!("{BEGIN}\nAAEC\n{END}\n");
        let hash = "ae4b3280e56e2faf83f414a6e3dabe9d5fbe18976544c05fed121accb85b53fc";
        assert_eq!(of_pem(&one).as_deref(), Some(hash));
        assert_eq!(of_pem(&format!("{one}{one}")), None);
        assert_eq!(of_pem("nothing"), None);
        assert_eq!(of_pem(&format!("{BEGIN}\n!!\n{END}")), None);
    }
}
