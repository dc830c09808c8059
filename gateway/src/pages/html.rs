//! The built-in page. It loads nothing from anywhere.

use super::{Answer, Shown};

/// The page of an answer.
pub(super) fn page(answer: &Answer, shown: Shown<'_>) -> String {
    let refresh = match answer.refresh_s() {
        Some(seconds) => format!("\n<meta http-equiv=\"refresh\" content=\"{seconds}\">"),
        None => String::new(),
    };
    let advice = match (answer.refresh_s(), answer.advice()) {
        (Some(_), _) => "<p class=\"advice\">This page tries again by itself.</p>\n".to_owned(),
        (None, "") => String::new(),
        (None, advice) => format!("<p class=\"advice\">{advice}</p>\n"),
    };
    let host = match shown.host {
        "" => String::new(),
        host => format!("<div><dt>Host</dt><dd>{}</dd></div>\n", escape(host)),
    };
    format!(
        include_str!("page.html"),
        kind = kind(answer),
        refresh = refresh,
        title = answer.title(),
        status = answer.status(),
        detail = escape(&answer.detail()),
        advice = advice,
        host = host,
        id = escape(shown.request_id),
    )
}

/// Whose turn it is, which the page shows by its colour.
fn kind(answer: &Answer) -> &'static str {
    match answer.status() {
        503 | 429 => "wait",
        500.. => "fault",
        _ => "client",
    }
}

/// Text as HTML, also within attributes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}
