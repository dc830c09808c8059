//! Sockets that are open before this process looks at its settings: from the service manager
//! (`LISTEN_FDS`), or from the server whose place it takes.
//!
//! Owns which of them stands for which address. It refuses to know how they came here.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::str::FromStr;

use listenfd::ListenFd;

use crate::process;

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The API.
    Api,
    /// The gateway, HTTP.
    Http,
    /// The gateway, HTTPS.
    Https,
    /// A port that the gateway opened for a project.
    Tcp,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Api => "api",
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
        })
    }
}

impl FromStr for Purpose {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "api" => Ok(Self::Api),
            "http" => Ok(Self::Http),
            "https" => Ok(Self::Https),
            "tcp" => Ok(Self::Tcp),
            _ => Err(()),
        }
    }
}

/// Who opened a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A server, since its settings name the address.
    Settings,
    /// The service manager.
    ServiceManager,
}

/// What a socket is, as one server tells another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    /// What it is for.
    pub purpose: Purpose,
    /// Who opened it.
    pub origin: Origin,
}

/// Before the purpose of a socket of the service manager.
const GIVEN: &str = "given:";

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            Origin::Settings => write!(f, "{}", self.purpose),
            Origin::ServiceManager => write!(f, "{GIVEN}{}", self.purpose),
        }
    }
}

impl FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (purpose, origin) = match text.strip_prefix(GIVEN) {
            Some(purpose) => (purpose, Origin::ServiceManager),
            None => (text, Origin::Settings),
        };
        let purpose = purpose.parse()?;
        Ok(Self { purpose, origin })
    }
}

/// Sockets that are open already.
#[derive(Debug, Default)]
pub struct Held {
    /// From the service manager, be it to the server before: they count whatever the settings say.
    given: Vec<(Purpose, TcpListener)>,
    /// What there are or were such sockets for.
    purposes: Vec<Purpose>,
    /// From the server before: they count where the settings name their address.
    inherited: Vec<(Purpose, TcpListener)>,
}

impl Held {
    /// Those of the service manager. To be called once, before any other file is opened.
    ///
    /// # Errors
    /// One of them is no TCP socket.
    pub fn from_service_manager() -> std::io::Result<Self> {
        let mut sockets = ListenFd::from_env();
        let names = process::variable("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<&str> = names.split(':').collect();
        let mut given = Vec::new();
        for place in 0..sockets.len() {
            let Some(socket) = sockets.take_tcp_listener(place)? else {
                continue;
            };
            let name = names.get(place).copied().unwrap_or_default();
            let port = socket.local_addr()?.port();
            given.push((purpose(name, port), socket));
        }
        Ok(Self {
            purposes: given.iter().map(|(purpose, _)| *purpose).collect(),
            given,
            inherited: Vec::new(),
        })
    }

    /// Adds those of the server before. What this process was given itself, it needs no copies of.
    pub fn inherit(&mut self, sockets: Vec<(Role, TcpListener)>) {
        let own = self.purposes.clone();
        for (role, socket) in sockets {
            match role.origin {
                Origin::Settings => self.inherited.push((role.purpose, socket)),
                Origin::ServiceManager if own.contains(&role.purpose) => {}
                Origin::ServiceManager => {
                    self.given.push((role.purpose, socket));
                    self.purposes.push(role.purpose);
                }
            }
        }
    }

    /// What the service manager holds sockets for.
    pub fn given_purposes(&self) -> Vec<Purpose> {
        self.purposes.clone()
    }

    /// Takes all that the service manager holds for a purpose.
    pub fn take_given(&mut self, purpose: Purpose) -> Vec<TcpListener> {
        let is_wanted = |entry: &mut (Purpose, TcpListener)| entry.0 == purpose;
        let taken = self.given.extract_if(.., is_wanted);
        taken.map(|(_, socket)| socket).collect()
    }

    /// Takes the one that the server before had for an address. Port 0 stands for any.
    pub fn take_inherited(&mut self, purpose: Purpose, address: SocketAddr) -> Option<TcpListener> {
        let place = self.inherited.iter().position(|(of, socket)| {
            let is_same = |own: SocketAddr| {
                own.ip() == address.ip() && (own.port() == address.port() || address.port() == 0)
            };
            *of == purpose && socket.local_addr().is_ok_and(is_same)
        });
        place.map(|place| self.inherited.swap_remove(place).1)
    }

    /// Takes all that the server before had opened for projects.
    pub fn take_ports(&mut self) -> Vec<TcpListener> {
        let is_port = |entry: &mut (Purpose, TcpListener)| entry.0 == Purpose::Tcp;
        let taken = self.inherited.extract_if(.., is_port);
        taken.map(|(_, socket)| socket).collect()
    }
}

/// What a socket of the service manager is for: by its name, else by its port.
fn purpose(name: &str, port: u16) -> Purpose {
    match name.parse() {
        Ok(purpose) => purpose,
        Err(()) if port == 443 => Purpose::Https,
        Err(()) => Purpose::Http,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_of_the_service_manager_is_known_by_its_name_or_port() {
        for (name, port, expected) in [
            ("https", 8_443, Purpose::Https),
            ("http", 443, Purpose::Http),
            ("api", 8_080, Purpose::Api),
            ("cara-server.socket", 443, Purpose::Https),
            ("unknown", 80, Purpose::Http),
            ("", 8_000, Purpose::Http),
        ] {
            assert_eq!(purpose(name, port), expected, "{name} {port}");
        }
    }

    #[test]
    fn an_inherited_socket_stands_for_its_own_address_and_purpose() {
        let bind = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let (api, http, port) = (bind(), bind(), bind());
        let address = http.local_addr().expect("an address");
        let mut held = Held::default();
        let role = |text: &str| text.parse::<Role>().expect("a role");
        held.inherit(vec![
            (role("api"), api),
            (role("http"), http),
            (role("tcp"), port),
        ]);
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let other: SocketAddr = ([127, 0, 0, 2], 0).into();
        assert!(held.take_inherited(Purpose::Https, address).is_none());
        assert!(held.take_inherited(Purpose::Http, other).is_none());
        assert!(held.take_inherited(Purpose::Http, address).is_some());
        assert!(held.take_inherited(Purpose::Http, address).is_none());
        assert!(held.take_inherited(Purpose::Api, any).is_some());
        assert_eq!(held.take_ports().len(), 1);
    }

    #[test]
    fn a_socket_of_the_service_manager_stays_one_when_it_is_handed_over() {
        let bind = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let role = |text: &str| {
            let role = text.parse::<Role>().expect("a role");
            assert_eq!(role.to_string(), text);
            role
        };
        assert_eq!("given:else".parse::<Role>(), Err(()));
        let mut held = Held::default();
        held.inherit(vec![(role("given:https"), bind()), (role("api"), bind())]);
        assert_eq!(held.given_purposes(), [Purpose::Https]);
        assert_eq!(held.take_given(Purpose::Api).len(), 0);
        assert_eq!(held.take_given(Purpose::Https).len(), 1);
        // It is told to the next one, too.
        assert_eq!(held.given_purposes(), [Purpose::Https]);
        held.inherit(vec![(role("given:https"), bind())]);
        assert_eq!(held.take_given(Purpose::Https).len(), 0);
    }
}
