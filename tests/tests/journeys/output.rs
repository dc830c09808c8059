//! How the command line speaks: forms, plans and questions, codes, completion.

use std::process::Stdio;
use std::time::{Duration, Instant};

use cara_tests::{Server, eventually, program, unique};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// A project of services that never run, since no node is there.
fn manifest(name: &str, services: &[(&str, &str)]) -> String {
    let services: String = services
        .iter()
        .map(|(name, image)| format!("    - {{name: {name}, image: \"{image}\"}}\n"))
        .collect();
    format!("kind: Project\nmetadata:\n  name: {name}\nspec:\n  services:\n{services}")
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn write(&self, name: &str, text: &str) -> String {
        let file = self.0.path().join(name);
        std::fs::write(&file, text).expect("written");
        file.display().to_string()
    }
}

/// Runs the command line on a terminal of its own, where somebody types.
async fn on_terminal(server: &Server, line: &str, typed: &str) -> (i32, String) {
    let line = format!("{} {line}", program("caractrl").display());
    let mut child = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("CARA_SERVER", format!("http://{}", server.api))
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("script runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(typed.as_bytes()).await.expect("typed");
    let ended = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await;
    let output = ended.expect("it ends").expect("it ran");
    drop(stdin);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().unwrap_or(-1), text)
}

#[tokio::test]
async fn what_replaces_or_deletes_is_asked_about() {
    let server = Server::start(&[]).await;
    let files = Files::new();
    let name = unique("asks");
    let first = files.write(
        "a.yaml",
        &manifest(&name, &[("web", "shop:1"), ("db", "pg:1")]),
    );
    let newer = files.write(
        "b.yaml",
        &manifest(&name, &[("web", "shop:2"), ("db", "pg:1")]),
    );
    let fewer = files.write("c.yaml", &manifest(&name, &[("web", "shop:2")]));
    let generation = || async {
        let path = "jsonpath={.metadata.generation}";
        server.ctl(&["get", "project", &name, "-o", path]).await.1
    };
    // Nothing is there that could be lost.
    assert_eq!(
        on_terminal(&server, &format!("apply -f {first}"), "")
            .await
            .0,
        0
    );
    // On a terminal, whoever does not say yes changes nothing.
    let (code, said) = on_terminal(&server, &format!("apply -f {newer}"), "n\n").await;
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("replace service web: image shop:1 -> shop:2"),
        "{said}"
    );
    assert!(said.contains("keep    service db"), "{said}");
    assert!(
        said.contains("Apply it? [y/N]") && said.contains("E-DECLINED"),
        "{said}"
    );
    assert_eq!(generation().await, "1\n");
    let (code, said) = on_terminal(&server, &format!("apply -f {newer}"), "y\n").await;
    assert_eq!((code, generation().await.as_str()), (0, "2\n"), "{said}");
    // Without one, replacing goes on as it always did, and deleting needs a flag.
    assert_eq!(server.ctl(&["apply", "-f", &first]).await.0, 0);
    let (code, _, err) = server.ctl(&["apply", "-f", &fewer]).await;
    assert_eq!(code, 2, "{err}");
    assert!(
        err.contains("- delete  service db") && err.contains("[E-CONSENT]"),
        "{err}"
    );
    assert_eq!(generation().await, "3\n");
    assert_eq!(server.ctl(&["apply", "-f", &fewer, "--yes"]).await.0, 0);
    assert_eq!(generation().await, "4\n");
    // What is named is agreed to, unless data that lasts goes along.
    let (code, said) = on_terminal(&server, &format!("delete project {name}"), "\n").await;
    assert_eq!(code, 1, "{said}");
    assert_eq!(server.ctl(&["delete", "project", &name]).await.0, 0);
    let kept = unique("keeps");
    let with_data =
        manifest(&kept, &[("db", "pg:1")]) + "  volumes: [{name: data, type: Persistent}]\n";
    let file = files.write("d.yaml", &with_data);
    assert_eq!(server.ctl(&["apply", "-f", &file]).await.0, 0);
    let (code, _, err) = server.ctl(&["delete", "project", &kept]).await;
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("Persistent: its data is lost"), "{err}");
    assert_eq!(
        server.ctl(&["delete", "project", &kept, "--yes"]).await.0,
        0
    );
}

/// A terminal on which a command asks something, and does not go on before it is answered.
struct Asking {
    child: tokio::process::Child,
    said: String,
}

impl Asking {
    async fn begin(server: &Server, line: &str) -> Self {
        let line = format!("{} {line}", program("caractrl").display());
        let mut child = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .env("CARA_SERVER", format!("http://{}", server.api))
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("script runs");
        let stdout = child.stdout.as_mut().expect("a pipe");
        let mut said = Vec::new();
        let asked = async {
            while !String::from_utf8_lossy(&said).contains("[y/N]") {
                let count = stdout.read_buf(&mut said).await.expect("read");
                assert!(count > 0, "{}", String::from_utf8_lossy(&said));
            }
        };
        let asked = tokio::time::timeout(Duration::from_secs(60), asked).await;
        asked.expect("it asks");
        let said = String::from_utf8_lossy(&said).into_owned();
        Self { child, said }
    }

    async fn answer(mut self, typed: &str) -> (i32, String) {
        let mut stdin = self.child.stdin.take().expect("a pipe");
        stdin.write_all(typed.as_bytes()).await.expect("typed");
        let ended = tokio::time::timeout(Duration::from_secs(60), self.child.wait_with_output());
        let output = ended.await.expect("it ends").expect("it ran");
        drop(stdin);
        self.said += &String::from_utf8_lossy(&output.stdout);
        (output.status.code().unwrap_or(-1), self.said)
    }
}

#[tokio::test]
async fn what_was_agreed_to_is_what_is_done_or_nothing_is() {
    let server = Server::start(&[]).await;
    let files = Files::new();
    let name = unique("race");
    let apply = |image: &str| {
        let file = files.write("theirs.yaml", &manifest(&name, &[("web", image)]));
        ["apply".to_owned(), "-f".to_owned(), file]
    };
    let theirs = async |image: &str| {
        let line = apply(image);
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        assert_eq!(server.ctl(&line).await.0, 0);
    };
    theirs("shop:1").await;
    let mine = files.write("mine.yaml", &manifest(&name, &[("web", "shop:2")]));
    // Somebody else changes it while the question stands there.
    for line in [format!("apply -f {mine}"), format!("delete project {name}")] {
        theirs("shop:1").await;
        let asking = Asking::begin(&server, &line).await;
        theirs("shop:3").await;
        let (code, said) = asking.answer("y\n").await;
        assert_eq!(code, 4, "{said}");
        assert!(
            said.contains("it changed after it was looked at") && said.contains("[E-CHANGED]"),
            "{said}"
        );
        let path = "jsonpath={.spec.services[0].image}";
        let (_, image, _) = server.ctl(&["get", "project", &name, "-o", path]).await;
        assert_eq!(image, "shop:3\n", "nothing was done");
    }
    // A document that names no version, in whatever way, is meant for what was looked at.
    for version in ["", "0"] {
        let text = manifest(&name, &[("web", "shop:2")]);
        let text = text.replace(
            "metadata:\n",
            &format!("metadata:\n  resourceVersion: \"{version}\"\n"),
        );
        let untied = files.write("untied.yaml", &text);
        theirs("shop:1").await;
        let asking = Asking::begin(&server, &format!("apply -f {untied}")).await;
        theirs("shop:3").await;
        let (code, said) = asking.answer("y\n").await;
        assert_eq!(code, 4, "{version:?}: {said}");
        assert!(said.contains("[E-CHANGED]"), "{version:?}: {said}");
    }
    // Nobody did: it is done.
    let (code, said) = Asking::begin(&server, &format!("apply -f {mine}"))
        .await
        .answer("y\n")
        .await;
    assert_eq!(code, 0, "{said}");
    let (code, said) = Asking::begin(&server, &format!("delete project {name}"))
        .await
        .answer("y\n")
        .await;
    assert_eq!(code, 0, "{said}");
}

#[tokio::test]
async fn what_was_not_there_is_not_deleted() {
    let server = Server::start(&[]).await;
    let files = Files::new();
    let (there, late) = (unique("there"), unique("late"));
    let file = |name: &str| files.write(name, &manifest(name, &[("web", "shop:1")]));
    let mine = file(&there);
    let theirs = file(&late);
    assert_eq!(server.ctl(&["apply", "-f", &mine]).await.0, 0);
    let delete = format!("delete project {there} {late}");
    let asking = Asking::begin(&server, &delete).await;
    assert!(!asking.said.contains(&late), "{}", asking.said);
    // Somebody makes it while the question about the other one stands there.
    assert_eq!(server.ctl(&["apply", "-f", &theirs]).await.0, 0);
    let (code, said) = asking.answer("y\n").await;
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("[E-CHANGED]"), "{said}");
    let (code, _, err) = server.ctl(&["get", "project", &late]).await;
    assert_eq!(code, 0, "nobody agreed to its end: {err}");
    let (code, _, err) = server.ctl(&["delete", "project", &there]).await;
    assert_ne!(code, 0, "the other one went");
    assert!(err.contains("E-NOT-FOUND"), "{err}");
    assert_eq!(server.ctl(&["delete", "project", &late]).await.0, 0);
}

#[tokio::test]
async fn documents_of_every_kind_are_planned_and_applied() {
    let server = Server::start(&[]).await;
    let files = Files::new();
    let (user, rule, secret) = (unique("ann"), unique("rule"), unique("secret"));
    let text = |state: &str, value: &str| {
        format!(
            "kind: User\nmetadata: {{name: {user}}}\nspec: {{suspended: {state}, grants: [{{role: viewer, allProjects: true}}]}}\n---\n\
             kind: Federation\nmetadata: {{name: {rule}}}\nspec: {{issuer: \"https://ci.example.com\", audience: shop, \
             claims: {{sub: \"repo:acme/shop\"}}, grants: [{{role: deployer, projects: [shop]}}]}}\n---\n\
             kind: Secret\nmetadata: {{name: {secret}}}\ndata: {{password: {value}}}\n"
        )
    };
    let first = files.write("a.yaml", &text("false", "one"));
    let (code, out, err) = server.ctl(&["apply", "-f", &first]).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(
        out,
        format!("secret/{secret} created\nuser/{user} created\nfederation/{rule} created\n")
    );
    let (code, out, err) = server.ctl(&["apply", "-f", &first]).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(out.matches(" unchanged\n").count(), 3, "{out}");
    let second = files.write("b.yaml", &text("true", "two"));
    let (code, said) = on_terminal(&server, &format!("apply -f {second}"), "n\n").await;
    assert_eq!(code, 1, "{said}");
    for line in [
        format!("~ replace secret/{secret}: values"),
        format!("~ update  user/{user}: spec.suspended"),
        format!("= keep    federation/{rule}"),
        "Apply it? [y/N]".to_owned(),
    ] {
        assert!(said.contains(&line), "{line} is missing: {said}");
    }
    assert!(!said.contains("two"), "values are not shown: {said}");
    let (code, out, err) = server.ctl(&["apply", "-f", &second]).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(out.matches(" configured\n").count(), 2, "{out}");
    let (code, out, err) = server.ctl(&["describe", "user", &user]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("Suspended:\tyes"), "{out}");
    let (code, _, err) = server.ctl(&["delete", "-f", &second]).await;
    assert_eq!(code, 0, "{err}");
    // The form is looked at without the server being asked to try it.
    let odd = files.write(
        "c.yaml",
        &manifest("odd", &[("web", "a:1")]).replace("\"a:1\"", "[1]"),
    );
    let (code, _, err) = server.ctl(&["apply", "-f", &odd, "--dry-run=client"]).await;
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("[E-INVALID]") && err.contains(":6:"), "{err}");
    for verb in [["cordon", "ghost"], ["drain", "ghost"]] {
        let dry = [&verb[..], &["--dry-run=client"]].concat();
        let (code, out, _) = server.ctl(&dry).await;
        assert_eq!(code, 0);
        assert!(out.ends_with(" (dry run)\n"), "{out}");
        let dry = [&verb[..], &["--dry-run"]].concat();
        assert_eq!(server.ctl(&dry).await.0, 1, "the server knows no such node");
    }
}

#[tokio::test]
async fn unknown_keys_and_faults_are_told_with_their_place() {
    let server = Server::start(&[]).await;
    let files = Files::new();
    let name = unique("odd");
    let text = manifest(&name, &[("web", "shop:1")]) + "  servces: []\n  ingres: []\n";
    let file = files.write("odd.yaml", &text);
    let (code, _, err) = server.ctl(&["apply", "-f", &file]).await;
    assert_eq!(code, 0, "{err}");
    let place =
        format!("Warning: {file}:7:3: unknown field \"spec.servces\", did you mean \"services\"?");
    assert_eq!(err.matches(&place).count(), 1, "{err}");
    assert_eq!(
        err.matches("unknown field").count(),
        2,
        "said once each: {err}"
    );
    let file = files.write("bad.yaml", &manifest(&name, &[("web", ""), ("db", "")]));
    let (code, _, err) = server.ctl(&["apply", "-f", &file]).await;
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("[E-INVALID]"), "{err}");
    assert!(
        err.contains(&format!("{file}:6:")) && err.contains(&format!("{file}:7:")),
        "{err}"
    );
    assert_eq!(server.ctl(&["delete", "project", &name]).await.0, 0);
}

#[tokio::test]
async fn every_read_has_every_form() {
    let server = Server::start(&[]).await;
    let files = Files::new();
    let name = unique("forms");
    let file = files.write("a.yaml", &manifest(&name, &[("web", "shop:1")]));
    assert_eq!(server.ctl(&["apply", "-f", &file]).await.0, 0);
    let reads = [
        &["get", "projects"][..],
        &["get", "project", &name],
        &["get", "nodes"],
        &["get", "secrets"],
        &["get", "certificates"],
        &["events"],
        &["routes"],
        &["revisions", &name],
        &["describe", "project", &name],
        &["get", "users"],
        &["get", "federations"],
        &["whoami"],
        &["user", "list"],
        &["token", "list"],
        &["federation", "list"],
        &["context", "list"],
        &["top"],
    ];
    for read in reads {
        for form in [
            "table",
            "wide",
            "json",
            "jsonl",
            "yaml",
            "name",
            "jsonpath={.kind}",
        ] {
            let (code, out, err) = server.ctl(&[read, &["-o", form]].concat()).await;
            assert_eq!(code, 0, "{read:?} -o {form}: {err}");
            assert!(!out.contains('\u{1b}'), "{read:?} -o {form}");
            for line in out.lines().filter(|_| form == "jsonl") {
                serde_json::from_str::<serde_json::Value>(line).expect("JSON in a line");
            }
        }
    }
    let names = "jsonpath={range .items[*]}{.metadata.name}{\"\\n\"}{end}";
    let (_, out, _) = server.ctl(&["get", "projects", "-o", names]).await;
    assert_eq!(out, format!("{name}\n"));
    let (code, _, err) = server.ctl(&["get", "projects", "-o", "xml"]).await;
    assert_eq!(code, 2, "{err}");
    assert_eq!(server.ctl(&["delete", "project", &name]).await.0, 0);
}

#[tokio::test]
async fn explaining_needs_no_server() {
    let run = |topic: &'static str| async move {
        let mut command = Command::new(program("caractrl"));
        let output = command
            .args(["--server", "http://127.0.0.1:1", "explain", topic])
            .output()
            .await
            .expect("caractrl runs");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code(), text)
    };
    for (topic, code, says) in [
        ("E-UNREACHABLE", 0, "CARA_SERVER"),
        (
            "project.spec.services.restartPolicy",
            0,
            "one of Always, OnFailure, Never",
        ),
        ("project.spec.servics", 2, "did you mean services?"),
        ("E-UNREACHBLE", 2, "did you mean E-UNREACHABLE?"),
    ] {
        let (found, text) = run(topic).await;
        assert_eq!(found, Some(code), "{topic}: {text}");
        assert!(text.contains(says), "{topic}: {text}");
    }
}

/// What bash offers behind a line.
async fn offered(server: &str, cache: &str, words: &[&str]) -> String {
    let program = program("caractrl");
    let folder = program.parent().expect("a folder").display().to_string();
    let list: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let script = format!(
        "source <(caractrl completion bash) && complete -p caractrl >/dev/null || exit 9\n\
         COMP_WORDS=(caractrl {}); COMP_CWORD={}; COMP_TYPE=9\n\
         _clap_complete_caractrl caractrl '{}' '{}'\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        list.join(" "),
        words.len(),
        words.last().unwrap_or(&""),
        words.iter().rev().nth(1).unwrap_or(&"caractrl"),
    );
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = format!("{folder}:{}", path.to_string_lossy());
    let output = Command::new("bash")
        .args(["--norc", "-c", &script])
        .env("PATH", path)
        .env("CARA_SERVER", server)
        .env("XDG_CACHE_HOME", cache)
        .output()
        .await
        .expect("bash runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn bash_completes_live_names() {
    let server = Server::start(&[]).await;
    let files = Files::new();
    let name = unique("tab");
    let file = files.write(
        "a.yaml",
        &manifest(&name, &[("web", "shop:1"), ("db", "pg:1")]),
    );
    assert_eq!(server.ctl(&["apply", "-f", &file]).await.0, 0);
    let cache = files.0.path().display().to_string();
    let api = format!("http://{}", server.api);
    let web = format!("{name}/web");
    for (words, expected) in [
        (&["roll"][..], "rollback"),
        (&["get", "proj"], "projects"),
        (&["get", "projects", ""], name.as_str()),
        (&["describe", "project", "ta"], name.as_str()),
        (&["rollback", ""], name.as_str()),
        (&["logs", "tab"], web.as_str()),
        (&["explain", "E-UNR"], "E-UNREACHABLE"),
    ] {
        // The server has a deadline; on a machine that is busy it may miss one.
        eventually(expected, async || {
            let text = offered(&api, &cache, words).await;
            text.contains(expected).then_some(())
        })
        .await;
    }
    if let Some(found) = in_fish(&api, &cache, "caractrl describe project tab").await {
        assert!(found.contains(&name), "{found}");
    }
    // A server that does not answer costs its deadline and no more; nothing is offered, nothing
    // is said.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = format!("http://{}", silent.local_addr().expect("an address"));
    let text = offered(&silent, &cache, &["rollback", ""]).await;
    assert!(!text.contains(&name), "{text}");
    let mut best = Duration::MAX;
    // A machine that does other things at the same time may need some tries.
    for _ in 0..50 {
        best = best.min(alone(&silent, &cache).await);
        if best < Duration::from_millis(150) {
            break;
        }
    }
    assert!(best < Duration::from_millis(150), "{best:?}");
    assert_eq!(server.ctl(&["delete", "project", &name]).await.0, 0);
}

/// What fish offers behind a line; none where there is no fish.
async fn in_fish(server: &str, cache: &str, line: &str) -> Option<String> {
    let program = program("caractrl").display().to_string();
    let output = Command::new("fish")
        .args(["--no-config", "-c"])
        .arg(format!(
            "fish_add_path -P (dirname {program}); {program} completion fish | source; complete -C '{line}'"
        ))
        .env("CARA_SERVER", server)
        .env("XDG_CACHE_HOME", cache)
        .output()
        .await
        .ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// How long the program takes for one TAB, without the shell around it.
async fn alone(server: &str, cache: &str) -> Duration {
    let begun = Instant::now();
    let output = Command::new(program("caractrl"))
        .args(["--", "caractrl", "rollback", ""])
        .env("CARA_COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", "2")
        .env("CARA_SERVER", server)
        .env("XDG_CACHE_HOME", cache)
        .output()
        .await
        .expect("caractrl runs");
    assert!(output.status.success(), "{output:?}");
    begun.elapsed()
}
