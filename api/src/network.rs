//! Networks as people write them. Pure.

use std::net::IpAddr;

use ipnet::IpNet;

/// A network such as `10.0.0.0/8`, or an address, which is a network of its own; host bits are
/// cut off. None when the text is neither.
pub fn parse(text: &str) -> Option<IpNet> {
    let text = text.trim();
    let net = match text.parse::<IpNet>() {
        Ok(net) => net,
        Err(_) => IpNet::from(text.parse::<IpAddr>().ok()?),
    };
    Some(net.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_a_prefix_or_an_address() {
        for (text, expected) in [
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("10.1.2.3/8", Some("10.0.0.0/8")),
            ("192.0.2.7", Some("192.0.2.7/32")),
            ("2001:db8::/32", Some("2001:db8::/32")),
            ("::1", Some("::1/128")),
            ("10.0.0.0/33", None),
            ("example.com", None),
            ("", None),
        ] {
            let found = parse(text).map(|net| net.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}
