//! Services that TLS is passed on to, each endpoint with the time at which what is open there has to
//! end. Refuses to know bytes and sockets.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use cara_api::gateway::StreamRoute;

use crate::deadline::Ending;
use crate::leaving::{Departures, Stay, Stays};

/// The registry of endpoints is swept when it has grown by this much.
const SWEEP_AFTER: usize = 64;

/// An endpoint of such a service.
#[derive(Debug)]
pub(crate) struct PassedEndpoint {
    address: SocketAddr,
    stay: Stay,
}

impl Stays for PassedEndpoint {
    fn stay(&self) -> &Stay {
        &self.stay
    }
}

/// Where a server name leads to. Only tables hold it: when the last one has gone, so has the name.
#[derive(Debug)]
pub(crate) struct PassedTo {
    route: Arc<StreamRoute>,
    endpoints: Arc<[Arc<PassedEndpoint>]>,
    departures: Arc<Departures>,
}

/// What a connection keeps of it.
#[derive(Debug, Clone)]
pub(crate) struct Passed {
    pub(crate) route: Arc<StreamRoute>,
    endpoints: Arc<[Arc<PassedEndpoint>]>,
}

impl PassedTo {
    /// What a connection needs.
    pub(crate) fn passed(&self) -> Passed {
        Passed {
            route: Arc::clone(&self.route),
            endpoints: Arc::clone(&self.endpoints),
        }
    }
}

impl Drop for PassedTo {
    fn drop(&mut self) {
        for endpoint in &*self.endpoints {
            self.departures.leave(endpoint);
        }
    }
}

impl Passed {
    /// When a connection to an endpoint has to end.
    pub(crate) fn ending(&self, address: SocketAddr) -> Option<Arc<Ending>> {
        let mut endpoints = self.endpoints.iter();
        let endpoint = endpoints.find(|endpoint| endpoint.address == address)?;
        Some(Arc::clone(endpoint.stay.ending()))
    }
}

/// Project, ingress, service and address of an endpoint.
type Key = (String, String, String, SocketAddr);

/// The endpoints that there are: names of one rule share them, and they outlive its changes.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    known: HashMap<Key, Weak<PassedEndpoint>>,
    departures: Arc<Departures>,
    /// Entries after the last sweep.
    kept: usize,
}

impl Endpoints {
    pub(crate) fn new(departures: Arc<Departures>) -> Self {
        Self {
            departures,
            ..Self::default()
        }
    }

    /// A name leads to the service of `route` from now on.
    pub(crate) fn list(&mut self, route: &Arc<StreamRoute>) -> Arc<PassedTo> {
        let addresses = route.backend.endpoints().iter();
        let endpoints: Arc<[_]> = addresses.map(|at| self.endpoint(route, *at)).collect();
        for endpoint in &*endpoints {
            endpoint.stay.list();
        }
        if self.known.len() > 2 * self.kept + SWEEP_AFTER {
            self.known.retain(|_, endpoint| endpoint.strong_count() > 0);
            self.kept = self.known.len();
        }
        Arc::new(PassedTo {
            route: Arc::clone(route),
            endpoints,
            departures: Arc::clone(&self.departures),
        })
    }

    fn endpoint(&mut self, route: &StreamRoute, address: SocketAddr) -> Arc<PassedEndpoint> {
        let (project, ingress) = (route.project.clone(), route.ingress.clone());
        let key = (project, ingress, route.service.clone(), address);
        let known = self.known.get(&key).and_then(Weak::upgrade);
        if let Some(known) = known.filter(|known| !known.stay.has_ended()) {
            return known;
        }
        let endpoint = Arc::new(PassedEndpoint {
            address,
            stay: Stay::default(),
        });
        self.known.insert(key, Arc::downgrade(&endpoint));
        endpoint
    }
}
