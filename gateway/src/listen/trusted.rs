//! Ranges of addresses that are trusted to say who a client is.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// Ranges of IP addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedRanges(Vec<IpNet>);

/// Text that is not a list of ranges.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a range such as 10.0.0.0/8 nor an address")]
pub struct BadRange(String);

impl TrustedRanges {
    /// True when nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an address is in one of the ranges.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|range| range.contains(&ip))
    }
}

impl FromStr for TrustedRanges {
    type Err = BadRange;

    /// Reads ranges and single addresses, separated by commas.
    fn from_str(text: &str) -> Result<Self, BadRange> {
        let parts = text.split(',').map(str::trim).filter(|p| !p.is_empty());
        let range = |part: &str| {
            let address = || part.parse::<IpAddr>().map(IpNet::from);
            let range = part.parse::<IpNet>().or_else(|_| address());
            range.map_err(|_| BadRange(part.to_owned()))
        };
        parts.map(range).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_addresses_are_read() {
        let ranges: TrustedRanges = "10.0.0.0/8, 192.0.2.7,2001:db8::/32"
            .parse()
            .expect("ranges");
        for (ip, expected) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("11.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(
                ranges.contains(ip.parse().expect("an address")),
                expected,
                "{ip}"
            );
        }
        assert!("".parse::<TrustedRanges>().is_ok_and(|r| r.is_empty()));
        for bad in ["10.0.0.0/33", "host", "10.0.0.0/8;10.0.0.1"] {
            assert!(bad.parse::<TrustedRanges>().is_err(), "{bad}");
        }
    }
}
