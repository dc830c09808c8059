use proptest::prelude::*;

use super::*;

fn addresses(client: &str, destination: &str) -> Source {
    Source::Client {
        client: client.parse().expect("an address"),
        destination: destination.parse().expect("an address"),
    }
}

fn v2_header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("short enough");
    let head = [&V2_SIGNATURE[..], &[command, family], &length.to_be_bytes()].concat();
    [&head, rest].concat()
}

/// The header that a sender writes.
fn render(version: u8, client: SocketAddr, destination: SocketAddr, fields: &[u8]) -> Vec<u8> {
    let (SocketAddr::V4(_), SocketAddr::V4(_)) = (client, destination) else {
        return render_v6(version, client, destination, fields);
    };
    if version == 1 {
        return v1_header("TCP4", client, destination);
    }
    let mut rest = Vec::new();
    for address in [client, destination] {
        if let IpAddr::V4(ip) = address.ip() {
            rest.extend(ip.octets());
        }
    }
    rest.extend(client.port().to_be_bytes());
    rest.extend(destination.port().to_be_bytes());
    v2_header(0x21, 0x11, &[&rest, fields].concat())
}

fn render_v6(version: u8, client: SocketAddr, destination: SocketAddr, fields: &[u8]) -> Vec<u8> {
    if version == 1 {
        return v1_header("TCP6", client, destination);
    }
    let mut rest = Vec::new();
    for address in [client, destination] {
        if let IpAddr::V6(ip) = address.ip() {
            rest.extend(ip.octets());
        }
    }
    rest.extend(client.port().to_be_bytes());
    rest.extend(destination.port().to_be_bytes());
    v2_header(0x21, 0x21, &[&rest, fields].concat())
}

fn v1_header(family: &str, client: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let (a, b) = (client.ip(), destination.ip());
    format!(
        "PROXY {family} {a} {b} {} {}\r\n",
        client.port(),
        destination.port()
    )
    .into_bytes()
}

#[test]
fn headers_of_version_1() {
    let done = |source, length| Ok(Progress::Done { source, length });
    let malformed = |bytes: &[u8]| matches!(parse(bytes), Err(Fault::Malformed(_)));
    let tcp4 = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n";
    let source = addresses("192.0.2.1:56324", "198.51.100.2:443");
    assert_eq!(parse(tcp4), done(source, tcp4.len()));
    assert_eq!(
        parse(&[&tcp4[..], b"GET /"].concat()),
        done(source, tcp4.len())
    );
    let tcp6 = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n";
    let source = addresses("[2001:db8::1]:1", "[2001:db8::2]:65535");
    assert_eq!(parse(tcp6), done(source, tcp6.len()));
    assert_eq!(parse(b"PROXY UNKNOWN\r\n"), done(Source::Sender, 15));
    assert_eq!(
        parse(b"PROXY UNKNOWN ff ff 1 2\r\n"),
        done(Source::Sender, 25)
    );
    for partial in [
        &b""[..],
        b"P",
        b"PROXY",
        b"PROXY TCP4 192.",
        b"PROXY UNKNOWN\r",
    ] {
        assert_eq!(parse(partial), Ok(Progress::More), "{partial:?}");
    }
    for bad in [
        "PROXY \r\n",
        "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        "PROXY TCP4 2001:db8::1 192.0.2.2 1 2\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1\n192.0.2.2 1 2\r\n",
    ] {
        assert!(malformed(bad.as_bytes()), "{bad:?}");
    }
    assert!(malformed(b"PROXY UNKNOWN \xff\r\n"));
    let long = [&b"PROXY UNKNOWN "[..], &[b'x'; 92], b"\r\n"].concat();
    assert_eq!(long.len(), 108);
    assert_eq!(parse(&long), Err(Fault::TooLong));
    assert_eq!(parse(&long[1..]), Err(Fault::NoHeader));
}

#[test]
fn headers_of_version_2() {
    let done = |source, length| Ok(Progress::Done { source, length });
    let pair = [192, 0, 2, 1, 198, 51, 100, 2, 0xDC, 4, 1, 0xBB];
    let tcp4 = v2_header(0x21, 0x11, &pair);
    let source = addresses("192.0.2.1:56324", "198.51.100.2:443");
    assert_eq!(parse(&tcp4), done(source, 28));
    assert_eq!(parse(&[&tcp4[..], b"GET"].concat()), done(source, 28));
    let with_field = v2_header(0x21, 0x11, &[&pair[..], &[4, 0, 2, 9, 9]].concat());
    assert_eq!(parse(&with_field), done(source, 33));
    // A health check, with and without addresses; and families without addresses.
    assert_eq!(parse(&v2_header(0x20, 0, &[])), done(Source::Sender, 16));
    assert_eq!(
        parse(&v2_header(0x20, 0x11, &pair)),
        done(Source::Sender, 28)
    );
    assert_eq!(
        parse(&v2_header(0x21, 0, &[1, 2])),
        done(Source::Sender, 18)
    );
    assert_eq!(
        parse(&v2_header(0x21, 0x31, &[0; 216])),
        done(Source::Sender, 232)
    );
    for length in 0..tcp4.len() {
        assert_eq!(parse(&tcp4[..length]), Ok(Progress::More), "{length}");
    }
    for bad in [
        v2_header(0x11, 0x11, &pair),
        v2_header(0x22, 0x11, &pair),
        v2_header(0x21, 0x12, &pair),
        v2_header(0x21, 0x11, &pair[..11]),
        v2_header(0x21, 0x21, &pair),
        v2_header(0x21, 0x31, &[0; 215]),
        v2_header(0x21, 0x11, &[&pair[..], &[4, 0, 3, 9, 9]].concat()),
        v2_header(0x21, 0x11, &[&pair[..], &[4]].concat()),
    ] {
        assert!(matches!(parse(&bad), Err(Fault::Malformed(_))), "{bad:?}");
    }
    assert_eq!(
        parse(&v2_header(0x21, 0x11, &[0; 2_033])),
        Err(Fault::TooLong)
    );
    assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Err(Fault::NoHeader));
    assert_eq!(parse(b"\r\n\r\nGET"), Err(Fault::NoHeader));
}

fn socket(is_v6: bool, ip: u128, port: u16) -> SocketAddr {
    let ip = if is_v6 {
        IpAddr::from(ip.to_be_bytes())
    } else {
        IpAddr::from(u32::try_from(ip >> 96).expect("32 bits").to_be_bytes())
    };
    SocketAddr::new(ip, port)
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(
        start in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 1.2.3.4 ", &V2_SIGNATURE[..]]),
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [start, &rest].concat();
        if let Ok(Progress::Done { length, .. }) = parse(&bytes) {
            prop_assert!(length <= bytes.len() && length <= HEADER_MAX);
            // Bytes that follow change nothing, and every shorter piece asks for more.
            prop_assert_eq!(parse(&bytes[..length]), parse(&bytes));
            for shorter in 0..length {
                prop_assert_eq!(parse(&bytes[..shorter]), Ok(Progress::More));
            }
        }
    }

    #[test]
    fn what_is_written_is_read(
        version in 1_u8..=2, is_v6: bool, ips: (u128, u128), ports: (u16, u16),
        field in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let (client, destination) = (socket(is_v6, ips.0, ports.0), socket(is_v6, ips.1, ports.1));
        let length = u16::try_from(field.len()).expect("short");
        let fields = [&[0xE0], &length.to_be_bytes()[..], &field].concat();
        let bytes = render(version, client, destination, &fields);
        let expected = Progress::Done { source: Source::Client { client, destination }, length: bytes.len() };
        prop_assert_eq!(parse(&bytes), Ok(expected));
    }
}
