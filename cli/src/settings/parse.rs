//! From texts to typed values, collecting every fault.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Layers, Origin};

/// Schemes of a server that may do without TLS.
pub const WEB: [&str; 2] = ["https", "http"];

/// An address that paths are put behind.
pub fn without_slash(url: String) -> String {
    url.trim_end_matches('/').to_owned()
}

/// Everything that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    faults: Vec<String>,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the settings are not usable:")?;
        for fault in &self.faults {
            write!(f, "\n  {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}

/// Takes values out of their layers. A value that cannot be read becomes a fault and a
/// stand-in; [`Reader::finish`] tells whether the result may be used.
pub struct Reader {
    layers: Layers,
}

impl Reader {
    /// Reads from these layers.
    pub fn new(layers: Layers) -> Self {
        Self { layers }
    }

    /// Notes a fault that shows only when values are seen together.
    pub fn fault(&mut self, key: &str, what: impl fmt::Display) {
        self.layers.faults.push(format!("{key}: {what}"));
    }

    /// The text of a setting, if it has one.
    pub fn text(&self, key: &str) -> Option<String> {
        self.layers.values.get(key).map(|(text, _)| text.clone())
    }

    /// Whether somebody set a setting.
    pub fn is_given(&self, key: &str) -> bool {
        let origin = self.layers.values.get(key).map(|(_, origin)| origin);
        origin.is_some_and(|origin| *origin != Origin::Default)
    }

    /// Reads a value by a function; none when it is absent or wrong.
    pub fn with<T, E: fmt::Display>(
        &mut self,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let (text, origin) = self.layers.values.get(key)?;
        match read(text) {
            Ok(value) => Some(value),
            Err(error) => {
                let fault = format!("{key}: {text:?} is not valid ({origin}): {error}");
                self.layers.faults.push(fault);
                None
            }
        }
    }

    /// Reads a value of a type that can be parsed.
    pub fn value<T: FromStr>(&mut self, key: &str, wanted: &str, stand_in: T) -> T {
        self.with(key, |text| {
            text.parse().map_err(|_| format!("must be {wanted}"))
        })
        .unwrap_or(stand_in)
    }

    /// Reads a switch.
    pub fn switch(&mut self, key: &str) -> bool {
        self.with(key, |text| match text {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" | "" => Ok(false),
            _ => Err("must be true or false"),
        })
        .unwrap_or(false)
    }

    /// Reads the URL of a web server as it is written, `https` or `http` where that will do.
    pub fn url(&mut self, key: &str, schemes: &[&str], example: &str) -> Option<String> {
        self.with(key, |text| {
            let is_served = |scheme: &&str| {
                let rest = text.strip_prefix(scheme);
                rest.is_some_and(|rest| rest.starts_with("://"))
            };
            let is_one = schemes.iter().any(is_served)
                && !text.contains(char::is_whitespace)
                && url::Url::parse(text).is_ok();
            if is_one {
                Ok(text.to_owned())
            } else {
                Err(format!("must be a URL such as {example}"))
            }
        })
    }

    /// Reads a duration such as `15s`, `500ms` or `3m`; it must be longer than zero.
    pub fn duration(&mut self, key: &str) -> Duration {
        let read = |text: &str| {
            let parsed: Option<jiff::SignedDuration> = text.parse().ok();
            let duration = parsed
                .and_then(|d| Duration::try_from(d).ok())
                .filter(|d| !d.is_zero());
            duration.ok_or("must be a duration such as 500ms, 15s or 3m")
        };
        self.with(key, read).unwrap_or(Duration::from_secs(1))
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// All faults that were found.
    pub fn finish<T>(self, value: T) -> Result<T, SettingsError> {
        if self.layers.faults.is_empty() {
            return Ok(value);
        }
        Err(SettingsError {
            faults: self.layers.faults,
        })
    }
}
