//! The rules that an ingress must meet.

mod access;
mod headers;
mod hosts;
mod opaque;
mod target;
#[cfg(test)]
mod tests;
mod traffic;
mod values;

use std::collections::BTreeSet;

use super::ReservedHost;
use crate::hostname::Domain;
use crate::problem::FieldError;
use crate::project::{IngressProtocol, ProjectSpec};

/// Checks all ingress rules of a project. `name` stands in for hosts that are left out.
pub(super) fn check(spec: &ProjectSpec, name: &str, domain: &Domain, found: &mut Vec<FieldError>) {
    let mut names = BTreeSet::new();
    let mut seen = hosts::Seen::default();
    for (index, ingress) in spec.ingress.iter().enumerate() {
        let mut faults = Faults {
            path: format!("spec.ingress[{index}]"),
            ingress: &ingress.name,
            found,
        };
        if ingress.name.is_empty() {
            faults.plain(
                "name",
                "each ingress entry must have a non-empty name".into(),
            );
        } else if !names.insert(ingress.name.as_str()) {
            faults.plain("name", format!("duplicate ingress name: {}", ingress.name));
        }
        target::check(spec, ingress, &mut faults);
        access::check(ingress, &mut faults);
        let Some(protocol) = ingress.protocol() else {
            let message = format!(
                "protocol {:?} is not supported: must be \"HTTP\", \"TLSPassthrough\" or \"TCP\"",
                ingress.protocol
            );
            faults.add("protocol", message);
            continue;
        };
        hosts::check(ingress, (name, domain), &mut seen, &mut faults);
        match protocol {
            IngressProtocol::Http | IngressProtocol::Unset => traffic::check(ingress, &mut faults),
            IngressProtocol::TlsPassthrough | IngressProtocol::Tcp => {
                opaque::check(ingress, &mut faults);
            }
        }
    }
}

/// Checks that no rule asks for a host that is the server's own.
pub(super) fn reserved(
    spec: &ProjectSpec,
    place: (&str, &Domain),
    host: &ReservedHost,
    found: &mut Vec<FieldError>,
) {
    for (index, ingress) in spec.ingress.iter().enumerate() {
        let mut faults = Faults {
            path: format!("spec.ingress[{index}]"),
            ingress: &ingress.name,
            found,
        };
        if ingress.protocol() != Some(IngressProtocol::Tcp) {
            hosts::reserved(ingress, place, host, &mut faults);
        }
    }
}

/// Reports faults of one ingress under its path.
struct Faults<'a> {
    path: String,
    ingress: &'a str,
    found: &'a mut Vec<FieldError>,
}

impl Faults<'_> {
    /// A fault whose message begins with the ingress's name.
    fn add(&mut self, field: &str, message: impl std::fmt::Display) {
        let message = format!("ingress {}: {message}", self.ingress);
        self.plain(field, message);
    }

    fn plain(&mut self, field: &str, message: String) {
        let path = format!("{}.{field}", self.path);
        self.found.push(FieldError::new(path, message));
    }
}
