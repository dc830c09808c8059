//! `events`, and the events at the end of `describe`.

use cara_api::event::{EventList, EventType};
use cara_api::{Event, Timestamp, WatchEvent, WatchKind, paths};

use super::args::{Events, Kind, Output};
use super::failure::Failure;
use super::table::{Layout, age, moment, table};
use super::{Context, out};

/// Events that `describe` shows.
const SHOWN: usize = 10;
/// Lines of a message that `describe` shows; `events -o wide` shows them all.
const SECTION_LINES: usize = 8;

/// Lists events, the newest last, and goes on with those that come if asked to.
pub async fn run(context: &Context, options: Events) -> Result<(), Failure> {
    let failed = |error| Failure::of("events", &error);
    let (kind, name) = match (options.kind, options.name, &context.project) {
        (None, None, Some(home)) if !options.all => (Some(Kind::Projects), Some(home.clone())),
        (kind, name, _) => (kind, name),
    };
    let query = query(kind, name.as_deref());
    let list = read(context, &query).await.map_err(failed)?;
    let mut layout = layout(context.output, context.screen.columns);
    out(&shown(
        &list,
        context.output,
        &mut layout,
        Timestamp::now(),
    )?)?;
    if !options.watch {
        return Ok(());
    }
    let version = list.metadata.resource_version.to_string();
    let mut query = query;
    query.extend([("watch", "true"), ("resourceVersion", &version)]);
    let followed = context.client.follow(paths::EVENTS, &query).await;
    let mut lines = followed.map_err(failed)?;
    while let Some(change) = lines
        .next::<WatchEvent<serde_json::Value>>()
        .await
        .map_err(failed)?
    {
        match change.kind {
            WatchKind::Added | WatchKind::Modified => {
                let event = serde_json::from_value(change.object)
                    .map_err(|error| Failure::other(format!("events: {error}")))?;
                out(&one(&event, context.output, &mut layout)?)?;
            }
            WatchKind::Deleted | WatchKind::Bookmark => {}
            WatchKind::Error => {
                return Err(Failure::other(
                    "events: the watch fell behind; start it again",
                ));
            }
        }
    }
    Err(Failure::other("events: the server ended the watch"))
}

/// A whole list.
pub(super) fn shown(
    list: &EventList,
    output: Output,
    layout: &mut Layout,
    now: Timestamp,
) -> Result<String, Failure> {
    Ok(match output.list(list, &list.items)? {
        Some(text) => text,
        None if output == Output::Name => names(&list.items),
        None => layout.head(&rows(&list.items, output, now)),
    })
}

/// An event that came while watching.
fn one(event: &Event, output: Output, layout: &mut Layout) -> Result<String, Failure> {
    if let Some(text) = output.next_document(event)? {
        return Ok(text);
    }
    let events = std::slice::from_ref(event);
    if output == Output::Name {
        return Ok(names(events));
    }
    Ok(layout.more(&rows(events, output, Timestamp::now())))
}

/// The last events of an object, for people.
pub async fn of_object(context: &Context, kind: Kind, name: &str, now: Timestamp) -> String {
    // One more than is shown tells whether there are more.
    let limit = (SHOWN + 1).to_string();
    let mut query = query(Some(kind), Some(name));
    query.push(("limit", &limit));
    match read(context, &query).await {
        Ok(list) => section(&list.items, kind, name, now),
        Err(error) => format!("\nEvents:\n  <unknown>: {error}\n"),
    }
}

fn query(kind: Option<Kind>, name: Option<&str>) -> Vec<(&'static str, &str)> {
    let wanted = [("kind", kind.map(Kind::as_str)), ("name", name)];
    wanted
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect()
}

async fn read(
    context: &Context,
    query: &[(&str, &str)],
) -> Result<EventList, cara_api::client::Error> {
    let pairs: Vec<String> = query
        .iter()
        .map(|(key, value)| format!("{key}={}", paths::fill("{value}", &[value])))
        .collect();
    let path = format!("{}?{}", paths::EVENTS, pairs.join("&"));
    context.client.get(&path).await
}

/// How much of a message is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lines {
    First,
    Some(usize),
    All,
}

const HEADER: [&str; 6] = ["LAST", "COUNT", "TYPE", "REASON", "OBJECT", "MESSAGE"];
const WIDE: [&str; 8] = [
    "FIRST", "LAST", "COUNT", "TYPE", "REASON", "OBJECT", "SOURCE", "MESSAGE",
];

pub(super) fn layout(output: Output, columns: Option<usize>) -> Layout {
    match output == Output::Wide {
        true => Layout::new(WIDE.to_vec(), None),
        false => Layout::new(HEADER.to_vec(), columns).with_prose(),
    }
}

fn rows(events: &[Event], output: Output, now: Timestamp) -> Vec<Vec<String>> {
    events.iter().map(|event| row(event, output, now)).collect()
}

fn row(event: &Event, output: Output, now: Timestamp) -> Vec<String> {
    let regarding = &event.regarding;
    let object = format!("{}/{}", regarding.kind.to_lowercase(), regarding.name);
    if output == Output::Wide {
        let [_, count, kind, reason, message] = cells(event, Lines::All, now);
        let (first, last) = (
            moment(Some(event.first_time)),
            moment(Some(event.last_time)),
        );
        let source = event.source.clone();
        return vec![first, last, count, kind, reason, object, source, message];
    }
    let [last, count, kind, reason, message] = cells(event, Lines::First, now);
    vec![last, count, kind, reason, object, message]
}

/// The objects of events, each time that something happened to them.
fn names(events: &[Event]) -> String {
    let name = |event: &Event| {
        let regarding = &event.regarding;
        format!("{}/{}\n", regarding.kind.to_lowercase(), regarding.name)
    };
    events.iter().map(name).collect()
}

fn section(events: &[Event], kind: Kind, name: &str, now: Timestamp) -> String {
    if events.is_empty() {
        return "\nEvents:\n  <none>\n".to_owned();
    }
    let older = events.len().saturating_sub(SHOWN);
    let newest = events.iter().skip(older);
    let rows: Vec<Vec<String>> = newest
        .map(|event| cells(event, Lines::Some(SECTION_LINES), now).to_vec())
        .collect();
    let text = table(&["LAST", "COUNT", "TYPE", "REASON", "MESSAGE"], &rows);
    let indented: String = text.lines().map(|line| format!("  {line}\n")).collect();
    let cut = match older {
        0 => String::new(),
        _ => format!(
            "  (the newest {SHOWN}; all: caractrl events {} {name})\n",
            kind.noun()
        ),
    };
    format!("\nEvents:\n{indented}{cut}")
}

fn cells(event: &Event, lines: Lines, now: Timestamp) -> [String; 5] {
    let kind = match event.kind {
        EventType::Normal => "Normal",
        EventType::Warning => "Warning",
    };
    let message = match lines {
        Lines::First => event.message.lines().next().unwrap_or_default().to_owned(),
        Lines::Some(most) => shortened(&event.message, most),
        Lines::All => event.message.clone(),
    };
    [
        age(Some(event.last_time), now),
        event.count.to_string(),
        kind.to_owned(),
        event.reason.clone(),
        message,
    ]
}

/// The first line and as many of the last ones as there is room for: what a program says in the
/// end is why it ended.
fn shortened(message: &str, most: usize) -> String {
    let lines: Vec<&str> = message.lines().collect();
    let Some(cut @ 1..) = lines.len().checked_sub(most) else {
        return message.to_owned();
    };
    let (first, rest) = lines.split_at(1);
    let dots = format!("… {} more lines …", cut + 1);
    let kept = rest.iter().skip(cut + 1).copied();
    let shown: Vec<&str> = first
        .iter()
        .copied()
        .chain([dots.as_str()])
        .chain(kept)
        .collect();
    shown.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use cara_api::event::ObjectRef;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn event(second: i64, kind: EventType, reason: &str, message: &str) -> Event {
        Event {
            regarding: ObjectRef {
                kind: "Project".to_owned(),
                name: "shop".to_owned(),
            },
            kind,
            reason: reason.to_owned(),
            message: message.to_owned(),
            source: "agent/a".to_owned(),
            count: 2,
            first_time: at(0),
            last_time: at(second),
        }
    }

    #[test]
    fn events_are_shown_with_their_object() {
        let events = [
            event(0, EventType::Normal, "Scheduled", "bound to node a"),
            event(
                90,
                EventType::Warning,
                "ContainerExited",
                "web(exit=3)\nno database",
            ),
        ];
        assert_eq!(
            table(&HEADER, &rows(&events, Output::Table, at(120))),
            "LAST   COUNT   TYPE      REASON            OBJECT         MESSAGE\n\
             2m     2       Normal    Scheduled         project/shop   bound to node a\n\
             30s    2       Warning   ContainerExited   project/shop   web(exit=3)\n"
        );
        let mut wide = layout(Output::Wide, Some(40));
        assert_eq!(
            wide.head(&rows(&events[1..], Output::Wide, at(120))),
            "FIRST                  LAST                   COUNT   TYPE      REASON            OBJECT         SOURCE    MESSAGE\n\
             1970-01-01T00:00:00Z   1970-01-01T00:01:30Z   2       Warning   ContainerExited   project/shop   agent/a   web(exit=3)\n\
             \u{20}                                                                                                          no database\n"
        );
        assert_eq!(names(&events), "project/shop\nproject/shop\n");
    }

    #[test]
    fn a_description_ends_with_the_newest_ten() {
        let events: Vec<Event> = (0..12)
            .map(|n| event(n, EventType::Normal, &format!("R{n}"), "m"))
            .collect();
        let section = |events: &[Event]| section(events, Kind::Projects, "shop", at(60));
        let text = section(&events);
        assert_eq!(text.lines().count(), 2 + 1 + SHOWN + 1);
        assert!(text.starts_with(
            "\nEvents:\n  LAST   COUNT   TYPE     REASON   MESSAGE\n  58s    2       Normal   R2       m\n"
        ));
        assert!(
            text.ends_with("R11      m\n  (the newest 10; all: caractrl events project shop)\n")
        );
        assert!(section(&events[2..]).ends_with("R11      m\n"));
        assert_eq!(section(&[]), "\nEvents:\n  <none>\n");
    }

    #[test]
    fn a_long_message_keeps_its_first_and_its_last_lines() {
        let lines: Vec<String> = (1..=20).map(|n| format!("l{n}")).collect();
        assert_eq!(
            shortened(&lines.join("\n"), 4),
            "l1\n… 17 more lines …\nl19\nl20"
        );
        assert_eq!(shortened("a\nb", 4), "a\nb");
    }
}
