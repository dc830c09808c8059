//! Every duration that the tests rest on, and what the product can do so far.

use std::time::Duration;

/// Whether projects of a lost node are placed again: `--reschedule-grace` and
/// `--force-terminate-after` of the server.
pub const CAN_RESCHEDULE: bool = true;
/// Whether the agent's pause between heartbeats can be set.
pub const CAN_SET_HEARTBEAT: bool = true;
/// Whether a full disk shows as the condition `DiskPressure` of the node.
pub const HAS_DISK_PRESSURE: bool = true;

/// How long a silent node counts as ready.
pub const NODE_TIMEOUT: Duration = Duration::from_secs(if CAN_SET_HEARTBEAT { 2 } else { 10 });
/// How long a node may be away before its projects are placed again.
pub const GRACE: Duration = Duration::from_secs(2);

/// How long the world may take to be as it should after the last fault of a step is over.
///
/// What can add up: a stream that a server which was killed during a cut never ended counts as
/// dead after 20 s of silence; then an agent waits at most 10 s before it connects again; a
/// container that does not end by itself gets 10 s; what is left is work on two slow cores.
/// Nearly always it takes a tenth of that.
pub const DEADLINE: Duration = Duration::from_secs(45);

/// Further flags of the server.
pub fn server_flags() -> Vec<String> {
    let timeout = format!("{}s", NODE_TIMEOUT.as_secs());
    let mut flags = vec!["--node-timeout".to_owned(), timeout];
    flags.extend(["--connect-timeout", "500ms"].map(String::from));
    if CAN_RESCHEDULE {
        flags.extend([
            "--reschedule-grace".to_owned(),
            format!("{}s", GRACE.as_secs()),
        ]);
        flags.extend(["--force-terminate-after", "4s"].map(String::from));
    }
    flags
}

/// Further flags of an agent.
pub fn agent_flags() -> &'static [&'static str] {
    if CAN_SET_HEARTBEAT {
        &["--heartbeat-interval", "500ms", "--drain-period", "500ms"]
    } else {
        &["--drain-period", "500ms"]
    }
}
