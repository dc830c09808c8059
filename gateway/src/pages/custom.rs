//! Pages of the operator: which one stands for an answer, and what is filled in.
//!
//! `404.html` stands for one status, `4xx.html` and `5xx.html` for a class, `default.html` for the
//! rest. Those of an environment, which the host names, go before those for all. In them
//! `{status}`, `{title}`, `{detail}`, `{request_id}` and `{host}` are replaced by text that is
//! safe in HTML. Where they come from is up to [`super::directory`]: no request opens a file.

use std::collections::BTreeMap;

use super::answer::{Answer, Shown};
use super::html::escape;

/// Which statuses a page stands for; the first that fits is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum For {
    Status(u16),
    /// The first digit.
    Class(u16),
    All,
}

impl For {
    /// What a file of this name stands for.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(".html")?;
        match stem {
            "default" => Some(Self::All),
            "4xx" => Some(Self::Class(4)),
            "5xx" => Some(Self::Class(5)),
            status if status.len() == 3 => {
                let status = status.parse().ok()?;
                (400..600).contains(&status).then_some(Self::Status(status))
            }
            _ => None,
        }
    }
}

/// Pages of an operator.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CustomPages {
    /// What comes after the environment in a hostname; empty: no host names one.
    pub(super) base_domain: String,
    /// For all hosts.
    pub(super) common: PageSet,
    /// By environment.
    pub(super) environments: BTreeMap<String, PageSet>,
}

/// Pages that belong together, by status.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PageSet(pub(super) BTreeMap<For, Template>);

/// A page with gaps.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Template(pub(super) String);

impl CustomPages {
    /// The page for a status at a host, as the client wrote it: any page of the host's environment,
    /// then those for all.
    pub(crate) fn find(&self, status: u16, host: &str) -> Option<&Template> {
        let own = || {
            if self.environments.is_empty() {
                return None;
            }
            let host = cara_routes::host::normalize(host)?;
            let environment = environment(&host, &self.base_domain)?;
            self.environments.get(environment)?.find(status)
        };
        own().or_else(|| self.common.find(status))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        let sets = self.environments.values().chain([&self.common]);
        sets.map(|set| set.0.len()).sum()
    }
}

impl PageSet {
    fn find(&self, status: u16) -> Option<&Template> {
        let page = |which| self.0.get(&which);
        page(For::Status(status))
            .or_else(|| page(For::Class(status / 100)))
            .or_else(|| page(For::All))
    }
}

/// The label before the base domain, where a host has further ones before it:
/// `{host}.{environment}.{base}`.
fn environment<'h>(host: &'h str, base: &str) -> Option<&'h str> {
    let names = host.strip_suffix(base)?.strip_suffix('.')?;
    let (_, environment) = names.rsplit_once('.')?;
    Some(environment)
}

impl Template {
    /// The page for an answer.
    pub(crate) fn fill(&self, answer: &Answer, shown: Shown<'_>) -> String {
        let mut out = String::with_capacity(self.0.len() + 128);
        let mut rest = self.0.as_str();
        while let Some(at) = rest.find('{') {
            let (plain, tail) = rest.split_at(at);
            out.push_str(plain);
            let end = tail.find('}').map_or(0, |end| end + 1);
            let (name, after) = tail.split_at(end);
            match name {
                "{status}" => out.push_str(&answer.status().to_string()),
                "{title}" => out.push_str(&escape(answer.title())),
                "{detail}" => out.push_str(&escape(&answer.detail())),
                "{request_id}" => out.push_str(&escape(shown.request_id)),
                "{host}" => out.push_str(&escape(shown.host)),
                _ => {
                    // Style sheets have braces too, and gaps within them.
                    out.push('{');
                    rest = tail.strip_prefix('{').unwrap_or_default();
                    continue;
                }
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: Shown<'static> = Shown {
        host: "a.x\"><script>",
        request_id: "id-1",
    };

    #[test]
    fn gaps_are_filled_with_safe_text_and_other_braces_stay() {
        let template = Template(
            "<style>b{c:d}</style>{status} {title}: {detail} {host} {request_id} {other} {".into(),
        );
        let filled = template.fill(&Answer::Timeout, SHOWN);
        assert_eq!(
            filled,
            "<style>b{c:d}</style>504 No answer in time: The service did not answer in time. \
             a.x&quot;&gt;&lt;script&gt; id-1 {other} {"
        );
    }

    fn set(pages: &[(&str, &str)]) -> PageSet {
        let parse = |name| For::parse(name).expect("a page");
        let pages = pages
            .iter()
            .map(|(name, text)| (parse(name), Template((*text).to_owned())));
        PageSet(pages.collect())
    }

    #[test]
    fn pages_of_the_environment_that_a_host_names_go_first() {
        let pages = CustomPages {
            base_domain: "x.org".into(),
            common: set(&[("404.html", "common 404"), ("default.html", "common")]),
            environments: [
                ("dev", "5xx.html"),
                ("prod", "default.html"),
                ("x", "404.html"),
            ]
            .map(|(name, page)| (name.to_owned(), set(&[(page, name)])))
            .into(),
        };
        for (status, host, expected) in [
            (503, "web.dev.x.org", "dev"),
            (503, "WEB.Dev.X.org.:8443", "dev"),
            (503, "a.web.dev.x.org", "dev"),
            (404, "web.dev.x.org", "common 404"),
            (404, "web.prod.x.org", "prod"),
            (503, "web.test.x.org", "common"),
            // No host of an environment.
            (503, "dev.x.org", "common"),
            (404, "x.org", "common 404"),
            (503, "web.dev.x.org.evil.org", "common"),
            (503, "web.devx.org", "common"),
            (503, "web.dev.y.org", "common"),
            (404, "web.x.x.org", "x"),
            (503, "../dev.x.org", "common"),
            (503, "", "common"),
        ] {
            let found = pages.find(status, host).map(|page| page.0.as_str());
            assert_eq!(found, Some(expected), "{status} {host}");
        }
        // Where no base domain is known, no environment is.
        let unknown = CustomPages {
            base_domain: String::new(),
            ..pages
        };
        let found = unknown.find(503, "web.dev.").map(|page| page.0.as_str());
        assert_eq!(found, Some("common"));
    }
}
