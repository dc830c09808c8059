//! Connections that are not looked into: most fields have no meaning for them.

use super::Faults;
use crate::project::Ingress;

/// Refuses what needs to look inside.
pub(super) fn check(ingress: &Ingress, faults: &mut Faults<'_>) {
    let access = &ingress.access;
    let target = &ingress.target;
    let fields = [
        ("targets", !ingress.targets.is_empty()),
        ("redirect", ingress.redirect.is_some()),
        ("respond", ingress.respond.is_some()),
        ("target.protocol", !target.protocol.is_empty()),
        ("target.tls", target.tls.is_some()),
        ("path", !ingress.path.is_empty()),
        ("pathType", !ingress.path_type.is_empty()),
        ("matchHeaders", !ingress.match_headers.is_empty()),
        ("stripPrefix", !ingress.strip_prefix.is_empty()),
        ("rewrite", !ingress.rewrite.is_empty()),
        ("tls", !ingress.tls.is_empty()),
        ("redirectHTTP", ingress.redirect_http.is_some()),
        ("hsts", ingress.hsts.is_some()),
        ("clientCertificate", ingress.client_certificate.is_some()),
        ("access.basicAuth", access.basic_auth.is_some()),
        ("access.bearer", access.bearer.is_some()),
        ("access.oidc", access.oidc.is_some()),
        ("access.shareLinks", access.share_links.is_some()),
        ("access.bypassToken", !access.bypass_token.is_empty()),
        ("limits", ingress.limits.is_some()),
        ("timeouts", ingress.timeouts.is_some()),
        ("retries", ingress.retries.is_some()),
        ("balance", ingress.balance.is_some()),
        ("compression", ingress.compression.is_some()),
        ("cors", ingress.cors.is_some()),
        ("requestHeaders", ingress.request_headers.is_some()),
        ("responseHeaders", ingress.response_headers.is_some()),
        ("noIndex", ingress.no_index.is_some()),
        ("maintenance", ingress.maintenance.is_some()),
        ("pause", ingress.pause.is_some()),
    ];
    for (field, is_given) in fields {
        if is_given {
            let message = format!(
                "{field} does not go with protocol {:?}, whose connections are forwarded as they are: leave it out",
                ingress.protocol
            );
            faults.add(field, message);
        }
    }
}
