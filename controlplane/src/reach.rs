//! How far requests follow the store: what is written shows in the API a moment before gateways
//! go by it, and whoever says that something is served must know when that moment is over.
//!
//! It knows of one gateway, the one in this process. It refuses to know what the routes are.

use cara_api::ResourceVersion;
use cara_store::Revision;
use tokio::sync::watch;

/// Told by the publisher of routes and by the gateway.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// The newest revision whose routes are published, or that changed none.
    published: watch::Sender<Published>,
    /// The newest state that the gateway serves by.
    served: watch::Sender<ResourceVersion>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Published {
    /// All of the store up to here is taken into account.
    through: Revision,
    /// The state that says so; older than that when what came since changed no route.
    state: ResourceVersion,
}

impl Reach {
    /// Notes that routes follow the store up to `through`, by the state that has the version
    /// `state`.
    pub(crate) fn note_published(&self, through: Revision, state: ResourceVersion) {
        self.published.send_replace(Published { through, state });
    }

    /// Where the gateway says which state it serves by.
    pub(crate) fn served(&self) -> watch::Sender<ResourceVersion> {
        self.served.clone()
    }

    /// Waits until every request that begins from now on is answered by what the store says at
    /// `revision`, or later. Cancel-safe.
    pub(crate) async fn until(&self, revision: Revision) {
        let mut published = self.published.subscribe();
        // The senders live as long as `self`.
        let Ok(wanted) = published
            .wait_for(|published| published.through >= revision)
            .await
            .map(|published| published.state)
        else {
            return;
        };
        // Any state that is as new as the revision follows from it, too.
        let wanted = wanted.min(ResourceVersion(revision.0));
        let mut served = self.served.subscribe();
        let _ = served.wait_for(|state| *state >= wanted).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_revision_is_reached_when_the_gateway_serves_what_follows_from_it() {
        let reach = Reach::default();
        let served = reach.served();
        let is_reached = |revision| reach.until(Revision(revision)).now_or_never().is_some();
        reach.note_published(Revision(5), ResourceVersion(5));
        assert!(!is_reached(5), "published, and not served yet");
        served.send_replace(ResourceVersion(5));
        assert!(is_reached(5) && is_reached(3));
        assert!(!is_reached(6), "nobody took it into account yet");
        reach.note_published(Revision(6), ResourceVersion(5));
        assert!(is_reached(6), "it changed no route");
        reach.note_published(Revision(7), ResourceVersion(7));
        assert!(!is_reached(7) && is_reached(5));
        served.send_replace(ResourceVersion(7));
        assert!(is_reached(7));
    }
}
