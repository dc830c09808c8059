//! The `Vary` header, to which several rules add.

use http::{HeaderValue, header};
use pingora_error::Result;
use pingora_http::ResponseHeader;

/// Says that an answer depends on a header of the request.
///
/// # Errors
/// There are more headers than a message can have.
pub(crate) fn vary(head: &mut ResponseHeader, name: &'static str) -> Result<()> {
    let is_said = head.headers.get_all(header::VARY).iter().any(|line| {
        let names = line.to_str().unwrap_or_default().split(',');
        names
            .map(str::trim)
            .any(|said| said == "*" || said.eq_ignore_ascii_case(name))
    });
    if is_said {
        return Ok(());
    }
    head.append_header(header::VARY, HeaderValue::from_static(name))?;
    Ok(())
}
