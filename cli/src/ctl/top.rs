//! `top`: what services and nodes use; live on a terminal, else one table.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use cara_api::paths;
use cara_api::stream::{ContainerUsage, NodeUsage, Usage};
use indicatif::BinaryBytes;
use tokio::signal::unix::SignalKind;

use super::args::{Output, Top};
use super::failure::Failure;
use super::table::table;
use super::{Context, out, screen};

/// Pause between looks.
const PAUSE: Duration = Duration::from_secs(2);
/// What is told of a node.
const NODE_COLUMNS: [&str; 7] = [
    "NODE",
    "CPU",
    "OF ALL",
    "MEMORY",
    "OF ALL",
    "CONTAINERS",
    "STREAMS",
];
/// The other screen of a terminal, without its cursor, and back.
const SCREEN: (&str, &str) = ("\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l");

/// Shows what is used.
pub async fn run(context: &Context, options: Top) -> Result<(), Failure> {
    let view = match options.what.as_deref() {
        Some("nodes" | "node") => View::Nodes,
        Some(project) => View::Project(project.to_owned()),
        None => View::All,
    };
    let is_live = !options.once && context.screen.draws;
    let is_table = matches!(context.output, Output::Table | Output::Wide);
    if !is_table || !is_live {
        let usage = look(context, &view).await?;
        return out(&view.once(&usage, context.output)?);
    }
    live(context, &view).await
}

/// What is shown.
enum View {
    All,
    Project(String),
    Nodes,
}

async fn look(context: &Context, view: &View) -> Result<Usage, Failure> {
    let query: Vec<(&str, &str)> = match view {
        View::Project(name) => vec![("project", name)],
        View::All | View::Nodes => Vec::new(),
    };
    let found = context.client.query(paths::USAGE, &query).await;
    found.map_err(|error| Failure::of("top", &error))
}

async fn live(context: &Context, view: &View) -> Result<(), Failure> {
    // The first look fails on the screen that stays.
    let mut usage = look(context, view).await?;
    let mut rates = Rates::default();
    let mut problem: Option<String> = None;
    let listen = |kind| {
        let listener = tokio::signal::unix::signal(kind);
        listener.map_err(|error| Failure::other(error.to_string()))
    };
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let _screen = Screen::begin()?;
    loop {
        let mut text = view.show(&usage, &mut rates);
        if let Some(problem) = problem.take() {
            text.push_str(&problem);
        }
        out(&on_screen(&text))?;
        let next = async {
            tokio::time::sleep(PAUSE).await;
            look(context, view).await
        };
        // Also while the server is asked, which may take long.
        let newer = tokio::select! {
            newer = next => newer,
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        };
        match newer {
            Ok(newer) => usage = newer,
            Err(_) => problem = Some("\nthe server does not answer; trying again\n".to_owned()),
        }
    }
}

struct Screen;

impl Screen {
    fn begin() -> Result<Self, Failure> {
        out(SCREEN.0)?;
        Ok(Self)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs no mending.
        let _ = out(SCREEN.1);
    }
}

/// A text over what the screen shows, cut to its size.
fn on_screen(text: &str) -> String {
    let size = screen::size();
    let (cols, rows) = size.map_or((usize::MAX, usize::MAX), |size| {
        (usize::from(size.cols), usize::from(size.rows))
    });
    let lines = text.lines().take(rows.saturating_sub(1));
    let lines = lines.map(|line| line.chars().take(cols).collect::<String>() + "\x1b[K\r\n");
    format!("\x1b[H{}\x1b[J", lines.collect::<String>())
}

/// Bytes a second, from what was counted at the look before.
#[derive(Default)]
struct Rates {
    before: HashMap<String, (Instant, u64, u64)>,
}

impl Rates {
    /// None at the first look.
    fn of(&mut self, container: &ContainerUsage, now: Instant) -> Option<(u64, u64)> {
        let (received, sent) = (container.received_bytes?, container.sent_bytes?);
        let before = self
            .before
            .insert(container.container.clone(), (now, received, sent))?;
        let millis = u64::try_from(now.duration_since(before.0).as_millis()).ok()?;
        let rate = |now: u64, before: u64| {
            let moved = now.saturating_sub(before);
            moved.saturating_mul(1000).checked_div(millis)
        };
        Some((rate(received, before.1)?, rate(sent, before.2)?))
    }
}

impl View {
    /// One look in the form that was asked for.
    fn once(&self, usage: &Usage, output: Output) -> Result<String, Failure> {
        if let Some(text) = output.list(usage, &usage.nodes)? {
            return Ok(text);
        }
        Ok(match (output == Output::Name, self) {
            (false, _) => self.show(usage, &mut Rates::default()),
            (true, Self::Nodes) => usage
                .nodes
                .iter()
                .map(|node| format!("node/{}\n", node.node))
                .collect(),
            (true, Self::All | Self::Project(_)) => {
                let containers = usage.nodes.iter().flat_map(|node| &node.containers);
                let names = containers.map(|c| format!("{}/{}\n", c.project, c.service));
                // A service that is being replaced has two containers.
                names.collect::<BTreeSet<String>>().into_iter().collect()
            }
        })
    }

    fn show(&self, usage: &Usage, rates: &mut Rates) -> String {
        match self {
            Self::Nodes => nodes(usage),
            Self::All | Self::Project(_) => services(usage, rates),
        }
    }
}

fn cores(millis: Option<u64>) -> String {
    millis.map_or_else(|| "-".to_owned(), |millis| format!("{millis}m"))
}

fn bytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "-".to_owned(), |bytes| BinaryBytes(bytes).to_string())
}

fn services(usage: &Usage, rates: &mut Rates) -> String {
    let now = Instant::now();
    let all = usage.nodes.iter();
    let mut rows: Vec<Vec<String>> = all
        .flat_map(|node| {
            node.containers
                .iter()
                .map(move |container| (node, container))
        })
        .map(|(node, container)| {
            let rate = rates.of(container, now);
            let network = |per_second: Option<u64>, total: Option<u64>| match per_second {
                Some(rate) => format!("{}/s", BinaryBytes(rate)),
                None => bytes(total),
            };
            vec![
                container.project.clone(),
                container.service.clone(),
                cores(container.cpu_millis),
                bytes(container.memory_bytes),
                // What has no limit is told the machine's memory.
                match (container.memory_bytes, container.memory_limit_bytes) {
                    (Some(used), Some(limit)) if limit < node.memory_capacity_bytes => {
                        share(used, limit)
                    }
                    _ => "-".to_owned(),
                },
                network(rate.map(|r| r.0), container.received_bytes),
                network(rate.map(|r| r.1), container.sent_bytes),
                node.node.clone(),
            ]
        })
        .collect();
    rows.sort();
    let header = [
        "PROJECT", "SERVICE", "CPU", "MEMORY", "OF LIMIT", "RECEIVED", "SENT", "NODE",
    ];
    table(&header, &rows) + &silent(usage)
}

fn nodes(usage: &Usage) -> String {
    let rows: Vec<Vec<String>> = usage
        .nodes
        .iter()
        .map(|node| match node.error {
            None => row_of_node(node),
            Some(_) => unknown(node),
        })
        .collect();
    table(&NODE_COLUMNS, &rows) + &silent(usage)
}

/// A node of which nothing is known; why stands below.
fn unknown(node: &NodeUsage) -> Vec<String> {
    let mut row = vec!["unknown".to_owned(); NODE_COLUMNS.len()];
    if let Some(name) = row.first_mut() {
        name.clone_from(&node.node);
    }
    row
}

fn row_of_node(node: &NodeUsage) -> Vec<String> {
    let cpu: Option<u64> = node.containers.iter().map(|c| c.cpu_millis).sum();
    let memory: Option<u64> = node.containers.iter().map(|c| c.memory_bytes).sum();
    vec![
        node.node.clone(),
        cores(cpu),
        cpu.map_or_else(
            || "-".to_owned(),
            |cpu| share(cpu, node.cpu_capacity_millis),
        ),
        bytes(memory),
        memory.map_or_else(
            || "-".to_owned(),
            |memory| share(memory, node.memory_capacity_bytes),
        ),
        node.containers.len().to_string(),
        node.streams.to_string(),
    ]
}

fn share(part: u64, whole: u64) -> String {
    let percent = part.saturating_mul(100).checked_div(whole);
    percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent}%"))
}

/// Nodes of which nothing is known, and why.
fn silent(usage: &Usage) -> String {
    let silent = usage.nodes.iter().filter_map(|node| {
        let error = node.error.as_ref()?;
        Some(format!("node {}: {error}\n", node.node))
    });
    let text: String = silent.collect();
    if text.is_empty() {
        text
    } else {
        format!("\n{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage() -> Usage {
        let container = |service: &str, cpu_millis, received_bytes| ContainerUsage {
            project: "shop".to_owned(),
            service: service.to_owned(),
            container: service.to_owned(),
            cpu_millis,
            memory_bytes: Some(64 << 20),
            memory_limit_bytes: Some(256 << 20),
            received_bytes: Some(received_bytes),
            sent_bytes: Some(0),
        };
        let node = NodeUsage {
            node: "a".to_owned(),
            cpu_capacity_millis: 2000,
            memory_capacity_bytes: 1 << 30,
            streams: 3,
            containers: vec![
                container("web", Some(150), 2048),
                container("db", Some(50), 0),
            ],
            error: None,
        };
        let silent = NodeUsage {
            node: "b".to_owned(),
            error: Some("gone".to_owned()),
            ..NodeUsage::default()
        };
        Usage {
            nodes: vec![node, silent],
        }
    }

    #[test]
    fn every_form_is_there() {
        let once = |view: View, output| view.once(&usage(), output).expect("written");
        assert_eq!(once(View::All, Output::Name), "shop/db\nshop/web\n");
        assert_eq!(once(View::Nodes, Output::Name), "node/a\nnode/b\n");
        assert_eq!(once(View::All, Output::Jsonl).lines().count(), 2);
        assert!(once(View::All, Output::Yaml).starts_with("nodes:\n"));
        let nodes = crate::ctl::jsonpath::Template::parse("{.nodes[*].node}").expect("a template");
        let nodes = Output::Jsonpath(Box::leak(Box::new(nodes)));
        assert_eq!(once(View::All, nodes), "a b\n");
        assert!(once(View::All, Output::Wide).starts_with("PROJECT "));
    }

    #[test]
    fn services_and_nodes_have_their_tables() {
        let text = View::All.show(&usage(), &mut Rates::default());
        assert_eq!(
            text,
            "PROJECT   SERVICE   CPU    MEMORY      OF LIMIT   RECEIVED   SENT   NODE\n\
             shop      db        50m    64.00 MiB   25%        0 B        0 B    a\n\
             shop      web       150m   64.00 MiB   25%        2.00 KiB   0 B    a\n\
             \nnode b: gone\n"
        );
        let text = View::Nodes.show(&usage(), &mut Rates::default());
        assert_eq!(
            text,
            "NODE   CPU       OF ALL    MEMORY       OF ALL    CONTAINERS   STREAMS\n\
             a      200m      10%       128.00 MiB   12%       2            3\n\
             b      unknown   unknown   unknown      unknown   unknown      unknown\n\
             \nnode b: gone\n"
        );
    }

    #[test]
    fn what_is_not_known_of_a_service_is_a_dash() {
        let mut usage = usage();
        let db = usage
            .nodes
            .first_mut()
            .and_then(|n| n.containers.get_mut(1));
        let db = db.expect("two containers");
        *db = ContainerUsage {
            project: db.project.clone(),
            service: db.service.clone(),
            ..ContainerUsage::default()
        };
        let text = View::All.show(&usage, &mut Rates::default());
        assert!(
            text.contains(
                "shop      db        -      -           -          -          -      a\n"
            ),
            "{text}"
        );
        let text = View::Nodes.show(&usage, &mut Rates::default());
        assert!(
            text.contains("a      -         -         -         -         2            3\n"),
            "{text}"
        );
    }
}
