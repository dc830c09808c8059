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

/// systemd never gives a service up: it would also close the sockets, in which connections wait.
#[test]
fn units_start_their_programs_again_however_often_they_fail() {
    for unit in ["cara-server", "cara-agent"] {
        let text = read(&format!("deploy/systemd/{unit}.service"));
        let (general, rest) = text.split_once("[Service]").expect("a service");
        let has = |part: &str, line: &str| part.lines().any(|l| l == line);
        assert!(has(general, "StartLimitIntervalSec=0"), "{unit}");
        assert!(has(rest, "Restart=on-failure"), "{unit}");
    }
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

/// What docker-compose makes of a file, without variables but these; it ends with an error when it
/// does not understand a part of it.
fn composed(file: &str, variables: &[(&str, &str)]) -> serde_json::Value {
    let mut command = Command::new("docker-compose");
    command.arg("--file").arg(root().join(file)).arg("config");
    command.env_clear().envs(variables.iter().copied());
    // The programs of a Debian machine.
    let output = command.env("PATH", "/usr/local/bin:/usr/bin:/bin").output();
    let output = output.expect("docker-compose is installed: deploy/dev/setup.sh test");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{file}: {said}");
    let text = String::from_utf8(output.stdout).expect("text");
    serde_saphyr::from_str(&text).expect("YAML")
}

/// docker-compose accepts the whole files, also what the journey of the stack does not start.
#[test]
fn docker_compose_accepts_the_files() {
    let stack = composed("deploy/compose/compose.yaml", &[]);
    let services: Vec<_> = stack["services"]
        .as_object()
        .expect("services")
        .keys()
        .collect();
    assert_eq!(services, ["agent", "grafana", "prometheus", "server"]);
    let variables = [
        ("CARA_SERVER", "https://10.0.0.1:8080"),
        ("CARA_NODE_NAME", "a"),
    ];
    let node = composed("deploy/compose/node.yaml", &variables);
    assert_eq!(
        node["services"]["agent"]["environment"]["CARA_NODE_NAME"],
        "a"
    );
}

/// All services of the stack share the network of the host: no two of them may want one port.
#[test]
fn services_of_the_stack_listen_on_ports_of_their_own() {
    let stack = composed("deploy/compose/compose.yaml", &[]);
    let services = &stack["services"];
    let set = |service: &str, name: &str| {
        let value = &services[service]["environment"][name];
        let value = value
            .as_str()
            .unwrap_or_else(|| panic!("{service}: {name}"));
        value.to_owned()
    };
    let prometheus = services["prometheus"]["command"].as_array().expect("flags");
    let flags = prometheus.iter().filter_map(|flag| flag.as_str());
    let mut listens = flags.filter_map(|flag| flag.strip_prefix("--web.listen-address="));
    let addresses = [
        set("server", "CARA_API_LISTEN"),
        set("server", "CARA_HTTP_LISTEN"),
        set("server", "CARA_HTTPS_LISTEN"),
        set("agent", "CARA_LISTEN"),
        listens.next().expect("an address").to_owned(),
        format!("{}:3000", set("grafana", "GF_SERVER_HTTP_ADDR")),
    ];
    let ports: BTreeSet<_> = addresses
        .iter()
        .filter_map(|a| a.rsplit(':').next())
        .collect();
    assert_eq!(ports.len(), addresses.len(), "{addresses:?}");
    // Who asks whom, with the addresses as they are shipped.
    assert_eq!(
        set("agent", "CARA_SERVER"),
        format!("http://{}", addresses[0])
    );
    assert!(read("deploy/monitoring/prometheus.yml").contains(&addresses[0]));
    assert!(read("deploy/monitoring/grafana/datasource.yml").contains(&addresses[4]));
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
