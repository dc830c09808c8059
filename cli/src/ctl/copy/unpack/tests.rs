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

fn mode_of(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    let meta = std::fs::symlink_metadata(path).expect("it is there");
    meta.permissions().mode() & 0o7777
}

#[test]
fn directories_that_were_there_keep_their_modes_and_new_ones_obey_the_umask() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("a directory");
    let old = directory.path().join("old");
    std::fs::create_dir(&old).expect("a directory");
    std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o750)).expect("a mode");
    let before = mode_of(directory.path());
    let entries = [
        (EntryType::Directory, "./", ""),
        (EntryType::Directory, "old/", ""),
        (EntryType::Directory, "old/new/", ""),
        (EntryType::Regular, "old/new/file", "text"),
        (EntryType::Regular, "unnamed/file", "text"),
    ];
    // All of them are 0777 in the stream.
    unpacked(&entries, directory.path(), "old").expect("unpacked");
    let masked = 0o777 & !super::super::tree::umask();
    assert_eq!(mode_of(directory.path()), before);
    assert_eq!(mode_of(&old), 0o750);
    for new in ["old/new", "old/new/file", "unnamed", "unnamed/file"] {
        assert_eq!(mode_of(&directory.path().join(new)), masked, "{new}");
    }
}

#[test]
fn what_has_no_end_is_cut_off_and_leaves_no_half_of_a_file() {
    let content = "x".repeat(5000);
    let entries = [
        (EntryType::Regular, "first", "whole"),
        (EntryType::Regular, "second", content.as_str()),
    ];
    let mut receiver = tar(&entries);
    let mut bytes = Vec::new();
    while let Some(piece) = receiver.blocking_recv() {
        bytes.extend_from_slice(&piece.expect("bytes"));
    }
    let whole = bytes.len();
    // Before the end, between two files, in the middle of one, in its head, and nothing.
    for length in [whole - 512, whole - 1024, 1024, 4000, 1100, 0] {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("second"), "older").expect("written");
        let (sender, receiver) = mpsc::channel(1);
        let cut = Bytes::copy_from_slice(&bytes[..length]);
        sender.try_send(Ok(cut)).expect("room");
        drop(sender);
        let name = Some(Path::new("first"));
        let result = unpack(receiver, directory.path(), name, &ProgressBar::hidden());
        assert!(result.is_err(), "{length} of {whole} bytes");
        let second = std::fs::read(directory.path().join("second")).expect("a file");
        assert!(
            second == b"older" || second == content.as_bytes(),
            "{length} of {whole} bytes"
        );
        let names = std::fs::read_dir(directory.path()).expect("entries");
        assert!(names.count() <= 2, "{length} of {whole} bytes");
    }
}

#[test]
fn a_hard_link_is_the_same_file_and_may_come_again() {
    use std::os::unix::fs::MetadataExt;
    let directory = tempfile::tempdir().expect("a directory");
    let entries = [
        (EntryType::Regular, "a", "text"),
        (EntryType::Link, "b", "a"),
    ];
    for _ in 0..2 {
        unpacked(&entries, directory.path(), "a").expect("unpacked");
        let number = |name: &str| {
            let meta = std::fs::metadata(directory.path().join(name));
            meta.expect("a file").ino()
        };
        assert_eq!(number("a"), number("b"));
        let names = std::fs::read_dir(directory.path()).expect("entries");
        assert_eq!(names.count(), 2);
    }
}
