//! Somebody who looks at every page all the time, and notes what must never be seen.
//!
//! Pages of the gateway itself are fine while things are broken; the page of another project
//! never is, nor that of a version which the world had moved on from before the request.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

/// Pause between two looks at a page.
const PAUSE: Duration = Duration::from_millis(50);
/// A page that takes longer counts as none.
const LIMIT: Duration = Duration::from_secs(2);
/// So many different things that must not be seen are kept.
const KEPT_MAX: usize = 50;

/// The oldest version of a project whose page may still be seen.
#[derive(Debug)]
struct Floor {
    project: String,
    version: AtomicU32,
}

/// What was seen.
#[derive(Debug, Default)]
struct Seen {
    /// How often each status was seen; 0 when there was no answer.
    statuses: BTreeMap<u16, u64>,
    /// What must not be seen, and how often it was.
    wrong: BTreeMap<String, u64>,
}

/// The prober; ends when dropped.
pub struct Prober {
    floors: Vec<Arc<Floor>>,
    // Held for a note.
    seen: Arc<Mutex<Seen>>,
    _looking: JoinSet<()>,
}

impl Prober {
    /// Looks at pages through the gateway. Each host comes with its project.
    pub fn start(gateway: SocketAddr, hosts: &[(String, String)]) -> Self {
        let (mut floors, seen) = (Vec::<Arc<Floor>>::new(), Arc::<Mutex<Seen>>::default());
        let mut looking = JoinSet::new();
        let client = cara_tests::http_builder()
            .timeout(LIMIT)
            .build()
            .expect("a client");
        for (project, host) in hosts {
            let known = floors.iter().find(|floor| floor.project == *project);
            let floor = known.map(Arc::clone).unwrap_or_else(|| {
                let floor = Arc::new(Floor {
                    project: project.clone(),
                    version: AtomicU32::new(0),
                });
                floors.push(Arc::clone(&floor));
                floor
            });
            let request = client
                .get(format!("http://{gateway}/"))
                .header("host", host)
                .build()
                .expect("a request");
            looking.spawn(look(client.clone(), request, floor, Arc::clone(&seen)));
        }
        Self {
            floors,
            seen,
            _looking: looking,
        }
    }

    /// From now on, pages of older versions must not be seen.
    pub fn raise_floor(&self, project: &str, version: u32) {
        for floor in self.floors.iter().filter(|f| f.project == project) {
            floor.version.fetch_max(version, Ordering::Relaxed);
        }
    }

    /// What must not be seen and was, since the last call.
    pub fn take_wrong(&self) -> Vec<String> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let wrong = std::mem::take(&mut seen.wrong).into_iter();
        wrong
            .map(|(what, count)| format!("{what} ({count} times)"))
            .collect()
    }

    /// How often each status was seen.
    pub fn statuses(&self) -> BTreeMap<u16, u64> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.statuses.clone()
    }
}

async fn look(
    client: reqwest::Client,
    request: reqwest::Request,
    floor: Arc<Floor>,
    seen: Arc<Mutex<Seen>>,
) {
    let host = request.headers()["host"]
        .to_str()
        .unwrap_or_default()
        .to_owned();
    loop {
        let oldest = floor.version.load(Ordering::Relaxed);
        let request = request.try_clone().expect("it has no body");
        let answer = client.execute(request).await;
        let (status, text) = match answer {
            Ok(answer) => {
                let status = answer.status().as_u16();
                // A page that was cut off says nothing.
                (status, answer.text().await.ok())
            }
            Err(_) => (0, None),
        };
        {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            *seen.statuses.entry(status).or_default() += 1;
            let wrong = text
                .filter(|_| status == 200)
                .and_then(|text| fault_of(&text, &floor.project, oldest));
            if let Some(wrong) = wrong.filter(|_| seen.wrong.len() < KEPT_MAX) {
                let what = format!("{host} answered {wrong}");
                *seen.wrong.entry(what).or_default() += 1;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What is wrong with a page, if anything is.
fn fault_of(text: &str, project: &str, oldest: u32) -> Option<String> {
    let page = text.trim_end();
    let parts = page
        .strip_prefix("version ")
        .and_then(|p| p.split_once('/'));
    let Some((name, version)) = parts else {
        return Some(format!("{page:?}, which is no page of a project"));
    };
    if name != project {
        return Some(format!("{page:?}, the page of another project"));
    }
    let is_old = version.parse::<u32>().is_ok_and(|version| version < oldest);
    is_old.then(|| format!("{page:?}, although version {oldest} had been reached before"))
}

#[test]
fn only_a_page_of_the_project_that_is_new_enough_is_right() {
    for (text, expected) in [
        ("version shop/3\n", None),
        ("version shop/4\n", None),
        ("version shop/2\n", Some("although version 3")),
        ("version other/9\n", Some("another project")),
        ("", Some("no page of a project")),
    ] {
        let fault = fault_of(text, "shop", 3);
        match expected {
            None => assert_eq!(fault, None, "{text}"),
            Some(part) => assert!(fault.unwrap_or_default().contains(part), "{text}"),
        }
    }
}
