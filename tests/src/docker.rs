//! The Docker command line, for looking at what the agent did.

use std::process::Command;

/// A Docker Engine.
#[derive(Debug, Clone)]
pub struct Docker {
    host: String,
}

impl Default for Docker {
    fn default() -> Self {
        Self::at("unix:///var/run/docker.sock")
    }
}

impl Docker {
    /// The engine at an address.
    pub fn at(host: &str) -> Self {
        Self {
            host: host.to_owned(),
        }
    }

    /// Runs `docker` and returns what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, args: &[&str]) -> String {
        let (ok, text) = self.attempt(args);
        assert!(ok, "docker {args:?}: {text}");
        text
    }

    /// Runs `docker`; whether it succeeded, and what it printed.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn attempt(&self, args: &[&str]) -> (bool, String) {
        let output = Command::new("docker")
            .arg("-H")
            .arg(&self.host)
            .args(args)
            .output()
            .expect("docker can be run");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&text).trim().to_owned(),
        )
    }

    /// Everything of a project: containers, networks, volumes, each as `kind name`.
    pub fn of_project(&self, project: &str) -> Vec<String> {
        let filter = format!("label=cara.project={project}");
        let containers = self.run(&["ps", "-a", "--filter", &filter, "--format", "{{.Names}}"]);
        let networks = self.run(&[
            "network",
            "ls",
            "--filter",
            &filter,
            "--format",
            "{{.Name}}",
        ]);
        let volumes = self.run(&["volume", "ls", "--filter", &filter, "--format", "{{.Name}}"]);
        let named = |kind: &'static str, text: String| -> Vec<String> {
            text.lines().map(|name| format!("{kind} {name}")).collect()
        };
        let mut all = [
            named("container", containers),
            named("network", networks),
            named("volume", volumes),
        ]
        .concat();
        all.sort();
        all
    }

    /// Removes everything that a node's agent made: for tests that failed half-way.
    pub fn remove_all_of_node(&self, node: &str) {
        self.remove_all_with(&format!("cara.node={node}"));
    }

    /// Removes every container, network and volume that has a label, such as `key=value`.
    pub fn remove_all_with(&self, label: &str) {
        let filter = format!("label={label}");
        for (list, remove) in [
            (&["ps", "-aq"][..], &["rm", "-fv"][..]),
            (&["network", "ls", "-q"], &["network", "rm"]),
            (&["volume", "ls", "-q"], &["volume", "rm", "-f"]),
        ] {
            let (_, ids) = self.attempt(&[list, &["--filter", &filter]].concat());
            let ids: Vec<&str> = ids.lines().collect();
            if !ids.is_empty() {
                self.attempt(&[remove, &ids].concat());
            }
        }
    }

    /// A field of a container, by a Go template.
    pub fn inspect(&self, container: &str, template: &str) -> String {
        self.run(&["inspect", "--format", template, container])
    }
}
