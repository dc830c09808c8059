//! Several logs as one, in the order of time.

use cara_api::stream::LogLine;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, stream};

/// Merges streams that end, each in the order of time, holding one line of each.
pub(super) fn by_time(sources: Vec<BoxStream<'static, LogLine>>) -> impl Stream<Item = LogLine> {
    let heads: Vec<(Option<LogLine>, _)> = sources.into_iter().map(|s| (None, s)).collect();
    stream::unfold((heads, true), |(mut heads, mut is_first)| async move {
        if is_first {
            for (head, source) in &mut heads {
                *head = source.next().await;
            }
            is_first = false;
        }
        heads.retain(|(head, _)| head.is_some());
        let times = heads.iter().enumerate();
        let times = times.filter_map(|(at, (head, _))| Some((head.as_ref()?.time, at)));
        let (_, at) = times.min()?;
        let (head, source) = heads.get_mut(at)?;
        let line = head.take()?;
        *head = source.next().await;
        Some((line, (heads, is_first)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cara_api::stream::LogStream;

    fn log(name: &str, seconds: &[u32]) -> BoxStream<'static, LogLine> {
        let lines: Vec<LogLine> = seconds
            .iter()
            .map(|second| LogLine {
                stream: LogStream::Stdout,
                time: format!("2026-01-01T00:00:{second:02}Z")
                    .parse()
                    .expect("a time"),
                service: name.to_owned(),
                line: second.to_string(),
                container: name.to_owned(),
                partial: false,
            })
            .collect();
        stream::iter(lines).boxed()
    }

    #[tokio::test]
    async fn lines_come_in_the_order_of_time() {
        let sources = vec![log("a", &[1, 4, 5]), log("b", &[]), log("c", &[2, 3, 9])];
        let lines: Vec<String> = by_time(sources)
            .map(|line| format!("{}{}", line.service, line.line))
            .collect()
            .await;
        assert_eq!(lines, ["a1", "c2", "c3", "a4", "a5", "c9"]);
        assert_eq!(by_time(Vec::new()).count().await, 0);
    }
}
