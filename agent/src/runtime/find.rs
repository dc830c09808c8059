//! Finding the containers of services, for people who want to look into them.

use std::collections::HashMap;
use std::net::IpAddr;

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::ListContainersOptionsBuilder;
use cara_api::Timestamp;
use futures_util::future::try_join_all;

use super::engine::Engine;
use super::error::{Error, found};
use super::names;

/// Characters of an id that people are shown.
const SHORT: usize = 12;

/// A container of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) id: String,
    pub(crate) service: String,
    pub(crate) is_running: bool,
    pub(crate) created: Option<Timestamp>,
    pub(crate) started: Option<Timestamp>,
    /// When it last ended, which may be before it was started again.
    pub(crate) ended: Option<Timestamp>,
    /// Its address in the project's network.
    pub(crate) ip: Option<IpAddr>,
}

impl Found {
    /// The id as people are shown it.
    pub(crate) fn short(&self) -> &str {
        self.id.get(..SHORT).unwrap_or(&self.id)
    }

    /// Which of a service's containers is meant when nobody says: the newest that runs, else the newest.
    pub(crate) fn rank(&self) -> (bool, Option<Timestamp>, &str) {
        (self.is_running, self.created, &self.id)
    }
}

impl Engine {
    /// All containers of a project that this node's agent, or the older system's, made.
    ///
    /// # Errors
    /// The engine does not answer.
    pub(crate) async fn containers_of(&self, project: &str) -> Result<Vec<Found>, Error> {
        let unknown = |e| {
            Error::new(
                format!("look for containers of {project}"),
                "EngineUnavailable",
                e,
            )
        };
        let labels = vec![format!("{}={project}", names::PROJECT)];
        let list = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&HashMap::from([("label", labels)]))
            .build();
        let listed = self.docker.list_containers(Some(list)).await;
        let ids = listed.map_err(unknown)?.into_iter().filter_map(|c| c.id);
        let looks =
            ids.map(|id| async move { found(self.docker.inspect_container(&id, None).await) });
        let all = try_join_all(looks).await.map_err(unknown)?;
        let all = all.into_iter().flatten();
        Ok(all.filter_map(|info| self.found(info, project)).collect())
    }

    /// The container that is meant by a service's name.
    ///
    /// # Errors
    /// The engine does not answer.
    pub(crate) async fn container_of(
        &self,
        project: &str,
        service: &str,
    ) -> Result<Option<Found>, Error> {
        let all = self.containers_of(project).await?;
        let of_service = all.into_iter().filter(|c| c.service == service);
        Ok(of_service.max_by(|a, b| a.rank().cmp(&b.rank())))
    }

    /// Whether a container runs; none when it is gone.
    ///
    /// # Errors
    /// The engine does not answer.
    pub(crate) async fn runs(&self, id: &str) -> Result<Option<bool>, Error> {
        let info = found(self.docker.inspect_container(id, None).await);
        let info = info
            .map_err(|e| Error::new(format!("look at container {id}"), "EngineUnavailable", e))?;
        Ok(info.map(|info| info.state.and_then(|state| state.running).unwrap_or(false)))
    }

    fn found(&self, info: ContainerInspectResponse, project: &str) -> Option<Found> {
        let mut labels = info.config?.labels?;
        if labels
            .get(names::NODE)
            .is_some_and(|node| *node != self.node)
        {
            return None;
        }
        let state = info.state.unwrap_or_default();
        let networks = info.network_settings.and_then(|n| n.networks);
        let network = networks.and_then(|mut all| all.remove(&names::network(project)));
        Some(Found {
            id: info.id?,
            service: labels.remove(names::SERVICE)?,
            is_running: state.running.unwrap_or(false),
            created: info.created.and_then(|text| text.to_string().parse().ok()),
            started: state.started_at.and_then(|text| text.parse().ok()),
            ended: state.finished_at.and_then(|text| text.parse().ok()),
            ip: network.and_then(|n| n.ip_address?.parse().ok()),
        })
    }
}
