//! Doors for the fuzz targets, which see this crate from outside. Exists in their builds only.

use rustls::server::Acceptor;

use crate::fastpath::fuzzing as plain;
use crate::listen::proxy_protocol::{Progress, parse};
use crate::listen::tls::server_name;

/// Reads a PROXY header.
///
/// # Panics
/// The parser claims bytes that are not there, or says something else when more bytes follow.
pub fn proxy_header(bytes: &[u8]) {
    let Ok(Progress::Done { length, .. }) = parse(bytes) else {
        return;
    };
    let head = bytes.get(..length).expect("no more than there is");
    assert_eq!(parse(head), parse(bytes), "what follows changes nothing");
}

/// Reads the first message of a TLS connection, as far as its server name.
pub fn client_hello(mut bytes: &[u8]) {
    let mut acceptor = Acceptor::default();
    while !bytes.is_empty() {
        if !matches!(acceptor.read_tls(&mut bytes), Ok(read) if read > 0) {
            return;
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let name = server_name(&accepted.client_hello());
                let is_plain = |name: &str| !name.is_empty() && !name.contains(['/', ' ']);
                assert!(name.as_deref().is_none_or(is_plain), "{name:?}");
                return;
            }
            Ok(None) => {}
            Err(_) => return,
        }
    }
}

/// Reads what plain requests and their answers are made of.
///
/// # Panics
/// Something can be read in two ways.
pub fn plain(bytes: &[u8]) {
    plain::request(bytes);
    plain::answer(bytes);
    plain::chunks(bytes);
}
