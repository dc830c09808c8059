//! What many hosts cost, a measurement: run by hand, with `cargo test --workspace --lib scale -- --ignored --nocapture`.

use std::time::Instant;

use super::*;

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kib.expect("a number") / 1024.0
}

/// One rule with several hosts.
fn shop(number: usize, hosts: usize) -> Project {
    let mut project = project(&format!("p{number:06}"), ProjectPhase::Running, true, 1);
    let host = |n: usize| format!("h{number:06}-{n}.bench.test");
    let mut hosts = (0..hosts).map(host);
    project.spec.ingress[0].host = hosts.next().expect("a host");
    project.spec.ingress[0].hosts = hosts.collect();
    project
}

fn measure(count: usize, each: usize) {
    let domain = domain();
    let ground = bare(&domain);
    let before = resident_mib();
    let mut set = RouteSet::default();
    let begin = Instant::now();
    for number in 0..count / each {
        let project = shop(number, each);
        set.update(&project.name(), Some((&project, None)), &ground);
    }
    let all = begin.elapsed();
    let after = resident_mib();
    let mut changed = shop(count / each / 2, each);
    let mut times = Vec::new();
    for n in 0..100 {
        changed.status.services[0].endpoints[0].ready = n % 2 == 1;
        let begin = Instant::now();
        assert!(set.update(&changed.name(), Some((&changed, None)), &ground));
        times.push(begin.elapsed());
    }
    times.sort();
    println!(
        "{count} hosts, {each} in each project: {:.0} MiB, {all:?}; one change {:?}",
        after - before,
        times[50],
    );
}

#[test]
#[ignore = "a measurement: prints times and sizes, and checks none of them"]
fn one_change_among_many() {
    println!(
        "bytes: Project {} Ingress {} ProjectStatus {} ServiceStatus {} Service {}",
        size_of::<Project>(),
        size_of::<Ingress>(),
        size_of::<cara_api::project::ProjectStatus>(),
        size_of::<ServiceStatus>(),
        size_of::<cara_api::project::Service>(),
    );
    // Memory that was freed is used again, so that only the largest of all says how much it takes.
    measure(100_000, 100);
    measure(100_000, 1);
    measure(10_000, 1);
}
