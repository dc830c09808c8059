//! The certificate of a handshake, by the server name that the client asks for.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::names::Names;
use super::tls::server_name;

/// Looks the certificate up at every handshake.
pub(crate) struct ByName(pub(crate) Arc<ArcSwap<Names>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let sni = server_name(&hello);
        let names = self.0.load();
        let bundle = names.certificate(sni.as_deref())?;
        Some(Arc::clone(bundle.certified_key()))
    }
}

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByName")
    }
}
