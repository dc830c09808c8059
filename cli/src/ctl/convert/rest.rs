//! Fields that have no place in a project: what to say of each.

use super::scope::{Scope, flag};
use super::yaml::{Node, Value};

/// Capabilities that containers have without asking.
const DEFAULT_CAPABILITIES: [&str; 7] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
];
/// Further ones that they may ask for.
const MORE_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "FSETID",
    "IPC_LOCK",
    "LEASE",
    "MKNOD",
    "NET_ADMIN",
    "NET_RAW",
    "SETFCAP",
    "SETPCAP",
    "SYS_CHROOT",
    "SYS_NICE",
    "SYS_PTRACE",
    "SYS_RESOURCE",
];

/// Fields that are dropped without a word: they say what is so anyway, or serve development.
const SILENT: [&str; 8] = [
    "expose",
    "attach",
    "develop",
    "profiles",
    "extends",
    "version",
    "container_name",
    "hostname",
];

/// Field, why it is not carried, and the way out.
const TABLE: [(&str, &str, &str); 47] = [
    (
        "annotations",
        "containers have labels only",
        "put them under labels",
    ),
    ("blkio_config", "disks are not shared out", ""),
    ("cgroup", "containers have namespaces of their own", ""),
    ("cgroup_parent", "the agent decides about groups", ""),
    ("cpu_count", "only cpus is known", "use cpus"),
    ("cpu_percent", "only cpus is known", "use cpus"),
    (
        "cpu_period",
        "only cpus is known",
        "use cpus: quota divided by period",
    ),
    (
        "cpu_quota",
        "only cpus is known",
        "use cpus: quota divided by period",
    ),
    ("cpu_rt_period", "only cpus is known", "use cpus"),
    ("cpu_rt_runtime", "only cpus is known", "use cpus"),
    (
        "cpu_shares",
        "only cpus is known",
        "use cpus, and deploy.resources.reservations.cpus",
    ),
    (
        "cpuset",
        "services are not bound to single cores",
        "use cpus",
    ),
    ("credential_spec", "it belongs to Windows", ""),
    (
        "device_cgroup_rules",
        "services get no devices",
        "reach the device over the network",
    ),
    (
        "devices",
        "services get no devices of the node",
        "reach the device over the network",
    ),
    (
        "dns",
        "names are resolved as on the node",
        "set it on the nodes",
    ),
    (
        "dns_opt",
        "names are resolved as on the node",
        "set it on the nodes",
    ),
    (
        "dns_search",
        "names are resolved as on the node",
        "write names in full",
    ),
    ("domainname", "a service is reached by its name", ""),
    (
        "external_links",
        "other projects are not on the same network",
        "use their hostnames, through the gateway",
    ),
    (
        "extra_hosts",
        "names of other machines come from the DNS alone",
        "put the name into the DNS, or the address into a variable",
    ),
    (
        "gpus",
        "services get no devices, such as graphics cards",
        "run it on a machine of its own and reach it over the network",
    ),
    (
        "group_add",
        "containers have the groups of their user",
        "use user: UID:GID",
    ),
    (
        "ipc",
        "containers have namespaces of their own",
        "use a volume or the network between services",
    ),
    ("isolation", "it belongs to Windows", ""),
    (
        "label_file",
        "files of labels are not read",
        "write them under labels",
    ),
    (
        "logging",
        "output is kept by the node",
        "read it with caractrl logs, or send it from the service itself",
    ),
    ("mac_address", "addresses are given by the engine", ""),
    ("mem_swappiness", "swap is not set by service", ""),
    ("memswap_limit", "swap is not set by service", ""),
    (
        "models",
        "models are not known here",
        "run the model as a service of its own",
    ),
    (
        "oom_kill_disable",
        "a container that needs more than its limit is ended",
        "raise mem_limit",
    ),
    (
        "oom_score_adj",
        "a container that needs more than its limit is ended",
        "set mem_limit",
    ),
    ("pid", "containers have namespaces of their own", ""),
    (
        "platform",
        "images are taken for the platform of the node",
        "label nodes by platform, and use spec.nodeSelector",
    ),
    (
        "post_start",
        "commands after the start are not run",
        "run them in the entrypoint",
    ),
    (
        "pre_stop",
        "commands before the stop are not run",
        "let the program act on SIGTERM",
    ),
    (
        "provider",
        "only containers are run",
        "use the address of the thing in a variable",
    ),
    (
        "read_only",
        "the container may write to its own files, which go with it",
        "",
    ),
    ("runtime", "the agent's engine decides", ""),
    (
        "shm_size",
        "/dev/shm has the engine's 64 MiB",
        "tell the program to use less, or a directory",
    ),
    (
        "stop_signal",
        "containers are asked to stop by the signal of their image, else SIGTERM",
        "set STOPSIGNAL in the image",
    ),
    ("storage_opt", "disks are not shared out", ""),
    (
        "sysctls",
        "settings of the kernel are those of the node",
        "set them on the nodes",
    ),
    (
        "ulimits",
        "they are those of the node's engine",
        "set default-ulimits in the engine of the nodes",
    ),
    ("userns_mode", "containers have namespaces of their own", ""),
    ("uts", "containers have namespaces of their own", ""),
];

/// Says something about every field that is left.
pub fn rest(scope: &mut Scope<'_>) {
    capabilities(scope);
    security(scope);
    switches(scope);
    names(scope);
    let left = std::mem::take(&mut scope.fields);
    for (key, node) in left.0 {
        let field = key.text.as_str();
        let is_empty = match &node.value {
            Value::List(items) => items.is_empty(),
            Value::Map(map) => map.0.is_empty(),
            Value::Null => true,
            Value::Bool(flag) => !flag,
            Value::Number(_) | Value::Text(_) => false,
        };
        if is_empty || SILENT.contains(&field) || field.starts_with("x-") {
            continue;
        }
        match TABLE.iter().find(|(name, ..)| *name == field) {
            Some((_, why, way_out)) => scope.lost(&key.at, field, *why, *way_out),
            None => {
                let way_out = near(field).map(|near| format!("did you mean {near}?"));
                scope.lost(
                    &key.at,
                    field,
                    "the field is not known",
                    way_out.unwrap_or_default(),
                );
            }
        }
    }
}

/// A field of services that is written in nearly the same way.
fn near(field: &str) -> Option<&'static str> {
    const TAKEN: [&str; 18] = [
        "build",
        "cap_add",
        "command",
        "configs",
        "cpus",
        "depends_on",
        "deploy",
        "entrypoint",
        "env_file",
        "environment",
        "healthcheck",
        "image",
        "labels",
        "networks",
        "ports",
        "restart",
        "secrets",
        "volumes",
    ];
    let known = TABLE.iter().map(|(name, ..)| *name).chain(TAKEN);
    let distance = |name: &&str| strsim::damerau_levenshtein(name, field);
    let near = known.filter(|_| field.len() <= 64).min_by_key(distance)?;
    (distance(&near) <= 2).then_some(near)
}

/// Capabilities as projects name them.
fn capability(text: &str) -> String {
    let name = text.to_ascii_uppercase();
    name.strip_prefix("CAP_").unwrap_or(&name).to_owned()
}

/// Takes `cap_add`; what is allowed is given back.
pub fn cap_add(scope: &mut Scope<'_>) -> Vec<String> {
    let mut added = Vec::new();
    for (at, text) in scope.texts("cap_add") {
        let name = capability(&text);
        if MORE_CAPABILITIES.contains(&name.as_str()) {
            if !added.contains(&name) {
                added.push(name);
            }
        } else if !DEFAULT_CAPABILITIES.contains(&name.as_str()) {
            let way_out = format!(
                "ask for single ones out of {}",
                MORE_CAPABILITIES.join(", ")
            );
            scope.lost(
                &at,
                "cap_add",
                format!("{name} would give the service its node"),
                way_out,
            );
        }
    }
    added
}

fn capabilities(scope: &mut Scope<'_>) {
    let dropped = scope.texts("cap_drop");
    let kept: Vec<String> = dropped.iter().map(|(_, text)| capability(text)).collect();
    let kept: Vec<&str> = kept
        .iter()
        .map(String::as_str)
        .filter(|name| *name == "ALL" || DEFAULT_CAPABILITIES.contains(name))
        .collect();
    if let (Some((at, _)), false) = (dropped.first(), kept.is_empty()) {
        let why = format!(
            "containers have {} anyway, and no others",
            DEFAULT_CAPABILITIES.join(", ")
        );
        scope.lost(
            at,
            "cap_drop",
            why,
            "run as a user other than root, which has none of them",
        );
    }
}

/// Takes `security_opt`; true when the service may gain rights.
pub fn may_escalate(scope: &mut Scope<'_>) -> bool {
    let mut may = false;
    for (at, text) in scope.texts("security_opt") {
        match text.replace('=', ":").as_str() {
            "no-new-privileges" | "no-new-privileges:true" => {}
            "no-new-privileges:false" => may = true,
            _ => scope.lost(
                &at,
                "security_opt",
                format!("{text:?} is the engine's to decide"),
                "",
            ),
        }
    }
    may
}

fn security(scope: &mut Scope<'_>) {
    if let Some((at, true)) = scope.flag("privileged") {
        let way_out = "ask for what it needs with cap_add; what manages machines runs beside the agent, not as a project";
        scope.lost(&at, "privileged", "services never get the node", way_out);
    }
    if let Some((at, mode)) = scope.text("network_mode") {
        let (why, way_out) = match mode.as_str() {
            "bridge" | "default" => return,
            "none" => ("services of a project share a network", ""),
            "host" => (
                "services do not get the node's network",
                "publish the ports that it listens on",
            ),
            _ => (
                "services do not share a network namespace",
                "use the name of the service in the place of localhost",
            ),
        };
        scope.lost(&at, "network_mode", why, way_out);
    }
}

fn switches(scope: &mut Scope<'_>) {
    let terminal = [scope.flag("tty"), scope.flag("stdin_open")];
    if let Some((at, _)) = terminal.into_iter().flatten().find(|(_, is_on)| *is_on) {
        scope.lost(
            &at,
            "tty",
            "services have no terminal",
            "caractrl exec -it opens one beside the program",
        );
    }
    if let Some((at, true)) = scope.flag("init") {
        scope.lost(
            &at,
            "init",
            "no process is put before the program",
            "put an init such as tini into the image, if it starts processes",
        );
    }
    if let Some((at, policy)) = scope.text("pull_policy")
        && !matches!(policy.as_str(), "missing" | "if_not_present")
    {
        scope.lost(
            &at,
            "pull_policy",
            "an image is pulled when the node does not have it",
            "name a new tag or a digest for each version",
        );
    }
    if let Some(node) = scope.take("volumes_from") {
        scope.lost(
            &node.at,
            "volumes_from",
            "volumes are mounted by name",
            "name the volumes under volumes",
        );
    }
}

/// Names by which other services may reach this one.
fn names(scope: &mut Scope<'_>) {
    for field in ["container_name", "hostname"] {
        if let Some((at, name)) = scope.text(field) {
            scope.alias(&name, field, &at);
            if field == "hostname" && name != scope.name {
                scope.lost(
                    &at,
                    field,
                    "the engine names the container's host",
                    "give the program its name in a variable or option",
                );
            }
        }
    }
    for (at, link) in scope.texts("links") {
        if let Some((service, alias)) = link.split_once(':')
            && service != alias
        {
            let (service, name) = (service.to_owned(), alias.to_owned());
            scope.sink.aliases.push(super::scope::Alias {
                service,
                name,
                field: "links",
                at,
            });
        }
    }
    let networks = scope
        .map("networks")
        .map(|(_, map)| map)
        .unwrap_or_default();
    for (key, node) in networks.0 {
        let Value::Map(fields) = node.value else {
            continue;
        };
        for (inner, node) in fields.0 {
            match (inner.text.as_str(), node.as_list()) {
                ("aliases", Some(names)) => {
                    for name in names {
                        let text = name.scalar().unwrap_or_default();
                        scope.alias(&text, "networks.aliases", &name.at);
                    }
                }
                ("priority" | "gw_priority", _) => {}
                _ => {
                    let field = format!("networks.{}.{}", key.text, inner.text);
                    scope.lost(
                        &inner.at,
                        field,
                        "addresses are given by the engine",
                        "use the name of the service",
                    );
                }
            }
        }
    }
}

/// Says what becomes of networks: there is one.
pub fn networks(sink: &mut super::scope::Sink, declared: &super::yaml::Map) {
    for (key, node) in declared.iter() {
        let fields = node.as_map();
        let field = |name: &str| fields.and_then(|map| map.get(name));
        let (name, why, way_out) = if field("external")
            .is_some_and(|node| flag(node).unwrap_or(true))
        {
            (
                "external",
                "projects do not share networks",
                "reach other projects by their hostnames, through the gateway; or put the services into one project",
            )
        } else if field("internal").and_then(flag).unwrap_or(false) {
            ("internal", "services may reach the outside", "")
        } else if field("ipam").is_some_and(|node: &Node| !node.is_null()) {
            ("ipam", "addresses are given by the engine", "")
        } else {
            continue;
        };
        sink.notes.push(super::fault::Note {
            place: key.at.clone(),
            service: None,
            field: format!("networks.{}.{name}", key.text),
            why: why.to_owned(),
            way_out: way_out.to_owned(),
        });
    }
}
