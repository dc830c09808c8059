//! What rules refer to, out of the cache: secrets are opened here for the gateway, once a pass,
//! and not kept beyond it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use cara_api::hostname::Hostname;
use cara_api::secret::Hidden;

use crate::Shared;
use crate::cache::State;
use crate::plan::certs::served::TrustedNames;
use crate::plan::routes::material::{Identity, Material, Missing};
use crate::reconcile::certs::{authorities_of, key_of};
use crate::vault;

type Values = Arc<BTreeMap<String, Hidden>>;

/// Looks things up in one state of the cache.
pub(super) struct Opened<'a> {
    state: &'a State,
    shared: &'a Shared,
    trusted: &'a TrustedNames,
    /// Many projects may refer to one secret.
    opened: RefCell<BTreeMap<String, Result<Values, Missing>>>,
}

impl<'a> Opened<'a> {
    pub(super) fn new(state: &'a State, shared: &'a Shared, trusted: &'a TrustedNames) -> Self {
        Self {
            state,
            shared,
            trusted,
            opened: RefCell::default(),
        }
    }

    fn open(&self, name: &str) -> Result<Values, Missing> {
        let secret = self.state.secret(name).ok_or(Missing::Absent)?;
        match vault::open(&self.shared.key, secret.owner(), &secret.sealed) {
            Ok(values) => Ok(Arc::new(values)),
            Err(error) => {
                tracing::error!(secret = name, error = %error, "cannot open a secret");
                Err(Missing::Sealed)
            }
        }
    }
}

impl Material for Opened<'_> {
    fn secret(&self, name: &str) -> Result<Values, Missing> {
        let known = self.opened.borrow().get(name).cloned();
        known.unwrap_or_else(|| {
            let found = self.open(name);
            let mut opened = self.opened.borrow_mut();
            opened.insert(name.to_owned(), found.clone());
            found
        })
    }

    fn certificate(&self, name: &str) -> Result<Arc<Identity>, Missing> {
        let found = self.state.certificate(name);
        let found = found
            .filter(|c| !c.chain.is_empty())
            .ok_or(Missing::Absent)?;
        let key_pem = key_of(self.shared, found).ok_or(Missing::Sealed)?;
        Ok(Arc::new(Identity {
            chain_pem: found.chain.clone(),
            key_pem,
            ca_pem: authorities_of(&found.chain),
        }))
    }

    fn is_trusted(&self, host: &Hostname) -> bool {
        // Nobody is sent to HTTPS where nothing listens.
        self.shared.config.https_port.is_some() && self.trusted.covers(host.as_str())
    }
}
