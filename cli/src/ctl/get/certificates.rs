//! Certificates in columns.

use cara_api::certificate::ManagedBy;
use cara_api::condition::{self, READY};
use cara_api::{Certificate, Timestamp};

use super::super::table::{age, moment, or};
use super::rows::{Reserved, Rows};

/// How many names a column shows.
const NAMES_MAX: usize = 3;

impl Rows for Certificate {
    const HEADER: &'static [&'static str] = &[
        "NAME",
        "NAMES",
        "ISSUER",
        "EXPIRES IN",
        "STATE",
        "MANAGED BY",
    ];
    const WIDE: &'static [&'static str] =
        &["SERVES", "NEXT TRY", "EXPIRES", "CREATED", "LAST ERROR"];

    fn row(&self, now: Timestamp) -> Vec<String> {
        let status = &self.status;
        let state = condition::find(&status.conditions, READY).map(|c| c.reason.as_str());
        vec![
            self.metadata.name.clone(),
            or(&names(&status.names), "<none>").to_owned(),
            or(&status.issuer, "<none>").to_owned(),
            expires_in(status.not_after, now),
            state.unwrap_or("<unknown>").to_owned(),
            status.managed_by.as_str().to_owned(),
        ]
    }

    fn wide(&self, _: &Reserved) -> Vec<String> {
        let status = &self.status;
        let next_try = status.next_try.map(|t| format!("{t:.0}"));
        vec![
            status.serves_count.to_string(),
            next_try.unwrap_or_else(|| "-".to_owned()),
            moment(status.not_after),
            moment(self.metadata.created_at),
            or(status.last_error.lines().next().unwrap_or_default(), "-").to_owned(),
        ]
    }

    fn conceal(&mut self) {
        self.spec.private_key = cara_api::secret::Hidden::default();
    }
}

fn names(names: &[String]) -> String {
    let shown = names.iter().take(NAMES_MAX).cloned();
    let mut shown = shown.collect::<Vec<_>>().join(",");
    if let more @ 1.. = names.len().saturating_sub(NAMES_MAX) {
        shown.push_str(&format!(",+{more}"));
    }
    shown
}

/// How long a certificate is still valid, in the largest unit, truncated.
pub(in super::super) fn expires_in(not_after: Option<Timestamp>, now: Timestamp) -> String {
    match not_after {
        None => "-".to_owned(),
        Some(end) if end < now => "<expired>".to_owned(),
        // The same words as for an age: the time between two moments.
        Some(end) => age(Some(now), end),
    }
}

/// Who takes care of a certificate, in a few words.
pub(in super::super) fn caretaker(managed_by: ManagedBy) -> &'static str {
    match managed_by {
        ManagedBy::User => "a user: replace it in time",
        ManagedBy::Acme => "the server: obtained and renewed by ACME",
        ManagedBy::Ca => "the server: issued by its internal authority (caractrl ca install)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::table::table;
    use cara_api::Condition;

    #[test]
    fn a_certificate_shows_what_it_covers_and_when_it_ends() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let mut certificate = Certificate::default();
        certificate.metadata.name = "shop".to_owned();
        let status = &mut certificate.status;
        status.names = ["a.org", "b.org", "c.org", "d.org"]
            .map(str::to_owned)
            .into();
        status.issuer = "R3".to_owned();
        status.not_after = Some(at(90 * 86_400));
        status.conditions = vec![Condition::new(READY, true, "Valid", "", at(0))];
        let row = certificate.row(at(86_400));
        assert_eq!(
            table(Certificate::HEADER, &[row]),
            "NAME   NAMES                  ISSUER   EXPIRES IN   STATE   MANAGED BY\n\
             shop   a.org,b.org,c.org,+1   R3       89d          Valid   user\n"
        );
        assert_eq!(expires_in(Some(at(5)), at(6)), "<expired>");
        assert_eq!(expires_in(None, at(6)), "-");
    }
}
