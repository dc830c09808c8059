//! The invariants: what must hold at once, and what must hold in the end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cara_api::paths;
use cara_tests::engine::Thing;
use serde_json::Value;

use crate::model::{Entry, Model, Wish};
use crate::timing::CAN_RESCHEDULE;
use crate::world::World;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// What is, of everything that the invariants are about.
struct View {
    projects: BTreeMap<String, Value>,
    /// Node names, in the world's order.
    nodes: [String; 2],
    things: [Vec<Thing>; 2],
}

/// What is wrong with what was acknowledged, as the server tells it now; nothing while it does
/// not answer.
pub async fn promises(world: &World, model: &Model) -> Vec<String> {
    let Some(projects) = list(world).await else {
        return Vec::new();
    };
    let entries = model.entries.iter();
    entries
        .filter(|entry| entry.certain().is_some())
        .filter_map(|entry| broken_promise(entry, projects.get(&entry.name)))
        .collect()
}

async fn list(world: &World) -> Option<BTreeMap<String, Value>> {
    let (status, list) = world.call("GET", paths::PROJECTS, &Value::Null).await?;
    let items = list["items"].as_array().filter(|_| status == 200)?;
    let named = items.iter().map(|project| {
        let name = project["metadata"]["name"].as_str().unwrap_or_default();
        (name.to_owned(), project.clone())
    });
    Some(named.collect())
}

/// A deletion that was acknowledged may go on; a project that was acknowledged may not be gone,
/// or be another than the last one that was acknowledged.
fn broken_promise(entry: &Entry, project: Option<&Value>) -> Option<String> {
    let is = match project {
        None => Wish::Gone,
        Some(project) if is_ending(project) => Wish::Gone,
        Some(project) => Wish::Present(version(project)),
    };
    let found = match is {
        Wish::Gone => "gone".to_owned(),
        Wish::Present(version) => format!("version {version}"),
    };
    (!entry.may_be(is)).then(|| {
        format!(
            "{} is {found}, but {} was acknowledged",
            entry.name,
            entry.expected()
        )
    })
}

fn is_ending(project: &Value) -> bool {
    ["Terminating", "Terminated"].contains(&phase(project))
}

fn phase(project: &Value) -> &str {
    project["status"]["phase"].as_str().unwrap_or_default()
}

/// The version that a spec asks for.
fn version(project: &Value) -> u32 {
    let env = project["spec"]["services"][0]["env"].as_array();
    let values = env.into_iter().flatten().filter(|v| v["name"] == "VERSION");
    let texts = values.filter_map(|v| v["value"].as_str()?.rsplit('/').next()?.parse().ok());
    texts.max().unwrap_or(0)
}

/// How the world became as it should be.
pub struct Settled {
    /// What each project is.
    pub wishes: Vec<Wish>,
    /// How long it took.
    pub time: Duration,
    /// What it was that took so long.
    pub last_wrong: Vec<String>,
}

/// Waits until the world is as it should be.
///
/// # Errors
/// What was not as it should be when the time was over.
pub async fn converge(
    world: &World,
    model: &mut Model,
    limit: Duration,
) -> Result<Settled, Vec<String>> {
    let started = Instant::now();
    let mut last_wrong = Vec::new();
    loop {
        last_wrong = match settled(world, model).await {
            Ok(wishes) => {
                for (entry, wish) in model.entries.iter_mut().zip(&wishes) {
                    entry.acknowledge(*wish);
                }
                return Ok(Settled {
                    wishes,
                    time: started.elapsed(),
                    last_wrong,
                });
            }
            Err(wrong) => wrong,
        };
        if started.elapsed() >= limit {
            return Err(last_wrong);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn settled(world: &World, model: &Model) -> Result<Vec<Wish>, Vec<String>> {
    let mut wrong = world.dead().await;
    let view = match view(world).await {
        Ok(view) => view,
        Err(error) => {
            wrong.push(error);
            return Err(wrong);
        }
    };
    wrong.extend(strays(model, &view));
    let mut wishes = Vec::new();
    for entry in &model.entries {
        let project = view.projects.get(&entry.name);
        let wish = project.map_or(Wish::Gone, |project| Wish::Present(version(project)));
        wrong.extend(broken_promise(entry, project));
        let mut faults = match project {
            Some(project) => faults_of_running(entry, project, &view),
            None => faults_of_gone(entry, &view),
        };
        // Pages are asked for last: it is the dearest look.
        if faults.is_empty() && wrong.is_empty() {
            faults = faults_of_pages(world, entry, wish).await;
        }
        wrong.extend(faults);
        wishes.push(wish);
    }
    if wrong.is_empty() {
        Ok(wishes)
    } else {
        Err(wrong)
    }
}

async fn view(world: &World) -> Result<View, String> {
    let (projects, nodes) =
        tokio::join!(list(world), world.call("GET", paths::NODES, &Value::Null));
    let projects = projects.ok_or("the server does not list projects")?;
    let (_, nodes) = nodes.ok_or("the server does not list nodes")?;
    for node in &world.nodes {
        let mut found = nodes["items"].as_array().into_iter().flatten();
        let state = found.find(|n| n["metadata"]["name"] == node.name.as_str());
        let state = state.map(|n| &n["status"]["state"]);
        if state.is_none_or(|state| state != "Ready") {
            return Err(format!("{} is {state:?}", node.name));
        }
    }
    let [a, b] = &world.nodes;
    let (first, second) = tokio::join!(a.engine.things(), b.engine.things());
    let lost = |name: &str| format!("the engine of {name} does not answer");
    Ok(View {
        projects,
        nodes: [a.name.clone(), b.name.clone()],
        things: [
            first.ok_or_else(|| lost(&a.name))?,
            second.ok_or_else(|| lost(&b.name))?,
        ],
    })
}

/// Whatever on an engine belongs to no project that is bound to its node.
fn strays(model: &Model, view: &View) -> Vec<String> {
    let mut strays = Vec::new();
    for (node, things) in view.nodes.iter().zip(&view.things) {
        for thing in things {
            let owner = view.projects.get(&thing.project);
            let is_here = owner.is_some_and(|p| p["status"]["nodeRef"] == node.as_str());
            let is_known = model.entries.iter().any(|e| e.name == thing.project);
            if !is_here || !is_known {
                strays.push(format!(
                    "{} {} on {node} has no owner there",
                    thing.kind, thing.name
                ));
            }
        }
    }
    strays
}

fn faults_of_gone(entry: &Entry, view: &View) -> Vec<String> {
    let left = view.things.iter().flatten();
    let left = left.filter(|thing| thing.project == entry.name);
    left.map(|thing| format!("{} {} is left of {}", thing.kind, thing.name, entry.name))
        .collect()
}

fn faults_of_running(entry: &Entry, project: &Value, view: &View) -> Vec<String> {
    let (name, status) = (&entry.name, &project["status"]);
    let mut faults = Vec::new();
    if phase(project) != "Running" {
        let conditions = &status["conditions"];
        faults.push(format!("{name} is {}: {conditions}", phase(project)));
    }
    if status["observedGeneration"] != project["metadata"]["generation"] {
        faults.push(format!(
            "{name} runs generation {}, not {}",
            status["observedGeneration"], project["metadata"]["generation"]
        ));
    }
    let all = view.things.iter().flatten();
    let of = |kind: &'static str| {
        let project = entry.name.as_str();
        all.clone()
            .filter(move |t| t.kind == kind && t.project == project)
    };
    // Exactly one copy of each service, on both engines together.
    let mut copies: Vec<&str> = of("container").map(|c| c.service.as_str()).collect();
    copies.sort_unstable();
    if copies != entry.services() {
        faults.push(format!(
            "{name} has containers {copies:?}, not {:?}",
            entry.services()
        ));
    }
    for container in of("container").filter(|c| c.state != "running") {
        faults.push(format!("{} is {}", container.name, container.state));
    }
    for (kind, expected) in [("network", 1), ("volume", entry.volumes())] {
        let count = of(kind).count();
        if count != expected {
            faults.push(format!("{name} has {count} {kind}s, not {expected}"));
        }
    }
    let is_stuck = |condition: &&Value| condition["type"] == "NotReadyAt";
    let conditions = status["conditions"].as_array().into_iter().flatten();
    if CAN_RESCHEDULE && conditions.clone().any(|c| is_stuck(&c)) {
        faults.push(format!("{name} still says that its node is not ready"));
    }
    faults
}

async fn faults_of_pages(world: &World, entry: &Entry, wish: Wish) -> Vec<String> {
    let mut faults = Vec::new();
    for host in entry.hosts() {
        let page = world.page(&host).await;
        let is_right = match (wish, &page) {
            (Wish::Present(version), Some((200, text))) => *text == entry.page(version),
            (Wish::Gone, Some((404, _))) => true,
            (Wish::Present(_) | Wish::Gone, _) => false,
        };
        if !is_right {
            faults.push(format!("{host} answers {page:?}, {wish:?} was expected"));
        }
    }
    faults
}
