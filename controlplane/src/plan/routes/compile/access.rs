//! Who may come in, with the secrets that rules name.

use std::time::Duration;

use cara_api::gateway::{Access, BasicAuth, Bearer, Oidc, ShareLinks};
use cara_api::hostname::Hostname;
use cara_api::project::{ClientCertificate, Ingress, IngressAccess};
use cara_api::secret::Hidden;

use super::value::{nets, span, value};
use super::{Gaps, Ground, material};

/// How long a login lasts.
const SESSION: Duration = Duration::from_secs(12 * 3600);
/// Longest life of a link.
const SHARE: Duration = Duration::from_secs(168 * 3600);
/// What is asked for of an issuer.
const SCOPES: [&str; 2] = ["openid", "email"];

pub(super) fn of(
    ingress: &Ingress,
    host: &Hostname,
    ground: &Ground<'_>,
    gaps: &mut Gaps,
) -> Access {
    let access = &ingress.access;
    if let Some(clients) = &ingress.client_certificate {
        // Clients cannot be known without the authorities.
        let _ = authorities(clients, ground, gaps);
    }
    let bypass = access.bypass_token.as_str();
    let bypass = (!bypass.is_empty())
        .then(|| value(bypass, material::TOKEN, ground, gaps))
        .flatten();
    Access {
        allow: nets(&access.allow),
        basic: basic(access, host, ground, gaps),
        bearer: access.bearer.as_ref().map(|bearer| Bearer {
            issuer: bearer.issuer.clone(),
            jwks_url: (!bearer.jwks_url.is_empty()).then(|| bearer.jwks_url.clone()),
            audiences: bearer.audiences.clone(),
            claims: bearer.claims.clone().into_iter().collect(),
        }),
        oidc: oidc(access, ground, gaps),
        share: access.share_links.as_ref().map(|links| ShareLinks {
            max_age: span(&links.max_age).unwrap_or(SHARE),
            epoch: links.epoch.clone(),
        }),
        bypass,
        broken: None,
    }
}

/// Who signs certificates of clients, PEM.
pub(super) fn authorities(
    clients: &ClientCertificate,
    ground: &Ground<'_>,
    gaps: &mut Gaps,
) -> Option<Hidden> {
    value(&clients.ca, material::CA, ground, gaps)
}

fn basic(
    access: &IngressAccess,
    host: &Hostname,
    ground: &Ground<'_>,
    gaps: &mut Gaps,
) -> Option<BasicAuth> {
    let wanted = access.basic_auth.as_ref()?;
    let users = match ground.material.secret(&wanted.secret) {
        Ok(values) => values.iter().map(|(n, v)| (n.clone(), v.clone())).collect(),
        Err(why) => {
            gaps.note("secret", &wanted.secret, why);
            Vec::new()
        }
    };
    let realm = match wanted.realm.as_str() {
        "" => host.to_string(),
        given => given.to_owned(),
    };
    Some(BasicAuth { users, realm })
}

fn oidc(access: &IngressAccess, ground: &Ground<'_>, gaps: &mut Gaps) -> Option<Oidc> {
    let wanted = access.oidc.as_ref()?;
    let secret = wanted.secret.as_str();
    let client_secret = (!secret.is_empty())
        .then(|| value(secret, material::CLIENT_SECRET, ground, gaps))
        .flatten();
    let mut scopes: Vec<String> = if wanted.scopes.is_empty() {
        SCOPES.map(str::to_owned).into()
    } else {
        wanted.scopes.clone()
    };
    if !scopes.iter().any(|scope| scope == "openid") {
        scopes.insert(0, "openid".to_owned());
    }
    Some(Oidc {
        issuer: wanted.issuer.clone(),
        client_id: wanted.client_id.clone(),
        client_secret,
        scopes,
        emails: wanted.emails.iter().map(|e| e.to_lowercase()).collect(),
        groups: wanted.groups.clone(),
        session: span(&wanted.session).unwrap_or(SESSION),
    })
}
