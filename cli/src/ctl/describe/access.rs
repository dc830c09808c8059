//! Users and federation rules.

use cara_api::{Federation, Resource, Timestamp, User};

use super::Page;
use crate::ctl::table::or;

/// Everything about a user.
pub(super) fn user(user: &User, now: Timestamp) -> String {
    let mut page = Page(String::new());
    page.head(User::KIND, &user.metadata, now);
    page.field("Who", or(&user.spec.display_name, "<none>"));
    page.field("Suspended", if user.spec.suspended { "yes" } else { "no" });
    page.line("\nMay:");
    for grant in &user.spec.grants {
        page.line(&format!("  {grant}"));
    }
    page.0
}

/// Everything about a federation rule.
pub(super) fn federation(rule: &Federation, now: Timestamp) -> String {
    let spec = &rule.spec;
    let mut page = Page(String::new());
    page.head(Federation::KIND, &rule.metadata, now);
    page.field("Issuer", &spec.issuer);
    page.field("Audience", or(&spec.audience, "<none>"));
    page.field("Expires In", or(&spec.expires_in, "<default>"));
    page.line("\nClaims:");
    for (claim, value) in &spec.claims {
        page.line(&format!("  {claim} = {value}"));
    }
    page.line("\nMay:");
    for grant in &spec.grants {
        page.line(&format!("  {grant}"));
    }
    page.0
}
