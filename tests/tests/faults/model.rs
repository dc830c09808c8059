//! What the user was promised: for each project, what it may be after the answers that came.
//!
//! A write that was answered leaves one possibility. A write without an answer may have been
//! taken or not, so both are possible until somebody looks.

use serde_json::{Value, json};

use crate::plan::PROJECTS;

/// What a project should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// It runs and answers with this version.
    Present(u32),
    /// Nothing of it is left.
    Gone,
}

/// One project of the run.
#[derive(Debug, Clone)]
pub struct Entry {
    pub name: String,
    shape: usize,
    possible: Vec<Wish>,
}

/// All projects of the run.
#[derive(Debug, Clone)]
pub struct Model {
    pub entries: Vec<Entry>,
}

impl Model {
    /// No project exists. `stem` keeps their names apart from those of other runs.
    pub fn new(stem: &str) -> Self {
        let entry = |shape| Entry {
            name: format!("{stem}-p{shape}"),
            shape,
            possible: vec![Wish::Gone],
        };
        Self {
            entries: (0..PROJECTS).map(entry).collect(),
        }
    }

    /// Every name, with every hostname that reaches it.
    pub fn hosts(&self) -> Vec<(String, String)> {
        let hosts = |entry: &Entry| {
            let name = entry.name.clone();
            entry
                .hosts()
                .into_iter()
                .map(move |host| (name.clone(), host))
        };
        self.entries.iter().flat_map(hosts).collect()
    }
}

impl Entry {
    /// A write is about to be sent.
    pub fn attempt(&mut self, wish: Wish) {
        if !self.possible.contains(&wish) {
            self.possible.push(wish);
        }
    }

    /// The server answered that it is done.
    pub fn acknowledge(&mut self, wish: Wish) {
        self.possible = vec![wish];
    }

    /// The only possibility, if there is only one.
    pub fn certain(&self) -> Option<Wish> {
        match self.possible[..] {
            [wish] => Some(wish),
            _ => None,
        }
    }

    /// Whether the project may be like this.
    pub fn may_be(&self, wish: Wish) -> bool {
        self.possible.contains(&wish)
    }

    /// Everything that the project may be, in words.
    pub fn expected(&self) -> String {
        let words = self.possible.iter().map(|wish| match wish {
            Wish::Present(version) => format!("version {version}"),
            Wish::Gone => "gone".to_owned(),
        });
        words.collect::<Vec<_>>().join(" or ")
    }

    /// The hostnames that reach it.
    pub fn hosts(&self) -> Vec<String> {
        let host = |part: &str| format!("{}{part}.dev.localhost", self.name);
        match self.shape {
            3 => vec![host(""), host("-second")],
            _ => vec![host("")],
        }
    }

    /// What its page says.
    pub fn page(&self, version: u32) -> String {
        format!("version {}/{version}\n", self.name)
    }

    /// Its services, sorted.
    pub fn services(&self) -> &'static [&'static str] {
        match self.shape {
            1 | 2 => &["web", "worker"],
            3 => &["second", "web"],
            _ => &["web"],
        }
    }

    /// Its volumes.
    pub fn volumes(&self) -> usize {
        usize::from(self.shape == 2)
    }

    /// Its spec: alone, with a worker that never changes, with a volume, with two hostnames, and
    /// slow to start.
    pub fn spec(&self, version: u32) -> Value {
        let env = |pairs: &[(&str, String)]| -> Value {
            let pair = |(name, value): &(&str, String)| json!({"name": name, "value": value});
            pairs.iter().map(pair).collect()
        };
        let tag = ("VERSION", format!("{}/{version}", self.name));
        let delay = ("DELAY_MS", "300".to_owned());
        let app = |name: &str, pairs: &[(&str, String)]| json!({"name": name, "image": "cara-test/app:1", "env": env(pairs)});
        let run = ("RUN", "trap 'exit 0' TERM; sleep 100000 & wait".to_owned());
        let worker = || json!({"name": "worker", "image": "cara-test/shell:1", "env": env(std::slice::from_ref(&run))});
        let ingress = |host: &str, service: &str| json!({"name": service, "host": host, "target": {"service": service, "port": 8080}});
        let web = || app("web", std::slice::from_ref(&tag));
        let to_web = || ingress(&self.name, "web");
        match self.shape {
            1 => json!({"services": [web(), worker()], "ingress": [to_web()]}),
            2 => {
                let mut worker = worker();
                worker["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
                json!({"services": [web(), worker], "ingress": [to_web()],
                    "volumes": [{"name": "data", "type": "Ephemeral"}]})
            }
            3 => {
                let second = format!("{}-second", self.name);
                json!({"services": [web(), app("second", std::slice::from_ref(&tag))],
                    "ingress": [to_web(), ingress(&second, "second")]})
            }
            4 => json!({"services": [app("web", &[tag.clone(), delay])], "ingress": [to_web()]}),
            _ => json!({"services": [web()], "ingress": [to_web()]}),
        }
    }
}
