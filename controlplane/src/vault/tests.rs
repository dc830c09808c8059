//! What sealing promises.

use super::*;

const UID: uuid::Uuid = uuid::Uuid::from_u128(7);

fn key(byte: u8) -> MasterKey {
    MasterKey(Zeroizing::new([byte; KEY_LEN]))
}

fn owner(name: &str) -> Owner<'_> {
    Owner {
        kind: "Secret",
        name,
        uid: UID,
    }
}

fn values() -> Values {
    BTreeMap::from([
        ("password".to_owned(), Hidden::new("swordfish \u{1}\"é")),
        ("empty".to_owned(), Hidden::new("")),
    ])
}

fn stored(sealed: &Sealed) -> String {
    serde_json::to_string(sealed).expect("serializable")
}

#[test]
fn what_was_sealed_opens_again_also_after_it_was_stored() {
    let sealed = seal(&key(1), owner("db"), &values()).expect("randomness");
    let read: Sealed = serde_json::from_str(&stored(&sealed)).expect("readable");
    assert_eq!(read, sealed);
    assert_eq!(open(&key(1), owner("db"), &read), Ok(values()));
}

#[test]
fn nothing_of_the_plaintext_is_in_the_stored_bytes_and_no_two_writes_are_alike() {
    let sealed = seal(&key(1), owner("db"), &values()).expect("randomness");
    let bytes = [&sealed.values.0[..], &sealed.data_key.0[..]].concat();
    for part in ["sword", "fish", "password", "empty"] {
        assert!(!bytes.windows(part.len()).any(|w| w == part.as_bytes()));
        assert!(!stored(&sealed).contains(part));
        assert!(!format!("{sealed:?}").contains(part));
    }
    let again = seal(&key(1), owner("db"), &values()).expect("randomness");
    assert_ne!(sealed.values, again.values);
    assert_ne!(sealed.data_key, again.data_key);
}

#[test]
fn another_key_does_not_open_it_and_is_named() {
    let sealed = seal(&key(1), owner("db"), &values()).expect("randomness");
    let refused = open(&key(2), owner("db"), &sealed);
    let (found, current) = (key(1).id(), key(2).id());
    assert_eq!(refused, Err(OpenError::OtherKey { found, current }));
    let mut forged = sealed;
    forged.key_id = key(2).id();
    assert_eq!(
        open(&key(2), owner("db"), &forged),
        Err(OpenError::Damaged),
        "the id is not what protects the values"
    );
}

#[test]
fn values_do_not_open_as_those_of_another_object() {
    let sealed = seal(&key(1), owner("db"), &values()).expect("randomness");
    let damaged = Err(OpenError::Damaged);
    assert_eq!(open(&key(1), owner("mail"), &sealed), damaged);
    let reborn = Owner {
        uid: uuid::Uuid::from_u128(8),
        ..owner("db")
    };
    assert_eq!(open(&key(1), reborn, &sealed), damaged);
    let other_kind = Owner {
        kind: "Certificate",
        ..owner("db")
    };
    assert_eq!(open(&key(1), other_kind, &sealed), damaged);
    let other = seal(&key(1), owner("mail"), &values()).expect("randomness");
    for mixed in [
        Sealed {
            values: other.values.clone(),
            ..sealed.clone()
        },
        Sealed {
            data_key: other.data_key.clone(),
            ..sealed.clone()
        },
        Sealed {
            data_key: sealed.values.clone(),
            values: sealed.data_key.clone(),
            ..sealed.clone()
        },
    ] {
        assert_eq!(open(&key(1), owner("db"), &mixed), damaged);
    }
}

#[test]
fn a_flipped_bit_anywhere_is_noticed() {
    let sealed = seal(&key(1), owner("db"), &values()).expect("randomness");
    for bit in 0..8 * sealed.values.0.len() {
        let mut flipped = sealed.clone();
        flipped.values.0[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            open(&key(1), owner("db"), &flipped),
            Err(OpenError::Damaged)
        );
    }
    for bit in 0..8 * sealed.data_key.0.len() {
        let mut flipped = sealed.clone();
        flipped.data_key.0[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            open(&key(1), owner("db"), &flipped),
            Err(OpenError::Damaged)
        );
    }
    for length in 0..sealed.values.0.len() {
        let mut cut = sealed.clone();
        cut.values.0.truncate(length);
        assert_eq!(open(&key(1), owner("db"), &cut), Err(OpenError::Damaged));
    }
}

#[test]
fn a_key_is_32_bytes_of_base64_and_no_error_repeats_it() {
    let text = key(9).to_text();
    let read = MasterKey::parse(&format!(" {}\n", *text)).expect("a key");
    assert_eq!(*read.0, [9; KEY_LEN]);
    for bad in ["", "hunter2", "aHVudGVyMg==", &text[1..]] {
        let error = MasterKey::parse(bad).err().expect("no key");
        assert!(bad.is_empty() || !error.to_string().contains(bad));
    }
    assert_ne!(key(1).id(), key(2).id());
    assert!(!text.contains(&key(9).id().to_string()));
}

fn stored_with(key: &MasterKey) -> Vec<StoredKey> {
    vec![StoredKey {
        secret: "db".to_owned(),
        key: key.id(),
    }]
}

#[test]
fn a_key_file_is_made_once_for_its_owner_alone() {
    use std::os::unix::fs::MetadataExt;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(FILE_NAME);
    let source = KeySource::File(path.clone());
    let made = unlock(&source, &[]).expect("made");
    let mode = std::fs::metadata(&path).expect("there").mode();
    assert_eq!(mode & 0o777, 0o600);
    let content = std::fs::read(&path).expect("readable");
    let again = unlock(&source, &stored_with(&made)).expect("read");
    assert!(again.id() == made.id());
    assert_eq!(std::fs::read(&path).expect("readable"), content);
    let files = std::fs::read_dir(directory.path()).expect("a directory");
    assert_eq!(files.count(), 1, "nothing else is left");
}

#[test]
fn no_key_is_made_when_secrets_are_stored() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(FILE_NAME);
    let refused = unlock(&KeySource::File(path.clone()), &stored_with(&key(1)));
    let message = refused.err().expect("refused").to_string();
    assert!(message.contains("the store holds 1 secret(s)") && message.contains(FILE_NAME));
    assert!(!path.exists());
}

#[test]
fn a_wrong_key_is_refused_by_name() {
    let refused = unlock(&KeySource::Given(key(2)), &stored_with(&key(1)));
    assert_eq!(
        refused.err().expect("refused").to_string(),
        format!(
            "secret \"db\" is encrypted with key {}, but CARA_SECRET_KEY holds key {}: start with the key that the secrets were written with",
            key(1).id(),
            key(2).id()
        )
    );
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(FILE_NAME);
    std::fs::write(&path, "not a key").expect("written");
    let refused = unlock(&KeySource::File(path.clone()), &[]);
    assert!(matches!(refused, Err(UnlockError::Content { .. })));
    assert_eq!(
        std::fs::read_to_string(&path).expect("readable"),
        "not a key",
        "a file is never overwritten"
    );
}
