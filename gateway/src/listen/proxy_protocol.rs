//! The PROXY protocol, versions 1 and 2: what a load balancer says about the client. Pure.
//!
//! Only the first bytes of a connection are looked at, and none beyond the header is taken.
//! Further fields (TLVs) are checked for their lengths and passed over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header of version 1, with its line end, in bytes.
const V1_MAX: usize = 107;
/// Longest header of version 2 that is accepted, in bytes; 65,551 are possible.
const V2_MAX: usize = 2_048;
/// Longest header that is accepted, in bytes.
pub(crate) const HEADER_MAX: usize = V2_MAX;
/// First bytes of version 2.
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of version 2 before its addresses.
const V2_FIXED: usize = 16;
/// First bytes of version 1.
const V1_SIGNATURE: &[u8; 6] = b"PROXY ";

/// What a header says about the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The client's address, and the one that it connected to.
    Client {
        /// Where the client is.
        client: SocketAddr,
        /// What it connected to.
        destination: SocketAddr,
    },
    /// The sender speaks for itself (a health check), or does not know: the connection's own
    /// addresses count.
    Sender,
}

/// How far the bytes lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The header is complete.
    Done {
        /// What it says.
        source: Source,
        /// Its bytes.
        length: usize,
    },
    /// All bytes belong to the header, and some are missing.
    More,
}

/// Bytes that are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// Neither version begins like this.
    #[error("the connection does not begin with a PROXY header")]
    NoHeader,
    /// It begins like one and goes on otherwise.
    #[error("the PROXY header is malformed: {0}")]
    Malformed(&'static str),
    /// It is longer than allowed.
    #[error("the PROXY header is too long")]
    TooLong,
}

/// Reads the header at the beginning of a connection's bytes.
pub(crate) fn parse(bytes: &[u8]) -> Result<Progress, Fault> {
    if begins(bytes, V1_SIGNATURE) {
        v1(bytes)
    } else if begins(bytes, V2_SIGNATURE) {
        v2(bytes)
    } else {
        Err(Fault::NoHeader)
    }
}

/// Whether the bytes, as far as they are there, agree with a signature.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(a, b)| a == b)
}

fn v1(bytes: &[u8]) -> Result<Progress, Fault> {
    let line = bytes.get(..bytes.len().min(V1_MAX)).unwrap_or(bytes);
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < V1_MAX {
            Ok(Progress::More)
        } else {
            Err(Fault::TooLong)
        };
    };
    let text = line
        .get(V1_SIGNATURE.len()..end)
        .and_then(|text| std::str::from_utf8(text).ok())
        .ok_or(Fault::Malformed("it is not text"))?;
    let source = v1_source(text)?;
    let length = end + 2;
    Ok(Progress::Done { source, length })
}

fn v1_source(text: &str) -> Result<Source, Fault> {
    let mut words = text.split(' ');
    let family = words.next().unwrap_or_default();
    let (client, destination) = match family {
        // Whatever follows is to be ignored.
        "UNKNOWN" => return Ok(Source::Sender),
        "TCP4" => v1_pair::<Ipv4Addr>(&mut words)?,
        "TCP6" => v1_pair::<Ipv6Addr>(&mut words)?,
        _ => {
            return Err(Fault::Malformed(
                "the protocol is not TCP4, TCP6 or UNKNOWN",
            ));
        }
    };
    if words.next().is_some() {
        return Err(Fault::Malformed("there is more after the ports"));
    }
    Ok(Source::Client {
        client,
        destination,
    })
}

fn v1_pair<'a, Ip: std::str::FromStr + Into<IpAddr>>(
    words: &mut impl Iterator<Item = &'a str>,
) -> Result<(SocketAddr, SocketAddr), Fault> {
    let mut ip = || {
        let parsed = words.next().and_then(|word| word.parse::<Ip>().ok());
        parsed.map(Into::into).ok_or(Fault::Malformed("an address"))
    };
    let (client, destination): (IpAddr, IpAddr) = (ip()?, ip()?);
    let mut port = || {
        let word = words.next().unwrap_or_default();
        let is_plain = !word.starts_with('0') || word == "0";
        let digits = word.bytes().all(|b| b.is_ascii_digit());
        let port = word.parse::<u16>().ok().filter(|_| is_plain && digits);
        port.ok_or(Fault::Malformed("a port"))
    };
    let (client_port, destination_port) = (port()?, port()?);
    Ok((
        SocketAddr::new(client, client_port),
        SocketAddr::new(destination, destination_port),
    ))
}

fn v2(bytes: &[u8]) -> Result<Progress, Fault> {
    let Some(fixed) = bytes.first_chunk::<V2_FIXED>() else {
        return Ok(Progress::More);
    };
    let [.., command, family, high, low] = *fixed;
    let length = V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > V2_MAX {
        return Err(Fault::TooLong);
    }
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Fault::Malformed("the version or command is unknown")),
    };
    let Some(rest) = bytes.get(V2_FIXED..length) else {
        return Ok(Progress::More);
    };
    let source = if is_local {
        Source::Sender
    } else {
        v2_source(family, rest)?
    };
    Ok(Progress::Done { source, length })
}

fn v2_source(family: u8, rest: &[u8]) -> Result<Source, Fault> {
    let short = Fault::Malformed("the addresses are cut off");
    let (client, destination, fields) = match family {
        // Unspecified, and streams of Unix sockets: no address to be had.
        0x00 => return Ok(Source::Sender),
        0x31 => {
            check_fields(rest.get(216..).ok_or(short)?)?;
            return Ok(Source::Sender);
        }
        0x11 => {
            let (pair, fields) = rest.split_first_chunk::<12>().ok_or(short)?;
            let (client, destination) = v2_pair::<4>(pair).ok_or(short)?;
            (client, destination, fields)
        }
        0x21 => {
            let (pair, fields) = rest.split_first_chunk::<36>().ok_or(short)?;
            let (client, destination) = v2_pair::<16>(pair).ok_or(short)?;
            (client, destination, fields)
        }
        _ => return Err(Fault::Malformed("the address family is not TCP")),
    };
    check_fields(fields)?;
    Ok(Source::Client {
        client,
        destination,
    })
}

fn v2_pair<const N: usize>(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)>
where
    IpAddr: From<[u8; N]>,
{
    let (client, rest) = bytes.split_first_chunk::<N>()?;
    let (destination, ports) = rest.split_first_chunk::<N>()?;
    let [a, b, c, d] = *ports.first_chunk::<4>()?;
    Some((
        SocketAddr::new(IpAddr::from(*client), u16::from_be_bytes([a, b])),
        SocketAddr::new(IpAddr::from(*destination), u16::from_be_bytes([c, d])),
    ))
}

/// Fields have a byte of type, two of length, and as many bytes as these say.
fn check_fields(mut fields: &[u8]) -> Result<(), Fault> {
    let cut = Fault::Malformed("a field is cut off");
    while !fields.is_empty() {
        let ([_, high, low], rest) = fields.split_first_chunk::<3>().ok_or(cut)?;
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        fields = rest.get(length..).ok_or(cut)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "proxy_protocol/tests.rs"]
mod tests;
