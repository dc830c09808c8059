//! The rules for a Certificate that need no look into the PEM.

use crate::Certificate;
use crate::certificate::is_reserved;
use crate::hostname::Hostname;
use crate::problem::FieldError;

/// The longest chain or key, in bytes; real ones have a few thousand.
const PEM_MAX: usize = 64 * 1024;
/// The most hosts.
const HOSTS_MAX: usize = 100;

/// Whether a private key must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A new certificate needs one.
    Required,
    /// There is a stored one.
    Optional,
}

/// Checks a certificate beyond its name.
pub fn certificate(certificate: &Certificate, key: Key) -> Vec<FieldError> {
    let mut faults = Vec::new();
    let spec = &certificate.spec;
    let private_key = spec.private_key.reveal();
    let mut check = |field: &str, text: &str, is_required: bool| {
        let path = format!("spec.{field}");
        if text.is_empty() && is_required {
            faults.push(FieldError::new(
                &path,
                format!("{path} is required, as PEM"),
            ));
        }
        if text.len() > PEM_MAX {
            let message = format!(
                "{path} has {} bytes: must be no more than {PEM_MAX}",
                text.len()
            );
            faults.push(FieldError::new(path, message));
        }
    };
    check("certificate", &spec.certificate, true);
    check("privateKey", private_key, key == Key::Required);
    if spec.hosts.len() > HOSTS_MAX {
        let message = format!("spec.hosts must be no more than {HOSTS_MAX}");
        faults.push(FieldError::new("spec.hosts", message));
    }
    for (index, host) in spec.hosts.iter().enumerate() {
        if let Err(error) = Hostname::parse(host) {
            faults.push(FieldError::new(
                format!("spec.hosts[{index}]"),
                error.to_string(),
            ));
        }
    }
    faults
}

/// Refuses names under which the server keeps certificates of its own.
pub fn certificate_name(name: &str) -> Vec<FieldError> {
    if !is_reserved(name) {
        return Vec::new();
    }
    let message = format!(
        "name {name:?} is reserved: the server names certificates like this that it obtains \
         itself; begin with something else than \"ca\" or \"acme\""
    );
    vec![FieldError::new("metadata.name", message)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Hidden;

    #[test]
    fn what_is_missing_or_too_long_is_named() {
        let with = |chain: &str, key: &str, hosts: &[&str], is_new| {
            let mut document = Certificate::default();
            document.spec.certificate = chain.to_owned();
            document.spec.private_key = Hidden::new(key);
            document.spec.hosts = hosts.iter().map(ToString::to_string).collect();
            let faults = certificate(&document, is_new);
            faults.iter().map(|f| f.path.clone()).collect::<Vec<_>>()
        };
        let long = "x".repeat(PEM_MAX + 1);
        assert_eq!(with("c", "k", &["a.x", "*.b.x"], Key::Required), [""; 0]);
        assert_eq!(with("c", "", &[], Key::Optional), [""; 0]);
        assert_eq!(
            with("", "", &[], Key::Required),
            ["spec.certificate", "spec.privateKey"]
        );
        assert_eq!(with(&long, "k", &[], Key::Required), ["spec.certificate"]);
        assert_eq!(
            with("c", "k", &["a.x", "*"], Key::Required),
            ["spec.hosts[1]"]
        );
    }
}
