//! Every path of the HTTP API, once, for server and client.
//!
//! The constants are route patterns (`{name}` stands for one segment); the functions fill them.

/// Liveness of the process: always 200.
pub const HEALTHZ: &str = "/api/healthz";
/// Readiness: 200 when store and cache are live.
pub const READYZ: &str = "/api/readyz";
/// Version of the server.
pub const VERSION: &str = "/api/version";
/// The OpenAPI document.
pub const OPENAPI: &str = "/api/openapi.json";
/// How well the server is.
pub const DOCTOR: &str = "/api/v1/doctor";
/// The reference of the API, as a page.
pub const DOCS: &str = "/api/docs";
/// Metrics in Prometheus' text format.
pub const METRICS: &str = "/metrics";
/// All projects.
pub const PROJECTS: &str = "/api/v1/projects";
/// One project.
pub const PROJECT: &str = "/api/v1/projects/{name}";
/// Status of a project, for agents of the older system.
pub const PROJECT_STATUS: &str = "/api/v1/projects/{name}/status";
/// Log of a service, through the server.
pub const PROJECT_LOGS: &str = "/api/v1/projects/{name}/services/{service}/logs";
/// Logs of a project's services, as JSON lines.
pub const PROJECT_ALL_LOGS: &str = "/api/v1/projects/{name}/logs";
/// Runs a command in a service; a WebSocket.
pub const SERVICE_EXEC: &str = "/api/v1/projects/{name}/services/{service}/exec";
/// A connection to a port of a service; a WebSocket.
pub const SERVICE_FORWARD: &str = "/api/v1/projects/{name}/services/{service}/forward/{port}";
/// Files in a service, as a tar stream.
pub const SERVICE_FILES: &str = "/api/v1/projects/{name}/services/{service}/files";
/// What services and nodes use.
pub const USAGE: &str = "/api/v1/usage";
/// Earlier generations of a project.
pub const PROJECT_REVISIONS: &str = "/api/v1/projects/{name}/revisions";
/// Returns a project to an earlier generation.
pub const PROJECT_ROLLBACK: &str = "/api/v1/projects/{name}/rollback";
/// Makes a link that opens an ingress for a time.
pub const PROJECT_SHARE: &str = "/api/v1/projects/{name}/share";
/// All secrets, without their values.
pub const SECRETS: &str = "/api/v1/secrets";
/// One secret, without its values.
pub const SECRET: &str = "/api/v1/secrets/{name}";
/// All certificates, without their keys.
pub const CERTIFICATES: &str = "/api/v1/certificates";
/// One certificate, without its key.
pub const CERTIFICATE: &str = "/api/v1/certificates/{name}";
/// The internal authority.
pub const CA: &str = "/api/v1/ca";
/// Everything that is stored, as one archive; and its way back.
pub const BACKUP: &str = "/api/v1/backup";
/// What gateways serve.
pub const ROUTES: &str = "/api/v1/routes";
/// Why a URL goes where it goes.
pub const ROUTES_EXPLAIN: &str = "/api/v1/routes/explain";
/// Requests as they end.
pub const TAIL: &str = "/api/v1/tail";
/// What happened to objects.
pub const EVENTS: &str = "/api/v1/events";
/// All nodes.
pub const NODES: &str = "/api/v1/nodes";
/// One node.
pub const NODE: &str = "/api/v1/nodes/{name}";
/// Closes a node for new projects.
pub const NODE_CORDON: &str = "/api/v1/nodes/{name}/cordon";
/// Opens a node again, and ends its draining.
pub const NODE_UNCORDON: &str = "/api/v1/nodes/{name}/uncordon";
/// Empties a node.
pub const NODE_DRAIN: &str = "/api/v1/nodes/{name}/drain";
/// Sign of life of a node.
pub const NODE_HEARTBEAT: &str = "/api/v1/nodes/{name}/heartbeat";
/// Stream of what a node should run.
pub const NODE_ASSIGNMENTS: &str = "/api/v1/nodes/{name}/assignments";
/// Reports of a node.
pub const NODE_REPORTS: &str = "/api/v1/nodes/{name}/reports";
/// The next certificate of a node.
pub const NODE_CERTIFICATE: &str = "/api/v1/nodes/{name}/certificate";
/// Shuts a node out.
pub const NODE_REVOKE: &str = "/api/v1/nodes/{name}/revoke";
/// Makes a token that lets a node in.
pub const JOIN_TOKENS: &str = "/api/v1/join-tokens";
/// One of those tokens.
pub const JOIN_TOKEN: &str = "/api/v1/join-tokens/{id}";
/// Turns such a token into a certificate.
pub const JOIN: &str = "/api/v1/join";
/// The authority of the server itself, for those who know its hash.
pub const JOIN_AUTHORITY: &str = "/api/v1/join/authority";
/// All users.
pub const USERS: &str = "/api/v1/users";
/// One user.
pub const USER: &str = "/api/v1/users/{name}";
/// Tokens, without their values.
pub const TOKENS: &str = "/api/v1/tokens";
/// One token, without its value.
pub const TOKEN: &str = "/api/v1/tokens/{name}";
/// All federation rules.
pub const FEDERATIONS: &str = "/api/v1/federations";
/// One federation rule.
pub const FEDERATION: &str = "/api/v1/federations/{name}";
/// Who the server takes the caller for.
pub const WHOAMI: &str = "/api/v1/whoami";
/// How people can log in.
pub const LOGIN: &str = "/api/v1/login";
/// Begins a login by a device.
pub const LOGIN_DEVICE: &str = "/api/v1/login/device";
/// Asks whether it is complete.
pub const LOGIN_DEVICE_TOKEN: &str = "/api/v1/login/device/token";
/// Begins a login by a browser.
pub const LOGIN_BROWSER: &str = "/api/v1/login/browser";
/// Where the login service sends the browser back to.
pub const LOGIN_CALLBACK: &str = "/api/v1/login/callback";
/// Exchanges a token of another issuer.
pub const LOGIN_FEDERATION: &str = "/api/v1/login/federation";
/// Revokes the token of a login.
pub const LOGOUT: &str = "/api/v1/logout";
/// The connection over which the server reaches a node's agent.
pub const NODE_TUNNEL: &str = "/api/v1/nodes/{name}/tunnel";
/// Health of an agent, on the agent's own listener.
pub const AGENT_HEALTHZ: &str = "/healthz";
/// Log of a service, on the agent's own listener.
pub const AGENT_LOGS: &str = "/api/v1/logs/{project}/{service}";
/// A connection to a port of a service, on the agent's own listener; a WebSocket.
pub const AGENT_FORWARD: &str = "/api/v1/forward/{project}/{service}/{port}";
/// Through the tunnel: lines of logs.
pub const STREAM_LOGS: &str = "/streams/logs/{project}";
/// Through the tunnel: a command in a service.
pub const STREAM_EXEC: &str = "/streams/exec/{project}/{service}";
/// Through the tunnel: a connection to a port of a service.
pub const STREAM_FORWARD: &str = "/streams/forward/{project}/{service}/{port}";
/// Through the tunnel: files in a service.
pub const STREAM_FILES: &str = "/streams/files/{project}/{service}";
/// Through the tunnel: what containers use.
pub const STREAM_USAGE: &str = "/streams/usage";

/// Begins every path that the gateway answers itself, on every host.
pub const GATEWAY_OWN: &str = "/.cara/";
/// Where issuers send browsers to, on the gateway's auth host.
pub const GATEWAY_LOGIN_CALLBACK: &str = "/.cara/oidc/callback";
/// Where the auth host sends browsers to, on the preview's host.
pub const GATEWAY_SESSION: &str = "/.cara/oidc/session";
/// Ends a session, on the preview's host.
pub const GATEWAY_LOGOUT: &str = "/.cara/oidc/logout";
/// Begins the paths at which the gateway answers challenges of certificate authorities (RFC 8555).
pub const GATEWAY_CHALLENGE: &str = "/.well-known/acme-challenge/";

/// Fills the segments of a pattern in order.
pub fn fill(pattern: &str, segments: &[&str]) -> String {
    let mut values = segments.iter();
    let filled = pattern.split('/').map(|part| {
        if part.starts_with('{') {
            values.next().map_or_else(String::new, |v| escape(v))
        } else {
            part.to_owned()
        }
    });
    filled.collect::<Vec<_>>().join("/")
}

/// Percent-encodes what may not stand in a path segment (RFC 3986 section 3.3).
fn escape(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_filled_in_order_and_escaped() {
        assert_eq!(fill(PROJECT, &["a/b c"]), "/api/v1/projects/a%2Fb%20c");
        assert_eq!(fill(AGENT_LOGS, &["shop", "web"]), "/api/v1/logs/shop/web");
    }
}
