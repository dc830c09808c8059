//! `tail`: requests as they end.

use cara_api::paths;
use serde_json::Value;

use super::args::{Output, Tail};
use super::failure::Failure;
use super::{Context, out};

/// Prints requests until the stream ends.
pub async fn run(context: &Context, options: Tail) -> Result<(), Failure> {
    let target = context.project_or(options.target)?;
    let action = format!("tail {target:?}");
    let failed = |error| Failure::of(&action, &error);
    // Names of projects have no dots, hosts that the gateway serves do.
    let key = match target.contains('.') {
        true => "host",
        false => "project",
    };
    let mut query = vec![(key, target.as_str())];
    query.extend(options.status.as_deref().map(|status| ("status", status)));
    let mut lines = context
        .client
        .follow(paths::TAIL, &query)
        .await
        .map_err(failed)?;
    while let Some(line) = lines.next::<Value>().await.map_err(failed)? {
        match line["lost"].as_u64() {
            Some(0) => {}
            Some(lost) => super::tell(format_args!(
                "{lost} requests were left out: too many at once"
            )),
            None => out(&shown(&line, context.output)?)?,
        }
    }
    Err(Failure::other(format!(
        "{action}: the server ended the stream"
    )))
}

fn shown(line: &Value, output: Output) -> Result<String, Failure> {
    Ok(match output {
        Output::Json | Output::Jsonl => format!("{line}\n"),
        Output::Yaml => format!("---\n{}", super::table::yaml(line)?),
        Output::Jsonpath(template) => template.render(line),
        Output::Name => format!("{}\n", text(line, "id")),
        Output::Table => words(line),
        Output::Wide => format!("{} {}\n", words(line).trim_end(), more(line)),
    })
}

fn text<'a>(line: &'a Value, key: &str) -> &'a str {
    line[key].as_str().unwrap_or("-")
}

/// Time, status, duration, method, URL, who answered, and by which rule.
fn words(line: &Value) -> String {
    let status = match line["status"].as_u64() {
        Some(0) | None => "---".to_owned(),
        Some(status) => status.to_string(),
    };
    let service = match (line["project"].as_str(), line["service"].as_str()) {
        (Some(project), Some(service)) if !service.is_empty() => {
            format!(" -> {}/{}", plain(project), plain(service))
        }
        _ => String::new(),
    };
    let rule = match line["ingress"].as_str() {
        Some(rule) if !rule.is_empty() => format!(" by {}", plain(rule)),
        _ => String::new(),
    };
    format!(
        "{} {status} {:>9} {} {} {}{}{service}{rule}\n",
        text(line, "time"),
        milliseconds(line["duration_us"].as_u64()),
        plain(text(line, "client")),
        plain(text(line, "method")),
        plain(text(line, "host")),
        plain(text(line, "path")),
    )
}

/// What `-o wide` adds.
fn more(line: &Value) -> String {
    let mut text: Vec<String> = [
        "endpoint", "retries", "protocol", "tls", "bytes", "id", "trace",
    ]
    .iter()
    .filter_map(|key| {
        let value = line.get(key)?;
        let value = value.as_str().map_or_else(|| value.to_string(), plain);
        Some(format!("{key}={value}"))
    })
    .collect();
    let upstream = line["upstream_us"].as_u64();
    text.extend(upstream.map(|us| format!("upstream={}", milliseconds(Some(us)))));
    text.join(" ")
}

fn milliseconds(us: Option<u64>) -> String {
    us.map_or_else(
        || "-".to_owned(),
        |us| format!("{}.{:01}ms", us / 1_000, us % 1_000 / 100),
    )
}

/// What clients sent, without anything that a terminal would act on.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_one_line() {
        let line = json!({
            "time": "2026-01-01T00:00:00.000Z", "id": "r1", "client": "192.0.2.1",
            "method": "GET", "host": "a.x", "path": "/x?token=***", "status": 502,
            "duration_us": 12_345, "project": "shop", "service": "web", "retries": 1, "ingress": "front",
            "endpoint": "10.0.0.1:80", "upstream_us": 900,
        });
        assert_eq!(
            words(&line),
            "2026-01-01T00:00:00.000Z 502    12.3ms 192.0.2.1 GET a.x/x?token=*** -> shop/web by front\n"
        );
        assert_eq!(
            more(&line),
            "endpoint=10.0.0.1:80 retries=1 id=r1 upstream=0.9ms"
        );
        let bare = json!({"time": "t", "status": 0, "path": "/\u{1b}[2J", "host": ""});
        assert_eq!(words(&bare), "t ---         - - - /\u{fffd}[2J\n");
    }
}
