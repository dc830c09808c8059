//! Whether somebody may write an object: as it is, as it will be, and with what it comes to name.

use std::collections::BTreeSet;

use cara_api::access::Verb;
use cara_api::project::ProjectSpec;

use super::{Identity, Named, Object};
use crate::plan::routes::material;

/// A write of one object.
#[derive(Debug, Clone, Default)]
pub struct Change<'a> {
    /// The object as it is; none when it is created.
    pub before: Option<Object<'a>>,
    /// The object as it will be; none when it is deleted.
    pub after: Option<Object<'a>>,
    /// The secrets that it names and did not name before.
    pub names: Vec<Named<'a>>,
    /// For a secret that is created: the projects that name it already, and so will get its values.
    pub named_by: Vec<Named<'a>>,
}

/// What stands against a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Against<'a> {
    /// They may not do it to this object.
    Object(Object<'a>),
    /// They may not do it to these projects, which name the secret.
    NamedBy(Vec<Named<'a>>),
}

impl<'a> Change<'a> {
    /// What stands against the change when somebody needs `verb` for it; nothing if they may.
    pub fn against(&self, who: &Identity, verb: Verb) -> Option<Against<'a>> {
        let secrets = self.names.iter().map(|secret| Object::Secret(*secret));
        let mut objects = self.before.into_iter().chain(self.after).chain(secrets);
        if let Some(refused) = objects.find(|object| !who.may(verb, *object)) {
            return Some(Against::Object(refused));
        }
        let projects = self.named_by.iter().copied();
        let refused = projects.filter(|project| !who.may(verb, Object::Project(*project)));
        let refused: Vec<_> = refused.collect();
        (!refused.is_empty()).then_some(Against::NamedBy(refused))
    }
}

/// The secrets that a spec names, in services and in ingress rules.
pub fn secrets_of(spec: &ProjectSpec) -> BTreeSet<String> {
    let rules = spec.ingress.iter().flat_map(material::secrets);
    let of_rules = rules.map(|needed| needed.secret.to_owned());
    let of_services = spec.secrets().into_iter().map(str::to_owned);
    of_services.chain(of_rules).collect()
}
