//! Judges what was gathered about a server: how well each part is, and what would mend it.

use std::time::Duration;

use cara_api::condition::{self, DISK_PRESSURE, MEMORY_PRESSURE};
use cara_api::doctor::Check;
use cara_api::node::NodeState;
use cara_api::{Condition, Timestamp};
use jiff::SignedDuration;

/// What was gathered; what could not be found out is none.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// How long the store took to answer, or why it did not.
    pub store: Option<Result<Duration, String>>,
    /// Where the store is, with free and all bytes there.
    pub disk: Option<Disk>,
    /// Whether the gateway goes by what is stored.
    pub gateway_follows: Option<bool>,
    /// The nodes.
    pub nodes: Vec<NodeFacts>,
    /// The certificates.
    pub certificates: Vec<CertificateFacts>,
    /// Names of projects that failed.
    pub failed: Vec<String>,
    /// Names of projects that no node can take.
    pub unplaced: Vec<String>,
    /// A hostname as projects get it, and whether it can be looked up.
    pub wildcard: Option<(String, bool)>,
    /// The server's version.
    pub version: String,
}

/// Room on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// A directory on it.
    pub path: String,
    /// Free for the server.
    pub free_bytes: u64,
    /// Altogether.
    pub all_bytes: u64,
}

/// A node, as far as it matters here.
#[derive(Debug, Clone, Default)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: NodeState,
    /// Version of its engine, if its agent says so.
    pub engine: String,
    /// Version of its agent, if it says so.
    pub agent: String,
    /// Its conditions.
    pub conditions: Vec<Condition>,
}

/// A certificate, as far as it matters here.
#[derive(Debug, Clone, Default)]
pub struct CertificateFacts {
    /// Its name.
    pub name: String,
    /// When it ends, if there is one yet.
    pub not_after: Option<Timestamp>,
    /// Why the last try to get one failed.
    pub last_error: String,
}

/// A store that takes longer is slow.
const SLOW: Duration = Duration::from_millis(250);
/// Less room than this, and than the part below, is little.
const LITTLE_BYTES: u64 = 4 << 30;
/// The same, where nothing can be written soon.
const NOTHING_BYTES: u64 = 512 << 20;
/// A certificate that ends within this time was not renewed in time.
const SOON: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How many are named at most.
const NAMED_MAX: usize = 5;

/// The checks, in the order in which they are shown.
pub fn judge(facts: &Facts, now: Timestamp) -> Vec<Check> {
    let checks = [
        facts.store.as_ref().map(store),
        facts.disk.as_ref().map(disk),
        facts.gateway_follows.map(gateway),
        Some(nodes(&facts.nodes)),
        engines(&facts.nodes),
        versions(&facts.nodes, &facts.version),
        Some(certificates(&facts.certificates, now)),
        facts.wildcard.as_ref().map(wildcard),
        Some(projects(facts)),
    ];
    checks.into_iter().flatten().collect()
}

fn store(answer: &Result<Duration, String>) -> Check {
    match answer {
        Ok(took) if *took < SLOW => Check::pass(
            "store",
            format!("it answers within {} ms", took.as_millis()),
        ),
        Ok(took) => Check::warn(
            "store",
            format!("it took {} ms to answer", took.as_millis()),
            "look at the load of the server's disk: every change waits for it",
        ),
        Err(why) => Check::fail(
            "store",
            why.clone(),
            "read the server's log; changes are refused until the store answers",
        ),
    }
}

fn disk(disk: &Disk) -> Check {
    let percent = disk.free_bytes.saturating_mul(100) / disk.all_bytes.max(1);
    let message = format!(
        "{} of {} are free at {} ({percent} %)",
        size(disk.free_bytes),
        size(disk.all_bytes),
        disk.path
    );
    let mend = "make room, or move the data directory to a larger disk";
    match disk.free_bytes {
        0..NOTHING_BYTES => Check::fail("disk", message, mend),
        NOTHING_BYTES..LITTLE_BYTES if percent < 10 => Check::warn("disk", message, mend),
        _ => Check::pass("disk", message),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

fn gateway(follows: bool) -> Check {
    match follows {
        true => Check::pass("gateway", "it serves what is stored"),
        false => Check::fail(
            "gateway",
            "it does not follow what is stored",
            "read the server's log; start it again if nothing changes",
        ),
    }
}

fn nodes(nodes: &[NodeFacts]) -> Check {
    if nodes.is_empty() {
        return Check::fail(
            "nodes",
            "there are none, so nothing can run",
            "start an agent that joins this server, or the server with --with-agent",
        );
    }
    let is_down = |node: &&NodeFacts| node.state == NodeState::NotReady;
    let down: Vec<&str> = nodes
        .iter()
        .filter(is_down)
        .map(|n| n.name.as_str())
        .collect();
    let short: Vec<&str> = nodes
        .iter()
        .filter(|node| {
            let is_so = |kind| {
                let found = condition::find(&node.conditions, kind);
                found.is_some_and(|c| c.status == "True")
            };
            is_so(DISK_PRESSURE) || is_so(MEMORY_PRESSURE)
        })
        .map(|node| node.name.as_str())
        .collect();
    if down.len() == nodes.len() {
        return Check::fail(
            "nodes",
            format!("none is ready: {}", some(&down)),
            format!("caractrl describe node {}; is its agent running?", down[0]),
        );
    }
    if let Some(first) = down.first() {
        return Check::warn(
            "nodes",
            format!(
                "{} of {} are not ready: {}",
                down.len(),
                nodes.len(),
                some(&down)
            ),
            format!("caractrl describe node {first}; is its agent running?"),
        );
    }
    if let Some(first) = short.first() {
        return Check::warn(
            "nodes",
            format!("short of disk or memory: {}", some(&short)),
            format!("caractrl describe node {first} says of what"),
        );
    }
    Check::pass("nodes", format!("{} ready", count(nodes.len(), "node")))
}

fn engines(nodes: &[NodeFacts]) -> Option<Check> {
    let ready = || {
        nodes
            .iter()
            .filter(|node| node.state != NodeState::NotReady)
    };
    let silent: Vec<&str> = ready()
        .filter(|node| node.engine.is_empty())
        .map(|node| node.name.as_str())
        .collect();
    if let Some(first) = silent.first() {
        return Some(Check::warn(
            "engine",
            format!("no version is known of the engine at {}", some(&silent)),
            format!("run `docker info` on {first}; agents of the older system do not say it"),
        ));
    }
    let mut versions: Vec<&str> = ready().map(|node| node.engine.as_str()).collect();
    versions.sort_unstable();
    versions.dedup();
    let known = !versions.is_empty();
    known.then(|| {
        Check::pass(
            "engine",
            format!("it answers on every node: {}", some(&versions)),
        )
    })
}

fn versions(nodes: &[NodeFacts], version: &str) -> Option<Check> {
    let others: Vec<String> = nodes
        .iter()
        .filter(|node| !node.agent.is_empty() && node.agent != version)
        .map(|node| format!("{} ({})", node.name, node.agent))
        .collect();
    let is_known = nodes.iter().any(|node| !node.agent.is_empty());
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    match (others.is_empty(), is_known) {
        (false, _) => Some(Check::warn(
            "agents",
            format!(
                "they are not of the server's version {version}: {}",
                some(&others)
            ),
            "install the server's version there; containers go on while an agent is replaced",
        )),
        (true, true) => Some(Check::pass(
            "agents",
            format!("all are of version {version}"),
        )),
        (true, false) => None,
    }
}

fn certificates(all: &[CertificateFacts], now: Timestamp) -> Check {
    let named = |is: &dyn Fn(&CertificateFacts) -> bool| -> Vec<String> {
        let found = all.iter().filter(|c| is(c));
        found.map(|c| c.name.clone()).collect()
    };
    let ends = |c: &CertificateFacts, within: SignedDuration| {
        c.not_after
            .is_some_and(|end| end.duration_since(now) < within)
    };
    let ended = named(&|c| ends(c, SignedDuration::ZERO));
    let soon = named(&|c| ends(c, SOON) && !ends(c, SignedDuration::ZERO));
    let refused = named(&|c| !c.last_error.is_empty());
    for (names, what, is_over) in [
        (ended, "have ended", true),
        (refused, "could not be obtained", false),
        (soon, "end within a week", false),
    ] {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let Some(first) = names.first() else { continue };
        let message = format!("{} {what}: {}", names.len(), some(&names));
        let mend = format!("caractrl describe certificate {first} says why");
        return match is_over {
            true => Check::fail("certificates", message, mend),
            false => Check::warn("certificates", message, mend),
        };
    }
    match all.len() {
        0 => Check::pass("certificates", "there are none"),
        n => Check::pass(
            "certificates",
            format!("{} good for more than a week", count(n, "certificate")),
        ),
    }
}

fn wildcard((host, resolves): &(String, bool)) -> Check {
    let domain = host
        .split_once('.')
        .map_or(host.as_str(), |(_, domain)| domain);
    match resolves {
        true => Check::pass("dns", format!("*.{domain} can be looked up by the server")),
        false => Check::warn(
            "dns",
            format!("the server cannot look up {host}"),
            format!(
                "make a record *.{domain} that leads to the gateway; *.localhost needs none for browsers"
            ),
        ),
    }
}

fn projects(facts: &Facts) -> Check {
    let texts = |names: &[String]| -> String {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        some(&names)
    };
    if let Some(first) = facts.failed.first() {
        return Check::warn(
            "projects",
            format!("{} failed: {}", facts.failed.len(), texts(&facts.failed)),
            format!("caractrl describe project {first}"),
        );
    }
    if let Some(first) = facts.unplaced.first() {
        return Check::warn(
            "projects",
            format!("no node can take {}", texts(&facts.unplaced)),
            format!("caractrl describe project {first} says why"),
        );
    }
    Check::pass("projects", "none failed")
}

fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        n => format!("{n} {noun}s"),
    }
}

/// The first of some names, and how many more there are.
fn some(names: &[&str]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMED_MAX).copied().collect();
    match names.len().saturating_sub(NAMED_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use cara_api::doctor::Level;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn node(name: &str, state: NodeState) -> NodeFacts {
        NodeFacts {
            name: name.to_owned(),
            state,
            engine: "29.0".to_owned(),
            agent: "1".to_owned(),
            conditions: Vec::new(),
        }
    }

    fn healthy() -> Facts {
        Facts {
            store: Some(Ok(Duration::from_millis(2))),
            disk: Some(Disk {
                path: "/data".to_owned(),
                free_bytes: 50 << 30,
                all_bytes: 100 << 30,
            }),
            gateway_follows: Some(true),
            nodes: vec![node("a", NodeState::Ready)],
            wildcard: Some(("x.dev.example.com".to_owned(), true)),
            version: "1".to_owned(),
            ..Facts::default()
        }
    }

    fn found(change: impl Fn(&mut Facts), name: &str) -> (Level, String) {
        let mut facts = healthy();
        change(&mut facts);
        let checks = judge(&facts, at(0));
        let check = checks.into_iter().find(|check| check.name == name);
        let check = check.expect("it is looked at");
        assert_eq!(
            check.mend.is_empty(),
            check.level == Level::Pass,
            "{check:?}"
        );
        (check.level, check.message)
    }

    #[test]
    fn a_healthy_server_passes() {
        let checks = judge(&healthy(), at(0));
        assert!(checks.iter().all(|c| c.level == Level::Pass), "{checks:?}");
        let names: Vec<&str> = checks.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "store",
                "disk",
                "gateway",
                "nodes",
                "engine",
                "agents",
                "certificates",
                "dns",
                "projects"
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_found() {
        let is = |change: &dyn Fn(&mut Facts), name: &str, level: Level, text: &str| {
            let (found, message) = found(change, name);
            assert_eq!((found, message.as_str()), (level, text));
        };
        use Level::{Fail, Warn};
        is(
            &|f| f.store = Some(Err("gone".into())),
            "store",
            Fail,
            "gone",
        );
        is(
            &|f| f.store = Some(Ok(Duration::from_secs(1))),
            "store",
            Warn,
            "it took 1000 ms to answer",
        );
        let room = |f: &mut Facts, free: u64| {
            f.disk = f.disk.clone().map(|disk| Disk {
                free_bytes: free,
                ..disk
            });
        };
        is(
            &|f| room(f, 1 << 30),
            "disk",
            Warn,
            "1 GiB of 100 GiB are free at /data (1 %)",
        );
        is(
            &|f| room(f, 1 << 20),
            "disk",
            Fail,
            "1 MiB of 100 GiB are free at /data (0 %)",
        );
        is(
            &|f| f.gateway_follows = Some(false),
            "gateway",
            Fail,
            "it does not follow what is stored",
        );
        is(
            &|f| f.nodes.clear(),
            "nodes",
            Fail,
            "there are none, so nothing can run",
        );
        is(
            &|f| f.nodes = vec![node("a", NodeState::NotReady)],
            "nodes",
            Fail,
            "none is ready: a",
        );
        is(
            &|f| f.nodes.push(node("b", NodeState::NotReady)),
            "nodes",
            Warn,
            "1 of 2 are not ready: b",
        );
        is(
            &|f| f.nodes[0].engine.clear(),
            "engine",
            Warn,
            "no version is known of the engine at a",
        );
        is(
            &|f| f.nodes[0].agent = "0".into(),
            "agents",
            Warn,
            "they are not of the server's version 1: a (0)",
        );
        is(
            &|f| f.wildcard = Some(("x.dev.example.com".into(), false)),
            "dns",
            Warn,
            "the server cannot look up x.dev.example.com",
        );
        is(
            &|f| f.failed = vec!["shop".into()],
            "projects",
            Warn,
            "1 failed: shop",
        );
        is(
            &|f| f.unplaced = vec!["shop".into()],
            "projects",
            Warn,
            "no node can take shop",
        );
    }

    #[test]
    fn certificates_are_judged_by_their_end() {
        let day = 24 * 60 * 60;
        for (end, error, level, text) in [
            (Some(-1), "", Level::Fail, "1 have ended: c"),
            (Some(3 * day), "", Level::Warn, "1 end within a week: c"),
            (
                Some(30 * day),
                "",
                Level::Pass,
                "1 certificate good for more than a week",
            ),
            (None, "no", Level::Warn, "1 could not be obtained: c"),
        ] {
            let certificate = CertificateFacts {
                name: "c".to_owned(),
                not_after: end.map(at),
                last_error: error.to_owned(),
            };
            let (found, message) = found(
                |f| f.certificates = vec![certificate.clone()],
                "certificates",
            );
            assert_eq!((found, message.as_str()), (level, text));
        }
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let checks = judge(&Facts::default(), at(0));
        let names: Vec<&str> = checks.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["nodes", "certificates", "projects"]);
    }
}
