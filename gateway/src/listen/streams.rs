//! Plain TCP: ports that are opened when a project asks for them and closed when none does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, TcpListener};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cara_api::gateway::StreamRoute;
use imbl::OrdMap;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Listener, ListenerKind, TrustedRanges};

/// Pause before a port that could not be opened, or is not served any more, is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Ports that may be opened for projects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpPorts(RangeInclusive<u16>);

/// Text that is no range of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a range of ports such as 30000-32767")]
pub struct BadPorts;

impl FromStr for TcpPorts {
    type Err = BadPorts;

    fn from_str(text: &str) -> Result<Self, BadPorts> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| BadPorts);
        let (first, last) = (port(first)?, port(last)?);
        if first == 0 || first > last {
            return Err(BadPorts);
        }
        Ok(Self(first..=last))
    }
}

/// Where each port leads.
pub(crate) type StreamTable = OrdMap<u16, Arc<StreamRoute>>;

/// What to do about ports.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    open: Vec<u16>,
    close: Vec<u16>,
}

/// Which ports to open and close; those that may not be opened are left out.
fn plan(open: &BTreeSet<u16>, wanted: &StreamTable, allowed: &TcpPorts) -> Changes {
    let wanted: BTreeSet<u16> = wanted
        .keys()
        .filter(|port| allowed.0.contains(port))
        .copied()
        .collect();
    Changes {
        open: wanted.difference(open).copied().collect(),
        close: open.difference(&wanted).copied().collect(),
    }
}

/// The sockets of ports that are open, for whoever takes them over. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct PortSockets(Arc<Mutex<BTreeMap<u16, TcpListener>>>);

impl PortSockets {
    /// Copies of all, on which the same connections arrive.
    ///
    /// # Errors
    /// There are no file descriptors left.
    pub fn copies(&self) -> std::io::Result<Vec<TcpListener>> {
        let sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.values().map(TcpListener::try_clone).collect()
    }

    fn remember(&self, port: u16, socket: &TcpListener) {
        if let Ok(copy) = socket.try_clone() {
            let mut sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            sockets.insert(port, copy);
        }
    }

    fn forget(&self, port: u16) {
        let mut sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.remove(&port);
    }

    /// Closes all, so that nobody waits for an answer on them.
    fn clear(&self) {
        let mut sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.clear();
    }
}

/// A port that is open.
struct Open {
    /// Closes it.
    token: CancellationToken,
    /// Serves it.
    task: Id,
}

/// What to open ports with.
pub(crate) struct Ports<Serve> {
    /// Address to listen on.
    pub(crate) ip: IpAddr,
    /// Ports that may be opened.
    pub(crate) allowed: TcpPorts,
    /// Who sends PROXY headers there.
    pub(crate) trusted: TrustedRanges,
    /// Sockets that were open before, by port; those that nobody wants are closed.
    pub(crate) held: BTreeMap<u16, TcpListener>,
    /// The sockets that are open.
    pub(crate) open: PortSockets,
    /// Serves a listener until its token is cancelled and its connections are drained.
    pub(crate) serve: Serve,
}

impl<Serve, Serving> Ports<Serve>
where
    Serve: Fn(Listener, CancellationToken) -> Serving,
    Serving: Future<Output = ()> + Send + 'static,
{
    /// Opens and closes ports as the table says, until the token is cancelled; then waits until
    /// the last connection is drained.
    pub(crate) async fn follow(
        self,
        table: watch::Receiver<StreamTable>,
        token: CancellationToken,
    ) {
        self.follow_trying(RETRY, table, token).await;
    }

    /// The same; `pause` comes before a port is tried again.
    async fn follow_trying(
        mut self,
        pause: Duration,
        mut table: watch::Receiver<StreamTable>,
        token: CancellationToken,
    ) {
        let mut serving = JoinSet::new();
        let mut open: BTreeMap<u16, Open> = BTreeMap::new();
        'all: loop {
            let wanted = table.borrow_and_update().clone();
            let mut is_complete = self.apply(&wanted, &mut open, &mut serving, &token);
            self.held.clear();
            let mut again = Instant::now() + pause;
            loop {
                tokio::select! {
                    changed = table.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => {
                            token.cancelled().await;
                            break 'all;
                        }
                    },
                    Some(ended) = serving.join_next_with_id() => {
                        if self.was_open(&mut open, ended) {
                            is_complete = false;
                            again = Instant::now() + pause;
                        }
                    }
                    () = tokio::time::sleep_until(again), if !is_complete => break,
                    () = token.cancelled() => break 'all,
                }
            }
        }
        self.open.clear();
        while serving.join_next().await.is_some() {}
    }

    /// True when what ended served a port that should be open; it is not open any more.
    fn was_open(&self, open: &mut BTreeMap<u16, Open>, ended: Result<(Id, ()), JoinError>) -> bool {
        let (task, error) = match ended {
            Ok((task, ())) => (task, None),
            Err(error) => (error.id(), Some(error)),
        };
        let mut known = open.iter();
        let found = known.find(|(_, it)| it.task == task && !it.token.is_cancelled());
        let Some(port) = found.map(|(port, _)| *port) else {
            return false;
        };
        open.remove(&port);
        self.open.forget(port);
        match error {
            Some(error) => tracing::error!(port, error = %error, "the task of a TCP port failed"),
            None => tracing::warn!(port, "a TCP port is not served any more"),
        }
        true
    }

    /// True when every port could be opened.
    fn apply(
        &mut self,
        wanted: &StreamTable,
        open: &mut BTreeMap<u16, Open>,
        serving: &mut JoinSet<()>,
        token: &CancellationToken,
    ) -> bool {
        let now_open = open.keys().copied().collect();
        let changes = plan(&now_open, wanted, &self.allowed);
        for port in changes.close {
            if let Some(closed) = open.remove(&port) {
                closed.token.cancel();
                self.open.forget(port);
                tracing::info!(port, "TCP port closed");
            }
        }
        let mut is_complete = true;
        for port in changes.open {
            let held = self.held.remove(&port);
            match held.map_or_else(|| TcpListener::bind((self.ip, port)), Ok) {
                Ok(socket) => {
                    self.open.remember(port, &socket);
                    let token = token.child_token();
                    let listener = Listener {
                        socket,
                        kind: ListenerKind::Tcp,
                        proxy_protocol: self.trusted.clone(),
                    };
                    let task = serving.spawn((self.serve)(listener, token.clone())).id();
                    open.insert(port, Open { token, task });
                    tracing::info!(port, "TCP port opened");
                }
                Err(error) => {
                    tracing::warn!(port, error = %error, "cannot open a TCP port");
                    is_complete = false;
                }
            }
        }
        is_complete
    }
}

#[cfg(test)]
mod tests {
    use cara_api::gateway::Backend;

    use super::*;

    #[test]
    fn ranges_of_ports_are_read() {
        for (text, expected) in [
            ("30000-32767", Ok(TcpPorts(30_000..=32_767))),
            ("5432", Ok(TcpPorts(5_432..=5_432))),
            ("0-10", Err(BadPorts)),
            ("20-10", Err(BadPorts)),
            ("1-70000", Err(BadPorts)),
            ("", Err(BadPorts)),
        ] {
            assert_eq!(text.parse::<TcpPorts>(), expected, "{text}");
        }
    }

    fn route() -> Arc<StreamRoute> {
        Arc::new(StreamRoute {
            project: "p".into(),
            ingress: "i".into(),
            service: "s".into(),
            allow: Vec::new(),
            backend: Backend::Ready {
                endpoints: Vec::new(),
            },
        })
    }

    #[tokio::test]
    async fn a_port_whose_task_ended_or_panicked_is_opened_again() {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let (opened, mut opens) = tokio::sync::mpsc::channel(8);
        let sockets = PortSockets::default();
        let ports = Ports {
            ip: [127, 0, 0, 1].into(),
            allowed: TcpPorts(port..=port),
            trusted: TrustedRanges::default(),
            held: BTreeMap::new(),
            open: sockets.clone(),
            serve: move |listener: Listener, token: CancellationToken| {
                let opened = opened.clone();
                async move {
                    let (answer, wish) = tokio::sync::oneshot::channel();
                    opened.send(answer).await.expect("the test waits");
                    match wish.await.expect("a wish") {
                        "end" => {}
                        "panic" => panic!("as the test wants it"),
                        _ => token.cancelled().await,
                    }
                    drop(listener);
                }
            },
        };
        let table: StreamTable = [(port, route())].into_iter().collect();
        let (_publisher, table) = watch::channel(table);
        let token = CancellationToken::new();
        let mut following = JoinSet::new();
        let pause = Duration::from_millis(10);
        following.spawn(ports.follow_trying(pause, table, token.clone()));
        for wish in ["end", "panic", "serve"] {
            let opened = tokio::time::timeout(Duration::from_secs(20), opens.recv()).await;
            let answer = opened.expect("in time").expect("the port is open");
            assert_eq!(sockets.copies().expect("copies").len(), 1, "{wish}");
            answer.send(wish).expect("it is awaited");
        }
        token.cancel();
        following.join_all().await;
        assert!(sockets.copies().expect("copies").is_empty());
    }

    #[test]
    fn only_what_differs_is_opened_and_closed_and_only_what_is_allowed() {
        let allowed = "30000-30010".parse().expect("a range");
        let route = route();
        let wanted = [22_u16, 30_001, 30_002, 40_000].map(|port| (port, Arc::clone(&route)));
        let wanted: StreamTable = wanted.into_iter().collect();
        let changes = plan(&[30_002, 30_003].into(), &wanted, &allowed);
        assert_eq!(
            changes,
            Changes {
                open: vec![30_001],
                close: vec![30_003]
            }
        );
    }
}
