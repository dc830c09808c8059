//! The way in: reads what a request shows, asks for a verdict, and carries it out.

use std::net::IpAddr;
use std::sync::Arc;

use cara_api::gateway::{Keys, Route};
use jiff::Timestamp;
use pingora_http::RequestHeader;

use super::decide::{self, Refusal, Verdict};
use super::guard::Guard;
use super::place::Place;
use super::session::{Opened, Signers};
use super::who::Admitted;
use super::{cookies, reply, shown};
use crate::answer::Stop;
use crate::pages::Answer;

/// Who asks, and for what.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) head: &'a RequestHeader,
    pub(crate) client: Option<IpAddr>,
    pub(crate) is_tls: bool,
}

impl Guard {
    /// Lets a request come in by its rule, or stops it. Waits only for what the request itself
    /// shows: a password's hash, a token's issuer. Cancel-safe.
    ///
    /// # Errors
    /// What the client gets instead.
    pub(crate) async fn enter(
        &self,
        asker: Asker<'_>,
        route: &Route,
        keys: &Arc<Keys>,
    ) -> Result<Admitted, Stop> {
        let (head, access) = (asker.head, &route.policy.access);
        let place = Place::of(head, asker.is_tls).ok_or(Answer::BadHost)?;
        let keys = self.keyring.signers(keys);
        let signers = keys.as_ref().map(|keys| &keys.1);
        let now = Timestamp::now();
        let mut shown = shown::read(head, &place, route, signers, asker.client, now);
        let verdict = loop {
            match decide::decide(access, &shown, now) {
                Verdict::Look(look) => self.look(look, access, head, &mut shown).await,
                verdict => break verdict,
            }
        };
        let refusal = match verdict {
            Verdict::Admit(by, who) => {
                tracing::debug!(?by, "let in");
                return Ok(Admitted { who });
            }
            Verdict::Open(end) => return Err(open_link(head, &place, route, signers, end, now)),
            Verdict::Refuse(Refusal::LogIn) => {
                return Err(match self.log_in(head, &place, route, signers).await {
                    Ok(reply) => reply.into(),
                    Err(refused) => reply::stop(refused, []),
                });
            }
            Verdict::Refuse(refusal) => refusal,
            Verdict::Look(_) => Refusal::Unknown,
        };
        if refusal == Refusal::Broken {
            let why = access.broken.as_deref().unwrap_or_default();
            tracing::debug!(project = %route.project, ingress = %route.ingress, why, "access is not set up");
        }
        let challenges = reply::challenges(&refusal, access, &place.host);
        Err(reply::stop(reply::page(&refusal, access), challenges))
    }
}

/// Gives the browser a session for what a link opened, and sends it on without the link.
fn open_link(
    head: &RequestHeader,
    place: &Place,
    route: &Route,
    signers: Option<&Signers>,
    end: i64,
    now: Timestamp,
) -> Stop {
    let to = format!("{}{}", place.origin(), shown::without_link(&head.uri));
    let share = route.policy.access.share.as_ref();
    let cookie = signers.zip(share).and_then(|(signers, share)| {
        let opened = Opened {
            host: place.host.clone(),
            project: route.project.clone(),
            ingress: route.ingress.clone(),
            epoch: share.epoch.clone(),
            end,
        };
        let value = signers.opened.seal(&opened);
        let life = end.saturating_sub(now.as_second());
        cookies::set(cookies::Name::Share, &value, life, place.is_tls)
    });
    reply::redirect(&to, cookie).map_or(Answer::BadRequest.into(), Stop::from)
}
