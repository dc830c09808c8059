//! A Docker Engine asked over its socket: fast enough to be asked many times a second, and with
//! a deadline, so that an engine that hangs does not hang the test.

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;

/// An answer that takes longer counts as none.
const LIMIT: Duration = Duration::from_secs(5);

/// The API of an engine.
#[derive(Debug, Clone)]
pub struct Engine {
    client: reqwest::Client,
}

/// Something on an engine that belongs to a project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thing {
    /// `container`, `network` or `volume`.
    pub kind: &'static str,
    /// Name on the engine.
    pub name: String,
    /// The project of its label.
    pub project: String,
    /// The service of its label; empty for networks and volumes.
    pub service: String,
    /// Of a container: its state, such as `running`.
    pub state: String,
    /// Of a container: its id.
    pub id: String,
}

impl Engine {
    /// The engine behind a socket.
    ///
    /// # Panics
    /// When no client can be made.
    pub fn at(socket: &Path) -> Self {
        let client = crate::http_builder()
            .unix_socket(socket)
            .timeout(LIMIT)
            .build()
            .expect("a client");
        Self { client }
    }

    /// Whether the engine answers.
    pub async fn answers(&self) -> bool {
        let answer = self.client.get("http://engine/_ping").send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Reads something of the engine's API; none when it does not answer.
    pub async fn get(&self, path: &str) -> Option<Value> {
        let answer = self
            .client
            .get(format!("http://engine{path}"))
            .send()
            .await
            .ok()?;
        let is_good = answer.status().is_success();
        let text = answer.text().await.ok()?;
        serde_json::from_str(&text).ok().filter(|_| is_good)
    }

    /// Everything that belongs to a project, sorted; none when the engine does not answer.
    pub async fn things(&self) -> Option<Vec<Thing>> {
        let filter = "filters=%7B%22label%22%3A%5B%22cara.project%22%5D%7D";
        let paths = [
            format!("/containers/json?all=1&{filter}"),
            format!("/networks?{filter}"),
            format!("/volumes?{filter}"),
        ];
        let [containers, networks, volumes] = paths.each_ref().map(|path| self.get(path));
        let (containers, networks, volumes) = tokio::join!(containers, networks, volumes);
        let (containers, networks, volumes) = (containers?, networks?, volumes?);
        let mut all = things("container", &containers);
        all.extend(things("network", &networks));
        all.extend(things("volume", &volumes["Volumes"]));
        all.sort();
        Some(all)
    }

    /// How often the engine did `event` to a container of a project, as far as it remembers.
    pub async fn count(&self, project: &str, event: &str) -> Option<usize> {
        let filter = format!(
            "%7B%22label%22%3A%5B%22cara.project%3D{project}%22%5D%2C%22event%22%3A%5B%22{event}%22%5D%7D"
        );
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .ok()?
            .as_secs();
        let url = format!("http://engine/events?since=1&until={now}&filters={filter}");
        let text = self.client.get(url).send().await.ok()?.text().await.ok()?;
        Some(text.lines().filter(|line| !line.trim().is_empty()).count())
    }
}

fn things(kind: &'static str, list: &Value) -> Vec<Thing> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let thing = |item: &Value| Thing {
        kind,
        name: match &item["Names"][0] {
            Value::String(name) => name.trim_start_matches('/').to_owned(),
            _ => text(&item["Name"]),
        },
        project: text(&item["Labels"]["cara.project"]),
        service: text(&item["Labels"]["cara.service"]),
        state: text(&item["State"]),
        id: text(&item["Id"]),
    };
    items.iter().map(thing).collect()
}
