//! Holds what is shipped beside the programs against the programs.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Names in a text that look like metrics of ours, without the suffixes of histograms.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c: char| !is_part(c) && c != ':')
        .filter(|word| word.starts_with("cara_"))
        .map(|word| word.strip_suffix("_bucket").unwrap_or(word).to_owned())
        .collect()
}

/// Every metric that a rule or a dashboard asks for is registered somewhere under that name.
#[test]
fn rules_and_dashboards_ask_for_metrics_that_exist() {
    let mut known = BTreeSet::new();
    for crate_name in ["store", "controlplane", "gateway"] {
        let mut dirs = vec![root().join(crate_name).join("src")];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(&dir).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    let text = std::fs::read_to_string(&path).expect("a source file");
                    known.extend(metrics_in(&text));
                }
            }
        }
    }
    for file in [
        "deploy/monitoring/rules.yml",
        "deploy/monitoring/grafana/gateway.json",
    ] {
        let asked = metrics_in(&read(file));
        assert!(asked.len() > 3, "{file} asks for {asked:?}");
        let unknown: Vec<_> = asked.difference(&known).collect();
        assert!(unknown.is_empty(), "{file} asks for {unknown:?}");
    }
}

/// Prometheus accepts the rules and the configuration that names them.
#[test]
fn prometheus_accepts_the_rules() {
    let output = Command::new("promtool")
        .args(["check", "config"])
        .arg(root().join("deploy/monitoring/prometheus.yml"))
        .output()
        .expect("promtool runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("rules found"),
        "{output:?}"
    );
}

/// systemd accepts the units; their programs need not be installed here.
#[test]
fn systemd_accepts_the_units() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut units = Vec::new();
    for entry in std::fs::read_dir(root().join("deploy/systemd")).expect("units") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a unit");
        let unit = dir.path().join(path.file_name().expect("a name"));
        std::fs::write(&unit, text.replace("/usr/bin/cara-", "/bin/true cara-")).expect("a copy");
        units.push(unit);
    }
    assert!(units.len() >= 4, "{units:?}");
    let output = Command::new("systemd-analyze")
        .arg("verify")
        .args(&units)
        .output()
        .expect("systemd-analyze runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let ours = said.lines().filter(|line| line.contains("cara-"));
    // An engine is not part of what is checked.
    let faults: Vec<_> = ours
        .filter(|line| !line.contains("docker.service"))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The server's unit leaves little to who takes the process over; systemd's own scale has 10 for
/// everything.
#[test]
fn the_unit_of_the_server_is_hardened() {
    let unit = root().join("deploy/systemd/cara-server.service");
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--threshold=25"])
        .arg(unit)
        .output()
        .expect("systemd-analyze runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}

/// Every setting that the compose files make exists.
#[test]
fn compose_files_know_the_settings() {
    let documented = read("docs/configuration.md");
    for file in ["deploy/compose/compose.yaml", "deploy/compose/node.yaml"] {
        let text = read(file);
        let lines = text.lines().map(str::trim);
        let set: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, _)| name)
            .filter(|name| name.starts_with("CARA_"))
            .collect();
        assert!(set.len() > 2, "{file}: {set:?}");
        for name in set {
            let mut words = documented.split(|c: char| !c.is_ascii_uppercase() && c != '_');
            assert!(words.any(|word| word == name), "{file}: {name}");
        }
    }
}

/// Grafana takes a dashboard only if it is JSON, with panels that ask Prometheus for something.
#[test]
fn the_dashboard_is_one() {
    let text = read("deploy/monitoring/grafana/gateway.json");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let asks = |panel: &&serde_json::Value| panel["targets"][0]["expr"].is_string();
    assert!(panels.iter().filter(asks).count() > 3, "{panels:?}");
}
