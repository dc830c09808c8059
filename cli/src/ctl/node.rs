//! `node join-token` and those beside it, and `node revoke`: let a machine in as a node, and shut one out.

use cara_api::client::Method;
use cara_api::join::{IssuedJoinToken, JoinRole, JoinTokenInfo, JoinTokenList, NewJoinToken};
use cara_api::{Timestamp, paths};

use super::args::{JoinToken, JoinTokenId, NodeCommand, NodeName};
use super::failure::Failure;
use super::listing::Listing;
use super::table::{age, moment};
use super::{Context, out, tell};

/// Stands where the address of the server is not known.
const UNKNOWN_SERVER: &str = "https://ADDRESS-OF-THE-SERVER";

/// Does what is asked for with nodes.
pub async fn run(context: &Context, what: NodeCommand) -> Result<(), Failure> {
    match what {
        NodeCommand::JoinToken(options) => join_token(context, options).await,
        NodeCommand::JoinTokens => join_tokens(context).await,
        NodeCommand::DeleteJoinToken(options) => delete_join_token(context, options).await,
        NodeCommand::Revoke(options) => revoke(context, options).await,
    }
}

async fn join_token(context: &Context, options: JoinToken) -> Result<(), Failure> {
    let wanted = NewJoinToken {
        role: JoinRole::Agent,
        node: options.node,
        ttl_seconds: Some(options.ttl.as_secs()),
    };
    let answer =
        context
            .client
            .write::<IssuedJoinToken, _>(Method::POST, paths::JOIN_TOKENS, &wanted);
    let issued = answer
        .await
        .map_err(|e| Failure::of("make a join token", &e))?;
    let issued = issued.object;
    if options.token_only {
        return out(&format!("{}\n", issued.token.reveal()));
    }
    if let Some(text) = context.output.document(&issued)? {
        return out(&text);
    }
    tell(format_args!(
        "Run this as root on the machine that shall be a node. It works once, until {}:",
        issued.expires_at.strftime("%F %T UTC"),
    ));
    out(&format!("{}\n", line(&issued, context.client.base())))
}

async fn join_tokens(context: &Context) -> Result<(), Failure> {
    let list = context.client.get::<JoinTokenList>(paths::JOIN_TOKENS);
    let list = list
        .await
        .map_err(|error| Failure::of("list join tokens", &error))?;
    let now = Timestamp::now();
    let listing = Listing {
        header: &["ID", "LETS IN", "EXPIRES", "USED BY", "AGE"],
        wide: &["EXPIRES AT", "CREATED"],
        name: &|token: &JoinTokenInfo| format!("join-token/{}", token.id),
        row: &|token| row(token, now),
        more: &|token| {
            let moments = [token.expires_at, token.created_at];
            moments.map(|at| moment(Some(at))).to_vec()
        },
    };
    let (output, columns) = (context.output, context.screen.columns);
    out(&listing.show(&list, &list.items, output, columns)?)
}

fn row(token: &JoinTokenInfo, now: Timestamp) -> Vec<String> {
    let end = match token.expires_at {
        end if end <= now => "expired".to_owned(),
        end => format!("in {}", age(Some(now), end)),
    };
    vec![
        token.id.clone(),
        token
            .node
            .clone()
            .unwrap_or_else(|| "any new node".to_owned()),
        end,
        token.used_by.clone().unwrap_or_else(|| "-".to_owned()),
        age(Some(token.created_at), now),
    ]
}

async fn delete_join_token(context: &Context, options: JoinTokenId) -> Result<(), Failure> {
    let id = &options.id;
    let path = paths::fill(paths::JOIN_TOKEN, &[id]);
    let gone = context.client.delete(&path, false).await;
    gone.map_err(|error| Failure::of(&format!("delete join token {id:?}"), &error))?;
    out(&format!("join-token/{id} deleted\n"))
}

/// What lets the node in when it is pasted into a shell. The token stands in the environment of
/// the one command, where no list of processes shows it.
fn line(issued: &IssuedJoinToken, base: &str) -> String {
    let is_here = ["localhost", "127.", "[::1]"];
    let is_here = |url: &str| {
        let host = url.split("://").nth(1).unwrap_or_default();
        is_here.iter().any(|here| host.starts_with(here))
    };
    let reached = (base.starts_with("https://") && !is_here(base)).then_some(base);
    let port = base.rsplit(':').next().and_then(|port| port.parse().ok());
    let unknown = format!("{UNKNOWN_SERVER}:{}", port.unwrap_or(8080_u16));
    let server = reached.or(issued.server.as_deref()).unwrap_or(&unknown);
    let name = issued.node.as_ref();
    let name = name.map_or_else(String::new, |node| format!(" --node-name {node}"));
    let token = issued.token.reveal();
    format!("CARA_JOIN={token} cara-agent --server {server}{name}")
}

async fn revoke(context: &Context, options: NodeName) -> Result<(), Failure> {
    let node = &options.node;
    let path = paths::fill(paths::NODE_REVOKE, &[node]);
    let posted = context.client.post(&path, &serde_json::json!({})).await;
    posted.map_err(|error| Failure::of(&format!("revoke node {node:?}"), &error))?;
    out(&format!("node/{node} revoked\n"))?;
    tell(format_args!(
        "Its certificate is useless now; its containers run until its projects are placed elsewhere. To let it join again: caractrl node join-token --node {node}"
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use cara_api::secret::Hidden;

    use super::*;

    #[test]
    fn the_line_names_the_server_as_others_reach_it() {
        let issued = |node: Option<&str>, server: Option<&str>| IssuedJoinToken {
            id: "1".to_owned(),
            token: Hidden::new("T"),
            role: JoinRole::Agent,
            node: node.map(str::to_owned),
            expires_at: Timestamp::UNIX_EPOCH,
            server: server.map(str::to_owned),
        };
        let told = Some("https://10.0.0.1:8080");
        for (issued, base, expected) in [
            (
                issued(None, told),
                "https://localhost:8080",
                "CARA_JOIN=T cara-agent --server https://10.0.0.1:8080",
            ),
            (
                issued(None, told),
                "https://cara.example",
                "CARA_JOIN=T cara-agent --server https://cara.example",
            ),
            (
                issued(Some("a"), told),
                "http://127.0.0.1:1",
                "CARA_JOIN=T cara-agent --server https://10.0.0.1:8080 --node-name a",
            ),
            (
                issued(None, None),
                "https://127.0.0.1:9443",
                "CARA_JOIN=T cara-agent --server https://ADDRESS-OF-THE-SERVER:9443",
            ),
            (
                issued(None, None),
                "https://localhost",
                "CARA_JOIN=T cara-agent --server https://ADDRESS-OF-THE-SERVER:8080",
            ),
        ] {
            assert_eq!(line(&issued, base), expected);
        }
    }
}
