//! The built-in page. It loads nothing from anywhere.

use super::answer::{Answer, Shown};

/// The page of an answer.
pub(super) fn page(answer: &Answer, shown: Shown<'_>) -> String {
    let refresh = match answer.refresh_s() {
        Some(seconds) => format!("\n<meta http-equiv=\"refresh\" content=\"{seconds}\">"),
        None => String::new(),
    };
    let again = answer
        .refresh_s()
        .map_or("", |_| "This page tries again by itself.");
    let advice = match [answer.advice(), again].join(" ").trim() {
        "" => String::new(),
        advice => format!("<p class=\"advice\">{}</p>\n", escape(advice)),
    };
    let row = |name: &str, value: &str| match value {
        "" => String::new(),
        value => format!("<div><dt>{name}</dt><dd>{}</dd></div>\n", escape(value)),
    };
    // Numbers are for what went wrong.
    let status = Some(answer.status()).filter(|status| *status >= 400);
    format!(
        include_str!("page.html"),
        kind = kind(answer),
        refresh = refresh,
        number = status.map_or_else(String::new, |status| format!("{status} ")),
        status = status.map_or_else(String::new, |status| {
            format!("<p class=\"status\">{status}</p>\n")
        }),
        title = answer.title(),
        detail = escape(&answer.detail()),
        advice = advice,
        host = row("Host", shown.host),
        state = row("State", &answer.state().unwrap_or_default()),
        id = row("Request", shown.request_id),
    )
}

/// Whose turn it is, which the page shows by its colour.
fn kind(answer: &Answer) -> &'static str {
    match answer.status() {
        ..400 => "done",
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
