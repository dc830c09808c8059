//! Lines between the two servers, and sockets that go with one of them.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use crate::sockets::Role;

/// Sockets that go over with one line; the system's own limit is 253.
const SOCKETS_MAX: usize = 200;
/// Longest line, in bytes.
const LINE_MAX: usize = 4 * 1024;

/// Asks for copies of the sockets.
pub const SOCKETS: &str = "sockets";
/// Asks to close the store.
pub const RELEASE: &str = "release";
/// The store is closed.
pub const RELEASED: &str = "released";
/// Says that all routes are known and served.
pub const SERVING: &str = "serving";

/// Sockets that go over with one line.
pub struct Part<'a> {
    sockets: &'a [(Role, TcpListener)],
    /// Those that come with the lines after it.
    more: usize,
}

/// What has to be sent, in order, to hand over sockets: at least one line.
pub fn parts(sockets: &[(Role, TcpListener)]) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut left = sockets;
    loop {
        let (now, later) = left.split_at(left.len().min(SOCKETS_MAX));
        parts.push(Part {
            sockets: now,
            more: later.len(),
        });
        if later.is_empty() {
            return parts;
        }
        left = later;
    }
}

/// Sends one line with sockets: how many come after it, and the roles of those that come with it,
/// in order.
///
/// # Errors
/// The other side is gone, or the line does not fit into the socket's buffer.
pub fn send_part(to: impl AsFd, part: &Part<'_>) -> rustix::io::Result<()> {
    let words = std::iter::once(part.more.to_string());
    let roles = part.sockets.iter().map(|(of, _)| of.to_string());
    let words: Vec<String> = words.chain(roles).collect();
    let line = format!("{}\n", words.join(" "));
    let fds: Vec<BorrowedFd<'_>> = part.sockets.iter().map(|(_, s)| s.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(rustix::io::Errno::NOBUFS);
    }
    let parts = [IoSlice::new(line.as_bytes())];
    rustix::net::sendmsg(to, &parts, &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// Receives all [`parts`].
///
/// # Errors
/// The other side is gone, or sent something else.
pub fn receive_sockets(from: impl AsFd) -> std::io::Result<Vec<(Role, TcpListener)>> {
    let mut sockets = Vec::new();
    let mut expected = None;
    loop {
        let (more, received) = receive_part(from.as_fd())?;
        // A line without sockets that promises more would never end.
        if expected.is_some_and(|expected| expected != received.len() + more)
            || (received.is_empty() && more > 0)
        {
            return Err(wrong());
        }
        sockets.extend(received);
        if more == 0 {
            return Ok(sockets);
        }
        expected = Some(more);
    }
}

/// Receives one line: how many sockets come after it, and those that came with it. Lines with
/// sockets are never read together: the system ends what it gives at each set of them.
fn receive_part(from: BorrowedFd<'_>) -> std::io::Result<(usize, Vec<(Role, TcpListener)>)> {
    let mut line = vec![0; LINE_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut line)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = rustix::net::recvmsg(from, &mut parts, &mut control, flags)?;
    let mut fds: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    let text = line.get(..received.bytes).unwrap_or_default();
    let text = std::str::from_utf8(text).map_err(|_| wrong())?;
    let text = text.strip_suffix('\n').ok_or_else(wrong)?;
    let mut words = text.split_whitespace();
    let more = words.next().and_then(|word| word.parse().ok());
    let more: usize = more.ok_or_else(wrong)?;
    let roles: Vec<Role> = words
        .map(|word| word.parse().map_err(|()| wrong()))
        .collect::<Result<_, _>>()?;
    if roles.len() != fds.len() {
        return Err(wrong());
    }
    let sockets = fds.into_iter().map(TcpListener::from);
    Ok((more, roles.into_iter().zip(sockets).collect()))
}

fn wrong() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, "not a list of sockets")
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::sockets::{Origin, Purpose};

    fn role(purpose: Purpose) -> Role {
        Role {
            purpose,
            origin: Origin::Settings,
        }
    }

    fn send_sockets(to: &UnixStream, sockets: &[(Role, TcpListener)]) -> std::io::Result<()> {
        for part in parts(sockets) {
            send_part(to, &part)?;
        }
        Ok(())
    }

    #[test]
    fn more_sockets_than_go_over_at_once_arrive_all() {
        crate::process::raise_file_limit();
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let bind = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let kinds = [(role(Purpose::Tcp), bind()), (role(Purpose::Https), bind())];
        let address = |s: &TcpListener| s.local_addr().expect("an address");
        for count in [SOCKETS_MAX, SOCKETS_MAX + 1, 300] {
            let copies = kinds.iter().cycle().take(count);
            let sockets: Vec<_> = copies
                .map(|(of, socket)| (*of, socket.try_clone().expect("a copy")))
                .collect();
            send_sockets(&ours, &sockets).expect("sent");
            let received = receive_sockets(&theirs).expect("received");
            let told = |all: &[(Role, TcpListener)]| -> Vec<_> {
                all.iter().map(|(of, s)| (*of, address(s))).collect()
            };
            assert_eq!(told(&received), told(&sockets), "{count}");
        }
    }

    #[test]
    fn sockets_arrive_with_their_roles_and_are_the_same() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let bind = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let given = Role {
            purpose: Purpose::Https,
            origin: Origin::ServiceManager,
        };
        let sockets = vec![(role(Purpose::Api), bind()), (given, bind())];
        send_sockets(&ours, &sockets).expect("sent");
        let received = receive_sockets(&theirs).expect("received");
        assert_eq!(received.len(), 2);
        for ((sent, socket), (role, copy)) in sockets.iter().zip(&received) {
            assert_eq!(sent, role);
            let address = |s: &TcpListener| s.local_addr().expect("an address");
            assert_eq!(address(socket), address(copy));
        }
        // The copy accepts what was connected to the original.
        let (_, original) = &sockets[0];
        let address = original.local_addr().expect("an address");
        let _client = std::net::TcpStream::connect(address).expect("a connection");
        drop(sockets);
        assert!(received[0].1.accept().is_ok());
    }

    #[test]
    fn no_sockets_and_other_lines_are_told_apart() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        send_sockets(&ours, &[]).expect("sent");
        assert!(receive_sockets(&theirs).expect("received").is_empty());
        std::io::Write::write_all(&mut &ours, b"0 api http\n").expect("sent");
        assert!(
            receive_sockets(&theirs).is_err(),
            "there are no sockets with it"
        );
        std::io::Write::write_all(&mut &ours, b"3\n").expect("sent");
        assert!(
            receive_sockets(&theirs).is_err(),
            "those that are to come never end"
        );
        drop(ours);
        assert!(receive_sockets(&theirs).is_err(), "the other side is gone");
    }
}
