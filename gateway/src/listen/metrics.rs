//! What listeners count. Label values are bounded: kinds and reasons, never names or addresses.

use cara_certs::Bundle;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::ListenerKind;
use super::admission::Refusal;

/// How a TLS handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handshake {
    /// With everything that belongs to it.
    Full,
    /// With a session that was begun before.
    Resumed,
    /// Its server name belongs to a service that speaks TLS itself.
    Passthrough,
    /// There is no certificate for the server name.
    UnknownName,
    /// The client showed no certificate that is accepted.
    ClientCertificate,
    /// Client and gateway have nothing in common, or the client broke the protocol.
    Protocol,
    /// The client refused, such as for want of trust in the certificate.
    Refused,
    /// The connection broke.
    Gone,
    /// The client took too long.
    Late,
}

impl Handshake {
    fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
            Self::Passthrough => "passthrough",
            Self::UnknownName => "unknown_name",
            Self::ClientCertificate => "client_certificate",
            Self::Protocol => "protocol",
            Self::Refused => "refused",
            Self::Gone => "gone",
            Self::Late => "late",
        }
    }
}

/// Metrics of all listeners.
#[derive(Clone)]
pub(crate) struct ListenMetrics {
    open: IntGaugeVec,
    accepted: IntCounterVec,
    refused: IntCounterVec,
    handshakes: IntCounterVec,
    certificates: IntGaugeVec,
    expires: IntGauge,
}

/// Metrics of the listeners of one kind.
#[derive(Clone)]
pub(crate) struct KindMetrics {
    pub(crate) open: IntGauge,
    pub(crate) accepted: IntCounter,
}

impl ListenMetrics {
    /// Registers everything; once for each registry.
    pub(crate) fn register(registry: &Registry) -> Self {
        let build = || -> prometheus::Result<Self> {
            let open = Opts::new(
                "cara_gateway_listener_connections",
                "Open client connections by kind of listener",
            );
            let accepted = Opts::new(
                "cara_gateway_accepted_total",
                "Client connections by kind of listener",
            );
            let refused = Opts::new(
                "cara_gateway_refused_total",
                "Client connections that were closed at once, by reason",
            );
            let handshakes = Opts::new(
                "cara_gateway_tls_handshakes_total",
                "TLS connections by how their handshake ended",
            );
            let certificates = Opts::new(
                "cara_gateway_certificates",
                "Certificates that are published: usable or unusable",
            );
            let metrics = Self {
                open: IntGaugeVec::new(open, &["listener"])?,
                accepted: IntCounterVec::new(accepted, &["listener"])?,
                refused: IntCounterVec::new(refused, &["reason"])?,
                handshakes: IntCounterVec::new(handshakes, &["outcome"])?,
                certificates: IntGaugeVec::new(certificates, &["state"])?,
                expires: IntGauge::new(
                    "cara_gateway_certificate_expires_seconds",
                    "When the first of the certificates in use ends, in seconds since 1970",
                )?,
            };
            registry.register(Box::new(metrics.open.clone()))?;
            registry.register(Box::new(metrics.accepted.clone()))?;
            registry.register(Box::new(metrics.refused.clone()))?;
            registry.register(Box::new(metrics.handshakes.clone()))?;
            registry.register(Box::new(metrics.certificates.clone()))?;
            registry.register(Box::new(metrics.expires.clone()))?;
            Ok(metrics)
        };
        build().expect("the listeners' metrics are registered once, under valid names")
    }

    /// Metrics of one kind of listener.
    pub(crate) fn of(&self, kind: ListenerKind) -> KindMetrics {
        KindMetrics {
            open: self.open.with_label_values(&[kind.label()]),
            accepted: self.accepted.with_label_values(&[kind.label()]),
        }
    }

    /// Counts a connection that was not let in.
    pub(crate) fn refused(&self, refusal: Refusal) {
        self.refused.with_label_values(&[refusal.label()]).inc();
    }

    /// Counts a connection without the PROXY header that it needs.
    pub(crate) fn bad_proxy_header(&self) {
        self.refused.with_label_values(&["proxy_header"]).inc();
    }

    /// Counts a passed-through connection whose service cannot be reached.
    pub(crate) fn unreachable(&self) {
        self.refused.with_label_values(&["unreachable"]).inc();
    }

    /// Counts a passed-through connection of a client that is on no allow list.
    pub(crate) fn not_allowed(&self) {
        self.refused.with_label_values(&["not_allowed"]).inc();
    }

    /// Notes which certificates there are; none stands for one that cannot be read.
    pub(crate) fn certificates<'a>(&self, all: impl Iterator<Item = Option<&'a Bundle>>) {
        let (mut usable, mut unusable, mut first) = (0, 0, i64::MAX);
        for bundle in all {
            match bundle {
                Some(bundle) => {
                    usable += 1;
                    first = first.min(bundle.not_after().as_second());
                }
                None => unusable += 1,
            }
        }
        for (state, count) in [("usable", usable), ("unusable", unusable)] {
            self.certificates.with_label_values(&[state]).set(count);
        }
        // Without any there is nothing that ends, and so nothing to be warned of.
        self.expires.set(if usable == 0 { 0 } else { first });
    }

    /// Counts a handshake.
    pub(crate) fn handshake(&self, outcome: Handshake) {
        self.handshakes.with_label_values(&[outcome.label()]).inc();
    }
}
