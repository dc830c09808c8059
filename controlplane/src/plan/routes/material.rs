//! What rules refer to by name: values of Secrets, and Certificates. It comes in as an argument;
//! who implements [`Material`] opens the vault, and decisions stay pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use cara_api::hostname::Hostname;
use cara_api::project::{Ingress, ProjectSpec};
use cara_api::secret::Hidden;

/// Looks up what rules refer to.
pub trait Material {
    /// The values of a Secret by key.
    ///
    /// # Errors
    /// There is none of that name, or it cannot be opened.
    fn secret(&self, name: &str) -> Result<Arc<BTreeMap<String, Hidden>>, Missing>;

    /// A Certificate with its key.
    ///
    /// # Errors
    /// There is none of that name, or it cannot be opened.
    fn certificate(&self, name: &str) -> Result<Arc<Identity>, Missing>;

    /// True when browsers trust the certificate that is served for a host; plain HTTP is then
    /// redirected to HTTPS unless a rule says otherwise.
    fn is_trusted(&self, host: &Hostname) -> bool;
}

/// A certificate that the gateway can show, or trust others by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Leaf first, PEM.
    pub chain_pem: String,
    /// Private key, PEM.
    pub key_pem: Hidden,
    /// The authorities that it comes with (`ca.crt`), PEM.
    pub ca_pem: Option<String>,
}

/// Why something that a rule refers to is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Nothing has that name.
    Absent,
    /// It exists, but cannot be opened.
    Sealed,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "does not exist",
            Self::Sealed => "cannot be opened",
        })
    }
}

/// Nothing is there: for decisions that do not depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Nothing;

impl Material for Nothing {
    fn secret(&self, _: &str) -> Result<Arc<BTreeMap<String, Hidden>>, Missing> {
        Err(Missing::Absent)
    }

    fn certificate(&self, _: &str) -> Result<Arc<Identity>, Missing> {
        Err(Missing::Absent)
    }

    fn is_trusted(&self, _: &Hostname) -> bool {
        false
    }
}

/// Something outside of a project that its rules depend on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    /// A Secret. With the key that a rule needs; none: all of them.
    Secret(String),
    /// A Certificate.
    Certificate(String),
}

/// The key of a Secret that a rule needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyOf<'a> {
    /// The Secret.
    pub secret: &'a str,
    /// The key; none: any.
    pub key: Option<&'static str>,
    /// A Certificate of that name does as well.
    pub or_certificate: bool,
}

/// Key of a Secret that holds certificates of authorities.
pub(super) const CA: &str = "ca.crt";
/// Key of a Secret that holds a token.
pub(super) const TOKEN: &str = "token";
/// Key of a Secret that holds what an issuer knows a client by.
pub(super) const CLIENT_SECRET: &str = "clientSecret";

/// The Secrets that a rule needs.
pub fn secrets(ingress: &Ingress) -> Vec<KeyOf<'_>> {
    let access = &ingress.access;
    let key = |secret, key| KeyOf {
        secret,
        key,
        or_certificate: false,
    };
    let basic = access.basic_auth.iter().map(|b| key(&b.secret, None));
    let oidc = access.oidc.iter();
    let oidc = oidc.map(|o| key(&o.secret, Some(CLIENT_SECRET)));
    let bypass = [key(&access.bypass_token, Some(TOKEN))];
    let clients = ingress.client_certificate.iter();
    let clients = clients.map(|c| key(&c.ca, Some(CA)));
    let authorities = ingress.all_targets().filter_map(|t| t.tls.as_ref());
    let authorities = authorities.map(|tls| KeyOf {
        secret: &tls.ca,
        key: Some(CA),
        or_certificate: true,
    });
    let all = basic.chain(oidc).chain(bypass).chain(clients);
    all.chain(authorities)
        .filter(|found| !found.secret.is_empty())
        .collect()
}

/// The Certificates that a rule needs. `auto` and `off` are none.
pub fn certificates(ingress: &Ingress) -> impl Iterator<Item = &str> {
    let shown = ingress.all_targets().filter_map(|t| t.tls.as_ref());
    let shown = shown.map(|tls| tls.certificate.as_str());
    let served = ingress.tls.as_str();
    shown
        .chain([served])
        .filter(|name| !matches!(*name, "" | "auto" | "off"))
}

/// Everything that the rules of a spec depend on.
pub fn references(spec: &ProjectSpec) -> BTreeSet<Reference> {
    let mut found = BTreeSet::new();
    for ingress in &spec.ingress {
        for needed in secrets(ingress) {
            found.insert(Reference::Secret(needed.secret.to_owned()));
            if needed.or_certificate {
                found.insert(Reference::Certificate(needed.secret.to_owned()));
            }
        }
        found.extend(certificates(ingress).map(|name| Reference::Certificate(name.to_owned())));
    }
    found
}
