//! Files into services and out of them.

use std::os::unix::fs::symlink;
use std::path::Path;

use cara_tests::{Server, unique};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{idle, nothing_is_open};

fn hash(path: &Path) -> Vec<u8> {
    let mut file = std::fs::File::open(path).expect("a file");
    let mut sha = Sha256::new();
    std::io::copy(&mut file, &mut Hasher(&mut sha)).expect("read");
    sha.finalize().to_vec()
}

struct Hasher<'a>(&'a mut Sha256);

impl std::io::Write for Hasher<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// 200 MB that compress badly, made quickly.
fn big(path: &Path) {
    let mut random = fastrand::Rng::with_seed(7);
    let block: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
        .take(1 << 20)
        .collect();
    let mut all = Vec::with_capacity(200 << 20);
    for number in 0..200_u8 {
        all.extend(block.iter().map(|byte| byte ^ number));
    }
    std::fs::write(path, all).expect("written");
}

#[tokio::test]
async fn files_and_trees_come_and_go_as_they_are() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("copy");
    server
        .create(&name, &json!({"services": [idle("web")]}))
        .await;
    server.running(&name).await;
    let directory = tempfile::tempdir().expect("a directory");
    let here = |name: &str| directory.path().join(name);
    let text = |name: &str| here(name).to_str().expect("text").to_owned();
    let there = |path: &str| format!("{name}/web:{path}");
    let copy = async |from: &str, to: &str| {
        let (code, _, said) = server.ctl(&["cp", from, to]).await;
        assert_eq!(code, 0, "{from} to {to}: {said}");
        said
    };
    let inside = async |script: &str| {
        let (code, out, err) = server.ctl(&["exec", &name, "--", "sh", "-c", script]).await;
        assert_eq!(code, 0, "{script}: {err}");
        out
    };
    // 200 MB there under its own name, and back under another.
    big(&here("big"));
    let said = copy(&text("big"), &there("/tmp/")).await;
    assert!(said.contains("copied 1 file, 200.00 MiB"), "{said}");
    copy(&there("/tmp/big"), &text("back")).await;
    assert_eq!(hash(&here("big")), hash(&here("back")));
    inside("rm /tmp/big").await;
    std::fs::remove_file(here("big")).expect("removed");
    std::fs::remove_file(here("back")).expect("removed");
    // A tree with links of all kinds, deep and long names, and what is no file.
    let long = "n".repeat(180);
    std::fs::create_dir_all(here("tree/deep/er").join(&long)).expect("directories");
    std::fs::write(here("tree/deep/file"), "content").expect("written");
    std::fs::write(here("tree/deep/er").join(&long).join("leaf"), "leaf").expect("written");
    symlink("file", here("tree/deep/link")).expect("a link");
    symlink("/etc/passwd", here("tree/away")).expect("a link");
    symlink("nowhere", here("tree/broken")).expect("a link");
    let socket = std::os::unix::net::UnixListener::bind(here("tree/socket")).expect("a socket");
    let said = copy(&text("tree"), &there("/srv-new")).await;
    assert!(
        said.contains("left out") && said.contains("socket"),
        "{said}"
    );
    drop(socket);
    assert_eq!(inside("cat /srv-new/deep/link").await, "content");
    assert_eq!(
        inside("readlink /srv-new/away; readlink /srv-new/broken; stat -c %u /srv-new/deep/file")
            .await,
        "/etc/passwd\nnowhere\n0\n"
    );
    copy(&there("/srv-new"), &text("out")).await;
    assert_eq!(
        std::fs::read_to_string(here("out/deep/link")).expect("a file"),
        "content"
    );
    let leaf = here("out/deep/er").join(&long).join("leaf");
    assert_eq!(std::fs::read_to_string(leaf).expect("a file"), "leaf");
    assert_eq!(
        std::fs::read_link(here("out/away")).expect("a link"),
        Path::new("/etc/passwd")
    );
    // Into what is there: below it, or only what is in it.
    copy(&text("tree/deep/file"), &there("/srv-new/deep/er")).await;
    assert_eq!(inside("cat /srv-new/deep/er/file").await, "content");
    std::fs::create_dir(here("more")).expect("a directory");
    std::fs::write(here("more/new"), "new").expect("written");
    copy(&text("more/."), &there("/srv-new")).await;
    assert_eq!(
        inside("cat /srv-new/new /srv-new/deep/file").await,
        "newcontent"
    );
    for (from, to, part) in [
        (there("/nowhere"), text("x"), "there is no /nowhere"),
        (
            text("tree/deep/file"),
            there("/no/such/"),
            "there is no directory",
        ),
        (text("tree"), there("/srv-new/new"), "is a file"),
        (text("missing"), there("/tmp"), "cannot read"),
        (format!("{name}/db:/x"), text("x"), "has no service \"db\""),
    ] {
        let (code, _, err) = server.ctl(&["cp", &from, &to]).await;
        assert_ne!(code, 0, "{from} to {to}");
        assert!(err.contains(part), "{from} to {to}: {err}");
    }
    nothing_is_open(&server).await;
    server.delete(&name).await;
}
