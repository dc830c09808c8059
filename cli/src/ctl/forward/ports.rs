//! Which ports lead where, as the command line says it.

use super::super::failure::Failure;

/// A port here and one of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    /// 0: any that is free.
    pub(super) local: u16,
    pub(super) remote: u16,
}

impl Ports {
    fn parse(text: &str) -> Result<Self, Failure> {
        let odd = |what: &str, text: &str| Failure::usage(format!("invalid {what} {text:?}"));
        let remote_of = |what: &str, text: &str| {
            let port = text.parse().ok().filter(|port| *port != 0);
            port.ok_or_else(|| odd(what, text))
        };
        match text.split_once(':') {
            None => {
                let port = remote_of("port", text)?;
                Ok(Self {
                    local: port,
                    remote: port,
                })
            }
            Some((local, remote)) => Ok(Self {
                local: local.parse().map_err(|_| odd("local port", local))?,
                remote: remote_of("remote port", remote)?,
            }),
        }
    }
}

/// The words that name project and service, and ports.
pub(super) fn split(words: &[String]) -> Result<(&[String], Vec<Ports>), Failure> {
    let is_port = |word: &&String| word.contains(':') || Ports::parse(word).is_ok();
    // What a project is named may be a number; where there are ports behind it, it is no port.
    let first = match words {
        [_, rest @ ..] if !rest.is_empty() && !rest.iter().all(|word| is_port(&word)) => 1,
        _ => 0,
    };
    let names = words.iter().take(2).skip(first);
    let named = first + names.take_while(|word| !is_port(word)).count();
    let (names, ports) = words.split_at_checked(named).unwrap_or((words, &[]));
    if ports.is_empty() {
        return Err(Failure::usage(
            "name a port: REMOTE, LOCAL:REMOTE or 0:REMOTE",
        ));
    }
    let ports = ports.iter().map(|text| Ports::parse(text));
    Ok((names, ports.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<&str>) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let found = split(&words).ok().map(|(names, ports)| {
            let ports = ports.iter().map(|p| format!(" {}:{}", p.local, p.remote));
            names.join(" ") + &ports.collect::<String>()
        });
        assert_eq!(found.as_deref(), expected, "{line}");
    }

    #[test]
    fn names_stand_before_ports() {
        check("shop/db 5432", Some("shop/db 5432:5432"));
        check("shop db 5432", Some("shop db 5432:5432"));
        check("shop 8080", Some("shop 8080:8080"));
        check("8080", Some(" 8080:8080"));
        check("2048 web 8080", Some("2048 web 8080:8080"));
        check("shop web 0:80 81:82", Some("shop web 0:80 81:82"));
    }

    #[test]
    fn odd_ports_are_refused() {
        for line in [
            "shop",
            "shop web",
            "shop/web 0",
            "shop/web 70000",
            "shop/web a:1",
            "shop/web 1:0",
        ] {
            check(line, None);
        }
    }
}
