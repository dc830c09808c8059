//! The rules that documents about access must meet beyond their form.

use std::time::Duration;

use super::{Federation, Grant, LIFE_DEFAULT, Role, SESSION_MAX, Token, TokenSpec, User, life};
use crate::names::{check_label, check_subdomain};
use crate::problem::FieldError;

/// Most grants of a document.
const GRANTS_MAX: usize = 100;
/// Longest text for people, in characters.
const TEXT_MAX: usize = 500;
/// How long a token of a federation rule is good unless the rule says so.
const EXCHANGED_LIFE: Duration = Duration::from_secs(15 * 60);

/// Checks a user beyond its name.
pub fn user(user: &User) -> Vec<FieldError> {
    let mut faults = grants(&user.spec.grants, "spec.grants");
    text(&user.spec.display_name, "spec.displayName", &mut faults);
    faults
}

/// Checks a token beyond its name; `longest` is the longest life that the server allows.
pub fn token(token: &Token, longest: Duration) -> Vec<FieldError> {
    let spec = &token.spec;
    let mut faults = token_of_person(token, longest);
    if spec.user.is_empty() && spec.grants.is_empty() {
        let message = "name a user that the token acts for, or grants of its own";
        faults.push(FieldError::new("spec.grants", message));
    }
    faults
}

/// The same for a token that acts for whoever creates it, as they are known by a login: it needs neither
/// a user nor grants.
pub fn token_of_person(token: &Token, longest: Duration) -> Vec<FieldError> {
    let spec = &token.spec;
    let mut faults = Vec::new();
    if !spec.user.is_empty()
        && let Err(error) = check_subdomain(&spec.user)
    {
        let message = error.to_string().replace("metadata.name", "spec.user");
        faults.push(FieldError::new("spec.user", message));
    }
    faults.extend(grants(&spec.grants, "spec.grants"));
    text(&spec.description, "spec.description", &mut faults);
    if let Err(fault) = token_life(spec, longest) {
        faults.push(fault);
    }
    faults
}

/// How long a token shall be good.
///
/// # Errors
/// `expiresIn` is no duration, or longer than the server allows.
pub fn token_life(spec: &TokenSpec, longest: Duration) -> Result<Duration, FieldError> {
    if spec.expires_in.is_empty() {
        return Ok(LIFE_DEFAULT.min(longest));
    }
    bounded(&spec.expires_in, longest)
}

/// How long the tokens of a federation rule shall be good.
///
/// # Errors
/// `expiresIn` is no duration, or longer than 12 hours.
pub fn federation_life(rule: &Federation) -> Result<Duration, FieldError> {
    match rule.spec.expires_in.as_str() {
        "" => Ok(EXCHANGED_LIFE),
        text => bounded(text, SESSION_MAX),
    }
}

fn bounded(text: &str, longest: Duration) -> Result<Duration, FieldError> {
    let fault = |message: String| FieldError::new("spec.expiresIn", message);
    let life = life(text).ok_or_else(|| {
        fault(format!(
            "expiresIn {text:?} is no duration: give 90d or 12h"
        ))
    })?;
    if life > longest {
        let hours = longest.as_secs() / 3_600;
        return Err(fault(format!(
            "expiresIn {text:?} is too long: at most {hours}h are allowed"
        )));
    }
    Ok(life)
}

/// Checks a federation rule beyond its name.
pub fn federation(rule: &Federation) -> Vec<FieldError> {
    let spec = &rule.spec;
    let mut faults = Vec::new();
    let is_url = spec.issuer.starts_with("https://") || spec.issuer.starts_with("http://");
    if !is_url {
        let message = "spec.issuer must be an https URL";
        faults.push(FieldError::new("spec.issuer", message));
    }
    if spec.audience.is_empty() {
        let message = "spec.audience is required: what the tokens' aud must have";
        faults.push(FieldError::new("spec.audience", message));
    }
    if spec.claims.is_empty() {
        let message =
            "spec.claims must name at least one claim, or any token of the issuer would do";
        faults.push(FieldError::new("spec.claims", message));
    }
    for (name, value) in &spec.claims {
        if value.trim_end_matches('*').is_empty() {
            let message = format!("claim {name}: must name a value, or the beginning of one and *");
            faults.push(FieldError::new(format!("spec.claims[{name:?}]"), message));
        }
    }
    if spec.grants.is_empty() {
        let message = "spec.grants must contain at least one grant";
        faults.push(FieldError::new("spec.grants", message));
    }
    faults.extend(grants(&spec.grants, "spec.grants"));
    if let Err(fault) = federation_life(rule) {
        faults.push(fault);
    }
    faults
}

fn text(text: &str, path: &str, faults: &mut Vec<FieldError>) {
    if text.chars().count() > TEXT_MAX {
        let message = format!("{path} must be no more than {TEXT_MAX} characters");
        faults.push(FieldError::new(path, message));
    }
}

/// Checks grants; `path` is where they stand.
pub fn grants(grants: &[Grant], path: &str) -> Vec<FieldError> {
    let mut faults = Vec::new();
    if grants.len() > GRANTS_MAX {
        let message = format!("{path} must contain no more than {GRANTS_MAX} grants");
        faults.push(FieldError::new(path, message));
    }
    for (index, grant) in grants.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if Role::parse(&grant.role).is_none() {
            let message = format!(
                "role {:?} is not known: must be one of {}",
                grant.role,
                Role::ALL.map(Role::as_str).join(", ")
            );
            faults.push(FieldError::new(format!("{path}.role"), message));
        }
        let scopes = [
            grant.all_projects,
            !grant.projects.is_empty(),
            !grant.selector.is_empty(),
        ];
        if scopes.iter().filter(|is_given| **is_given).count() != 1 {
            let message = "give exactly one of allProjects: true, projects and selector";
            faults.push(FieldError::new(&path, format!("{path}: {message}")));
        }
        for (place, name) in grant.projects.iter().enumerate() {
            if let Err(error) = check_label(name) {
                let message = error.to_string();
                faults.push(FieldError::new(
                    format!("{path}.projects[{place}]"),
                    message,
                ));
            }
        }
    }
    faults
}

/// Reads a grant as the command line and settings write it: a role, `:`, and `*`, names of projects
/// or labels, separated by commas: `viewer:*`, `deployer:shop,blog`, `developer:team=web`.
///
/// # Errors
/// Says what is wrong, for people.
pub fn parse_grant(text: &str) -> Result<Grant, String> {
    let form = "write it as ROLE:*, ROLE:PROJECT,PROJECT or ROLE:LABEL=VALUE";
    let (role, scope) = text
        .split_once(':')
        .ok_or_else(|| format!("{text:?} does not say for which projects: {form}"))?;
    let mut grant = Grant {
        role: role.to_owned(),
        ..Grant::default()
    };
    for part in scope.split(',').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some((key, value)) => {
                grant.selector.insert(key.to_owned(), value.to_owned());
            }
            None if part == "*" => grant.all_projects = true,
            None => grant.projects.push(part.to_owned()),
        }
    }
    match grants(std::slice::from_ref(&grant), "grant").first() {
        None => Ok(grant),
        Some(fault) if fault.path == "grant[0]" => Err(format!("{text:?}: {form}")),
        Some(fault) => Err(fault.message.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_has_one_line() {
        for good in ["admin:*", "deployer:shop,blog", "viewer:team=web"] {
            let grant = parse_grant(good).expect("a grant");
            assert_eq!(grant.to_string(), good);
        }
        for bad in [
            "admin",
            "admin:",
            "boss:*",
            "viewer:*,shop",
            "viewer:A",
            ":*",
        ] {
            assert!(parse_grant(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_says_for_whom_and_for_how_long() {
        let longest = Duration::from_secs(100 * 86_400);
        let spec = |user: &str, grants: &[&str], expires_in: &str| TokenSpec {
            user: user.to_owned(),
            grants: grants.iter().filter_map(|g| parse_grant(g).ok()).collect(),
            expires_in: expires_in.to_owned(),
            description: String::new(),
        };
        for (spec, expected) in [
            (spec("ann", &[], ""), ""),
            (spec("", &["viewer:*"], "100d"), ""),
            (spec("", &[], ""), "spec.grants"),
            (spec("ann", &[], "101d"), "spec.expiresIn"),
            (spec("ann", &[], "never"), "spec.expiresIn"),
            (spec("Ann", &[], ""), "spec.user"),
        ] {
            let document = Token {
                spec,
                ..Token::default()
            };
            let faults = token(&document, longest);
            let paths: Vec<&str> = faults.iter().map(|f| f.path.as_str()).collect();
            assert_eq!(paths.join(" "), expected, "{:?}", document.spec);
        }
    }

    #[test]
    fn a_rule_of_federation_is_bound_to_claims() {
        let mut rule = Federation::default();
        let paths = |rule: &Federation| {
            let faults = federation(rule);
            let paths: Vec<String> = faults.iter().map(|f| f.path.clone()).collect();
            paths.join(" ")
        };
        assert_eq!(
            paths(&rule),
            "spec.issuer spec.audience spec.claims spec.grants"
        );
        rule.spec.issuer = "https://ci.example".into();
        rule.spec.audience = "cara".into();
        rule.spec.grants = vec![Grant::everywhere(Role::Deployer)];
        rule.spec.claims = [("ref".into(), "*".into())].into();
        assert_eq!(paths(&rule), "spec.claims[\"ref\"]");
        rule.spec.claims = [("ref".into(), "refs/heads/*".into())].into();
        assert_eq!(paths(&rule), "");
        rule.spec.expires_in = "13h".into();
        assert_eq!(paths(&rule), "spec.expiresIn");
    }
}
