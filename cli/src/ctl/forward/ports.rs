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

/// Project, service if it is named, and ports.
pub(super) fn split(
    project: &str,
    rest: &[String],
) -> Result<(String, Option<String>, Vec<Ports>), Failure> {
    let (project, mut service, mut ports) = match project.split_once('/') {
        Some((project, service)) => (project, Some(service.to_owned()), rest),
        None => (project, None, rest),
    };
    if let (None, Some((first, others))) = (&service, ports.split_first())
        && Ports::parse(first).is_err()
        && !first.contains(':')
    {
        service = Some(first.clone());
        ports = others;
    }
    if project.is_empty() || service.as_deref() == Some("") {
        return Err(Failure::usage(
            "name the service as PROJECT/SERVICE or PROJECT SERVICE",
        ));
    }
    if ports.is_empty() {
        return Err(Failure::usage(
            "name a port: REMOTE, LOCAL:REMOTE or 0:REMOTE",
        ));
    }
    let ports = ports.iter().map(|text| Ports::parse(text));
    Ok((
        project.to_owned(),
        service,
        ports.collect::<Result<_, _>>()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<&str>) {
        let mut words = line.split(' ').map(str::to_owned);
        let project = words.next().unwrap_or_default();
        let rest: Vec<String> = words.collect();
        let found = split(&project, &rest).ok();
        let found = found.map(|(project, service, ports)| {
            let ports = ports.iter().map(|p| format!(" {}:{}", p.local, p.remote));
            let service = service.unwrap_or_else(|| "?".to_owned());
            format!("{project} {service}{}", ports.collect::<String>())
        });
        assert_eq!(found.as_deref(), expected, "{line}");
    }

    #[test]
    fn the_service_stands_with_the_project_or_after_it() {
        check("shop/db 5432", Some("shop db 5432:5432"));
        check("shop db 5432", Some("shop db 5432:5432"));
        check("shop 8080", Some("shop ? 8080:8080"));
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
            "shop/ 80",
            "/web 80",
        ] {
            check(line, None);
        }
    }
}
