//! Users, tokens and federation rules in columns.

use cara_api::access::{Grant, TokenOrigin};
use cara_api::{Federation, Timestamp, Token, User};

use super::super::table::{age, moment, or};
use super::rows::{Reserved, Rows};

/// Grants as people write them.
fn grants(grants: &[Grant]) -> String {
    let all: Vec<String> = grants.iter().map(ToString::to_string).collect();
    or(&all.join(" "), "-").to_owned()
}

impl Rows for User {
    const HEADER: &'static [&'static str] = &["NAME", "MAY", "STATE", "WHO"];
    const WIDE: &'static [&'static str] = &["CREATED"];

    fn row(&self, _: Timestamp) -> Vec<String> {
        let state = match self.spec.suspended {
            true => "suspended",
            false => "active",
        };
        vec![
            self.metadata.name.clone(),
            grants(&self.spec.grants),
            state.to_owned(),
            or(&self.spec.display_name, "-").to_owned(),
        ]
    }

    fn wide(&self, _: &Reserved) -> Vec<String> {
        vec![moment(self.metadata.created_at)]
    }
}

impl Rows for Token {
    const HEADER: &'static [&'static str] =
        &["NAME", "ACTS FOR", "MAY", "EXPIRES", "LAST USED", "BEGINS"];
    const WIDE: &'static [&'static str] = &["EXPIRES AT", "LAST USED AT", "CREATED", "DESCRIPTION"];

    fn row(&self, now: Timestamp) -> Vec<String> {
        let status = &self.status;
        let whom = or(&self.spec.user, or(&status.subject, "-")).to_owned();
        let is_created = status.origin == TokenOrigin::Created;
        let is_of_person = is_created && !status.subject.is_empty();
        let is_of_somebody = is_of_person || !self.spec.user.is_empty();
        let may = match (is_of_somebody, self.spec.grants.is_empty()) {
            (false, _) => grants(&self.spec.grants),
            (true, true) => "all that they may".to_owned(),
            (true, false) => format!("within {}", grants(&self.spec.grants)),
        };
        let end = match status.expires_at {
            Some(end) if end <= now => "expired".to_owned(),
            Some(end) => format!("in {}", age(Some(now), end)),
            None => "-".to_owned(),
        };
        let used = status.last_used.map(|used| age(Some(used), now));
        let used = used.map_or("never".to_owned(), |age| format!("{age} ago"));
        vec![
            self.metadata.name.clone(),
            whom,
            may,
            end,
            used,
            status.hint.clone(),
        ]
    }

    fn wide(&self, _: &Reserved) -> Vec<String> {
        let at = |time: Option<Timestamp>| time.map_or("-".to_owned(), |_| moment(time));
        vec![
            at(self.status.expires_at),
            at(self.status.last_used),
            moment(self.metadata.created_at),
            or(&self.spec.description, "-").to_owned(),
        ]
    }

    fn conceal(&mut self) {
        self.value = None;
    }
}

impl Rows for Federation {
    const HEADER: &'static [&'static str] = &["NAME", "ISSUER", "CLAIMS", "MAY"];
    const WIDE: &'static [&'static str] = &["AUDIENCE", "EXPIRES IN", "CREATED"];

    fn row(&self, _: Timestamp) -> Vec<String> {
        let claims = self.spec.claims.iter();
        let claims: Vec<String> = claims.map(|(k, v)| format!("{k}={v}")).collect();
        vec![
            self.metadata.name.clone(),
            self.spec.issuer.clone(),
            claims.join(" "),
            grants(&self.spec.grants),
        ]
    }

    fn wide(&self, _: &Reserved) -> Vec<String> {
        vec![
            self.spec.audience.clone(),
            or(&self.spec.expires_in, "-").to_owned(),
            moment(self.metadata.created_at),
        ]
    }
}
