//! Which server is meant, and what is shown to it. Pure.

use cara_api::secret::Hidden;

use super::file::{Contexts, Entry};

/// The server where nothing else is said.
pub const DEFAULT_SERVER: &str = "http://localhost:8080";

/// What flags and variables say.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// `--server`, or CARA_SERVER.
    pub server: Option<String>,
    /// `--context`, or CARA_CONTEXT.
    pub context: Option<String>,
    /// CARA_TOKEN.
    pub token: Option<String>,
}

/// A server, and what is shown to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// URL.
    pub server: String,
    /// The context that says so, or that is current.
    pub context: Option<String>,
    /// The only authority that is trusted.
    pub authority: Option<String>,
    /// Who somebody is.
    pub token: Option<Hidden>,
    /// The project that is meant where none is named.
    pub project: Option<String>,
}

impl Place {
    /// A server by its URL alone.
    ///
    /// # Errors
    /// The token would travel where others see it.
    pub fn of_server(server: &str, token: Option<Hidden>) -> Result<Self, String> {
        if token.is_some() && !is_private(server) {
            return Err(format!(
                "{server} is not reached by TLS: a token would be seen on its way. Use an https URL"
            ));
        }
        Ok(Self {
            server: server.to_owned(),
            context: None,
            authority: None,
            token,
            project: None,
        })
    }
}

/// Which server is meant: flags and variables first, then the context, then this host. A context's
/// token and authority are for its own server.
///
/// # Errors
/// There is no such context, or a token would travel where others see it.
pub fn decide(contexts: &Contexts, given: Given) -> Result<Place, String> {
    let named = given.context.filter(|name| !name.is_empty());
    let name = named.clone().unwrap_or_else(|| contexts.current.clone());
    let entry: Option<&Entry> = contexts.contexts.get(&name);
    if named.is_some() && entry.is_none() {
        return Err(no_such(contexts, &name));
    }
    let server = given.server.map(|url| url.trim_end_matches('/').to_owned());
    let own = entry.filter(|entry| server.as_ref().is_none_or(|url| *url == entry.server));
    let server = server
        .or_else(|| own.map(|entry| entry.server.clone()))
        .unwrap_or_else(|| DEFAULT_SERVER.to_owned());
    let of_context = own.and_then(|entry| entry.token.clone());
    let token = given.token.map(Hidden::new).or(of_context);
    let place = Place::of_server(&server, token)?;
    let is_meant = own.is_some() || named.is_some();
    Ok(Place {
        context: is_meant.then_some(name).filter(|name| !name.is_empty()),
        authority: own.and_then(|entry| entry.ca.clone()),
        project: own.map(|entry| entry.project.clone()),
        ..place
    })
}

/// What to say of a context that is not there.
pub fn no_such(contexts: &Contexts, name: &str) -> String {
    let known: Vec<&str> = contexts.contexts.keys().map(String::as_str).collect();
    match known.as_slice() {
        [] => {
            format!("there is no context {name:?}, nor any other: `caractrl context set` makes one")
        }
        _ => format!(
            "there is no context {name:?}: there are {}",
            known.join(", ")
        ),
    }
}

/// Whether nobody sees what is sent to a URL: TLS, or this host.
fn is_private(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else {
        return false;
    };
    if scheme == "https" {
        return true;
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // Readers of URLs do not agree on which part of these is the host.
    if authority.contains(['@', '\\']) {
        return false;
    }
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let is_loopback = host
        .parse::<std::net::IpAddr>()
        .is_ok_and(|ip| ip.to_canonical().is_loopback());
    is_loopback || host == "localhost" || host.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contexts() -> Contexts {
        let entry = |server: &str, token: &str| Entry {
            server: server.to_owned(),
            ca: Some(format!("CA of {server}")),
            token: Some(Hidden::new(token)),
            project: String::new(),
        };
        Contexts {
            current: "a".to_owned(),
            contexts: [
                ("a".to_owned(), entry("https://a.example", "of-a")),
                ("b".to_owned(), entry("https://b.example", "of-b")),
            ]
            .into(),
        }
    }

    #[test]
    fn a_token_goes_to_the_server_that_it_is_for() {
        for (server, context, token, expected) in [
            (
                "",
                "",
                "",
                "https://a.example a of-a CA of https://a.example",
            ),
            (
                "",
                "b",
                "",
                "https://b.example b of-b CA of https://b.example",
            ),
            (
                "https://a.example/",
                "",
                "",
                "https://a.example a of-a CA of https://a.example",
            ),
            ("https://c.example", "", "", "https://c.example - - -"),
            ("https://c.example", "a", "", "https://c.example a - -"),
            (
                "https://c.example",
                "",
                "mine",
                "https://c.example - mine -",
            ),
            (
                "http://localhost:8080",
                "",
                "mine",
                "http://localhost:8080 - mine -",
            ),
            (
                "",
                "",
                "mine",
                "https://a.example a mine CA of https://a.example",
            ),
            ("http://c.example", "", "mine", "error"),
            ("http://c.example", "", "", "http://c.example - - -"),
            ("", "c", "", "error"),
        ] {
            let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            let given = Given {
                server: text(server),
                context: text(context),
                token: text(token),
            };
            let shown = decide(&contexts(), given).map_or("error".to_owned(), |place| {
                let token = place.token.as_ref().map(Hidden::reveal);
                format!(
                    "{} {} {} {}",
                    place.server,
                    place.context.as_deref().unwrap_or("-"),
                    token.unwrap_or("-"),
                    place.authority.as_deref().unwrap_or("-")
                )
            });
            assert_eq!(shown, expected, "{server} {context} {token}");
        }
        let nothing = decide(&Contexts::default(), Given::default()).expect("a place");
        assert_eq!(nothing.server, DEFAULT_SERVER);
    }

    #[test]
    fn only_this_host_is_reached_without_tls() {
        for (url, expected) in [
            ("https://a.example", true),
            ("http://localhost:8080", true),
            ("http://127.0.0.1:1/x", true),
            ("http://[::1]:1", true),
            ("http://a.example", false),
            ("http://localhost@a.example", false),
            ("http://localhost.a.example", false),
            ("http://10.0.0.1", false),
            ("localhost", false),
        ] {
            assert_eq!(is_private(url), expected, "{url}");
        }
    }
}
