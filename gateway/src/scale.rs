//! What many hosts cost, a measurement: run by hand, with `cargo test --workspace --lib scale -- --ignored --nocapture`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use cara_api::ResourceVersion;
use cara_api::gateway::{
    Action, Backend, ClientAuthorities, Forward, GatewayState, HealthProbe, Host, PathMatch,
    Policy, Rewrite, Route, Target,
};
use cara_api::hostname::Hostname;

use crate::listen::TlsVersion;
use crate::listen::by_name::ByName;
use crate::listen::follow::Follower;
use crate::listen::metrics::ListenMetrics;
use crate::listen::names::Names;
use crate::listen::tls::Configs;
use crate::live::{Live, Registry};
use crate::upstream::Probes;

fn host(
    number: usize,
    port: u16,
    policy: &Arc<Policy>,
    clients: Option<&str>,
) -> (Hostname, Arc<Host>) {
    let hostname = Hostname::parse(&format!("h{number}.bench.test")).expect("a hostname");
    let project = format!("p{number}");
    let route = Route {
        project: project.clone(),
        ingress: "web".into(),
        path: PathMatch::Prefix("/".into()),
        headers: Vec::new(),
        action: Action::Forward(Forward {
            targets: vec![Target {
                service: "web".into(),
                weight: 1,
                protocol: Default::default(),
                backend: Backend::Ready {
                    endpoints: vec![([127, 0, 0, 1], port).into()],
                },
            }],
            rewrite: Rewrite::Keep,
        }),
        policy: Arc::clone(policy),
    };
    let mut host = Host {
        project,
        tls: Default::default(),
        routes: vec![Arc::new(route)],
    };
    host.tls.clients = clients.map(|ca| ClientAuthorities {
        ca_pem: ca.into(),
        is_optional: false,
    });
    (hostname, Arc::new(host))
}

fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status
        .lines()
        .find(|l| l.starts_with("VmRSS"))
        .expect("a line");
    let kib: f64 = line
        .split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .expect("a number");
    kib / 1024.0
}

fn measure(
    what: &str,
    count: usize,
    policy: Policy,
    clients: impl Fn(usize, u16) -> Option<String>,
) {
    let policy = Arc::new(policy);
    let before = resident();
    let make = |n: usize, port| host(n, port, &policy, clients(n, port).as_deref());
    let mut state = GatewayState {
        revision: ResourceVersion(1),
        hosts: (0..count).map(|n| make(n, 80)).collect(),
        ..GatewayState::default()
    };
    let published = resident();
    let registry = prometheus::Registry::new();
    let names = Arc::new(ArcSwap::from_pointee(Names::default()));
    let configs = Arc::new(Configs::new(
        TlsVersion::V1_2,
        Arc::new(ByName(Arc::clone(&names))),
    ));
    let metrics = ListenMetrics::register(&registry);
    let (ports, _) = tokio::sync::watch::channel(Default::default());
    let mut follower = Follower::new(configs, names, ports, metrics);
    let (live, mut rules, mut probes) = (Live::default(), Registry::default(), Probes::default());
    let next = Arc::new(state.clone());
    let begin = Instant::now();
    follower.catch_up(&next);
    let listened = begin.elapsed();
    live.take_in(&next, &mut rules, &mut probes);
    let first = begin.elapsed();
    let taken = resident();
    let (mut set, mut listen, mut take) = (Vec::new(), Vec::new(), Vec::new());
    for change in 0..100_usize {
        let (name, host) = make(change * 7 % count, 81 + (change as u16 % 2));
        let begin = Instant::now();
        state.revision = ResourceVersion(2 + change as u64);
        state.hosts.insert(name, host);
        let next = Arc::new(state.clone());
        set.push(begin.elapsed());
        let begin = Instant::now();
        follower.catch_up(&next);
        listen.push(begin.elapsed());
        let begin = Instant::now();
        live.take_in(&next, &mut rules, &mut probes);
        take.push(begin.elapsed());
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    println!(
        "{what} {count}: state {:.0} MiB, live {:.0} MiB; all at once {listened:?} {first:?}; one: set {:?} listen {:?} take in {:?}",
        published - before,
        taken - published,
        median(&mut set),
        median(&mut listen),
        median(&mut take)
    );
}

#[tokio::test]
#[ignore = "a measurement: prints times and sizes, and checks none of them"]
async fn one_change_among_many() {
    println!(
        "LiveRule {} Filters {} LiveHost {} Host {} Route {} Policy {} Target {}",
        size_of::<crate::live::LiveRule>(),
        size_of::<crate::filter::rules::Filters>(),
        size_of::<crate::live::LiveHost>(),
        size_of::<Host>(),
        size_of::<Route>(),
        size_of::<Policy>(),
        size_of::<Target>()
    );
    for count in [10_000, 100_000] {
        measure("plain", count, Policy::default(), |_, _| None);
    }
    let probed = Policy {
        health: Some(HealthProbe {
            path: "/".into(),
            interval: Duration::from_secs(3600),
            timeout: Duration::from_secs(1),
            failures: 1,
            successes: 1,
        }),
        ..Policy::default()
    };
    measure("probed", 1_000, probed.clone(), |_, _| None);
    measure("probed", 10_000, probed, |_, _| None);
    for count in [1_000, 10_000] {
        measure("clients", count, Policy::default(), |n, port| {
            Some(format!("ca {n} {port}"))
        });
    }
    measure("same clients", 10_000, Policy::default(), |_, port| {
        Some(format!("ca {port}"))
    });
}
