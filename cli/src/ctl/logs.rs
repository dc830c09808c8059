//! `logs`.

use std::io::Write;

use cara_api::paths;
use futures_util::StreamExt;

use super::Context;
use super::args::Logs;
use super::failure::Failure;

/// Prints the log of a service as it arrives.
pub async fn run(context: &Context, options: Logs) -> Result<(), Failure> {
    let Some((project, service)) = options
        .target
        .split_once('/')
        .filter(|(p, s)| !p.is_empty() && !s.is_empty())
    else {
        return Err(Failure::usage(format!(
            "invalid target {:?}: expected <project>/<service>",
            options.target
        )));
    };
    let failed = |error| Failure::of(&format!("logs {project}/{service}"), &error);
    let tail = options.tail.map(|lines| lines.to_string());
    let mut query = Vec::new();
    query.extend(options.follow.then_some(("follow", "true")));
    query.extend(options.timestamps.then_some(("timestamps", "true")));
    query.extend(tail.as_deref().map(|lines| ("tail", lines)));
    let path = paths::fill(paths::PROJECT_LOGS, &[project, service]);
    let mut stream = context.client.stream(&path, &query).await.map_err(failed)?;
    let mut stdout = std::io::stdout();
    while let Some(bytes) = stream.next().await {
        let bytes = bytes.map_err(failed)?;
        stdout
            .write_all(&bytes)
            .and_then(|()| stdout.flush())
            .map_err(|_| Failure::closed())?;
    }
    Ok(())
}
