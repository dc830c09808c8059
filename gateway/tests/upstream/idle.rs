//! How long WebSockets and event streams may be silent: as the operator says, or as their rule does,
//! be that less or more.

use std::time::{Duration, Instant};

use cara_api::gateway::{PathMatch, Policy, Route, Timeouts};

use crate::streams::{Begun, Streams, echoes, rest, websocket};
use crate::support::{Edge, rule};

const OPERATORS: Duration = Duration::from_secs(3);
const LESS: Duration = Duration::from_millis(400);
const MORE: Duration = Duration::from_secs(6);

async fn start(service: &Streams) -> Edge {
    let at = |path: &str, idle| Route {
        path: PathMatch::Prefix(path.into()),
        ingress: path.into(),
        ..rule(
            &[service.address],
            Policy {
                timeouts: Timeouts {
                    idle,
                    ..Timeouts::default()
                },
                ..Policy::default()
            },
        )
    };
    let rules = [
        at("/usual", None),
        at("/less", Some(LESS)),
        at("/more", Some(MORE)),
    ];
    Edge::configured(|config| config.stream_timeout = OPERATORS, &rules).await
}

#[tokio::test]
async fn a_silent_websocket_ends_when_its_rule_says_else_when_the_operator_does() {
    let service = Streams::start().await;
    let edge = start(&service).await;
    let mut sockets = Vec::new();
    for path in ["/less", "/usual", "/more"] {
        sockets.push(websocket(&edge, path).await);
    }
    let mut started = Vec::new();
    for socket in &mut sockets {
        echoes(socket).await;
        started.push(Instant::now());
    }
    let mut silent = Vec::new();
    for (socket, started) in sockets.iter_mut().zip(started) {
        rest(socket).await;
        silent.push(started.elapsed());
    }
    let is_about = |place: usize, wanted: Duration| {
        let slack = Duration::from_millis(100);
        assert!(silent[place] >= wanted - slack, "{place}: {silent:?}");
    };
    is_about(0, LESS);
    is_about(1, OPERATORS);
    is_about(2, MORE);
    assert!(silent[0] < OPERATORS && silent[1] < MORE, "{silent:?}");
}

#[tokio::test]
async fn a_silent_event_stream_ends_when_its_rule_says_however_events_are_asked_for() {
    let service = Streams::start().await;
    let edge = start(&service).await;
    let accept = "application/json, Text/Event-Stream;q=0.9";
    let mut streams = Vec::new();
    for path in ["/less", "/usual", "/more"] {
        let started = Instant::now();
        streams.push((started, Begun::http1(&edge, path, accept).await));
    }
    let mut silent = Vec::new();
    for (started, stream) in &mut streams {
        assert!(stream.breaks_off().await);
        silent.push(started.elapsed());
    }
    assert!(silent[0] >= LESS && silent[0] < OPERATORS, "{silent:?}");
    assert!(silent[1] >= OPERATORS && silent[1] < MORE, "{silent:?}");
    assert!(silent[2] >= MORE, "{silent:?}");
}
