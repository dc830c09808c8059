//! Who may come in. Pure: settings, what a request shows and the time come in, a verdict comes
//! out. What takes time (passwords, tokens of an issuer) is asked for by the verdict, and the
//! caller decides again with the result.

use std::net::IpAddr;

use cara_api::gateway::{Access, Oidc};
use jiff::Timestamp;

use super::session::{Login, Opened};
use super::who::Who;

/// A credential that a request carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proof {
    /// There is none.
    Absent,
    /// There is one, nobody looked at it yet.
    Given,
    /// It is wrong; why, in words for the client.
    Refused(String),
    /// Whether it is right cannot be found out now.
    Unknown,
    /// The client failed too often; it may try again after this many seconds.
    Limited(u32),
    /// It is right.
    Right(Who),
}

/// A share link's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// There is none.
    Absent,
    /// It has ended, or is not of this rule.
    Wrong,
    /// It counts until then, in seconds of Unix time.
    Right(i64),
}

/// What a request shows. Signatures were checked, what they sign was not.
#[derive(Debug, Clone)]
pub(super) struct Presented<'a> {
    pub(super) client: Option<IpAddr>,
    /// The host, normalised and without its port.
    pub(super) host: &'a str,
    pub(super) project: &'a str,
    pub(super) ingress: &'a str,
    /// A browser that goes to a page, and can be sent elsewhere.
    pub(super) is_navigation: bool,
    /// GET or HEAD.
    pub(super) is_safe: bool,
    pub(super) bypass: Proof,
    pub(super) login: Option<Login>,
    pub(super) opened: Option<Opened>,
    pub(super) link: Link,
    pub(super) bearer: Proof,
    pub(super) basic: Proof,
}

/// How a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// Nobody was asked.
    Open,
    Bypass,
    Login,
    Share,
    Bearer,
    Basic,
}

/// A credential that has to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Bypass,
    Bearer,
    Basic,
}

/// Why a request may not come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The settings refer to something that is missing.
    Broken,
    /// The client's network is not allowed.
    Network,
    /// It has to log in, and can be sent there.
    LogIn,
    /// It has to show who it is.
    Ask {
        /// What is wrong with the token that it showed.
        token: Option<String>,
    },
    /// It is known, and not wanted.
    NotPermitted(String),
    /// It showed a link that does not count.
    Link,
    /// It failed too often; seconds.
    Limited(u32),
    /// Whether it may come in cannot be found out now.
    Unknown,
}

/// What to do with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on.
    Admit(By, Who),
    /// It gets a session until then and comes again without the link.
    Open(i64),
    /// This credential has to be looked at before the rest can be decided.
    Look(Look),
    /// It ends here.
    Refuse(Refusal),
}

/// Decides by what is known so far.
pub(super) fn decide(access: &Access, shown: &Presented<'_>, now: Timestamp) -> Verdict {
    if access.broken.is_some() {
        return Verdict::Refuse(Refusal::Broken);
    }
    if !is_allowed(access, shown.client) {
        return Verdict::Refuse(Refusal::Network);
    }
    if !access.asks_who() {
        return Verdict::Admit(By::Open, Who::default());
    }
    if access.bypass.is_some() {
        match &shown.bypass {
            Proof::Right(who) => return Verdict::Admit(By::Bypass, who.clone()),
            Proof::Given => return Verdict::Look(Look::Bypass),
            Proof::Limited(seconds) => return Verdict::Refuse(Refusal::Limited(*seconds)),
            Proof::Absent | Proof::Refused(_) | Proof::Unknown => {}
        }
    }
    // Before sessions, so that a link's token reaches neither a service nor a page.
    if let (Some(_), Link::Right(end), true) = (&access.share, shown.link, shown.is_safe) {
        return Verdict::Open(end);
    }
    let mut unwanted = None;
    if let (Some(oidc), Some(login)) = (&access.oidc, &shown.login)
        && login.is_for(oidc, shown.host, now)
    {
        if is_permitted(oidc, &login.who) {
            return Verdict::Admit(By::Login, login.who.clone());
        }
        unwanted = Some(login.who.email.clone().unwrap_or(login.who.user.clone()));
    }
    if is_open(access, shown, now) {
        return Verdict::Admit(By::Share, Who::default());
    }
    if access.bearer.is_some() {
        match &shown.bearer {
            Proof::Right(who) => return Verdict::Admit(By::Bearer, who.clone()),
            Proof::Given => return Verdict::Look(Look::Bearer),
            Proof::Unknown => return Verdict::Refuse(Refusal::Unknown),
            Proof::Absent | Proof::Refused(_) | Proof::Limited(_) => {}
        }
    }
    if access.basic.is_some() {
        match &shown.basic {
            Proof::Right(who) => return Verdict::Admit(By::Basic, who.clone()),
            Proof::Given => return Verdict::Look(Look::Basic),
            Proof::Limited(seconds) => return Verdict::Refuse(Refusal::Limited(*seconds)),
            Proof::Unknown => return Verdict::Refuse(Refusal::Unknown),
            Proof::Absent | Proof::Refused(_) => {}
        }
    }
    Verdict::Refuse(challenge(access, shown, unwanted))
}

/// What to answer a request that showed nothing that counts.
fn challenge(access: &Access, shown: &Presented<'_>, unwanted: Option<String>) -> Refusal {
    let token = match &shown.bearer {
        Proof::Refused(why) if access.bearer.is_some() => Some(why.clone()),
        _ => None,
    };
    if let Some(name) = unwanted {
        return Refusal::NotPermitted(name);
    }
    if access.share.is_some() && shown.link == Link::Wrong {
        return Refusal::Link;
    }
    let has_shown = token.is_some() || !matches!(shown.basic, Proof::Absent);
    if access.oidc.is_some() && shown.is_navigation && shown.is_safe && !has_shown {
        return Refusal::LogIn;
    }
    Refusal::Ask { token }
}

/// Without a list all are; without a known address none of a list is.
fn is_allowed(access: &Access, client: Option<IpAddr>) -> bool {
    let is_in = |ip: IpAddr| {
        access
            .allow
            .iter()
            .any(|net| net.contains(&ip.to_canonical()))
    };
    access.allow.is_empty() || client.is_some_and(is_in)
}

fn is_open(access: &Access, shown: &Presented<'_>, now: Timestamp) -> bool {
    let Some(share) = &access.share else {
        return false;
    };
    let is_session = |opened: &Opened| {
        opened.host == shown.host
            && opened.project == shown.project
            && opened.ingress == shown.ingress
            && opened.epoch == share.epoch
            && now.as_second() < opened.end
    };
    matches!(shown.link, Link::Right(_)) || shown.opened.as_ref().is_some_and(is_session)
}

/// Whether somebody who is known to the issuer may come in: one of the addresses and one of the
/// groups, where such are given.
pub(super) fn is_permitted(oidc: &Oidc, who: &Who) -> bool {
    let email = who
        .email
        .as_deref()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let is_address = |wanted: &String| {
        let wanted = wanted.to_ascii_lowercase();
        if wanted.starts_with('@') {
            // The last @ begins the domain: what is before it may be quoted and hold one.
            email.rfind('@').and_then(|at| email.get(at..)) == Some(&wanted)
        } else {
            !email.is_empty() && email == wanted
        }
    };
    let is_member = |wanted: &String| who.groups.contains(wanted);
    (oidc.emails.is_empty() || oidc.emails.iter().any(is_address))
        && (oidc.groups.is_empty() || oidc.groups.iter().any(is_member))
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
