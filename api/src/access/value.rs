//! The text form of tokens: `cara_`, 43 characters of base62 for 256 random bits, and a checksum
//! of 6 characters, so that scanners for secrets recognise one and slips of the pen are noticed
//! before anybody is asked.

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

use crate::secret::Hidden;

/// What every token begins with.
pub const PREFIX: &str = "cara_";
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_BYTES: usize = 32;
/// The fewest characters of base62 that hold 256 bits.
const RANDOM_CHARS: usize = 43;
/// The same for 32 bits.
const CHECKSUM_CHARS: usize = 6;
/// Random characters that are shown to tell tokens apart: too few to be of use to anybody.
const HINT_CHARS: usize = 4;

/// The system gives no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

/// A new token.
///
/// # Errors
/// See [`NoRandomness`].
pub fn generate() -> Result<Hidden, NoRandomness> {
    let mut bytes = [0; RANDOM_BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| NoRandomness)?;
    Ok(Hidden::new(of_bytes(bytes)))
}

fn of_bytes(bytes: [u8; RANDOM_BYTES]) -> String {
    let random = base62(&bytes, RANDOM_CHARS);
    let checksum = checksum(&random);
    format!("{PREFIX}{random}{checksum}")
}

/// Whether a text has the form of a token: prefix, length, alphabet and checksum.
pub fn is_whole(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(PREFIX) else {
        return false;
    };
    let is_text = rest.bytes().all(|byte| ALPHABET.contains(&byte));
    is_text && rest.len() == RANDOM_CHARS + CHECKSUM_CHARS && {
        let (random, given) = rest.split_at(RANDOM_CHARS);
        checksum(random) == given
    }
}

/// What is kept of a token: its SHA-256 in hexadecimal digits.
pub fn hash(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    let digits = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}

/// How a token begins.
pub fn hint(text: &str) -> String {
    text.chars().take(PREFIX.len() + HINT_CHARS).collect()
}

fn checksum(random: &str) -> String {
    let sum = crc32fast::hash(format!("{PREFIX}{random}").as_bytes());
    base62(&sum.to_be_bytes(), CHECKSUM_CHARS)
}

/// A number in base62, most significant digit first, filled up with zeros.
fn base62(bytes: &[u8], chars: usize) -> String {
    let mut number = bytes.to_vec();
    let mut digits = Vec::with_capacity(chars);
    for _ in 0..chars {
        let mut rest = 0_u32;
        for byte in &mut number {
            let value = rest * 256 + u32::from(*byte);
            *byte = u8::try_from(value / 62).expect("the rest is below 62");
            rest = value % 62;
        }
        let place = usize::try_from(rest).expect("below 62");
        digits.push(char::from(ALPHABET[place]));
    }
    digits.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_one_form_and_are_never_the_same() {
        let (one, other) = (generate().expect("random"), generate().expect("random"));
        assert_ne!(one, other);
        for token in [&one, &other] {
            let text = token.reveal();
            assert_eq!(text.len(), 54);
            assert!(text.starts_with(PREFIX) && is_whole(text), "{text}");
            assert_eq!(hash(text).len(), 64);
            assert_eq!(hint(text).len(), 9);
        }
    }

    #[test]
    fn numbers_are_written_in_base62() {
        assert_eq!(base62(&[0; 4], 6), "000000");
        assert_eq!(base62(&61_u32.to_be_bytes(), 6), "00000z");
        assert_eq!(base62(&62_u32.to_be_bytes(), 6), "000010");
        assert_eq!(base62(&u32::MAX.to_be_bytes(), 6), "4gfFC3");
        let most = of_bytes([255; RANDOM_BYTES]);
        assert!(is_whole(&most), "{most}");
    }

    #[test]
    fn a_slip_of_the_pen_is_noticed() {
        let token = of_bytes([7; RANDOM_BYTES]);
        for place in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[place] = if changed[place] == b'x' { b'y' } else { b'x' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert!(!is_whole(&changed), "{changed}");
        }
        for text in ["", PREFIX, &token[..53], &format!("{token}0"), "cara_é"] {
            assert!(!is_whole(text), "{text}");
        }
    }
}
