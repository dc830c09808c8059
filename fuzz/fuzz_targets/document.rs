//! Documents that users send: decoding and checking never panic, whatever arrives.

#![no_main]

use cara_api::hostname::Domain;
use cara_api::{Node, Project, Secret, decode, schema, validate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Ok(decoded) = decode::document::<Project>(body, &schema::PROJECT) {
        let domain = Domain {
            environment: "dev".into(),
            base: "localhost".into(),
        };
        let _ = validate::project(&decoded.value.spec, &decoded.value.metadata.name, &domain);
        // What was read can be written and read again.
        let text = serde_json::to_vec(&decoded.value).expect("a document");
        let again =
            decode::document::<Project>(&text, &schema::PROJECT).expect("the same document");
        assert!(again.faults.is_empty(), "{:?}", again.faults);
    }
    if let Ok(decoded) = decode::document::<Node>(body, &schema::NODE) {
        let _ = validate::node(&decoded.value);
    }
    if let Ok(decoded) = decode::document::<Secret>(body, &schema::SECRET) {
        let _ = validate::secret(&decoded.value);
    }
});
