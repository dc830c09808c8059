//! Names and passwords (RFC 7617).
//!
//! Passwords are compared in constant time. A bcrypt hash takes a tenth of a second of a
//! processor, so that few are computed at once, off the threads that serve requests, and a
//! success is remembered for some minutes under a keyed hash of name, password and stored hash.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cara_api::gateway::BasicAuth;
use cara_api::secret::Hidden;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;

use super::guess::{Guesser, Guesses};

/// How long a success is remembered.
const REMEMBER: Duration = Duration::from_secs(300);
/// Successes that are remembered.
const REMEMBERED_MAX: usize = 10_000;
/// Longest header that is read, in bytes.
const HEADER_MAX: usize = 2_048;
/// bcrypt hashes that are computed at once.
const AT_ONCE: usize = 4;
/// How long one waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);
/// Highest cost of a hash that is computed: each step doubles the time, this is about 2 s.
const COST_MAX: u32 = 16;

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: String,
    password: Hidden,
}

impl Credentials {
    /// Reads the value of `Authorization`; none when it is something else.
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        if text.len() > HEADER_MAX {
            return None;
        }
        let (scheme, rest) = text.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = BASE64_STANDARD.decode(rest.trim()).ok()?;
        let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
        Some(Self {
            user: user.to_owned(),
            password: Hidden::new(password),
        })
    }
}

/// What became of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checked {
    Right,
    Wrong,
    /// Too many are being checked.
    Busy,
    /// The client failed too often, and has to wait.
    Limited(Duration),
}

/// Checks passwords.
pub(super) struct Passwords {
    /// Of this process alone: what is compared and remembered are hashes under it.
    key: hmac::Key,
    turns: Arc<Semaphore>,
    // Held for one look-up or one write.
    remembered: Mutex<HashMap<[u8; 32], Instant>>,
}

impl Passwords {
    /// None when the system has no random bytes.
    pub(super) fn new() -> Option<Self> {
        Some(Self {
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            remembered: Mutex::default(),
        })
    }

    /// Compares two secrets without telling by time where or in length they differ.
    pub(super) fn is_same(&self, a: &str, b: &str) -> bool {
        let tag = hmac::sign(&self.key, a.as_bytes());
        hmac::verify(&self.key, b.as_bytes(), tag.as_ref()).is_ok()
    }

    /// True for a success that is remembered. Does not wait.
    pub(super) fn is_remembered(
        &self,
        basic: &BasicAuth,
        given: &Credentials,
        now: Instant,
    ) -> bool {
        let Some(hash) = self.hash_of(basic, given) else {
            return false;
        };
        let key = self.memory_key(given, &hash);
        let remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        remembered.get(&key).is_some_and(|until| now < *until)
    }

    /// Checks a password; may take as long as [`TURN_TIMEOUT`] and a hash. Cancel-safe: who goes
    /// away meanwhile has tried.
    pub(super) async fn check(
        &self,
        basic: &BasicAuth,
        given: &Credentials,
        guesses: &Guesses,
        guesser: &Guesser,
    ) -> Checked {
        if let Err(wait) = guesses.count(guesser, Instant::now()) {
            return Checked::Limited(wait);
        }
        if self.is_plain_right(basic, given) {
            guesses.take_back(guesser);
            return Checked::Right;
        }
        // For a name that does not exist, the hash of another is computed, so that time does not
        // tell which names exist.
        let of_user = self.hash_of(basic, given);
        let any = basic.users.iter().map(|(_, secret)| secret.reveal());
        let any = any.into_iter().find(|secret| is_bcrypt(secret));
        let Some(hash) = of_user.clone().or_else(|| any.map(str::to_owned)) else {
            return Checked::Wrong;
        };
        // Counted again when it is tried: a browser that asks for many things at once with the
        // right password waits, but is no guesser.
        guesses.take_back(guesser);
        let turn = tokio::time::timeout(TURN_TIMEOUT, Arc::clone(&self.turns).acquire_owned());
        let Ok(Ok(turn)) = turn.await else {
            return Checked::Busy;
        };
        if self.is_remembered(basic, given, Instant::now()) {
            return Checked::Right;
        }
        if let Err(wait) = guesses.count(guesser, Instant::now()) {
            return Checked::Limited(wait);
        }
        let (password, stored) = (given.password.clone(), hash.clone());
        // The turn ends after a success is remembered, so that the next in line finds it.
        let computed = tokio::task::spawn_blocking(move || {
            let is_right = bcrypt::verify(password.reveal(), &stored).unwrap_or(false);
            (is_right, turn)
        });
        let Ok((is_right, _turn)) = computed.await else {
            guesses.take_back(guesser);
            return Checked::Busy;
        };
        if !is_right || of_user.is_none() {
            return Checked::Wrong;
        }
        guesses.take_back(guesser);
        self.remember(self.memory_key(given, &hash), Instant::now());
        Checked::Right
    }

    /// Looks at all users, whichever matches first.
    fn is_plain_right(&self, basic: &BasicAuth, given: &Credentials) -> bool {
        basic.users.iter().fold(false, |found, (user, secret)| {
            let secret = secret.reveal();
            let is_user = self.is_same(user, &given.user);
            let is_password = self.is_same(secret, given.password.reveal());
            // An empty password is one that somebody forgot to set.
            let is_plain = !secret.is_empty() && bcrypt_cost(secret).is_none();
            found | (is_user & is_password & is_plain)
        })
    }

    fn hash_of(&self, basic: &BasicAuth, given: &Credentials) -> Option<String> {
        let users = basic
            .users
            .iter()
            .filter(|(_, secret)| is_bcrypt(secret.reveal()));
        users.fold(None, |found, (user, secret)| {
            let is_user = self.is_same(user, &given.user);
            if is_user {
                Some(secret.reveal().to_owned())
            } else {
                found
            }
        })
    }

    fn memory_key(&self, given: &Credentials, hash: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [given.user.as_str(), given.password.reveal(), hash] {
            context.update(&part.len().to_le_bytes());
            context.update(part.as_bytes());
        }
        let tag = context.sign();
        <[u8; 32]>::try_from(tag.as_ref()).expect("HMAC-SHA256 gives 32 bytes")
    }

    fn remember(&self, key: [u8; 32], now: Instant) {
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.retain(|_, until| now < *until);
            if remembered.len() >= REMEMBERED_MAX {
                remembered.clear();
            }
        }
        remembered.insert(key, now + REMEMBER);
    }
}

/// Whether a secret's value is a bcrypt hash that is worth its time.
fn is_bcrypt(secret: &str) -> bool {
    secret.len() == 60 && bcrypt_cost(secret).is_some_and(|cost| cost <= COST_MAX)
}

/// The cost that a value with the form of a bcrypt hash has; none for a password. A hash that
/// cannot be used, as it costs too much or is cut off, is right for nobody: else whoever reads it
/// could come in with it.
fn bcrypt_cost(secret: &str) -> Option<u32> {
    let of_version = |prefix: &&str| secret.strip_prefix(*prefix);
    let rest = ["$2a$", "$2b$", "$2y$"].iter().find_map(of_version)?;
    let (cost, _) = rest.split_once('$')?;
    let is_number = cost.len() == 2 && cost.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| cost.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bob(hash: String) -> BasicAuth {
        BasicAuth {
            users: vec![("bob".into(), Hidden::new(hash))],
            realm: String::new(),
        }
    }

    fn hash(password: &str, salt: u8) -> String {
        let hash = bcrypt::hash_with_salt(password, 4, [salt; 16]).expect("a hash");
        hash.to_string()
    }

    fn client() -> Guesser {
        Guesser::new("192.0.2.1".parse().ok(), "shop")
    }

    fn given(user: &str, password: &str) -> Credentials {
        let text = BASE64_STANDARD.encode(format!("{user}:{password}"));
        Credentials::parse(format!("Basic {text}").as_bytes()).expect("credentials")
    }

    #[test]
    fn only_basic_credentials_are_read() {
        let read = |value: &str| {
            let read = Credentials::parse(value.as_bytes());
            read.map(|c| (c.user, c.password.reveal().to_owned()))
        };
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        for (value, expected) in [
            ("Basic YTpi", pair("a", "b")),
            ("basic YTpi", pair("a", "b")),
            ("Basic YTpiOmM=", pair("a", "b:c")),
            ("Basic Og==", pair("", "")),
            ("Basic YQ==", None),
            ("Basic !", None),
            ("Basic /w==", None),
            ("Bearer YTpi", None),
            ("Basic", None),
            ("", None),
        ] {
            assert_eq!(read(value), expected, "{value}");
        }
    }

    #[tokio::test]
    async fn passwords_and_hashes_open_for_their_own_user_alone() {
        let passwords = Passwords::new().expect("random bytes");
        let (guesses, client) = (Guesses::default(), client());
        let hash = |password: &str| bcrypt::hash_with_salt(password, 4, [7; 16]).expect("a hash");
        let b = hash("swordfish").format_for_version(bcrypt::Version::TwoB);
        let y = hash("tuna").format_for_version(bcrypt::Version::TwoY);
        let too_dear = b.replacen("$04$", "$17$", 1);
        let with_newline = format!("{b}\n");
        let basic = BasicAuth {
            users: vec![
                ("ann".into(), Hidden::new("secret")),
                ("bob".into(), Hidden::new(b.clone())),
                ("cat".into(), Hidden::new(y)),
                ("dan".into(), Hidden::new("")),
                ("fay".into(), Hidden::new(too_dear.clone())),
                ("gus".into(), Hidden::new(with_newline.clone())),
            ],
            realm: String::new(),
        };
        for (user, password, expected) in [
            ("ann", "secret", Checked::Right),
            ("ann", "Secret", Checked::Wrong),
            ("ann", "swordfish", Checked::Wrong),
            ("bob", "swordfish", Checked::Right),
            ("bob", "tuna", Checked::Wrong),
            ("bob", &b, Checked::Wrong),
            ("cat", "tuna", Checked::Right),
            ("dan", "", Checked::Wrong),
            ("fay", &too_dear, Checked::Wrong),
            ("fay", "swordfish", Checked::Wrong),
            ("gus", &with_newline, Checked::Wrong),
            ("eve", "swordfish", Checked::Wrong),
            ("", "", Checked::Wrong),
        ] {
            let given = given(user, password);
            assert_eq!(
                passwords.check(&basic, &given, &guesses, &client).await,
                expected,
                "{user} {password}"
            );
            let is_remembered = passwords.is_remembered(&basic, &given, Instant::now());
            let is_hash = matches!(user, "bob" | "cat");
            assert_eq!(
                is_remembered,
                is_hash && expected == Checked::Right,
                "{user}"
            );
        }
    }

    #[tokio::test]
    async fn a_changed_hash_is_not_remembered() {
        let passwords = Passwords::new().expect("random bytes");
        let basic = |salt: u8| bob(hash("x", salt));
        let (given, now) = (given("bob", "x"), Instant::now());
        let (one, guesses, who) = (basic(1), Guesses::default(), client());
        let checked = passwords.check(&one, &given, &guesses, &who).await;
        assert_eq!(checked, Checked::Right);
        assert!(passwords.is_remembered(&basic(1), &given, now));
        assert!(!passwords.is_remembered(&basic(2), &given, now));
        assert!(!passwords.is_remembered(&basic(1), &given, now + REMEMBER * 2));
    }

    /// What 40 tries at once come to.
    async fn try_at_once(password: &'static str) -> Vec<Checked> {
        let passwords = Arc::new(Passwords::new().expect("random bytes"));
        let guesses = Arc::new(Guesses::default());
        let basic = Arc::new(bob(hash("x", 1)));
        let mut tries = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let (passwords, guesses) = (Arc::clone(&passwords), Arc::clone(&guesses));
            let basic = Arc::clone(&basic);
            tries.spawn(async move {
                let given = given("bob", password);
                passwords.check(&basic, &given, &guesses, &client()).await
            });
        }
        tries.join_all().await
    }

    #[tokio::test]
    async fn the_limit_of_guesses_holds_for_many_at_once() {
        let checked = try_at_once("guess").await;
        let tried = checked.iter().filter(|c| **c == Checked::Wrong).count();
        // One is forgiven every six seconds.
        assert!((20..=21).contains(&tried), "{checked:?}");
        let is_told = |c: &Checked| matches!(c, Checked::Wrong | Checked::Limited(_));
        assert!(checked.iter().all(is_told), "{checked:?}");
    }

    #[tokio::test]
    async fn the_right_password_comes_in_many_times_at_once() {
        let checked = try_at_once("x").await;
        assert_eq!(checked, [Checked::Right; 40]);
    }

    #[test]
    fn a_password_is_not_shown() {
        let shown = format!("{:?}", given("bob", "swordfish"));
        assert!(!shown.contains("swordfish"), "{shown}");
    }
}
