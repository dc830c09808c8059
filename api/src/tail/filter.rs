//! Which requests a listener wants.

use std::str::FromStr;

use super::About;

/// Which requests are wanted; none of a kind stands for all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only for this host, normalised.
    pub host: Option<String>,
    /// Only of this project.
    pub project: Option<String>,
    /// Only with these statuses.
    pub statuses: Option<Statuses>,
}

impl Filter {
    /// Whether a request is wanted.
    pub fn selects(&self, about: About<'_>) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|w| w == found);
        is(&self.host, about.host)
            && is(&self.project, about.project)
            && self
                .statuses
                .as_ref()
                .is_none_or(|s| s.contain(about.status))
    }
}

/// Statuses, such as `404` or `5xx`, or several of them separated by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statuses(Vec<(u16, u16)>);

/// The text names no statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be statuses such as 404 or 5xx, separated by commas")]
pub struct BadStatus;

impl Statuses {
    /// Whether a status is among them.
    pub fn contain(&self, status: u16) -> bool {
        self.0
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&status))
    }
}

impl FromStr for Statuses {
    type Err = BadStatus;

    fn from_str(text: &str) -> Result<Self, BadStatus> {
        text.split(',')
            .map(|part| range(part.trim()))
            .collect::<Option<_>>()
            .map(Self)
            .ok_or(BadStatus)
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let lower = text.to_ascii_lowercase();
    let digits = |text: &str| {
        let is_number = text.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| text.parse::<u16>().ok()).flatten()
    };
    match lower.strip_suffix("xx") {
        Some(class) => {
            let class = digits(class).filter(|class| (1..=5).contains(class))?;
            Some((class * 100, class * 100 + 99))
        }
        // 0 stands for requests that got no answer.
        None => {
            let status = digits(&lower).filter(|s| *s == 0 || (100..600).contains(s))?;
            Some((status, status))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_numbers_and_classes() {
        for (text, status, expected) in [
            ("5xx", 502, true),
            ("5XX", 499, false),
            ("404", 404, true),
            ("404, 5xx", 503, true),
            ("404,5xx", 200, false),
            ("0", 0, true),
        ] {
            let statuses: Statuses = text.parse().expect("statuses");
            assert_eq!(statuses.contain(status), expected, "{text} {status}");
        }
        for text in ["", "6xx", "xx", "99", "600", "+404", "a", "404,"] {
            assert_eq!(text.parse::<Statuses>(), Err(BadStatus), "{text}");
        }
    }

    #[test]
    fn a_filter_asks_for_everything_that_it_names() {
        let about = About {
            host: "a.x",
            project: "a",
            status: 500,
        };
        let filter = Filter {
            host: Some("a.x".into()),
            project: Some("a".into()),
            statuses: "5xx".parse().ok(),
        };
        assert!(Filter::default().selects(about) && filter.selects(about));
        for other in [
            About {
                host: "b.x",
                ..about
            },
            About {
                project: "b",
                ..about
            },
            About {
                status: 200,
                ..about
            },
        ] {
            assert!(!filter.selects(other), "{other:?}");
        }
    }
}
