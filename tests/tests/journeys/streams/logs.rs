//! Logs: one or several services, over replacements and restarts of the server.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use cara_tests::{Agent, Docker, PATIENCE, Server, eventually, unique};
use serde_json::{Value, json};

use super::{ctl, nothing_is_open, shell};

/// Counts on both outputs, a hundred times a second.
fn counting(version: &str) -> Value {
    let script = format!(
        "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); echo out {version} $i; echo err {version} $i >&2; usleep 10000; done"
    );
    json!({"services": [shell("count", &script)]})
}

/// The numbers of each output and version, in the order in which they were printed.
fn numbers(path: &Path) -> BTreeMap<String, Vec<u32>> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut all = BTreeMap::<String, Vec<u32>>::new();
    // The last line may be half.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    for line in whole.lines() {
        let (who, number) = line.rsplit_once(' ').expect("a line of ours");
        let number = number.parse().expect("a number");
        all.entry(who.to_owned()).or_default().push(number);
    }
    all
}

async fn reaches(path: &Path, who: &str, number: u32) {
    eventually(&format!("{who} {number} is printed"), async || {
        let all = numbers(path);
        (all.get(who)?.last()? >= &number).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_over_a_rollout_and_restarts_of_the_server() {
    let mut server = Server::start(&[]).await;
    let node = unique("node");
    let _agent = Agent::start(&server, &node);
    server.node_ready(&node).await;
    let name = unique("count");
    server.create(&name, &counting("1")).await;
    server.running(&name).await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("lines");
    let file = std::fs::File::create(&path).expect("a file");
    let mut follow = ctl(&server, &["logs", &name, "--follow"])
        .stdout(file)
        .spawn()
        .expect("caractrl runs");
    reaches(&path, "out 1", 100).await;
    // In order, and as if the machine had lost power.
    server.terminate(PATIENCE).await;
    server.start_again().await;
    let seen = |who: &str| numbers(&path).get(who).and_then(|n| n.last().copied());
    let next = seen("out 1").unwrap_or(0) + 100;
    reaches(&path, "out 1", next).await;
    server.kill();
    server.start_again().await;
    let next = seen("err 1").unwrap_or(0) + 100;
    reaches(&path, "err 1", next).await;
    server.replace(&name, &counting("2")).await;
    reaches(&path, "out 2", 100).await;
    server.kill();
    server.start_again().await;
    let next = seen("err 2").unwrap_or(0) + 100;
    reaches(&path, "err 2", next).await;
    follow.kill().await.expect("it ends");
    let all = numbers(&path);
    assert_eq!(
        all.keys().collect::<Vec<_>>(),
        ["err 1", "err 2", "out 1", "out 2"]
    );
    for (who, numbers) in all {
        let last = numbers.last().copied().unwrap_or(0);
        let expected: Vec<u32> = (1..=last).collect();
        let odd: Vec<_> = numbers.windows(2).filter(|w| w[1] != w[0] + 1).collect();
        assert!(
            numbers == expected,
            "{who}: lines are lost or doubled at {odd:?} of {last}"
        );
    }
    nothing_is_open(&server).await;
    server.delete(&name).await;
}

#[tokio::test]
async fn services_are_told_apart_and_the_part_can_be_chosen() {
    let node = unique("node");
    let server = Server::with_agent(&node, &[]).await;
    let name = unique("parts");
    let wait = "while :; do sleep 1 & wait; done";
    let long = "head -c 40000 /dev/zero | tr '\\0' x; echo end;";
    let spec = json!({"services": [
        shell("one", &format!("echo first; echo wrong >&2; echo last; {wait}")),
        shell("two", &format!("sleep 1; echo other; {wait}")),
        shell("long", &format!("{long} {wait}"))]});
    server.create(&name, &spec).await;
    server.running(&name).await;
    let logs = async |args: &[&str]| {
        let (code, out, err) = server.ctl(&[&["logs", &name][..], args].concat()).await;
        assert_eq!(code, 0, "{args:?}: {err}");
        out
    };
    eventually("all have spoken", async || {
        let out = logs(&[]).await;
        (out.contains("other") && out.contains("last") && out.contains("end")).then_some(())
    })
    .await;
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&logs(&["one"]).await), ["first", "last", "wrong"]);
    assert_eq!(
        sorted(&logs(&["one", "two"]).await),
        ["one | first", "one | last", "one | wrong", "two | other"]
    );
    assert_eq!(logs(&["one", "--stream", "stderr"]).await, "wrong\n");
    assert_eq!(logs(&["two", "--tail", "0"]).await, "");
    let long = logs(&["long"]).await;
    assert_eq!(
        long.lines().map(str::len).collect::<Vec<_>>(),
        [40003],
        "one line"
    );
    // The older form, and with times as the engine writes them.
    let (code, out, _) = server
        .ctl(&["logs", &format!("{name}/two"), "--timestamps"])
        .await;
    let (time, text) = out.split_once(' ').expect("a time");
    assert_eq!((code, text, time.len()), (0, "other\n", 30));
    let later: jiff::Timestamp = time.parse().expect("a time");
    let later = (later + jiff::SignedDuration::from_nanos(1)).to_string();
    assert_eq!(logs(&["two", "--since", time]).await, "other\n");
    assert_eq!(logs(&["two", "--since", &later]).await, "");
    let lines = logs(&["one", "-o", "json"]).await;
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let wrong = lines
        .iter()
        .find(|l| l["line"] == "wrong")
        .expect("the line");
    assert_eq!(
        (&wrong["stream"], &wrong["service"]),
        (&json!("stderr"), &json!("one"))
    );
    let (code, _, err) = server.ctl(&["logs", &name, "three"]).await;
    assert_eq!(code, 1);
    assert!(
        err.contains("has no service \"three\": it has one, two, long"),
        "{err}"
    );
    server.delete(&name).await;
}

#[tokio::test]
async fn what_was_said_before_a_crash_is_kept() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("before");
    // Ends the first time, and stays the second.
    let script = "if [ -e /tmp/was ]; then echo second; while :; do sleep 1 & wait; done; fi; \
                  touch /tmp/was; echo first; sleep 3; exit 3";
    let spec = json!({"services": [shell("web", script)]});
    server.create(&name, &spec).await;
    eventually("it was started again", async || {
        let (_, out, _) = server.ctl(&["logs", &name]).await;
        out.contains("second").then_some(())
    })
    .await;
    let (code, out, err) = server.ctl(&["logs", &name, "--previous"]).await;
    assert_eq!((code, out.as_str()), (0, "first\n"), "{err}");
    assert!(!Docker::default().of_project(&name).is_empty());
    server.delete(&name).await;
}

#[tokio::test]
async fn who_follows_hears_of_the_end_of_a_project() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("end");
    server.create(&name, &counting("1")).await;
    server.running(&name).await;
    let mut follow = ctl(&server, &["logs", &name, "-f", "--tail", "1"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("caractrl runs");
    server.delete(&name).await;
    let ended = tokio::time::timeout(Duration::from_secs(30), follow.wait()).await;
    assert!(ended.expect("it ends").expect("it ends").success());
}
