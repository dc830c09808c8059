//! Lines between the two servers, and sockets that go with one of them.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use crate::sockets::Purpose;

/// Sockets that go over at once; the system's own limit is 253.
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

/// Sends one line with sockets: their purposes, in order.
///
/// # Errors
/// The other side is gone, or the line does not fit into the socket's buffer.
pub fn send_sockets(to: impl AsFd, sockets: &[(Purpose, TcpListener)]) -> rustix::io::Result<()> {
    let sockets = sockets.get(..SOCKETS_MAX).unwrap_or(sockets);
    let purposes: Vec<String> = sockets.iter().map(|(of, _)| of.to_string()).collect();
    let line = format!("{}\n", purposes.join(" "));
    let fds: Vec<BorrowedFd<'_>> = sockets.iter().map(|(_, socket)| socket.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(rustix::io::Errno::NOBUFS);
    }
    let parts = [IoSlice::new(line.as_bytes())];
    rustix::net::sendmsg(to, &parts, &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// Receives what [`send_sockets`] sent.
///
/// # Errors
/// The other side is gone, or sent something else.
pub fn receive_sockets(from: impl AsFd) -> std::io::Result<Vec<(Purpose, TcpListener)>> {
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
    let wrong = || std::io::Error::new(std::io::ErrorKind::InvalidData, "not a list of sockets");
    let text = std::str::from_utf8(text).map_err(|_| wrong())?;
    let purposes: Vec<Purpose> = text
        .strip_suffix('\n')
        .ok_or_else(wrong)?
        .split_whitespace()
        .map(|word| word.parse().map_err(|()| wrong()))
        .collect::<Result<_, _>>()?;
    if purposes.len() != fds.len() {
        return Err(wrong());
    }
    Ok(purposes
        .into_iter()
        .zip(fds.into_iter().map(TcpListener::from))
        .collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn sockets_arrive_with_their_purposes_and_are_the_same() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let bind = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let sockets = vec![(Purpose::Api, bind()), (Purpose::Https, bind())];
        send_sockets(&ours, &sockets).expect("sent");
        let received = receive_sockets(&theirs).expect("received");
        assert_eq!(received.len(), 2);
        for ((sent, socket), (purpose, copy)) in sockets.iter().zip(&received) {
            assert_eq!(sent, purpose);
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
        std::io::Write::write_all(&mut &ours, b"api http\n").expect("sent");
        assert!(
            receive_sockets(&theirs).is_err(),
            "there are no sockets with it"
        );
        drop(ours);
        assert!(receive_sockets(&theirs).is_err(), "the other side is gone");
    }
}
