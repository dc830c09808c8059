//! The seeded run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cara_tests::unique;
use futures_util::future::join_all;

use crate::check::{converge, promises};
use crate::model::{Model, Wish};
use crate::plan::{Step, plan};
use crate::prober::Prober;
use crate::timing::DEADLINE;
use crate::user::{act, apply, delete};
use crate::world::World;

/// Seed of a run that does not ask for another.
const SEED: u64 = 1;
/// Faults of a run that does not ask for another number.
const COUNT: usize = 200;
/// A run that broke so many promises is ended.
const VIOLATIONS_MAX: usize = 10;
/// What took longer than this is told.
const LONG: Duration = Duration::from_secs(3);

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    #[expect(
        clippy::disallowed_methods,
        reason = "chosen by whoever runs the test by hand"
    )]
    let text = std::env::var(name).unwrap_or_default();
    if text.is_empty() {
        return default;
    }
    text.parse()
        .unwrap_or_else(|_| panic!("{name} is no number: {text}"))
}

#[derive(Default)]
struct Log {
    violations: Vec<String>,
    times: Vec<Duration>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_loses_doubles_or_mixes_up_a_project() {
    let _turn = crate::TURN.lock().await;
    let (seed, count) = (
        setting("CARA_FAULT_SEED", SEED),
        setting("CARA_FAULTS", COUNT),
    );
    println!("seed {seed}, {count} faults; again by: make faults SEED={seed} COUNT={count}");
    let steps = plan(seed, count);
    let world = World::start().await;
    let mut model = Model::new(&unique("storm"));
    let prober = Prober::start(world.http, &model.hosts());
    let mut log = Log::default();
    let started = Instant::now();
    for entry in &mut model.entries {
        apply(&world, entry, 1, Instant::now() + DEADLINE)
            .await
            .expect("the projects are created");
    }
    log.settle(&world, &mut model, &prober, "the beginning")
        .await;
    let mut done = 0;
    for (number, step) in steps.iter().enumerate() {
        let name = format!("step {number}");
        println!("{:>6.1} s {name}: {step}", started.elapsed().as_secs_f64());
        log.run(&world, &mut model, &prober, step, &name).await;
        log.settle(&world, &mut model, &prober, &name).await;
        done = number + 1;
        if log.violations.len() >= VIOLATIONS_MAX {
            break;
        }
    }
    for entry in &mut model.entries {
        let deleted = delete(&world, entry, Instant::now() + DEADLINE).await;
        log.violations.extend(deleted.err());
    }
    log.settle(&world, &mut model, &prober, "the end").await;
    log.violations.extend(world.panics().await);
    log.summary(&steps[..done], &prober, started.elapsed());
    assert!(
        log.violations.is_empty(),
        "seed {seed}, {count} faults broke {} promises:\n{}",
        log.violations.len(),
        log.violations.join("\n")
    );
}

/// Makes every project anew that should be there, so that the run can show what else there is.
async fn repair(world: &World, model: &mut Model) -> Result<(), String> {
    let ends_at = Instant::now() + 2 * DEADLINE;
    for entry in &mut model.entries {
        if let Some(Wish::Present(version)) = entry.certain() {
            delete(world, entry, ends_at).await?;
            apply(world, entry, version, ends_at).await?;
        }
    }
    Ok(())
}

impl Log {
    /// Lets happen what a step says, all at the same time, and looks at what must always hold.
    async fn run(
        &mut self,
        world: &World,
        model: &mut Model,
        prober: &Prober,
        step: &Step,
        name: &str,
    ) {
        let entries = &mut model.entries;
        let action = async {
            match step.action {
                Some(action) => act(world, entries, action).await,
                None => Ok(()),
            }
        };
        let faults = join_all(step.faults.iter().map(|fault| world.suffer(fault)));
        let (acted, _) = tokio::join!(action, faults);
        self.note(name, acted.err());
        self.note(name, promises(world, model).await);
        self.note(name, prober.take_wrong());
    }

    /// Waits until everything is as it should be. What is not in time gets the same time again,
    /// since whether it is slow or stuck is worth knowing; what is stuck is made anew.
    ///
    /// # Panics
    /// When it never is.
    async fn settle(&mut self, world: &World, model: &mut Model, prober: &Prober, name: &str) {
        let mut result = converge(world, model, DEADLINE).await;
        if let Err(wrong) = &result {
            let late = format!("not within {DEADLINE:?}: {}", wrong.join("; "));
            self.note(name, [late]);
            println!("{}", world.logs(60).await);
            result = converge(world, model, DEADLINE).await;
            println!(
                "         is it slow or stuck: {}",
                if result.is_ok() { "slow" } else { "stuck" }
            );
        }
        if result.is_err() {
            let repaired = repair(world, model).await;
            self.note(name, repaired.err());
            result = converge(world, model, DEADLINE).await;
        }
        self.note(name, prober.take_wrong());
        let settled = match result {
            Ok(settled) => settled,
            Err(wrong) => panic!(
                "{name}: never: {}\nbefore that:\n{}\n{}",
                wrong.join("; "),
                self.violations.join("\n"),
                world.logs(60).await
            ),
        };
        let seconds = settled.time.as_secs_f64();
        println!("         settled after {seconds:.1} s");
        if settled.time > LONG {
            println!("         waited for {}", settled.last_wrong.join("; "));
        }
        self.times.push(settled.time);
        for (entry, wish) in model.entries.iter().zip(settled.wishes) {
            if let Wish::Present(version) = wish {
                prober.raise_floor(&entry.name, version);
            }
        }
    }

    fn note(&mut self, name: &str, wrong: impl IntoIterator<Item = String>) {
        for wrong in wrong {
            println!("VIOLATION in {name}: {wrong}");
            self.violations.push(format!("{name}: {wrong}"));
        }
    }

    fn summary(&self, steps: &[Step], prober: &Prober, took: Duration) {
        let mut kinds: BTreeMap<String, u32> = BTreeMap::new();
        for fault in steps.iter().flat_map(|step| &step.faults) {
            *kinds
                .entry(format!("{:?} {}", fault.harm, fault.target))
                .or_default() += 1;
        }
        let mut times = self.times.clone();
        times.sort();
        let at = |part: usize| {
            times
                .get(times.len() * part / 100)
                .copied()
                .unwrap_or_default()
        };
        println!("faults: {kinds:?}");
        println!("pages by status: {:?}", prober.statuses());
        println!(
            "settled after {:?} (median), {:?} (90 %), {:?} (longest); {took:?} in all",
            at(50),
            at(90),
            times.last().copied().unwrap_or_default()
        );
    }
}
