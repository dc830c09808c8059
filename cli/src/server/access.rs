//! Settings about tokens for the API and logins.

use std::path::Path;
use std::time::Duration;

use cara_api::access::life;
use cara_api::secret::Hidden;
use cara_controlplane::plan::access::mapping::parse_rules;
use cara_controlplane::{AccessConfig, BOOTSTRAP_FILE, LoginConfig};

use crate::settings::{Reader, Setting, WEB, without_slash};

const fn setting(
    key: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting {
        key,
        value,
        default,
        help,
    }
}

pub(super) const MAX_LIFE: Setting = setting(
    "token-max-life",
    "DURATION",
    "366d",
    "How long tokens for the API may be good at most, such as 90d or 12h",
);
pub(super) const ISSUER: Setting = setting(
    "login-issuer",
    "URL",
    "",
    "Issuer of OpenID Connect by which people log in to the API; only tokens count if not given",
);
pub(super) const CLIENT_ID: Setting = setting(
    "login-client-id",
    "TEXT",
    "",
    "Client that the issuer of login-issuer knows",
);
pub(super) const CLIENT_SECRET_FILE: Setting = setting(
    "login-client-secret-file",
    "FILE",
    "",
    "File with the secret of that client; none for a public client",
);
pub(super) const SCOPES: Setting = setting(
    "login-scopes",
    "SCOPES",
    "openid email profile",
    "What is asked for at a login, separated by spaces",
);
pub(super) const ROLES: Setting = setting(
    "login-roles",
    "RULES",
    "",
    "Who gets which role, as CLAIM=VALUE GRANT separated by semicolons, such as groups=ops admin:*; groups=dev developer:team=web",
);
pub(super) const SESSION_LIFE: Setting = setting(
    "login-life",
    "DURATION",
    "8h",
    "How long a login is good, at most 12h",
);
pub(super) const URL: Setting = setting(
    "login-url",
    "URL",
    "",
    "URL of the API for browsers, which the issuer sends them back to; browsers cannot log in if not given",
);

/// What `auth-ca-file` holds is for these issuers too.
pub(super) fn read(
    reader: &mut Reader,
    data_dir: &Path,
    issuer_authorities: Option<String>,
) -> AccessConfig {
    AccessConfig {
        longest_life: duration(reader, MAX_LIFE.key),
        bootstrap_file: Some(data_dir.join(BOOTSTRAP_FILE)),
        login: login(reader),
        issuer_authorities,
    }
}

fn duration(reader: &mut Reader, key: &str) -> Duration {
    let read = |text: &str| life(text).ok_or("must be a duration such as 90d or 12h");
    reader.with(key, read).unwrap_or(Duration::from_secs(1))
}

fn login(reader: &mut Reader) -> Option<LoginConfig> {
    let life = duration(reader, SESSION_LIFE.key);
    let roles = reader.with(ROLES.key, parse_rules);
    let secret = reader.with(CLIENT_SECRET_FILE.key, |path| {
        let text = std::fs::read_to_string(path)?;
        Ok::<_, std::io::Error>(Hidden::new(text.trim()))
    });
    let client_id = reader.text(CLIENT_ID.key).unwrap_or_default();
    let url = reader.url(URL.key, &WEB, "https://cara.example.com");
    // An empty variable says that there is none.
    reader
        .text(ISSUER.key)
        .filter(|issuer| !issuer.is_empty())?;
    let issuer = reader.url(ISSUER.key, &WEB, "https://id.example.com")?;
    if client_id.is_empty() {
        reader.fault(CLIENT_ID.key, "is needed with login-issuer");
    }
    if roles.is_none() {
        reader.fault(
            ROLES.key,
            "is needed with login-issuer: without it nobody who logs in may do anything",
        );
    }
    Some(LoginConfig {
        issuer,
        client_id,
        client_secret: secret,
        scopes: reader.text(SCOPES.key).unwrap_or_default(),
        roles: roles.unwrap_or_default(),
        life,
        url: url.map(without_slash).unwrap_or_default(),
    })
}
