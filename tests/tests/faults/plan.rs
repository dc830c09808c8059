//! The plan of a run: a pure function of seed and number of faults.

use std::fmt;
use std::time::Duration;

/// Projects that a run has; each exists, or does not, and changes over time.
pub const PROJECTS: usize = 5;
/// Faults come within this time after what the user does.
const MOMENT_MS: u64 = 300;

/// What a user does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Creates the project, or changes it, so that it answers with this version.
    Apply { project: usize, version: u32 },
    /// Deletes the project.
    Delete { project: usize },
    /// Deletes the project and creates it again at once.
    Recreate { project: usize, version: u32 },
}

/// One of the two nodes.
pub type NodeIndex = usize;

/// What breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    Server,
    Agent(NodeIndex),
    Engine(NodeIndex),
    Link(NodeIndex),
}

/// How it breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// SIGKILL, and a start after `lasting`.
    Kill,
    /// SIGSTOP, and SIGCONT after `lasting`.
    Freeze,
    /// No packet passes for `lasting`.
    Cut,
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Counted from the start of the step.
    pub after: Duration,
    pub target: Target,
    pub harm: Harm,
    pub lasting: Duration,
}

/// What happens at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub action: Option<Action>,
    /// Each has a target of its own.
    pub faults: Vec<Fault>,
}

/// The steps of a run, with `count` faults in all.
pub fn plan(seed: u64, count: usize) -> Vec<Step> {
    let mut planner = Planner {
        chance: fastrand::Rng::with_seed(seed),
        exists: [true; PROJECTS],
        version: 1,
    };
    let mut steps = Vec::new();
    let mut left = count;
    while left > 0 {
        let step = planner.step(left);
        left = left.saturating_sub(step.faults.len());
        steps.push(step);
    }
    steps
}

struct Planner {
    chance: fastrand::Rng,
    exists: [bool; PROJECTS],
    version: u32,
}

impl Planner {
    fn step(&mut self, left: usize) -> Step {
        let action = (self.chance.u8(..100) < 80).then(|| self.action());
        let wanted = self.chance.usize(1..=3).min(left);
        let mut faults: Vec<Fault> = Vec::new();
        while faults.len() < wanted {
            let target = self.target();
            if faults.iter().all(|fault| fault.target != target) {
                faults.push(self.fault(target));
            }
        }
        faults.sort_by_key(|fault| (fault.after, fault.target));
        Step { action, faults }
    }

    fn action(&mut self) -> Action {
        let project = self.chance.usize(..PROJECTS);
        self.version += 1;
        let version = self.version;
        let exists = &mut self.exists[project];
        if !*exists {
            *exists = true;
            return Action::Apply { project, version };
        }
        match self.chance.u8(..100) {
            0..50 => Action::Apply { project, version },
            50..75 => Action::Recreate { project, version },
            _ => {
                *exists = false;
                Action::Delete { project }
            }
        }
    }

    fn target(&mut self) -> Target {
        let node = self.chance.usize(..2);
        match self.chance.u8(..100) {
            0..35 => Target::Server,
            35..65 => Target::Agent(node),
            65..80 => Target::Engine(node),
            _ => Target::Link(node),
        }
    }

    fn fault(&mut self, target: Target) -> Fault {
        let after = Duration::from_millis(self.chance.u64(..MOMENT_MS));
        let is_kill = self.chance.u8(..100) < 60;
        let (harm, lasting_ms) = match (target, is_kill) {
            (Target::Link(_), _) => (Harm::Cut, self.chance.u64(500..6_000)),
            (_, true) => (Harm::Kill, self.chance.u64(..500)),
            (_, false) => (Harm::Freeze, self.chance.u64(200..3_000)),
        };
        Fault {
            after,
            target,
            harm,
            lasting: Duration::from_millis(lasting_ms),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apply { project, version } => write!(f, "apply p{project} version {version}"),
            Self::Delete { project } => write!(f, "delete p{project}"),
            Self::Recreate { project, version } => {
                write!(
                    f,
                    "delete p{project} and create it again, version {version}"
                )
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |node: &NodeIndex| if *node == 0 { "a" } else { "b" };
        match self {
            Self::Server => f.write_str("server"),
            Self::Agent(node) => write!(f, "agent {}", name(node)),
            Self::Engine(node) => write!(f, "engine {}", name(node)),
            Self::Link(node) => write!(f, "link {}", name(node)),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let harm = match self.harm {
            Harm::Kill => "kill",
            Harm::Freeze => "freeze",
            Harm::Cut => "cut",
        };
        let (after, lasting) = (self.after.as_millis(), self.lasting.as_millis());
        write!(f, "at {after} ms {harm} {} for {lasting} ms", self.target)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = self.action.iter().map(ToString::to_string).collect();
        parts.extend(self.faults.iter().map(ToString::to_string));
        f.write_str(&parts.join("; "))
    }
}

#[test]
fn a_seed_always_gives_the_same_plan() {
    assert_eq!(plan(7, 200), plan(7, 200));
    assert_ne!(plan(7, 200), plan(8, 200));
    let begin = plan(1, 200)[0].to_string();
    assert_eq!(
        begin,
        "delete p2; at 167 ms cut link b for 3921 ms; at 230 ms kill server for 300 ms; \
         at 259 ms freeze agent a for 1329 ms"
    );
}

#[test]
fn a_plan_has_as_many_faults_as_asked_for_and_every_kind() {
    for seed in 0..50 {
        let steps = plan(seed, 200);
        let faults: Vec<Fault> = steps.iter().flat_map(|step| step.faults.clone()).collect();
        assert_eq!(faults.len(), 200);
        for target in [
            Target::Server,
            Target::Agent(0),
            Target::Agent(1),
            Target::Engine(0),
            Target::Engine(1),
        ] {
            for harm in [Harm::Kill, Harm::Freeze] {
                let is_there = faults.iter().any(|f| f.target == target && f.harm == harm);
                assert!(is_there, "seed {seed}: {harm:?} {target}");
            }
        }
        for step in &steps {
            let mut targets: Vec<Target> = step.faults.iter().map(|f| f.target).collect();
            targets.sort();
            targets.dedup();
            assert_eq!(targets.len(), step.faults.len(), "{step}");
        }
    }
}
