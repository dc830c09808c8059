//! Connections from this node to ports of its containers.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::runtime::Found;

/// How long a port may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A connection to a port of a container.
///
/// # Errors
/// In words: nothing accepts it within 5 s.
pub(crate) async fn connect(found: &Found, port: u16) -> Result<TcpStream, String> {
    let Some(ip) = found.ip else {
        return Err(format!("service {:?} has no address yet", found.service));
    };
    let connect = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect((ip, port))).await;
    let failed = |why: String| format!("cannot reach {ip}:{port}: {why}: port unreachable");
    let stream = connect
        .map_err(|_| failed(format!("no answer within {} s", CONNECT_LIMIT.as_secs())))?
        .map_err(|error| failed(error.to_string()))?;
    // What is typed or asked shall not wait for more.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}
