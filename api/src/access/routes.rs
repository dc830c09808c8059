//! What each route of each listener asks for: one row for each method and path.
//!
//! A route without a row is refused while the server asks who somebody is. A test holds the rows
//! against the routers of control plane and agent, and against what the gateway answers itself.

use super::Verb;
use crate::paths;

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// The installation as a whole: only grants for all projects count.
    Installation,
    /// The project that the path names.
    Project,
    /// The project in the document, as it will be; and the secrets that it comes to use.
    ProjectDocument,
    /// Both: the project as it is, and as it will be.
    ProjectChange,
    /// The secret that the path names.
    Secret,
    /// The secret in the document, as it will be.
    SecretDocument,
    /// Both: the secret as it is, and as it will be.
    SecretChange,
    /// The project that the query names by `project`; without one, the installation.
    ProjectInQuery,
    /// All that there are: the handler shows those that may be read.
    Each,
    /// What belongs to the caller; for all others `admin` is needed. The handler decides.
    Own,
}

/// What a route asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: it says nothing that is worth keeping, or is how somebody comes to be known.
    Public,
    /// To be known.
    Known,
    /// To be allowed to do that.
    May(Verb, On),
    /// To be the node that the path or the document names.
    Node,
    /// To be that node, or to be allowed to do that to the installation.
    NodeOr(Verb),
    /// To be a node that the project in the path is bound to.
    NodeOfProject,
    /// To be on this host, or that the door for agents of the older system is open.
    Door,
}

/// One route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// `GET` stands for `HEAD` too.
    pub method: &'static str,
    /// The pattern, of [`paths`].
    pub path: &'static str,
    /// What it asks for.
    pub need: Need,
}

const fn row(method: &'static str, path: &'static str, need: Need) -> Row {
    Row { method, path, need }
}

use Need::{Door, Known, May, Node, NodeOfProject, NodeOr, Public};
use Verb::{Admin, Deploy, Exec, Logs, Read, Share};

/// The routes of the control plane's API.
pub const API: &[Row] = &[
    row("GET", paths::HEALTHZ, Public),
    row("GET", paths::READYZ, Public),
    row("GET", paths::VERSION, Public),
    row("GET", paths::METRICS, May(Read, On::Installation)),
    row("GET", paths::OPENAPI, Known),
    row("GET", paths::DOCS, Known),
    row("GET", paths::DOCTOR, May(Read, On::Installation)),
    row("GET", paths::BACKUP, May(Admin, On::Installation)),
    row("POST", paths::BACKUP, May(Admin, On::Installation)),
    row("GET", paths::PROJECTS, May(Read, On::Each)),
    row("POST", paths::PROJECTS, May(Deploy, On::ProjectDocument)),
    row("GET", paths::PROJECT, May(Read, On::Project)),
    row("PUT", paths::PROJECT, May(Deploy, On::ProjectChange)),
    row("DELETE", paths::PROJECT, May(Deploy, On::Project)),
    row("PATCH", paths::PROJECT_STATUS, NodeOfProject),
    row("GET", paths::PROJECT_REVISIONS, May(Read, On::Project)),
    row("POST", paths::PROJECT_ROLLBACK, May(Deploy, On::Project)),
    row("POST", paths::PROJECT_SHARE, May(Share, On::Project)),
    row("GET", paths::PROJECT_LOGS, May(Logs, On::Project)),
    row("GET", paths::PROJECT_ALL_LOGS, May(Logs, On::Project)),
    row("GET", paths::SERVICE_EXEC, May(Exec, On::Project)),
    row("GET", paths::SERVICE_FORWARD, May(Exec, On::Project)),
    row("GET", paths::SERVICE_FILES, May(Exec, On::Project)),
    row("PUT", paths::SERVICE_FILES, May(Exec, On::Project)),
    row("GET", paths::USAGE, May(Read, On::ProjectInQuery)),
    row("GET", paths::SECRETS, May(Read, On::Each)),
    row("POST", paths::SECRETS, May(Deploy, On::SecretDocument)),
    row("GET", paths::SECRET, May(Read, On::Secret)),
    row("PUT", paths::SECRET, May(Deploy, On::SecretChange)),
    row("DELETE", paths::SECRET, May(Deploy, On::Secret)),
    row("GET", paths::CERTIFICATES, May(Read, On::Installation)),
    row("POST", paths::CERTIFICATES, May(Admin, On::Installation)),
    row("GET", paths::CERTIFICATE, May(Read, On::Installation)),
    row("PUT", paths::CERTIFICATE, May(Admin, On::Installation)),
    row("DELETE", paths::CERTIFICATE, May(Admin, On::Installation)),
    row("GET", paths::CA, Public),
    row("GET", paths::EVENTS, May(Read, On::Each)),
    row("GET", paths::ROUTES, May(Read, On::Each)),
    row("GET", paths::ROUTES_EXPLAIN, May(Read, On::Installation)),
    row("GET", paths::TAIL, May(Logs, On::ProjectInQuery)),
    row("GET", paths::NODES, May(Read, On::Installation)),
    row("POST", paths::NODES, NodeOr(Admin)),
    row("GET", paths::NODE, NodeOr(Read)),
    row("PUT", paths::NODE, NodeOr(Admin)),
    row("DELETE", paths::NODE, May(Admin, On::Installation)),
    row("POST", paths::NODE_CORDON, May(Admin, On::Installation)),
    row("POST", paths::NODE_UNCORDON, May(Admin, On::Installation)),
    row("POST", paths::NODE_DRAIN, May(Admin, On::Installation)),
    row("POST", paths::NODE_HEARTBEAT, Node),
    row("GET", paths::NODE_ASSIGNMENTS, Node),
    row("POST", paths::NODE_REPORTS, Node),
    row("GET", paths::NODE_TUNNEL, Node),
    row("POST", paths::NODE_CERTIFICATE, Node),
    row("POST", paths::NODE_REVOKE, May(Admin, On::Installation)),
    row("GET", paths::JOIN_TOKENS, May(Admin, On::Installation)),
    row("POST", paths::JOIN_TOKENS, May(Admin, On::Installation)),
    row("DELETE", paths::JOIN_TOKEN, May(Admin, On::Installation)),
    row("POST", paths::JOIN, Public),
    row("GET", paths::JOIN_AUTHORITY, Public),
    row("GET", paths::USERS, May(Admin, On::Installation)),
    row("POST", paths::USERS, May(Admin, On::Installation)),
    row("GET", paths::USER, May(Admin, On::Installation)),
    row("PUT", paths::USER, May(Admin, On::Installation)),
    row("DELETE", paths::USER, May(Admin, On::Installation)),
    row("GET", paths::TOKENS, May(Admin, On::Own)),
    row("POST", paths::TOKENS, May(Admin, On::Own)),
    row("GET", paths::TOKEN, May(Admin, On::Own)),
    row("PUT", paths::TOKEN, May(Admin, On::Installation)),
    row("DELETE", paths::TOKEN, May(Admin, On::Own)),
    row("GET", paths::FEDERATIONS, May(Admin, On::Installation)),
    row("POST", paths::FEDERATIONS, May(Admin, On::Installation)),
    row("GET", paths::FEDERATION, May(Admin, On::Installation)),
    row("PUT", paths::FEDERATION, May(Admin, On::Installation)),
    row("DELETE", paths::FEDERATION, May(Admin, On::Installation)),
    row("GET", paths::WHOAMI, Known),
    row("GET", paths::LOGIN, Public),
    row("POST", paths::LOGIN_DEVICE, Public),
    row("POST", paths::LOGIN_DEVICE_TOKEN, Public),
    row("GET", paths::LOGIN_BROWSER, Public),
    row("GET", paths::LOGIN_CALLBACK, Public),
    row("POST", paths::LOGIN_FEDERATION, Public),
    row("POST", paths::LOGOUT, Known),
];

/// The routes of the agent's own listener.
pub const AGENT: &[Row] = &[
    row("GET", paths::AGENT_HEALTHZ, Public),
    row("GET", paths::AGENT_LOGS, Door),
    row("GET", paths::AGENT_FORWARD, Door),
];

/// What the server can ask of an agent on the connection that the agent opened to it. Nobody else
/// can ask there, and the server has decided before.
pub const TUNNEL: &[Row] = &[
    row("GET", paths::STREAM_LOGS, Public),
    row("POST", paths::STREAM_EXEC, Public),
    row("POST", paths::STREAM_FORWARD, Public),
    row("GET", paths::STREAM_FILES, Public),
    row("PUT", paths::STREAM_FILES, Public),
    row("GET", paths::STREAM_USAGE, Public),
];

/// What the gateway answers itself, for any method. Everything else there is decided by the rules of
/// projects (`access` of an ingress), of which a request without a rule has none and gets nothing.
pub const GATEWAY: &[Row] = &[
    // A code of the issuer's and a signed state of the browser's own login are needed.
    row("*", paths::GATEWAY_LOGIN_CALLBACK, Public),
    // A signed handover to this host is needed, that the browser's own login began.
    row("*", paths::GATEWAY_SESSION, Public),
    // Ends the browser's own session.
    row("*", paths::GATEWAY_LOGOUT, Public),
    // Answers with what the authority knows already, while an order is under way.
    row("*", paths::GATEWAY_CHALLENGE, Public),
];

/// What a route of the control plane's API asks for; none when it has no row.
pub fn need(method: &str, path: &str) -> Option<Need> {
    let method = if method == "HEAD" { "GET" } else { method };
    let found = API
        .iter()
        .find(|row| row.method == method && row.path == path);
    found.map(|row| row.need)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_route_has_two_rows() {
        for rows in [API, AGENT, TUNNEL, GATEWAY] {
            let routes: BTreeSet<_> = rows.iter().map(|row| (row.method, row.path)).collect();
            assert_eq!(routes.len(), rows.len());
        }
    }

    #[test]
    fn what_has_no_row_has_no_policy() {
        assert_eq!(need("GET", paths::VERSION), Some(Public));
        assert_eq!(need("HEAD", paths::WHOAMI), Some(Known));
        assert_eq!(need("DELETE", paths::VERSION), None);
        assert_eq!(need("GET", "/api/v1/other"), None);
    }
}
