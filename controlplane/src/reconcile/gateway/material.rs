//! What rules refer to, out of the cache: secrets are opened here for the gateway, once a pass,
//! and not kept beyond it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use cara_api::hostname::Hostname;
use cara_api::secret::Hidden;

use crate::cache::State;
use crate::plan::routes::material::{Identity, Material, Missing};
use crate::vault::{self, MasterKey};

type Values = Arc<BTreeMap<String, Hidden>>;

/// Looks things up in one state of the cache.
pub(super) struct Opened<'a> {
    state: &'a State,
    key: &'a MasterKey,
    /// Many projects may refer to one secret.
    opened: RefCell<BTreeMap<String, Result<Values, Missing>>>,
}

impl<'a> Opened<'a> {
    pub(super) fn new(state: &'a State, key: &'a MasterKey) -> Self {
        Self {
            state,
            key,
            opened: RefCell::default(),
        }
    }

    fn open(&self, name: &str) -> Result<Values, Missing> {
        let secret = self.state.secret(name).ok_or(Missing::Absent)?;
        match vault::open(self.key, secret.owner(), &secret.sealed) {
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

    fn certificate(&self, _: &str) -> Result<Arc<Identity>, Missing> {
        Err(Missing::Absent)
    }

    fn is_trusted(&self, _: &Hostname) -> bool {
        false
    }
}
