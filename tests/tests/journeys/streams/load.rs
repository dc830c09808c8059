//! Many streams, slow readers and clients that go away: nothing is left, nothing grows, nobody else notices.

use std::process::Stdio;
use std::time::{Duration, Instant};

use cara_api::paths;
use cara_api::stream::{Channel, Frame};
use cara_tests::{Agent, Server, eventually, unique};
use serde_json::json;
use tokio::task::JoinSet;

use super::{ctl, idle, nothing_is_open, open_streams, shell};

/// Memory of a process in MiB, as the system counts it.
fn memory_mib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.expect("a number") / 1024
}

/// Time of processors that a process had, in ms.
fn cpu_ms(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, rest) = text.rsplit_once(')').expect("a name");
    let times = rest.split_whitespace().skip(11).take(2);
    let ticks: u64 = times
        .map(|ticks| ticks.parse::<u64>().expect("a number"))
        .sum();
    // In hundredths of a second on every Linux.
    ticks * 10
}

#[tokio::test]
async fn slow_readers_and_dead_clients_leave_nothing_behind() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("slow");
    let noisy = shell(
        "noisy",
        "yes 'a line that comes again and again and again and again' & wait",
    );
    let files = shell(
        "files",
        "truncate -s 2G /www/big; httpd -f -p 8080 -h /www & wait",
    );
    let spec = json!({"services": [noisy, files, idle("web")],
        "ingress": [{"name": "web", "host": name, "target": {"service": "files", "port": 8080}}]});
    server.create(&name, &spec).await;
    server.running(&name).await;
    let before = memory_mib(server.pid());
    // Clients of each kind that read nothing at all of much.
    let mut clients = Vec::new();
    for args in [
        &["logs", &name, "noisy", "-f"][..],
        &["exec", &name, "web", "--", "cat", "/dev/zero"],
        &["exec", "-i", &name, "web", "--", "sleep", "1000"],
    ] {
        for _ in 0..3 {
            let child = ctl(&server, args)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn();
            clients.push(child.expect("caractrl runs"));
        }
    }
    let mut sockets = Vec::new();
    let path = paths::fill(paths::SERVICE_FORWARD, &[&name, "files", "8080"]);
    for _ in 0..5 {
        let (mut sender, receiver) = server.client().socket(&path, &[]).await.expect("a stream");
        let ask = Frame::new(Channel::Stdin, "GET /big HTTP/1.0\r\n\r\n");
        sender.send(&ask).await.expect("sent");
        sockets.push((sender, receiver));
    }
    eventually("all are open", async || {
        let counts = [("logs", 3), ("exec", 6), ("forward", 5)];
        for (kind, count) in counts {
            if open_streams(&server, kind).await? < count {
                return None;
            }
        }
        Some(())
    })
    .await;
    // Long enough for gigabytes if anything were unbounded.
    let until = Instant::now() + Duration::from_secs(5);
    let mut most = 0;
    while Instant::now() < until {
        most = most.max(memory_mib(server.pid()));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(most < before + 150, "from {before} to {most} MiB");
    // Killed, not closed.
    for mut client in clients {
        client.kill().await.expect("killed");
    }
    drop(sockets);
    nothing_is_open(&server).await;
    let left = cara_tests::Docker::default().run(&["top", &format!("{name}-web")]);
    assert!(
        !left.contains("/dev/zero") && !left.contains("sleep 1000"),
        "{left}"
    );
    server.delete(&name).await;
}

/// Reads a stream at 1 MiB/s for some seconds; how much came.
async fn read_evenly(server: &Server, path: String, seconds: u32) -> usize {
    let client = server.client();
    let (mut sender, mut receiver) = client.socket(&path, &[]).await.expect("a stream");
    let ask = Frame::new(Channel::Stdin, "GET /big HTTP/1.0\r\n\r\n");
    sender.send(&ask).await.expect("sent");
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(seconds.into()) {
        let due = begun.elapsed().as_secs_f64() * f64::from(1 << 20);
        #[expect(clippy::cast_precision_loss, reason = "a few megabytes")]
        if count as f64 > due {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        match receiver.next().await.expect("it goes on") {
            Some(frame) => count += frame.payload.len(),
            None => break,
        }
    }
    count
}

#[tokio::test]
async fn two_hundred_streams_do_not_disturb_heartbeats() {
    let server = Server::start(&[]).await;
    let node = unique("node");
    let agent = Agent::start(&server, &node);
    server.node_ready(&node).await;
    let name = unique("many");
    let files = shell(
        "files",
        "truncate -s 2G /www/big; httpd -f -p 8080 -h /www & wait",
    );
    let spec = json!({"services": [files],
        "ingress": [{"name": "web", "host": name, "target": {"service": "files", "port": 8080}}]});
    server.create(&name, &spec).await;
    server.running(&name).await;
    let path = paths::fill(paths::SERVICE_FORWARD, &[&name, "files", "8080"]);
    let node_path = paths::fill(paths::NODE, &[&node]);
    let server = std::sync::Arc::new(server);
    let pids = [server.pid(), agent.pid()];
    let memory_before = pids.map(memory_mib);
    let cpu_before = pids.map(cpu_ms);
    let mut memory_most = memory_before;
    let mut readers = JoinSet::new();
    for _ in 0..200 {
        let (server, path) = (std::sync::Arc::clone(&server), path.clone());
        readers.spawn(async move { read_evenly(&server, path, 10).await });
    }
    eventually("all streams are open", async || {
        (open_streams(&server, "forward").await? == 200).then_some(())
    })
    .await;
    let mut oldest = Duration::ZERO;
    let mut slowest = Duration::ZERO;
    let mut total = 0;
    loop {
        tokio::select! {
            Some(read) = readers.join_next() => {
                let read = read.expect("it reads");
                assert!(read > 0, "a stream that nothing came through");
                total += read;
                if readers.is_empty() {
                    break;
                }
            }
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
        for (most, pid) in memory_most.iter_mut().zip(pids) {
            *most = (*most).max(memory_mib(pid));
        }
        let asked = Instant::now();
        let (_, found) = server.call("GET", &node_path, "").await;
        slowest = slowest.max(asked.elapsed());
        assert_eq!(found["status"]["state"], "Ready");
        let beat = found["status"]["lastHeartbeat"].as_str().expect("a time");
        let beat: jiff::Timestamp = beat.parse().expect("a time");
        let age = jiff::Timestamp::now().duration_since(beat);
        oldest = oldest.max(Duration::try_from(age).unwrap_or_default());
    }
    let mib = u64::try_from(total >> 20).expect("a number").max(1);
    let cpu_us = |at: usize| (cpu_ms(pids[at]) - cpu_before[at]) * 1000 / mib;
    println!(
        "{} MiB/s in all, oldest heartbeat {oldest:?}, slowest answer {slowest:?}; \
         server: {} us of CPU for each MiB, at most {} MiB of memory; agent: {} us, {} MiB",
        mib / 10,
        cpu_us(0),
        memory_most[0],
        cpu_us(1),
        memory_most[1],
    );
    for (most, before) in memory_most.iter().zip(memory_before) {
        assert!(*most < before + 250, "from {before} to {most} MiB");
    }
    // Half of what makes a node NotReady.
    assert!(oldest < Duration::from_secs(8), "{oldest:?}");
    nothing_is_open(&server).await;
    server.delete(&name).await;
}
