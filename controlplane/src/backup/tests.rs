use bytes::Bytes;
use cara_store::Step;
use proptest::prelude::*;

use super::*;

fn entry(key: &str, value: &str, modified: u64) -> Entry {
    Entry {
        key: Key::new(key),
        value: Bytes::copy_from_slice(value.as_bytes()),
        created: Revision(1),
        modified: Revision(modified),
    }
}

fn header(key_id: &str) -> Header {
    Header::new(
        "2026-01-02T03:04:05Z".parse().expect("a time"),
        Revision(812),
        key_id.to_owned(),
    )
}

fn sealed(key_id: &str) -> String {
    format!(
        r#"{{"format":1,"kind":"X","body":{{"sealed":{{"format":"cara-sealed-1","keyId":"{key_id}"}}}}}}"#
    )
}

fn packed(entries: &[Entry]) -> Archive {
    decode(&encode(&header("k1"), entries).expect("packed")).expect("an archive")
}

#[test]
fn what_is_packed_is_unpacked_but_for_what_belongs_to_a_moment() {
    let entries = [
        entry("challenges/token", "x", 3),
        entry("hosts/a.example.com", "shop", 4),
        Entry {
            value: Bytes::from_static(&[0xff, 0x00]),
            ..entry("issuing/authority", "", 5)
        },
        entry("issuing/lease", "x", 6),
        entry("projects/shop", "{\"format\":1}", 7),
        entry("users/of-a-later-kind", "{}", 8),
    ];
    let archive = packed(&entries);
    assert_eq!(archive.header, header("k1"));
    let found: Vec<(&str, u64, &[u8])> = archive
        .records
        .iter()
        .map(|r| (r.key.as_str(), r.modified, &r.value[..]))
        .collect();
    let expected: [(&str, u64, &[u8]); 4] = [
        ("hosts/a.example.com", 4, b"shop"),
        ("issuing/authority", 5, &[0xff, 0x00]),
        ("projects/shop", 7, b"{\"format\":1}"),
        ("users/of-a-later-kind", 8, b"{}"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn damage_is_found_before_anything_is_believed() {
    let whole = encode(&header("k1"), &[entry("projects/shop", "{}", 7)]).expect("packed");
    let text = zstd::decode_all(whole.as_slice()).expect("unpacked");
    let text = String::from_utf8(text).expect("text");
    let said = |text: &str| {
        let packed = zstd::encode_all(text.as_bytes(), 1).expect("packed");
        decode(&packed)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    assert_eq!(said(&text), Ok(()));
    let lines: Vec<&str> = text.lines().collect();
    for (changed, expected) in [
        (text.replace("shop", "shoq"), "damaged"),
        (format!("{}\n{}\n", lines[0], lines[1]), "cut off"),
        (text.trim_end().to_owned(), "cut off"),
        (lines[0].to_owned(), "cut off"),
        (
            text.replace("\"version\":1", "\"version\":2"),
            "newer version",
        ),
        (
            text.replace("caravanserai-backup", "tar"),
            "not a backup of this product",
        ),
        (String::new(), "not a backup of this product"),
    ] {
        let said = said(&changed).expect_err("refused");
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(decode(b"plain").is_err_and(|e| e.to_string().contains("cannot be unpacked")));
}

#[test]
fn the_key_is_asked_for_before_anything_is_written() {
    let archive = packed(&[
        entry("keys/signing", &sealed("older"), 3),
        entry("secrets/db", &sealed("k1"), 2),
    ]);
    let error = plan(&archive, &[], "k2").expect_err("refused").to_string();
    assert!(error.starts_with("the backup holds 1 encrypted value(s) that key k1 opens, and this server works with key k2"), "{error}");
    assert!(error.contains("nothing was changed"), "{error}");
    assert!(plan(&archive, &[], "k1").is_ok());
    let open = packed(&[entry("projects/shop", "{}", 7)]);
    assert!(plan(&open, &[], "k2").is_ok(), "nothing in it is sealed");
    let newer = packed(&[entry("projects/shop", "{\"format\":99}", 7)]);
    assert!(plan(&newer, &[], "k1").is_err());
}

#[test]
fn a_plan_counts_and_its_batch_does_what_it_counts() {
    let archive = packed(&[
        entry("hosts/a", "shop", 4),
        entry("nodes/n", "{\"a\":1}", 5),
        entry("projects/shop", "{}", 7),
    ]);
    let stored = [
        entry("challenges/now", "x", 20),
        entry("hosts/a", "shop", 21),
        entry("nodes/n", "{\"a\":2}", 22),
        entry("nodes/other", "{}", 23),
    ];
    let plan = plan(&archive, &stored, "k1").expect("a plan");
    assert!(!plan.is_in_use, "nodes come by themselves");
    let counts = |kind: &str| {
        let c = plan.kinds.get(kind).copied().unwrap_or_default();
        (c.create, c.replace, c.keep, c.delete)
    };
    assert_eq!(counts("projects"), (1, 0, 0, 0));
    assert_eq!(counts("nodes"), (0, 1, 0, 1));
    assert_eq!(counts("hosts"), (0, 0, 1, 0));
    assert_eq!(counts("challenges"), (0, 0, 0, 0));
    let batch = batch(&archive, &stored, Revision(900)).expect("a batch");
    let show = |(key, when, step): &(Key, Precondition, Step)| {
        let step = match step {
            Step::Put(_) => "put",
            Step::Delete => "delete",
            Step::Require => "require",
        };
        format!("{step} {key} {when:?}")
    };
    let steps: Vec<String> = batch.steps().iter().map(show).collect();
    assert_eq!(
        steps,
        [
            "put hosts/a At(Revision(21))",
            "put nodes/n At(Revision(22))",
            "put projects/shop Absent",
            "delete nodes/other At(Revision(23))",
        ]
    );
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
        let packed = zstd::encode_all(bytes.as_slice(), 1).expect("packed");
        prop_assert!(decode(&packed).is_err());
    }

    #[test]
    fn any_entries_come_back(values in prop::collection::btree_map("[a-z]{1,6}/[!-~]{1,12}", prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
        let entries: Vec<Entry> = values.iter().map(|(key, value)| Entry {
            value: Bytes::copy_from_slice(value),
            ..entry(key, "", 9)
        }).filter(|entry| is_carried(entry.key.as_str())).collect();
        let found: Vec<Entry> = packed(&entries).records.iter().map(archive::Record::entry).collect();
        let pairs = |entries: &[Entry]| entries.iter().map(|e| (e.key.clone(), e.value.clone())).collect::<Vec<_>>();
        prop_assert_eq!(pairs(&found), pairs(&entries));
    }
}
