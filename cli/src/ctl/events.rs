//! `events`, and the events at the end of `describe`.

use cara_api::event::{EventList, EventType};
use cara_api::{Event, Timestamp, WatchEvent, WatchKind, paths};

use super::args::{Events, Kind, Output};
use super::failure::Failure;
use super::table::{Layout, age, table};
use super::{Context, out};

/// Events that `describe` shows.
const SHOWN: usize = 10;

/// Lists events, the newest last, and goes on with those that come if asked to.
pub async fn run(context: &Context, options: Events) -> Result<(), Failure> {
    let failed = |error| Failure::of("events", &error);
    let query = query(options.kind, options.name.as_deref());
    let list = read(context, &query).await.map_err(failed)?;
    let mut layout = layout(context);
    let text = match context.output.list(&list, &list.items)? {
        Some(text) => text,
        None => layout.head(&rows(
            &list.items,
            lines_of(context.output),
            Timestamp::now(),
        )),
    };
    out(&text)?;
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

/// An event that came while watching.
fn one(event: &Event, output: Output, layout: &mut Layout) -> Result<String, Failure> {
    if let Some(text) = output.next_document(event)? {
        return Ok(text);
    }
    let events = std::slice::from_ref(event);
    Ok(layout.more(&rows(events, lines_of(output), Timestamp::now())))
}

/// The last events of an object, for people.
pub async fn of_object(context: &Context, kind: Kind, name: &str, now: Timestamp) -> String {
    let limit = SHOWN.to_string();
    let mut query = query(Some(kind), Some(name));
    query.push(("limit", &limit));
    match read(context, &query).await {
        Ok(list) => section(&list.items, now),
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

fn lines_of(output: Output) -> Lines {
    match output {
        Output::Wide => Lines::All,
        Output::Table
        | Output::Json
        | Output::Jsonl
        | Output::Yaml
        | Output::Name
        | Output::Jsonpath(_) => Lines::First,
    }
}

/// How much of a message is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lines {
    First,
    All,
}

const HEADER: [&str; 6] = ["LAST", "COUNT", "TYPE", "REASON", "OBJECT", "MESSAGE"];

fn layout(context: &Context) -> Layout {
    let is_wide = context.output == Output::Wide;
    let columns = context.screen.columns.filter(|_| !is_wide);
    Layout::new(HEADER.to_vec(), columns)
}

fn rows(events: &[Event], lines: Lines, now: Timestamp) -> Vec<Vec<String>> {
    let row = |event: &Event| {
        let [last, count, kind, reason, message] = cells(event, lines, now);
        let regarding = &event.regarding;
        let object = format!("{}/{}", regarding.kind.to_lowercase(), regarding.name);
        vec![last, count, kind, reason, object, message]
    };
    events.iter().map(row).collect()
}

fn section(events: &[Event], now: Timestamp) -> String {
    if events.is_empty() {
        return "\nEvents:\n  <none>\n".to_owned();
    }
    let newest = events.iter().skip(events.len().saturating_sub(SHOWN));
    let rows: Vec<Vec<String>> = newest
        .map(|event| cells(event, Lines::All, now).to_vec())
        .collect();
    let text = table(&["LAST", "COUNT", "TYPE", "REASON", "MESSAGE"], &rows);
    let indented: String = text.lines().map(|line| format!("  {line}\n")).collect();
    format!("\nEvents:\n{indented}")
}

fn cells(event: &Event, lines: Lines, now: Timestamp) -> [String; 5] {
    let kind = match event.kind {
        EventType::Normal => "Normal",
        EventType::Warning => "Warning",
    };
    let message = match lines {
        Lines::First => event.message.lines().next().unwrap_or_default(),
        Lines::All => &event.message,
    };
    [
        age(Some(event.last_time), now),
        event.count.to_string(),
        kind.to_owned(),
        event.reason.clone(),
        message.to_owned(),
    ]
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
            table(&HEADER, &rows(&events, Lines::First, at(120))),
            "LAST   COUNT   TYPE      REASON            OBJECT         MESSAGE\n\
             2m     2       Normal    Scheduled         project/shop   bound to node a\n\
             30s    2       Warning   ContainerExited   project/shop   web(exit=3)\n"
        );
        assert_eq!(
            table(&HEADER, &rows(&events[1..], Lines::All, at(120))),
            "LAST   COUNT   TYPE      REASON            OBJECT         MESSAGE\n\
             30s    2       Warning   ContainerExited   project/shop   web(exit=3)\n\
             \u{20}                                                         no database\n"
        );
    }

    #[test]
    fn a_description_ends_with_the_newest_ten() {
        let events: Vec<Event> = (0..12)
            .map(|n| event(n, EventType::Normal, &format!("R{n}"), "m"))
            .collect();
        let text = section(&events, at(60));
        assert_eq!(text.lines().count(), 2 + 1 + SHOWN);
        assert!(text.starts_with(
            "\nEvents:\n  LAST   COUNT   TYPE     REASON   MESSAGE\n  58s    2       Normal   R2       m\n"
        ));
        assert!(text.ends_with("R11      m\n"));
        assert_eq!(section(&[], at(0)), "\nEvents:\n  <none>\n");
    }
}
