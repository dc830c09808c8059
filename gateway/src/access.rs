//! Who may come in, by the access settings of a rule.
//!
//! ```text
//! request -> shown (what it carries) -> decide (pure) -> admitted | page | redirect
//!                 ^                        |
//!                 '-- basic, issuers <-----'  (what takes time, asked for by the verdict)
//! /.cara/oidc/... -> steps -> login (pure) and issuers
//! ```
//!
//! Owns sessions, logins, links and tokens. It refuses to know about routing and proxying. No
//! secret leaves it: neither to services (see [`clean`]) nor to pages and logs.

mod basic;
mod cookies;
mod crypto;
mod decide;
mod fetch;
mod guess;
mod issuers;
mod jwt;
mod login;
mod reply;
mod session;
mod shown;
mod steps;
mod upstream;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use cara_api::gateway::Access;
use cara_api::hostname::Hostname;
use http::HeaderValue;
use jiff::Timestamp;
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use ring::rand::{SecureRandom, SystemRandom};

use crate::answer::Stop;
use crate::ctx::Ctx;
use crate::edge::Edge;
use crate::live::LiveRule;
use crate::pages::Answer;
use basic::{Checked, Credentials, Passwords};
use decide::{Look, Presented, Proof, Refusal, Verdict, Who};
use fetch::Fetcher;
use guess::{Guesser, Guesses};
use issuers::{IssuerId, Issuers, Refused as TokenRefused};
use session::{Keyring, Opened, Signers};

pub(crate) use cookies::has_own as has_own_cookie;
pub(crate) use reply::Refused;
pub(crate) use steps::{is_own, own};
pub(crate) use upstream::{clean, has_link, is_own_header};

/// Handovers that are remembered, so that each counts once.
const USED_MAX: usize = 10_000;

/// Settings of access control.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The host that issuers send browsers back to, for all projects; none: no logins.
    pub auth_host: Option<Hostname>,
    /// Authorities of issuers beside those of the system, PEM.
    pub issuer_authorities: Option<String>,
}

/// Who came in.
#[derive(Debug)]
pub(crate) struct Admitted {
    who: Who,
}

/// What access control remembers from request to request.
pub(crate) struct Guard {
    config: Config,
    keyring: Keyring,
    passwords: Option<Passwords>,
    guesses: Guesses,
    fetcher: Arc<Fetcher>,
    issuers: Issuers,
    // Held for one look-up and one write. Ids with the second in which they end.
    used: Mutex<HashMap<String, i64>>,
}

impl Guard {
    pub(crate) fn new(config: Config) -> Self {
        crypto::install();
        let fetcher = Arc::new(Fetcher::new(config.issuer_authorities.clone()));
        Self {
            keyring: Keyring::default(),
            passwords: Passwords::new(),
            guesses: Guesses::default(),
            issuers: Issuers::new(Arc::clone(&fetcher)),
            fetcher,
            used: Mutex::default(),
            config,
        }
    }

    /// True the first time.
    fn use_up(&self, id: &str, end: i64, now: Timestamp) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= USED_MAX {
            used.retain(|_, end| now.as_second() < *end);
            if used.len() >= USED_MAX {
                return false;
            }
        }
        used.insert(id.to_owned(), end).is_none()
    }
}

/// Lets a request come in by its rule, or stops it. Waits only for what the request itself
/// shows: a password's hash, a token's issuer. Cancel-safe.
///
/// # Errors
/// What the client gets instead.
pub(crate) async fn check(edge: &Edge, session: &mut Session, ctx: &mut Ctx) -> Result<(), Stop> {
    let Some(rule) = ctx.rule.clone() else {
        return Ok(());
    };
    let access = &rule.route.policy.access;
    if !access.allow.is_empty() || access.broken.is_some() || access.asks_who() {
        let admitted = Box::pin(enter(edge, session, ctx, &rule)).await?;
        ctx.admitted = Some(Box::new(admitted));
    }
    // From here on nobody needs it, whoever came in and by which rule: neither the service, nor
    // a rewritten path or a redirect that is made of this one.
    upstream::cut_link(session.req_header_mut());
    Ok(())
}

async fn enter(
    edge: &Edge,
    session: &mut Session,
    ctx: &Ctx,
    rule: &LiveRule,
) -> Result<Admitted, Stop> {
    let (guard, access) = (&edge.access, &rule.route.policy.access);
    let head = session.req_header();
    let place = Place::of(head, ctx.is_tls).ok_or(Answer::BadHost)?;
    let keys = edge.live.table().state().keys.clone();
    let keys = guard.keyring.signers(&keys);
    let signers = keys.as_ref().map(|keys| &keys.1);
    let now = Timestamp::now();
    let mut shown = shown::read(head, &place, &rule.route, signers, ctx.client, now);
    let verdict = loop {
        match decide::decide(access, &shown, now) {
            Verdict::Look(look) => guard.look(look, access, head, &mut shown).await,
            verdict => break verdict,
        }
    };
    let refusal = match verdict {
        Verdict::Admit(by, who) => {
            tracing::debug!(?by, "let in");
            return Ok(Admitted { who });
        }
        Verdict::Open(end) => return Err(open_link(head, &place, rule, signers, end, now)),
        Verdict::Refuse(Refusal::LogIn) => {
            return Err(
                match steps::log_in(edge, head, &place, rule, signers).await {
                    Ok(reply) => reply.into(),
                    Err(refused) => page(refused, []),
                },
            );
        }
        Verdict::Refuse(refusal) => refusal,
        Verdict::Look(_) => Refusal::Unknown,
    };
    if refusal == Refusal::Broken {
        let why = access.broken.as_deref().unwrap_or_default();
        let route = &rule.route;
        tracing::debug!(project = %route.project, ingress = %route.ingress, why, "access is not set up");
    }
    let challenges = reply::challenges(&refusal, access, &place.host);
    Err(page(reply::page(&refusal, access), challenges))
}

/// A page with challenges.
fn page(refused: Refused, challenges: impl IntoIterator<Item = HeaderValue>) -> Stop {
    let challenges = challenges.into_iter();
    let challenges = challenges.map(|value| (http::header::WWW_AUTHENTICATE, value));
    Stop::PageWith(Answer::Refused(refused), challenges.collect())
}

/// Gives the browser a session for what a link opened, and sends it on without the link.
fn open_link(
    head: &RequestHeader,
    place: &Place,
    rule: &LiveRule,
    signers: Option<&Signers>,
    end: i64,
    now: Timestamp,
) -> Stop {
    let to = format!("{}{}", place.origin(), shown::without_link(&head.uri));
    let share = rule.route.policy.access.share.as_ref();
    let cookie = signers.zip(share).and_then(|(signers, share)| {
        let opened = Opened {
            host: place.host.clone(),
            project: rule.route.project.clone(),
            ingress: rule.route.ingress.clone(),
            epoch: share.epoch.clone(),
            end,
        };
        let value = signers.opened.seal(&opened);
        let life = end.saturating_sub(now.as_second());
        cookies::set(cookies::Name::Share, &value, life, place.is_tls)
    });
    reply::redirect(&to, cookie).map_or(Answer::BadRequest.into(), Stop::from)
}

impl Guard {
    /// Looks at a credential that takes time. Afterwards it is not [`Proof::Given`] any more.
    async fn look(
        &self,
        look: Look,
        access: &Access,
        head: &RequestHeader,
        shown: &mut Presented<'_>,
    ) {
        match look {
            Look::Bypass => shown.bypass = self.bypass(access, head, shown),
            Look::Bearer => shown.bearer = self.bearer(access, head).await,
            Look::Basic => {
                let guesser = Guesser::new(shown.client, shown.project);
                shown.basic = self.basic(access, head, &guesser).await;
            }
        }
    }

    fn bypass(&self, access: &Access, head: &RequestHeader, shown: &Presented<'_>) -> Proof {
        let guesser = Guesser::new(shown.client, shown.project);
        if let Err(wait) = self.guesses.count(&guesser, Instant::now()) {
            return limited(wait);
        }
        let given = head.headers.get(upstream::BYPASS);
        let given = given.and_then(|value| value.to_str().ok()).unwrap_or("");
        let wanted = access.bypass.as_ref().map_or("", |token| token.reveal());
        let is_right = self
            .passwords
            .as_ref()
            .is_some_and(|passwords| passwords.is_same(given, wanted));
        // An empty token is one that somebody forgot to set.
        if is_right && !wanted.is_empty() {
            self.guesses.take_back(&guesser);
            return Proof::Right(Who::default());
        }
        Proof::Refused("the token is wrong".into())
    }

    async fn bearer(&self, access: &Access, head: &RequestHeader) -> Proof {
        let (Some(bearer), Some(token)) = (&access.bearer, shown::bearer(head)) else {
            return Proof::Absent;
        };
        let id = IssuerId {
            issuer: bearer.issuer.clone(),
            jwks_url: bearer.jwks_url.clone(),
        };
        match self.issuers.verify(&id, token, &bearer.audiences).await {
            Ok(claims) if !jwt::has_claims(&claims, &bearer.claims) => {
                Proof::Refused(jwt::Fault::Claim.to_string())
            }
            Ok(claims) => Proof::Right(Who {
                user: jwt::text(&claims, "sub").unwrap_or_default().to_owned(),
                email: jwt::text(&claims, "email").map(str::to_owned),
                groups: jwt::texts(&claims, "groups"),
            }),
            Err(TokenRefused::Fault(fault)) => Proof::Refused(fault.to_string()),
            Err(TokenRefused::Silent) => Proof::Unknown,
        }
    }

    async fn basic(&self, access: &Access, head: &RequestHeader, guesser: &Guesser) -> Proof {
        let (Some(basic), Some(passwords)) = (&access.basic, &self.passwords) else {
            return Proof::Unknown;
        };
        let Some(given) = shown::authorization(head).and_then(Credentials::parse) else {
            return Proof::Absent;
        };
        let who = |user: String| {
            Proof::Right(Who {
                user,
                ..Who::default()
            })
        };
        if passwords.is_remembered(basic, &given, Instant::now()) {
            return who(given.user);
        }
        let checked = passwords.check(basic, &given, &self.guesses, guesser);
        match checked.await {
            Checked::Right => who(given.user),
            Checked::Wrong => Proof::Refused("name or password is wrong".into()),
            Checked::Busy => Proof::Unknown,
            Checked::Limited(wait) => limited(wait),
        }
    }
}

fn limited(wait: std::time::Duration) -> Proof {
    let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX);
    Proof::Limited(seconds.saturating_add(1))
}

/// Where a request came to.
pub(crate) struct Place {
    /// Normalised, without the port.
    host: String,
    /// As the client wrote it, with its port.
    authority: String,
    is_tls: bool,
}

impl Place {
    fn of(head: &RequestHeader, is_tls: bool) -> Option<Self> {
        let authority = crate::request::host(head)?;
        Some(Self {
            host: cara_routes::host::normalize(authority)?.into_owned(),
            authority: authority.to_owned(),
            is_tls,
        })
    }

    fn origin(&self) -> String {
        login::origin(&self.authority, self.is_tls)
    }
}

/// Random text for ids and cookies; none when the system gives no random bytes.
fn random<const BYTES: usize>() -> Option<String> {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// Who asks, for limits.
pub(crate) type Client = Option<IpAddr>;
