//! The form of documents, as the server reads it too. Pure.

use cara_api::schema::Schema;
use cara_api::{Certificate, Federation, Node, Project, Secret, User, decode, schema};
use serde::de::DeserializeOwned;

use crate::ctl::args::Kind;
use crate::ctl::codes;
use crate::ctl::failure::Failure;
use crate::ctl::manifest::Document;

/// What is odd about the form of a document, with the places in its file.
pub fn oddities(document: &Document) -> Vec<String> {
    let object = object(document);
    let line = |warning: &String| match document.places.locate(warning) {
        located if located != *warning => located,
        _ => format!("{object}: {warning}"),
    };
    warnings(document).iter().map(line).collect()
}

/// The object that a document describes, as messages name it.
pub fn object(document: &Document) -> String {
    format!("{}/{}", document.kind.noun(), document.name)
}

/// What is odd about the form of a document, in the words of the server, which reads it in the
/// same way.
pub fn warnings(document: &Document) -> Vec<String> {
    read(document).map_or_else(|_| Vec::new(), |(warnings, _)| warnings)
}

/// Refuses a document whose form has faults.
///
/// # Errors
/// It has faults; they are named with their places.
pub fn check(document: &Document) -> Result<(), Failure> {
    let faults = match read(document) {
        Ok((_, faults)) if faults.is_empty() => return Ok(()),
        Ok((_, faults)) => faults,
        Err(fault) => vec![fault],
    };
    let message = format!("apply {}: the document has faults", object(document));
    let failure = Failure::other(message).coded(&codes::INVALID);
    let faults = faults.iter().map(|fault| document.places.locate(fault));
    Err(faults.fold(failure, Failure::with))
}

/// Warnings and faults of the form; an error when the document is no object at all.
fn read(document: &Document) -> Result<(Vec<String>, Vec<String>), String> {
    fn of<T: DeserializeOwned + Default>(
        document: &Document,
        schema: &Schema,
    ) -> Result<(Vec<String>, Vec<String>), String> {
        let body = document.body.to_string();
        let decoded = decode::document::<T>(body.as_bytes(), schema);
        let decoded = decoded.map_err(|error| error.to_string())?;
        let faults = decoded.faults.iter().map(ToString::to_string).collect();
        Ok((decoded.warnings, faults))
    }
    match document.kind {
        Kind::Projects => of::<Project>(document, &schema::PROJECT),
        Kind::Nodes => of::<Node>(document, &schema::NODE),
        Kind::Secrets => of::<Secret>(document, &schema::SECRET),
        Kind::Certificates => of::<Certificate>(document, &schema::CERTIFICATE),
        Kind::Users => of::<User>(document, &schema::USER),
        Kind::Federations => of::<Federation>(document, &schema::FEDERATION),
    }
}
