//! `version`: of this program and of the server, and whether they fit.

use serde_json::json;

use super::failure::Failure;
use super::{Context, out};

const CLIENT: &str = env!("CARGO_PKG_VERSION");

/// Prints both. A server that does not answer is no failure: the client has a version all the same.
pub async fn run(context: &Context) -> Result<(), Failure> {
    let answer = context.client.version().await;
    let server = answer
        .as_ref()
        .ok()
        .and_then(|value| value["version"].as_str());
    let both = json!({"client": CLIENT, "server": server});
    match context.output.document(&both)? {
        Some(text) => out(&text)?,
        None => {
            let base = context.client.base();
            let said = match (&answer, server) {
                (Ok(_), Some(version)) => version.to_owned(),
                (Ok(_), None) => "unknown".to_owned(),
                (Err(error), _) => match error.status() {
                    None => format!("(no answer from {base})"),
                    Some(status) => format!("(status {status} from {base})"),
                },
            };
            out(&format!("caractrl {CLIENT}\nserver {said}\n"))?;
        }
    }
    if let Some(warning) = server.and_then(|server| difference(CLIENT, server)) {
        context.warn(format_args!("{warning}"));
    }
    Ok(())
}

/// What to say of versions that are not the same.
fn difference(client: &str, server: &str) -> Option<String> {
    if client == server {
        return None;
    }
    let parts = |text: &str| -> Option<Vec<u64>> {
        let core = text.split(['-', '+']).next()?;
        core.split('.').map(|part| part.parse().ok()).collect()
    };
    let older = match (parts(client), parts(server)) {
        (Some(client), Some(server)) if client < server => "client",
        (Some(client), Some(server)) if client > server => "server",
        _ => "older one",
    };
    Some(format!(
        "client {client} and server {server} differ: install the newer version of the {older}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_differ_are_told() {
        assert_eq!(difference("1.2.3", "1.2.3"), None);
        for (client, server, expected) in [
            ("1.2.3", "1.10.0", "of the client"),
            ("2.0.0", "1.10.0", "of the server"),
            ("1.0.0-rc1", "1.0.0", "of the older one"),
            ("x", "1", "of the older one"),
        ] {
            let said = difference(client, server).expect("they differ");
            assert!(said.ends_with(expected), "{said}");
        }
    }
}
