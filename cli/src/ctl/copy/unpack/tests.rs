use super::*;
use tar::{Builder, Header};

/// A stream with entries: kind, name, link or content.
fn tar(entries: &[(EntryType, &str, &str)]) -> mpsc::Receiver<io::Result<Bytes>> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, text) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o777);
        // Written as they are: the library refuses names that lead out.
        let bytes = name.as_bytes();
        header.as_old_mut().name[..bytes.len()].copy_from_slice(bytes);
        let content = match kind {
            EntryType::Symlink | EntryType::Link => {
                let bytes = text.as_bytes();
                header.as_old_mut().linkname[..bytes.len()].copy_from_slice(bytes);
                ""
            }
            _ => text,
        };
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder
            .append(&header, content.as_bytes())
            .expect("written");
    }
    let bytes = builder.into_inner().expect("written");
    let (sender, receiver) = mpsc::channel(64);
    for part in bytes.chunks(700) {
        sender
            .try_send(Ok(Bytes::copy_from_slice(part)))
            .expect("room");
    }
    receiver
}

fn unpacked(entries: &[(EntryType, &str, &str)], to: &Path, name: &str) -> io::Result<Packed> {
    unpack(
        tar(entries),
        to,
        Some(Path::new(name)),
        &ProgressBar::hidden(),
    )
}

#[test]
fn a_tree_keeps_its_links() {
    let directory = tempfile::tempdir().expect("a directory");
    let entries = [
        (EntryType::Directory, "tree/", ""),
        (EntryType::Regular, "tree/a", "text"),
        (EntryType::Symlink, "tree/b", "a"),
        (EntryType::Symlink, "tree/c", "/etc/passwd"),
    ];
    let packed = unpacked(&entries, directory.path(), "tree").expect("unpacked");
    assert_eq!((packed.files, packed.bytes), (3, 4));
    let at = |name: &str| directory.path().join("tree").join(name);
    assert_eq!(std::fs::read_to_string(at("b")).expect("a file"), "text");
    let link = std::fs::read_link(at("c")).expect("a link");
    assert_eq!(link, Path::new("/etc/passwd"));
    // Under another name, and again into what is there.
    let other = directory.path().join("other");
    unpacked(&entries, &other, "tree").expect("unpacked");
    assert_eq!(
        std::fs::read_to_string(other.join("a")).expect("a file"),
        "text"
    );
    unpacked(&entries, &other, "tree").expect("unpacked");
    assert!(other.join("tree/a").exists());
    let left = std::fs::read_dir(directory.path())
        .expect("entries")
        .count();
    assert_eq!(left, 2, "nothing is left beside");
}

#[test]
fn nothing_leaves_the_destination() {
    let outer = tempfile::tempdir().expect("a directory");
    let inner = outer.path().join("in");
    std::fs::create_dir(&inner).expect("a directory");
    let victim = outer.path().join("victim");
    std::fs::write(&victim, "safe").expect("written");
    let escape = victim.to_str().expect("text");
    let outside = outer.path().to_str().expect("text");
    for entries in [
        vec![(EntryType::Regular, "../victim", "bad")],
        vec![(EntryType::Regular, "a/../../victim", "bad")],
        vec![
            (EntryType::Symlink, "out", outside),
            (EntryType::Regular, "out/victim", "bad"),
        ],
        vec![
            (EntryType::Symlink, "up", ".."),
            (EntryType::Regular, "up/victim", "bad"),
        ],
        vec![
            (EntryType::Symlink, "up", ".."),
            (EntryType::Directory, "up/new", ""),
        ],
        vec![
            (EntryType::Symlink, "file", escape),
            (EntryType::Regular, "file", "bad"),
        ],
        vec![
            (EntryType::Link, "hard", "../victim"),
            (EntryType::Regular, "hard", "bad"),
        ],
    ] {
        // Whether it is refused or left out, what is outside stays as it is.
        let _ = unpacked(&entries, &inner, "a");
        assert_eq!(
            std::fs::read_to_string(&victim).expect("a file"),
            "safe",
            "{entries:?}"
        );
        assert!(!outer.path().join("new").exists(), "{entries:?}");
        std::fs::remove_dir_all(&inner).expect("removed");
        std::fs::create_dir(&inner).expect("a directory");
    }
}

#[test]
fn devices_are_left_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let entries = [(EntryType::Fifo, "pipe", ""), (EntryType::Char, "dev", "")];
    let packed = unpacked(&entries, directory.path(), "pipe").expect("unpacked");
    assert_eq!((packed.files, packed.notes.len()), (0, 2));
}

#[test]
fn a_stream_that_breaks_off_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut whole = tar(&[(EntryType::Regular, "file", &"x".repeat(5000))]);
    let (sender, receiver) = mpsc::channel(8);
    sender
        .try_send(whole.blocking_recv().expect("a piece"))
        .expect("room");
    sender
        .try_send(Err(io::Error::other("broke")))
        .expect("room");
    let to = directory.path().join("copy");
    let result = unpack(
        receiver,
        &to,
        Some(Path::new("file")),
        &ProgressBar::hidden(),
    );
    assert!(result.is_err());
    assert_eq!(
        std::fs::read_dir(directory.path())
            .expect("entries")
            .count(),
        0
    );
}
