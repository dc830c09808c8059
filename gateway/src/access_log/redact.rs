//! Secrets in URLs, left out before anything is written. Pure.

use std::convert::Infallible;
use std::str::FromStr;

/// Stands for a value that is left out.
const HIDDEN: &str = "***";

/// Names of query parameters whose values are never written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redact {
    /// In lower case.
    names: Vec<Box<str>>,
}

impl Default for Redact {
    fn default() -> Self {
        let Ok(names) = Self::DEFAULT.parse();
        names
    }
}

impl FromStr for Redact {
    type Err = Infallible;

    /// Reads names that are separated by commas; case does not matter.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let names = text.split(',').map(str::trim).filter(|n| !n.is_empty());
        Ok(Self {
            names: names.map(|n| n.to_ascii_lowercase().into()).collect(),
        })
    }
}

impl Redact {
    /// What is left out unless an operator says otherwise.
    pub const DEFAULT: &str = "token,access_token,id_token,refresh_token,code,state,password,\
                               secret,client_secret,api_key,apikey,sig,signature,cara_share";

    /// The pieces of a URL or path to write, in order; secrets are replaced by `***`.
    pub(crate) fn pieces<'a>(&'a self, url: &'a str) -> impl Iterator<Item = &'a str> {
        let (path, query) = match url.find('?') {
            Some(at) => url.split_at(at + 1),
            None => (url, ""),
        };
        // The separators stay with what is before them.
        let pairs = query.split_inclusive(['&', '#']);
        let shown = pairs.flat_map(|pair| self.shown(pair));
        std::iter::once(path).chain(shown).filter(|p| !p.is_empty())
    }

    /// A parameter with the separator after it, in up to three pieces.
    ///
    /// Some services end a parameter at a semicolon, so that a name may follow one. For forms it is
    /// part of the value (WHATWG URL section 5.1), so that no value ends at one.
    fn shown<'a>(&'a self, pair: &'a str) -> [&'a str; 3] {
        let mut seen = 0;
        for part in pair.split_inclusive(';') {
            let name = part.split_once('=').map(|(name, _)| name);
            if let Some(name) = name.filter(|name| self.hides(name)) {
                let (begin, value) = pair.split_at(seen + name.len() + 1);
                let value_end = value.trim_end_matches(['&', '#']).len();
                return [begin, HIDDEN, value.get(value_end..).unwrap_or_default()];
            }
            seen += part.len();
        }
        [pair, "", ""]
    }

    fn hides(&self, name: &str) -> bool {
        self.names
            .iter()
            .any(|hidden| decoded(name).eq(hidden.bytes()))
    }
}

/// The bytes that a name stands for, in lower case: `%74oken` is `token`.
fn decoded(name: &str) -> impl Iterator<Item = u8> {
    let mut rest = name.as_bytes();
    std::iter::from_fn(move || {
        let (first, tail) = rest.split_first()?;
        let digit = |at: usize| {
            let digit = char::from(*tail.get(at)?).to_digit(16)?;
            u8::try_from(digit).ok()
        };
        let byte = match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                rest = tail.get(2..).unwrap_or_default();
                high * 16 + low
            }
            _ => {
                rest = tail;
                *first
            }
        };
        Some(byte.to_ascii_lowercase())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(url: &str) -> String {
        Redact::default().pieces(url).collect()
    }

    #[test]
    fn values_of_secrets_are_left_out() {
        for (url, expected) in [
            ("/", "/"),
            ("", ""),
            ("/a/token=1", "/a/token=1"),
            ("/?a=1&b=2", "/?a=1&b=2"),
            ("/?token=x", "/?token=***"),
            ("/?token=", "/?token=***"),
            ("/?token", "/?token"),
            ("/?a=1&Token=x&b=2", "/?a=1&Token=***&b=2"),
            ("/?code=x=y&state=z", "/?code=***&state=***"),
            ("/?a=1;password=x;b", "/?a=1;password=***"),
            ("/?password=ab;cd", "/?password=***"),
            ("/?password=ab;cd&b=2", "/?password=***&b=2"),
            ("/?password=ab;cd#f", "/?password=***#f"),
            ("/?a=1;b=2;c", "/?a=1;b=2;c"),
            ("/?password=a;token=b;c=d&e", "/?password=***&e"),
            ("/?a;token=x", "/?a;token=***"),
            ("/?%74oken=x", "/?%74oken=***"),
            ("/?tokens=x", "/?tokens=x"),
            ("/?cara_share=s.e.c", "/?cara_share=***"),
            ("/?x=?token=1", "/?x=?token=1"),
            ("https://a.x/?code=1#f", "https://a.x/?code=***#f"),
            ("/?%zz=1&%=2", "/?%zz=1&%=2"),
        ] {
            assert_eq!(shown(url), expected, "{url}");
        }
    }

    #[test]
    fn an_operator_says_what_is_secret() {
        let Ok(redact) = " sid, ".parse::<Redact>();
        let shown: String = redact.pieces("/?sid=1&token=2").collect();
        assert_eq!(shown, "/?sid=***&token=2");
    }

    proptest! {
        #[test]
        fn never_panics_and_shows_the_path(url in ".*") {
            let path = url.split('?').next().unwrap_or_default();
            prop_assert!(shown(&url).starts_with(path));
        }

        #[test]
        fn a_secret_is_never_shown(before in "[a-z&=;%]{0,9}", secret in "[A-Z]{8}", after in "[a-z&=;%]{0,9}") {
            let begin = after.replace('&', "");
            for url in [
                format!("/?{before}&token={secret}&{after}"),
                format!("/?{before};token={begin};{secret}"),
                format!("/?{before}&token=;{secret}#{after}"),
            ] {
                prop_assert!(!shown(&url).contains(&secret), "{url}");
            }
        }
    }
}
