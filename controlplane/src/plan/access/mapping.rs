//! What claims of a login are good for.

use std::collections::BTreeMap;

use cara_api::access::Grant;
use cara_api::access::validate::parse_grant;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Claims of a token.
pub type Claims = Map<String, Value>;

/// Who has a claim, gets a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRule {
    claim: String,
    value: String,
    grant: Grant,
}

/// Reads rules as settings write them: `CLAIM=VALUE GRANT`, separated by semicolons.
///
/// # Errors
/// Says what is wrong, for people.
pub fn parse_rules(text: &str) -> Result<Vec<RoleRule>, String> {
    let parts = text
        .split(';')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts.map(parse_rule).collect()
}

fn parse_rule(text: &str) -> Result<RoleRule, String> {
    let parts = text
        .rsplit_once(char::is_whitespace)
        .and_then(|(claim, grant)| {
            let (claim, value) = claim.trim().split_once('=')?;
            (!claim.is_empty() && !value.is_empty()).then_some((claim, value, grant))
        });
    let (claim, value, grant) = parts.ok_or_else(|| {
        format!("{text:?}: write it as CLAIM=VALUE GRANT, such as groups=ops admin:*")
    })?;
    Ok(RoleRule {
        claim: claim.to_owned(),
        value: value.to_owned(),
        grant: parse_grant(grant)?,
    })
}

/// A claim that somebody had when they logged in, and that a rule names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    claim: String,
    value: String,
}

/// What of some rules fits these claims.
pub fn marks(claims: &Claims, rules: &[RoleRule]) -> Vec<Mark> {
    let fitting = rules.iter().filter(|rule| {
        let found = trusted(claims, &rule.claim);
        found.is_some_and(|found| any_is(found, &|text| text == rule.value))
    });
    let mut marks: Vec<Mark> = Vec::new();
    for rule in fitting {
        let mark = Mark {
            claim: rule.claim.clone(),
            value: rule.value.clone(),
        };
        if !marks.contains(&mark) {
            marks.push(mark);
        }
    }
    marks
}

/// What somebody with these marks gets by the rules as they are now.
pub fn grants_of(marks: &[Mark], rules: &[RoleRule]) -> Vec<Grant> {
    let is_so = |rule: &&RoleRule| {
        let mut marks = marks.iter();
        marks.any(|mark| mark.claim == rule.claim && mark.value == rule.value)
    };
    rules
        .iter()
        .filter(is_so)
        .map(|rule| rule.grant.clone())
        .collect()
}

/// What somebody with these claims gets.
pub fn grants(claims: &Claims, rules: &[RoleRule]) -> Vec<Grant> {
    grants_of(&marks(claims, rules), rules)
}

/// Whether claims are what a federation rule wants: each the whole value, or the beginning of it
/// where the rule ends in `*`. A rule that wants nothing fits nobody.
pub fn fits(claims: &Claims, wanted: &BTreeMap<String, String>) -> bool {
    let is_so = |(name, value): (&String, &String)| {
        let Some(found) = trusted(claims, name) else {
            return false;
        };
        match value.strip_suffix('*') {
            Some("") => false,
            Some(beginning) => any_is(found, &|text| text.starts_with(beginning)),
            None => any_is(found, &|text| text == value),
        }
    };
    !wanted.is_empty() && wanted.iter().all(is_so)
}

/// A claim that somebody can be known by. An address is none when the issuer says that it did not
/// verify it: anybody may write down anybody's (OpenID Connect Core 1.0, section 5.1).
fn trusted<'c>(claims: &'c Claims, name: &str) -> Option<&'c Value> {
    let is_verified = match claims.get("email_verified") {
        None | Some(Value::Bool(true)) => true,
        Some(other) => other.as_str() == Some("true"),
    };
    claims.get(name).filter(|_| name != "email" || is_verified)
}

/// Whether a claim, or one of several, is such a text.
fn any_is(found: &Value, is_such: &dyn Fn(&str) -> bool) -> bool {
    match found {
        Value::String(text) => is_such(text),
        Value::Bool(yes) => is_such(&yes.to_string()),
        Value::Number(number) => is_such(&number.to_string()),
        Value::Array(items) => items
            .iter()
            .any(|item| !item.is_array() && any_is(item, is_such)),
        Value::Null | Value::Object(_) => false,
    }
}

/// Who somebody is to their issuer: nobody else ever gets this name, while addresses are given to
/// others and, at some issuers, chosen freely (OpenID Connect Core 1.0, section 5.7).
pub fn sub(claims: &Claims) -> Option<&str> {
    let sub = claims.get("sub").and_then(Value::as_str);
    sub.filter(|sub| !sub.is_empty())
}

/// How people and the audit log name who logged in: an address that the issuer vouches for, or the
/// issuer's own name for them. No user can have such a name. Two people may have the same: what
/// somebody may do goes by [`sub`].
pub fn subject(claims: &Claims) -> Option<String> {
    let text = |name: &str| trusted(claims, name).and_then(Value::as_str);
    let is_short = |text: &&str| !text.is_empty() && text.len() <= 200;
    let is_clean = |text: &&str| text.chars().all(|c| c.is_ascii_graphic());
    let email = text("email").filter(|email| email.contains('@'));
    if let Some(email) = email.filter(is_short).filter(is_clean) {
        return Some(email.to_owned());
    }
    let sub = text("sub").filter(is_short).filter(is_clean)?;
    Some(format!("oidc:{sub}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(value: Value) -> Claims {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn a_claim_gives_a_role() {
        let rules =
            parse_rules("groups=ops admin:*; groups=dev developer:team=web;email=a@x viewer:*");
        let rules = rules.expect("rules");
        let shown = |value| {
            let grants = grants(&claims(value), &rules);
            let texts: Vec<String> = grants.iter().map(ToString::to_string).collect();
            texts.join(" ")
        };
        assert_eq!(
            shown(json!({"groups": ["dev", "ops"]})),
            "admin:* developer:team=web"
        );
        assert_eq!(shown(json!({"groups": "dev"})), "developer:team=web");
        assert_eq!(
            shown(json!({"email": "a@x", "email_verified": true})),
            "viewer:*"
        );
        // Anybody can write down this address.
        assert_eq!(shown(json!({"email": "a@x", "email_verified": false})), "");
        assert_eq!(
            shown(json!({"groups": ["devs"], "email": "a@x"})),
            "viewer:*"
        );
        assert_eq!(shown(json!({"groups": [["ops"]], "roles": ["ops"]})), "");
        for bad in [
            "groups=ops",
            "ops admin:*",
            "groups= admin:*",
            "groups=a boss:*",
        ] {
            assert!(parse_rules(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_federation_rule_wants_all_of_its_claims() {
        let token = claims(json!({"repository": "org/shop", "ref": "refs/heads/main", "n": 7}));
        for (wanted, expected) in [
            (json!({"repository": "org/shop"}), true),
            (
                json!({"repository": "org/shop", "ref": "refs/heads/*"}),
                true,
            ),
            (
                json!({"repository": "org/shop", "ref": "refs/tags/*"}),
                false,
            ),
            (json!({"repository": "org/sho"}), false),
            (
                json!({"repository": "org/shop", "environment": "prod"}),
                false,
            ),
            (json!({"n": "7"}), true),
            (json!({"ref": "*"}), false),
            (json!({}), false),
        ] {
            let wanted: BTreeMap<String, String> = serde_json::from_value(wanted).expect("claims");
            assert_eq!(fits(&token, &wanted), expected, "{wanted:?}");
        }
    }

    #[test]
    fn people_are_who_their_issuer_says_by_sub_alone() {
        for (value, expected) in [
            (json!({"sub": "u-1", "email": "ann@x.example"}), Some("u-1")),
            (json!({"sub": "u 1"}), Some("u 1")),
            (json!({"email": "ann@x.example"}), None),
            (json!({"sub": "", "email": "ann@x.example"}), None),
            (json!({"sub": 7}), None),
        ] {
            let claims = claims(value);
            assert_eq!(sub(&claims), expected, "{claims:?}");
        }
    }

    #[test]
    fn people_are_named_by_what_the_issuer_vouches_for() {
        for (value, expected) in [
            (
                json!({"sub": "u-1", "email": "ann@x.example"}),
                Some("ann@x.example"),
            ),
            (
                json!({"sub": "u-1", "email": "ann@x.example", "email_verified": false}),
                Some("oidc:u-1"),
            ),
            (json!({"sub": "u-1", "email": "ann"}), Some("oidc:u-1")),
            (json!({"sub": "u 1"}), None),
            (json!({"email_verified": true}), None),
        ] {
            assert_eq!(
                subject(&claims(value.clone())).as_deref(),
                expected,
                "{value}"
            );
        }
    }
}
