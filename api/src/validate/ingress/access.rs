//! Who may reach an ingress.

use super::Faults;
use super::values::{
    DAY, MINUTE, YEAR, at_most, is_line, name, nets, required_name, span, trusted_url,
};
use crate::project::{BasicAuth, Bearer, Ingress, Oidc};

/// Entries that any list here may have.
const ENTRIES_MAX: usize = 256;
/// Longest text that is shown or compared, in characters.
const TEXT_MAX: usize = 253;

pub(super) fn check(ingress: &Ingress, faults: &mut Faults<'_>) {
    let access = &ingress.access;
    if !matches!(access.scope.as_str(), "" | "Internal") {
        faults.add("access.scope", "only \"Internal\" scope is supported");
    }
    nets(&access.allow, "access.allow", faults);
    if let Some(basic) = &access.basic_auth {
        check_basic(basic, faults);
    }
    if let Some(bearer) = &access.bearer {
        check_bearer(bearer, faults);
    }
    if let Some(oidc) = &access.oidc {
        check_oidc(oidc, faults);
    }
    if let Some(links) = &access.share_links {
        span(
            &links.max_age,
            "access.shareLinks.maxAge",
            MINUTE..=YEAR,
            faults,
        );
        line(&links.epoch, "access.shareLinks.epoch", faults);
    }
    name("Secret", &access.bypass_token, "access.bypassToken", faults);
    if let Some(clients) = &ingress.client_certificate {
        required_name("Secret", &clients.ca, "clientCertificate.ca", faults);
        if ingress.tls == "off" {
            let message =
                "clients show certificates over TLS only: leave out tls or clientCertificate";
            faults.add("clientCertificate", message);
        }
    }
}

fn line(text: &str, field: &str, faults: &mut Faults<'_>) {
    if !is_line(text, TEXT_MAX) {
        let message =
            format!("must be no more than {TEXT_MAX} characters, without control characters");
        faults.add(field, message);
    }
}

/// A text that must be given.
fn required(text: &str, field: &str, faults: &mut Faults<'_>) {
    if text.is_empty() {
        faults.add(field, "must not be empty");
    } else {
        line(text, field, faults);
    }
}

fn list(texts: &[String], field: &str, faults: &mut Faults<'_>) {
    at_most(texts.len(), ENTRIES_MAX, field, faults);
    for (index, text) in texts.iter().enumerate() {
        required(text, &format!("{field}[{index}]"), faults);
    }
}

fn check_basic(basic: &BasicAuth, faults: &mut Faults<'_>) {
    required_name("Secret", &basic.secret, "access.basicAuth.secret", faults);
    line(&basic.realm, "access.basicAuth.realm", faults);
    if basic.realm.contains(['"', '\\']) || !basic.realm.is_ascii() {
        let message = "realm must be ASCII without quotes and backslashes";
        faults.add("access.basicAuth.realm", message);
    }
}

fn check_bearer(bearer: &Bearer, faults: &mut Faults<'_>) {
    trusted_url(&bearer.issuer, "access.bearer.issuer", faults);
    if !bearer.jwks_url.is_empty() {
        trusted_url(&bearer.jwks_url, "access.bearer.jwksUrl", faults);
    }
    if bearer.audiences.is_empty() {
        let message = "at least one audience is required: else tokens for anybody would do";
        faults.add("access.bearer.audiences", message);
    }
    list(&bearer.audiences, "access.bearer.audiences", faults);
    at_most(
        bearer.claims.len(),
        ENTRIES_MAX,
        "access.bearer.claims",
        faults,
    );
    for (claim, value) in &bearer.claims {
        let field = format!("access.bearer.claims[{claim:?}]");
        required(claim, &field, faults);
        required(value, &field, faults);
    }
}

fn check_oidc(oidc: &Oidc, faults: &mut Faults<'_>) {
    trusted_url(&oidc.issuer, "access.oidc.issuer", faults);
    required(&oidc.client_id, "access.oidc.clientId", faults);
    name("Secret", &oidc.secret, "access.oidc.secret", faults);
    at_most(oidc.scopes.len(), ENTRIES_MAX, "access.oidc.scopes", faults);
    for (index, scope) in oidc.scopes.iter().enumerate() {
        // RFC 6749 section 3.3.
        let inner = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\');
        if scope.is_empty() || !scope.bytes().all(inner) {
            let message = format!("scope {scope:?} must be one word, such as \"email\"");
            faults.add(&format!("access.oidc.scopes[{index}]"), message);
        }
    }
    list(&oidc.emails, "access.oidc.emails", faults);
    for (index, email) in oidc.emails.iter().enumerate() {
        if let Some(message) = email_fault(email) {
            faults.add(&format!("access.oidc.emails[{index}]"), message);
        }
    }
    list(&oidc.groups, "access.oidc.groups", faults);
    for (index, group) in oidc.groups.iter().enumerate() {
        if group.contains('*') {
            let message = format!(
                "group {group:?} holds a \"*\", which stands for nothing here: name each group, or leave out groups for everybody"
            );
            faults.add(&format!("access.oidc.groups[{index}]"), message);
        }
    }
    span(
        &oidc.session,
        "access.oidc.session",
        MINUTE..=30 * DAY,
        faults,
    );
}

/// Why nobody would have an address that is compared with this, other than that it is empty.
fn email_fault(email: &str) -> Option<String> {
    if email.is_empty() {
        return None;
    }
    let domain = email.rsplit_once('@').map(|(_, domain)| domain);
    // It may be there by chance in the local part of an address, but is meant to stand for all.
    if email.contains('*') {
        let domain = domain.filter(|d| !d.is_empty() && !d.contains('*'));
        return Some(format!(
            "{email:?} holds a \"*\", which stands for nothing here: write \"@{}\" for all of a domain",
            domain.unwrap_or("example.com")
        ));
    }
    let is_address = domain.is_some_and(|d| !d.is_empty() && !d.contains(['@', ' ']));
    (!is_address)
        .then(|| format!("{email:?} must be an address, or \"@example.com\" for all of a domain"))
}
