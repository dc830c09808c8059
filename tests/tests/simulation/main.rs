//! A deterministic simulation: the planners of control plane and agents, a model of engines and
//! network, and one seed that decides everything. A seed that fails fails again.
//!
//! `make simulation SEEDS=10000` runs many; a plain test run tries 300.

mod control;
mod engine;
mod node;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use cara_api::project::{ProjectPhase, ProjectSpec};
use cara_api::{NodeName, ProjectName};
use cara_controlplane::plan::node as plan_node;
use fastrand::Rng;

use control::Control;
use node::{Node, Trouble};

const NODES: [&str; 3] = ["n0", "n1", "n2"];
const PROJECTS: [&str; 4] = ["a", "b", "c", "d"];
const TICK_MS: u64 = 250;
const CALM_TICK_MS: u64 = 1_000;
/// How long things go wrong.
const STORM_TICKS: u64 = 400;
/// After this much quiet everything must be as it should: the longest pause between tries is a
/// minute, a service has two to become ready, and a failed rollout is then taken back.
const CALM_TICKS: u64 = 600;
/// Nothing at all may be written in the last part of the calm.
const STILL_TICKS: u64 = 100;

const STORM: Trouble = Trouble {
    failure: 0.1,
    repeat: 0.3,
    slowest_ms: 4_000,
};
const CALM: Trouble = Trouble {
    failure: 0.0,
    repeat: 0.0,
    slowest_ms: 400,
};

/// What the users want in the end.
#[derive(Debug, Clone)]
struct Wish {
    spec: ProjectSpec,
}

struct World {
    rng: Rng,
    control: Control,
    nodes: Vec<Node>,
    wishes: std::collections::BTreeMap<ProjectName, Wish>,
    base: Instant,
    now_ms: u64,
}

fn node_name(index: usize) -> NodeName {
    NodeName::trusted(NODES[index])
}

fn spec(rng: &mut Rng) -> ProjectSpec {
    let image = format!(
        "{}:{}",
        if rng.f64() < 0.25 { "broken" } else { "good" },
        rng.u8(0..4)
    );
    let volume = match rng.u8(0..6) {
        0 => serde_json::json!([{"name": "data", "type": "Ephemeral"}]),
        1 => serde_json::json!([{"name": "data", "type": "Persistent"}]),
        _ => serde_json::json!([]),
    };
    let mounts = if volume.as_array().is_some_and(Vec::is_empty) {
        serde_json::json!([])
    } else {
        serde_json::json!([{"name": "data", "mountPath": "/data"}])
    };
    let host = rng.u8(..);
    let spec = serde_json::json!({
        "services": [
            {"name": "web", "image": image, "volumeMounts": mounts},
            {"name": "side", "image": "good:0", "env": [{"name": "V", "value": rng.u8(0..2).to_string()}]}],
        "volumes": volume,
        "ingress": [{"name": "web", "host": format!("h{host}"), "target": {"service": "web", "port": 80}}]});
    serde_json::from_value(spec).expect("a spec")
}

impl World {
    fn new(seed: u64) -> Self {
        let mut control = Control::default();
        for name in NODES {
            control.add_node(name);
        }
        let numbers = 0..u8::try_from(NODES.len()).expect("few");
        Self {
            rng: Rng::with_seed(seed),
            control,
            nodes: numbers.map(Node::new).collect(),
            wishes: std::collections::BTreeMap::new(),
            base: Instant::now(),
            now_ms: 0,
        }
    }

    fn tick(&mut self, trouble: Trouble, length_ms: u64) {
        self.now_ms += length_ms;
        let now_ms = self.now_ms;
        for index in 0..self.nodes.len() {
            let name = node_name(index);
            let node = &mut self.nodes[index];
            if node.is_up && node.is_connected {
                self.control.beat(&name, now_ms);
                node.assign(&self.control.assignments(&name));
            }
            node.step(&mut self.rng, trouble, self.base, now_ms);
            let (due, later) = std::mem::take(&mut node.sent)
                .into_iter()
                .partition(|(arrives, _, _)| *arrives <= now_ms);
            node.sent = later;
            for (_, report, order) in due {
                self.control.hear(&name, &report, order, now_ms);
            }
        }
        let (rng, slowest) = (&mut self.rng, trouble.slowest_ms);
        self.control.decide(now_ms, || rng.u64(0..=slowest / 4));
        self.control.arrive(now_ms);
        self.check_routes();
    }

    /// Nobody is sent to a container of a node that the project is not bound to.
    fn check_routes(&self) {
        for (name, project) in &self.control.projects {
            let bound = NODES.iter().position(|n| *n == project.status.node_ref);
            for service in &project.status.services {
                for endpoint in service.endpoints.iter().filter(|e| e.ready) {
                    let std::net::IpAddr::V4(ip) = endpoint.address.ip() else {
                        continue;
                    };
                    let node = usize::from(ip.octets()[1]);
                    assert_eq!(Some(node), bound, "{name} leads to another node");
                }
            }
        }
    }

    fn disturb(&mut self) {
        let index = self.rng.usize(0..self.nodes.len());
        let now_ms = self.now_ms;
        let name = node_name(index);
        let project = ProjectName::trusted(PROJECTS[self.rng.usize(0..PROJECTS.len())]);
        match self.rng.u8(0..40) {
            0 => self.nodes[index].is_connected = false,
            1..=3 => self.nodes[index].reconnect(),
            4 => {
                self.nodes[index].is_up = false;
            }
            5..=7 if !self.nodes[index].is_up => {
                self.nodes[index].restart();
                self.nodes[index].is_up = true;
            }
            8 => self.nodes[index].engine.reboot(now_ms),
            9 => self.control.restart(now_ms),
            10 => {
                let names: Vec<String> = self.nodes[index]
                    .engine
                    .containers
                    .keys()
                    .cloned()
                    .collect();
                if let Some(victim) = self.rng.choice(&names) {
                    self.nodes[index].engine.end(victim, 137, now_ms);
                }
            }
            11 => {
                let delete_ephemeral_data = self.rng.bool();
                let drain = cara_api::node::Drain {
                    delete_ephemeral_data,
                };
                self.control
                    .change_node(&name, |node| plan_node::drain(node, &drain));
            }
            12..=13 => self.control.change_node(&name, plan_node::uncordon),
            14..=15 => {
                let spec = spec(&mut self.rng);
                if !self.control.projects.contains_key(&project) {
                    self.control.create(&project, spec.clone());
                    self.wishes.insert(project, Wish { spec });
                }
            }
            16..=17 => {
                let spec = spec(&mut self.rng);
                if self.wishes.contains_key(&project) {
                    self.control.replace(&project, &spec, now_ms);
                    self.wishes.insert(project, Wish { spec });
                }
            }
            18 => {
                self.control.delete(&project, now_ms);
                self.wishes.remove(&project);
            }
            _ => {}
        }
    }

    fn mend(&mut self) {
        for index in 0..self.nodes.len() {
            if !self.nodes[index].is_up {
                self.nodes[index].restart();
                self.nodes[index].is_up = true;
            }
            self.nodes[index].reconnect();
            self.control
                .change_node(&node_name(index), plan_node::uncordon);
        }
    }

    /// What must hold in the end.
    fn check_end(&self) {
        for name in PROJECTS.map(ProjectName::trusted) {
            match (self.wishes.get(&name), self.control.projects.get(&name)) {
                (None, None) => {
                    for node in &self.nodes {
                        let left = node.engine.projects();
                        assert!(
                            !left.contains(name.as_str()),
                            "{name} left something behind"
                        );
                    }
                }
                (Some(wish), Some(project)) => self.check_project(wish, project),
                (wish, project) => panic!("{name}: wanted {wish:?}, found {project:?}"),
            }
        }
    }

    fn check_project(&self, wish: &Wish, project: &cara_api::Project) {
        let (name, status) = (&project.metadata.name, &project.status);
        let is_good =
            |spec: &ProjectSpec| spec.services.iter().all(|s| s.image.starts_with("good"));
        assert_eq!(
            project.spec, wish.spec,
            "{name}: an acknowledged change is lost"
        );
        assert_eq!(status.moving, None, "{name} still moves");
        let bound = NODES.iter().position(|n| *n == status.node_ref);
        let bound = bound.unwrap_or_else(|| panic!("{name} has no node: {status:?}"));
        for (index, node) in self.nodes.iter().enumerate() {
            let here = node
                .engine
                .containers
                .values()
                .filter(|c| c.project == *name);
            let here: Vec<_> = here.collect();
            if index != bound {
                assert!(
                    here.is_empty(),
                    "{name} has a second copy on {}",
                    NODES[index]
                );
                continue;
            }
            for service in ["web", "side"] {
                let count = here.iter().filter(|c| c.service == service).count();
                // One that fails may have an older one beside it, which serves.
                let most = usize::from(status.phase != ProjectPhase::Running) + 1;
                assert!(
                    (1..=most).contains(&count),
                    "{name}: containers of {service}: {here:#?}
{status:#?}"
                );
            }
            if status.phase == ProjectPhase::Running {
                assert!(
                    here.iter().all(|c| c.is_running()),
                    "{name}: something is down"
                );
            }
        }
        let is_rejected = status.rejected_generation == project.metadata.generation;
        match (is_good(&project.spec), is_rejected) {
            (true, false) => {
                assert_eq!(status.phase, ProjectPhase::Running, "{name}: {status:?}");
                assert_eq!(
                    status.observed_generation, project.metadata.generation,
                    "{name}"
                );
            }
            // A good one may be rejected when the engine fails three times in a row.
            (true | false, true) => {
                assert_eq!(status.phase, ProjectPhase::Running, "{name}: {status:?}");
                assert_eq!(
                    status.observed_generation, status.stable_generation,
                    "{name}"
                );
            }
            (false, false) => assert_eq!(status.phase, ProjectPhase::Failed, "{name}: {status:?}"),
        }
    }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..STORM_TICKS {
        world.disturb();
        world.tick(STORM, TICK_MS);
    }
    world.mend();
    for _ in 0..CALM_TICKS - STILL_TICKS {
        world.tick(CALM, CALM_TICK_MS);
    }
    let version = world.control.version();
    let is_still = |world: &World| {
        // A project that fails counts its restarts for ever.
        let mut projects = world.control.projects.values();
        projects.all(|p| p.status.phase == ProjectPhase::Running)
    };
    for _ in 0..STILL_TICKS {
        world.tick(CALM, CALM_TICK_MS);
    }
    world.check_end();
    if is_still(&world) {
        assert_eq!(world.control.version(), version, "something oscillates");
    }
}

#[test]
fn whatever_happens_in_the_end_everything_is_as_it_should_be() {
    #[expect(
        clippy::disallowed_methods,
        reason = "how `make simulation` says how many and from where"
    )]
    let given = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let (first, count) = (
        given("CARA_SIMULATION_FIRST", 0),
        given("CARA_SIMULATION_SEEDS", 300),
    );
    let next = AtomicU64::new(first);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return;
            }
            if let Err(cause) = std::panic::catch_unwind(|| run(seed)) {
                eprintln!("seed {seed} failed; repeat it: make simulation FIRST={seed} SEEDS=1");
                std::panic::resume_unwind(cause);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    println!("{count} seeds from {first} on");
}
