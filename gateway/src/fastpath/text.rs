//! Small readers and writers of HTTP/1 text, for requests and answers alike. Pure.

/// Why a head is not served here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It has not ended yet.
    Partial,
    /// It is not plain.
    NotPlain,
}

/// Appends all parts.
pub(super) fn push(out: &mut Vec<u8>, parts: &[&[u8]]) {
    out.reserve(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Whether a header's name is one of these, in whatever case.
pub(super) fn is_in(name: &str, names: &[&str]) -> bool {
    let mut names = names.iter();
    names.any(|other| other.len() == name.len() && name.eq_ignore_ascii_case(other))
}

/// Puts a value in its place. A value that cannot be read is refused, and so is a second one, even
/// an equal one.
pub(super) fn once<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), Refusal> {
    if place.is_some() || value.is_none() {
        return Err(Refusal::NotPlain);
    }
    *place = value;
    Ok(())
}

/// A length in digits alone; 18 of them fit into 64 bits whatever they are.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    let is_plain = (1..=18).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    let value = |sum: u64, digit: &u8| sum * 10 + u64::from(digit - b'0');
    is_plain.then(|| text.iter().fold(0, value))
}
