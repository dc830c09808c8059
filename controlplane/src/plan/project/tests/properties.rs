//! From whatever state, with reports in any order, nodes that come and go and clocks that jump:
//! deletion ends, epochs grow, stale reports change nothing, and a quiet world settles.

use std::collections::BTreeMap;

use cara_api::agent::{Assignment, Goal};
use cara_api::node::{Drain, Taint};
use cara_api::project::{ProjectRevision, ProjectSpec, Service};
use proptest::prelude::*;

use super::*;
use crate::plan::assign::assignment;

const NODES: [&str; 3] = ["n1", "n2", "n3"];
/// Decisions and reports after which a quiet world must have settled.
const ROUNDS: usize = 12;

#[derive(Debug, Clone)]
enum Event {
    /// The clock moves, maybe back.
    Clock(i64),
    Silence(usize),
    Return(usize),
    Remove(usize),
    Drain(usize, bool),
    Taint(usize),
    Open(usize),
    Decide,
    /// What an agent says, truly or late; of a generation and an epoch so far back.
    Report(usize, u64, u64, Outcome),
    /// What all agents say truly.
    Truth,
    Put(Spec),
    Delete,
}

/// A spec that runs or not, with volumes of a type or none.
#[derive(Debug, Clone)]
struct Spec {
    runs: bool,
    volume: &'static str,
    expires: bool,
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Starting),
        Just(Outcome::Running),
        Just(failed()),
        Just(Outcome::Removed),
        Just(Outcome::Removing {
            message: String::new()
        }),
        Just(Outcome::Removing {
            message: "in use".into()
        }),
    ]
}

fn specs() -> impl Strategy<Value = Spec> {
    let volumes = prop_oneof![
        4 => Just(""),
        2 => Just("Ephemeral"),
        1 => Just("Persistent"),
        1 => Just("HostPath"),
    ];
    (
        prop::bool::weighted(0.7),
        volumes,
        prop::bool::weighted(0.05),
    )
        .prop_map(|(runs, volume, expires)| Spec {
            runs,
            volume,
            expires,
        })
}

fn events() -> impl Strategy<Value = Event> {
    let node = 0..NODES.len();
    prop_oneof![
        2 => (-700_i64..900).prop_map(Event::Clock),
        2 => node.clone().prop_map(Event::Silence),
        3 => node.clone().prop_map(Event::Return),
        1 => node.clone().prop_map(Event::Remove),
        3 => (node.clone(), any::<bool>()).prop_map(|(n, b)| Event::Drain(n, b)),
        1 => node.clone().prop_map(Event::Taint),
        2 => node.clone().prop_map(Event::Open),
        10 => Just(Event::Decide),
        8 => (node, 0..3_u64, 0..3_u64, outcomes())
            .prop_map(|(n, g, e, o)| Event::Report(n, g, e, o)),
        6 => Just(Event::Truth),
        2 => specs().prop_map(Event::Put),
        1 => Just(Event::Delete),
    ]
}

/// The world as the control plane knows it.
struct Sim {
    project: Option<Project>,
    nodes: BTreeMap<&'static str, Node>,
    stored: BTreeMap<Generation, Arc<ProjectRevision>>,
    now: i64,
    revision: u64,
    highest_epoch: BindingEpoch,
}

impl Sim {
    fn new(spec: &Spec) -> Self {
        let mut project = Project::default();
        project.metadata.name = "shop".into();
        project.metadata.generation = Generation(1);
        project.spec = made(spec, 1);
        Self {
            project: Some(project),
            nodes: NODES.iter().map(|name| (*name, node(name))).collect(),
            stored: BTreeMap::new(),
            now: 1_000_000,
            revision: 1,
            highest_epoch: BindingEpoch(0),
        }
    }

    fn stable(&self) -> Option<&ProjectRevision> {
        let stable = self.project.as_ref()?.status.stable_generation;
        self.stored.get(&stable).map(|r| &**r)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Clock(seconds) => self.now += seconds,
            Event::Silence(n) => self.change(n, |node| node.status.state = NodeState::NotReady),
            Event::Return(n) => self.change(n, |node| node.status.state = NodeState::Ready),
            Event::Remove(n) => {
                self.nodes.remove(NODES[n]);
            }
            Event::Drain(n, delete_ephemeral_data) => self.change(n, |node| {
                node.spec.drain = Some(Drain {
                    delete_ephemeral_data,
                });
            }),
            Event::Taint(n) => self.change(n, |node| {
                node.spec.taints = vec![Taint {
                    key: "broken".into(),
                    value: String::new(),
                    effect: "NoExecute".into(),
                }];
            }),
            Event::Open(n) => self.change(n, |node| {
                node.spec.drain = None;
                node.spec.taints.clear();
            }),
            Event::Decide => {
                self.decide();
            }
            Event::Report(n, generations, epochs, outcome) => {
                self.late_report(NODES[n], generations, epochs, outcome);
            }
            Event::Truth => {
                self.tell_truth();
            }
            Event::Put(spec) => self.put(&spec),
            Event::Delete => self.delete(),
        }
    }

    /// A node that was removed registers again.
    fn change(&mut self, index: usize, edit: impl Fn(&mut Node)) {
        let name = NODES[index];
        edit(self.nodes.entry(name).or_insert_with(|| node(name)));
    }

    fn put(&mut self, spec: &Spec) {
        let Some(project) = &self.project else { return };
        if project.status.phase.is_ending() {
            return;
        }
        let wanted = made(spec, project.metadata.generation.0 + 1);
        if let Some(changed) = respecify(project, &wanted, at(self.now)) {
            for generation in outdated(&self.stored, project.status.stable_generation) {
                self.stored.remove(&generation);
            }
            let replaced = changed.replaced;
            self.stored.insert(replaced.generation, Arc::new(replaced));
            self.write(changed.project);
        }
    }

    fn delete(&mut self) {
        let Some(project) = &self.project else { return };
        let mut ending = project.clone();
        ending.status = terminate(project, "DeletionRequested", "", at(self.now));
        self.write(ending);
    }

    /// True when something was written.
    fn decide(&mut self) -> bool {
        let Some(project) = &self.project else {
            return false;
        };
        let nodes: Vec<Node> = self.nodes.values().cloned().collect();
        let decision = decide_over(project, &nodes, self.now);
        if let Some(moment) = decision.wake_at {
            assert!(moment > at(self.now), "a moment lies ahead");
        }
        match decision.action {
            Action::Keep => return false,
            Action::Write(status) => {
                let project = Project {
                    status,
                    ..project.clone()
                };
                self.write(project);
            }
            Action::Forget => self.project = None,
        }
        true
    }

    fn late_report(&mut self, node: &str, generations: u64, epochs: u64, outcome: Outcome) {
        let Some(project) = &self.project else { return };
        let epoch = BindingEpoch(self.highest_epoch.0.saturating_sub(epochs));
        let generation = Generation(project.metadata.generation.0.saturating_sub(generations));
        let status = &project.status;
        let is_bound = status.node_ref == node && status.binding_epoch == epoch;
        let target = status.moving.as_ref();
        let is_target = target.is_some_and(|m| m.node_ref == node && m.binding_epoch == epoch);
        let is_taken = self.report(node, epoch, generation, outcome).is_ok();
        assert!(
            is_bound || is_target || !is_taken,
            "a report of an older binding was taken"
        );
    }

    fn report(
        &mut self,
        node: &str,
        epoch: BindingEpoch,
        generation: Generation,
        outcome: Outcome,
    ) -> Result<bool, Stale> {
        let Some(project) = &self.project else {
            return Ok(false);
        };
        let mut report = report(outcome);
        (report.epoch, report.generation) = (epoch, generation);
        // By which endpoints of two epochs would be told apart.
        for index in [0, 1] {
            report.services.resize(2, ServiceStatus::default());
            report.services[index].name = format!("{}", epoch.0);
        }
        let node = NodeName::trusted(node);
        let heard = Heard {
            node: &node,
            report: &report,
            can_roll_back: self.stable().is_some(),
        };
        let Some(status) = fold(project, &heard, at(self.now))? else {
            return Ok(false);
        };
        let project = Project {
            status,
            ..project.clone()
        };
        self.write(project);
        Ok(true)
    }

    /// Every agent says how its copy is. True when something was written.
    fn tell_truth(&mut self) -> bool {
        let mut is_news = false;
        for name in NODES {
            let Some(told) = self.assigned(name) else {
                continue;
            };
            let runs = told.spec.services.iter().all(|s| s.image == "good");
            let outcome = match told.goal {
                Goal::Remove => Outcome::Removed,
                Goal::Run if runs => Outcome::Running,
                Goal::Run => failed(),
            };
            let taken = self.report(name, told.epoch, told.generation, outcome);
            is_news |= taken.expect("what is assigned can be reported");
        }
        is_news
    }

    fn assigned(&self, node: &str) -> Option<Assignment> {
        let project = self.project.as_ref()?;
        let target = project.status.moving.as_ref().map(|m| m.node_ref.as_str());
        let is_alive = self.nodes.get(node)?.status.state != NodeState::NotReady;
        let is_meant = project.status.node_ref == node || target == Some(node);
        (is_alive && is_meant).then(|| assignment(project, &NodeName::trusted(node), self.stable()))
    }

    /// What must hold of every write.
    fn write(&mut self, mut after: Project) {
        let Some(before) = &self.project else { return };
        let (old, new) = (&before.status, &after.status);
        assert!(
            !old.phase.is_ending() || new.phase.is_ending(),
            "back from {} to {}",
            old.phase,
            new.phase
        );
        assert_eq!(
            new.node_ref.is_empty(),
            new.phase == ProjectPhase::Pending
                || (new.phase.is_ending() && old.node_ref.is_empty()),
            "bound or not: {new:?}"
        );
        assert!(new.binding_epoch >= old.binding_epoch, "an epoch went back");
        let target = |status: &ProjectStatus| {
            let moving = status.moving.as_ref();
            moving.map(|m| (m.node_ref.clone(), m.binding_epoch))
        };
        let given = |status: &ProjectStatus| {
            let bound = (status.node_ref.clone(), status.binding_epoch);
            [Some(bound), target(status)]
        };
        let fresh = given(new).into_iter().flatten();
        for (node, epoch) in fresh.filter(|(node, _)| !node.is_empty()) {
            let is_old = given(old).contains(&Some((node.clone(), epoch)));
            assert!(
                is_old || epoch > self.highest_epoch,
                "epoch {} was given out before, now to {node}",
                epoch.0
            );
        }
        let mut names = new.services.iter().map(|s| &s.name);
        if let Some(first) = names.next() {
            assert!(names.all(|name| name == first), "two epochs are mixed");
        }
        let moving = target(new).map(|(_, epoch)| epoch).unwrap_or_default();
        self.highest_epoch = self.highest_epoch.max(new.binding_epoch).max(moving);
        self.revision += 1;
        after.metadata.resource_version.0 = self.revision;
        self.project = Some(after);
    }

    /// Every node is back, one of them open; every agent says how it is.
    fn calm(&mut self) {
        for index in 0..NODES.len() {
            self.happen(Event::Return(index));
        }
        self.happen(Event::Open(2));
        // What may expire has expired.
        self.now = self.now.max(1_100_000);
        for round in 0.. {
            let is_news = self.decide() | self.tell_truth();
            if !is_news {
                break;
            }
            assert!(round < ROUNDS, "it does not settle: {:?}", self.project);
            self.now += 1;
        }
        for _ in 0..3 {
            self.now += 100_000;
            let before = self.project.clone();
            assert!(!self.decide(), "time alone changes it: {before:?}");
        }
    }
}

fn made(spec: &Spec, edit: u64) -> ProjectSpec {
    let service = Service {
        name: format!("edit-{edit}"),
        image: if spec.runs { "good" } else { "bad" }.into(),
        ..Service::default()
    };
    let volumes = (!spec.volume.is_empty()).then(|| Volume {
        kind: spec.volume.into(),
        ..Volume::default()
    });
    ProjectSpec {
        services: vec![service],
        volumes: volumes.into_iter().collect(),
        expire_at: spec
            .expires
            .then(|| ExpireAt::parse("1970-01-12T13:50:00Z").expect("a time")),
        ..ProjectSpec::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever happened: when the world is quiet, the project runs, or fails for a reason of
    /// its own, and nothing changes any more.
    #[test]
    fn a_quiet_world_settles(spec in specs(), happened in prop::collection::vec(events(), 0..60)) {
        let mut sim = Sim::new(&spec);
        happened.into_iter().for_each(|event| sim.happen(event));
        let was_ending = sim.project.as_ref().is_none_or(|p| p.status.phase.is_ending());
        sim.calm();
        let Some(project) = &sim.project else {
            return Ok(());
        };
        prop_assert!(!was_ending, "deletion ends");
        let status = &project.status;
        let told = assignment(project, &NodeName::trusted(&status.node_ref), sim.stable());
        let runs = told.spec.services.iter().all(|s| s.image == "good");
        let expected = if runs { ProjectPhase::Running } else { ProjectPhase::Failed };
        prop_assert_eq!(status.phase, expected);
    }

    /// From whatever state, also when its node never comes back.
    #[test]
    fn deletion_always_ends(spec in specs(), happened in prop::collection::vec(events(), 0..40),
        comes_back in any::<bool>())
    {
        let mut sim = Sim::new(&spec);
        happened.into_iter().for_each(|event| sim.happen(event));
        sim.delete();
        for index in 0..NODES.len() {
            sim.happen(if comes_back { Event::Return(index) } else { Event::Silence(index) });
        }
        for _ in 0..ROUNDS {
            sim.tell_truth();
            sim.decide();
            sim.now += 601;
        }
        prop_assert_eq!(sim.project.map(|p| p.status.phase), None);
    }
}
