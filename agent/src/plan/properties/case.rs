//! What a history begins with: a document, and whatever is there before the agent looks
//! (`#[cfg(test)]`).

use std::time::{Duration, Instant};

use cara_api::agent::Goal;
use proptest::prelude::*;
use serde_json::json;

use super::super::wanted::tests::{assignment, rules};
use super::super::{
    CheckKind, Container, ContainerState, Memory, Presence, Progress, Subject, View, VolumeLife,
    Wanted,
};
use super::model::{Engine, Life, State, Thing};

pub(super) const DATA: &str = "cara-shop-data";
pub(super) const OLD_DATA: &str = "cara-shop-old";
const NAMES: [&str; 3] = ["db", "web", "job"];

/// A service of the document.
#[derive(Debug, Clone)]
struct Service {
    mount: &'static str,
    policy: &'static str,
    /// One of the services before it, and how far that must have come.
    depends_on: Option<(usize, &'static str)>,
    is_exposed: bool,
    is_checked: bool,
    /// How often its process crashes before it does what it should.
    crashes: usize,
    /// It does its work and ends, where its policy lets it.
    is_job: bool,
}

impl Service {
    fn is_job(&self) -> bool {
        self.is_job && self.policy != "Always"
    }

    fn life(&self) -> Life {
        Life {
            first: vec![1; self.crashes],
            later: self.is_job().then_some(0),
        }
    }
}

/// A container that is there before the agent looks.
#[derive(Debug, Clone)]
struct Found {
    /// Of which service; of one that is not in the document any more beyond the last.
    service: usize,
    name: &'static str,
    fingerprint: &'static str,
    state: &'static str,
    whose: Presence,
    is_condemned: bool,
    is_excused: bool,
    exits_before: u32,
}

/// Everything that a history begins with.
#[derive(Debug, Clone)]
pub(super) struct Case {
    services: Vec<Service>,
    volume: &'static str,
    is_rollout: bool,
    network: Presence,
    duplicates: usize,
    volumes: [Presence; 2],
    is_persistent: [bool; 2],
    images: bool,
    found: Vec<Found>,
    failures: Vec<(usize, u32)>,
    is_switched: bool,
    stop_code: i64,
    /// How long actions take, in rounds, and whether they fail; later ones do neither.
    pub(super) fates: Vec<(usize, bool)>,
}

fn services() -> impl Strategy<Value = Vec<Service>> {
    let service = (
        prop::sample::select(vec!["", "rw", "ro"]),
        prop::sample::select(vec!["Always", "OnFailure", "Never"]),
        prop::option::of((
            0..NAMES.len(),
            prop::sample::select(vec!["Started", "Ready", "Completed"]),
        )),
        any::<bool>(),
        any::<bool>(),
        prop_oneof![3 => Just(0_usize), 1 => 1..3_usize],
        any::<bool>(),
    )
        .prop_map(
            |(mount, policy, depends_on, is_exposed, is_checked, crashes, is_job)| Service {
                mount,
                policy,
                depends_on,
                is_exposed,
                is_checked,
                crashes,
                is_job,
            },
        );
    prop::collection::vec(service, 1..=NAMES.len())
}

fn found() -> impl Strategy<Value = Found> {
    (
        0..=NAMES.len(),
        prop::sample::select(vec!["primary", "successor", "unrelated"]),
        prop::sample::select(vec!["wanted", "wanted", "old", "older"]),
        prop::sample::select(vec!["created", "running", "ok", "crashed", "dead", "other"]),
        prop_oneof![8 => Just(Presence::Ours), 1 => Just(Presence::Earlier), 1 => Just(Presence::Foreign)],
        prop::bool::weighted(0.2),
        any::<bool>(),
        prop_oneof![3 => Just(0_u32), 1 => 1..9_u32],
    )
        .prop_map(
            |(service, name, fingerprint, state, whose, is_condemned, is_excused, exits)| {
                Found {
                    service,
                    name,
                    fingerprint,
                    state,
                    whose,
                    is_condemned,
                    is_excused,
                    exits_before: exits,
                }
            },
        )
}

fn presence() -> impl Strategy<Value = Presence> {
    prop_oneof![
        4 => Just(Presence::Ours),
        3 => Just(Presence::Absent),
        1 => Just(Presence::Earlier),
        1 => Just(Presence::Foreign),
    ]
}

pub(super) fn cases() -> impl Strategy<Value = Case> {
    let project = (
        services(),
        prop::sample::select(vec!["Ephemeral", "Persistent"]),
        any::<bool>(),
    );
    let engine = (
        presence(),
        prop_oneof![6 => Just(0_usize), 1 => 1..3_usize],
        [presence(), presence()],
        any::<[bool; 2]>(),
        any::<bool>(),
        prop::collection::vec(found(), 0..7),
        prop::sample::select(vec![0_i64, 143]),
    );
    let memory = (
        prop::collection::vec((0..6_usize, 1..8_u32), 0..4),
        any::<bool>(),
        prop::collection::vec((0..4_usize, prop::bool::weighted(0.2)), 0..12),
    );
    (project, engine, memory).prop_map(
        |(
            (services, volume, is_rollout),
            (network, duplicates, volumes, is_persistent, images, found, stop_code),
            (failures, is_switched, fates),
        )| Case {
            services,
            volume,
            is_rollout,
            network,
            duplicates,
            volumes,
            is_persistent,
            images,
            found,
            failures,
            is_switched,
            stop_code,
            fates,
        },
    )
}

impl Case {
    pub(super) fn wanted(&self, goal: Goal) -> Wanted {
        let services: Vec<_> = self.services.iter().enumerate().map(|(at, s)| {
            let depends_on: Vec<_> = s.depends_on.iter().filter(|_| at > 0).map(|(on, until)| {
                let on = on % at;
                let can_complete = self.services.get(on).is_some_and(Service::is_job);
                let until = if *until == "Completed" && !can_complete { "Ready" } else { until };
                json!({"service": NAMES[on], "condition": until})
            }).collect();
            let mounts = match s.mount {
                "" => json!([]),
                how => json!([{"name": "data", "mountPath": "/d", "readOnly": how == "ro"}]),
            };
            let checks = if s.is_checked {
                json!({"liveness": {"tcp": {"port": 80}, "failureThreshold": 1}})
            } else {
                json!({})
            };
            json!({"name": NAMES[at], "image": format!("image-{}", at % 2), "restartPolicy": s.policy,
                   "dependsOn": depends_on, "volumeMounts": mounts, "healthCheck": checks})
        }).collect();
        let spec =
            json!({"services": services, "volumes": [{"name": "data", "type": self.volume}]});
        let named = self.services.iter().zip(NAMES);
        // What ends by itself does not serve.
        let exposed = named.filter(|(s, _)| s.is_exposed && !s.is_job());
        let exposed: Vec<(&str, u16)> = exposed.map(|(_, name)| (name, 80)).collect();
        let mut assignment = assignment(spec, &exposed);
        assignment.goal = goal;
        assignment.is_rollout = self.is_rollout;
        Wanted::new(&assignment, &rules(None))
    }

    pub(super) fn engine(&self, wanted: &Wanted) -> Engine {
        let duplicates = (0..self.duplicates).map(|id| id.to_string());
        let mut engine = Engine {
            now_ms: 1_000_000,
            network: seen(self.network, wanted),
            duplicates: duplicates
                .filter(|_| self.network == Presence::Ours)
                .collect(),
            stop_code: self.stop_code,
            ..Engine::default()
        };
        for ((name, presence), is_persistent) in [DATA, OLD_DATA]
            .into_iter()
            .zip(self.volumes)
            .zip(self.is_persistent)
        {
            // Data of an earlier project that was to be kept is somebody else's.
            let life = if is_persistent && presence != Presence::Earlier {
                VolumeLife::Persistent
            } else {
                VolumeLife::Ephemeral
            };
            if presence != Presence::Absent {
                engine
                    .volumes
                    .insert(name.to_owned(), (seen(presence, wanted), life));
            }
        }
        if self.images {
            engine.images.insert("image-0".to_owned());
        }
        for (service, name) in self.services.iter().zip(NAMES) {
            engine.lives.insert(name.to_owned(), service.life());
        }
        for (at, found) in self.found.iter().enumerate() {
            let (name, thing) = found.thing(at, self, wanted);
            engine.containers.insert(name, thing);
        }
        engine
    }

    /// What an agent may remember of all this.
    pub(super) fn memory(&self, wanted: &Wanted, engine: &Engine, now: Instant) -> Memory {
        let mut memory = Memory::default();
        for (subject, attempts) in &self.failures {
            let subject = match subject {
                0 => Subject::Network,
                1 => Subject::Volume(DATA.to_owned()),
                2 => Subject::Extra("shop-x0".to_owned()),
                at => Subject::Service(NAMES[at - 3].to_owned()),
            };
            for _ in 0..*attempts {
                memory.failed(subject.clone(), "Failed", "so it was".to_owned(), now);
            }
            memory.not_tried(subject, now);
        }
        let observed = engine.observe(wanted);
        for found in &self.found {
            let name = found.service_name(self);
            let Some(service) = wanted.service(name) else {
                continue;
            };
            let progress = if self.is_switched {
                Progress::Fine
            } else {
                Progress::NotReady
            };
            let view = View::of(service, &observed);
            let replacing = view.new.filter(|_| self.is_switched);
            let replacing = replacing.map(|(_, c)| c.start());
            memory.note_service(name, progress, replacing, now);
            for exit in 0..found.exits_before {
                let ended = Container {
                    started_at: format!("exit-{exit}"),
                    state: ContainerState::Exited {
                        code: 1,
                        is_oom: false,
                        ran_for: Duration::ZERO,
                    },
                    ..Container::example()
                };
                memory.note_exit(name, &ended, now);
            }
            for (_, container) in view.new.iter().chain(&view.old) {
                if let ContainerState::Exited { code, .. } = container.state
                    && found.is_excused
                    && service.may_excuse(code, true)
                {
                    memory.excuse_exit(name, container);
                }
                if let Some(check) = &service.checks.liveness
                    && found.is_condemned
                {
                    let failed = Err("refused".to_owned());
                    let (start, kind) = (container.start(), CheckKind::Liveness);
                    memory.health.note(&start, kind, check, failed);
                }
            }
        }
        memory
    }
}

/// Whose a thing looks to be: who only cleans up knows of no namesakes.
fn seen(whose: Presence, wanted: &Wanted) -> Presence {
    match whose {
        Presence::Earlier if wanted.reported.is_none() => Presence::Ours,
        other => other,
    }
}

impl Found {
    fn service_name(&self, case: &Case) -> &'static str {
        let names = NAMES.iter().take(case.services.len());
        names.copied().nth(self.service).unwrap_or("gone")
    }

    fn thing(&self, at: usize, case: &Case, wanted: &Wanted) -> (String, Thing) {
        let service = self.service_name(case);
        let known = wanted.service(service);
        let fingerprint = match self.fingerprint {
            "wanted" => known.map_or("gone", |s| s.fingerprint.as_str()),
            other => other,
        };
        let primary = format!("shop-{service}");
        let name = match self.name {
            "primary" => primary,
            // Such a name says which definition the container is of; nobody else uses it.
            "successor" if self.whose == Presence::Foreign => format!("{primary}.foreign"),
            "successor" => match known.filter(|s| s.fingerprint == fingerprint) {
                Some(service) => service.successor.clone(),
                None => format!("{primary}.{fingerprint}"),
            },
            _ => format!("shop-x{at}"),
        };
        let state = match self.state {
            "created" => State::Created,
            "running" => State::Running { since_ms: 900_000 },
            "ok" => State::Exited {
                code: 0,
                ran_ms: 90_000,
            },
            "crashed" => State::Exited {
                code: 1,
                ran_ms: 10,
            },
            "dead" => State::Dead,
            _ => State::Other {
                until_ms: 1_000_700,
            },
        };
        let life = case.services.get(self.service);
        let thing = Thing {
            id: format!("found-{at}"),
            whose: seen(self.whose, wanted),
            service: service.to_owned(),
            fingerprint: fingerprint.to_owned(),
            state,
            started_at: format!("found-{at}"),
            ends_with: life.and_then(|s| s.is_job().then_some(0)),
        };
        (name, thing)
    }
}
