//! Documents that users send: decoding and checking never panic, whatever arrives.

#![no_main]

use std::time::Duration;

use cara_api::access::validate as access;
use cara_api::hostname::Domain;
use cara_api::schema::{self, Schema};
use cara_api::selector::{Fields, Labels};
use cara_api::validate::{self, Key};
use cara_api::{Certificate, Federation, Node, Project, Secret, Token, User, decode};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Checks what can be read as this kind, which can be written and read again then.
fn read<T: DeserializeOwned + Default + Serialize>(body: &[u8], schema: &Schema, check: impl FnOnce(&T)) {
    let Ok(decoded) = decode::document::<T>(body, schema) else {
        return;
    };
    check(&decoded.value);
    let text = serde_json::to_vec(&decoded.value).expect("a document");
    let again = decode::document::<T>(&text, schema).expect("the same document");
    assert!(again.faults.is_empty(), "{:?}", again.faults);
}

fuzz_target!(|body: &[u8]| {
    let day = Duration::from_secs(86_400);
    read::<Project>(body, &schema::PROJECT, |project| {
        let domain = Domain {
            environment: "dev".into(),
            base: "localhost".into(),
        };
        let _ = validate::project(&project.spec, &project.metadata.name, &domain);
    });
    read::<Node>(body, &schema::NODE, |node| drop(validate::node(node)));
    read::<Secret>(body, &schema::SECRET, |secret| drop(validate::secret(secret)));
    read::<Certificate>(body, &schema::CERTIFICATE, |certificate| {
        drop(validate::certificate(certificate, Key::Required));
    });
    read::<User>(body, &schema::USER, |user| drop(access::user(user)));
    read::<Token>(body, &schema::TOKEN, |token| drop(access::token(token, day)));
    read::<Federation>(body, &schema::FEDERATION, |rule| drop(access::federation(rule)));
    if let Ok(text) = std::str::from_utf8(body) {
        let _ = access::parse_grant(text);
        let _ = Labels::parse(text);
        let _ = Fields::parse(text, &["metadata.name", "status.phase"]);
    }
});
