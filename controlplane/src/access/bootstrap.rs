//! The first token: made while there is none that may do everything, and written to a file that
//! only the server's user may read. The log says where it is, and nothing of the token.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cara_api::access::value::{self, NoRandomness};
use cara_api::access::{Grant, Role, TokenOrigin, TokenSpec, TokenStatus, Verb};
use cara_api::{Generation, ObjectMeta, Timestamp, TokenName, User};
use cara_store::{Batch, Precondition, ReadError, Store, WriteError};
use jiff::SignedDuration;

use crate::config::AccessConfig;
use crate::plan::access::{Object, Owner, rights};
use crate::repo::{self, StoredToken};

/// Name of the file in the data directory.
pub const FILE_NAME: &str = "bootstrap-token";
/// Name of the token.
const TOKEN: &str = "bootstrap";
/// How long it is good: enough to make users, not to forget it.
const LIFE: Duration = Duration::from_secs(30 * 86_400);

/// Why the first token cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The store cannot be read.
    #[error("the store cannot be read")]
    Read(#[from] ReadError),
    /// The store cannot be written.
    #[error("the store cannot be written")]
    Write(#[from] WriteError),
    /// An object cannot be read.
    #[error("{0} cannot be read")]
    Object(String),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The file cannot be written.
    #[error("cannot write {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Makes the first token if no token may do everything.
///
/// # Errors
/// See [`BootstrapError`].
pub(crate) async fn run(config: &AccessConfig, store: &dyn Store) -> Result<(), BootstrapError> {
    let Some(path) = config.bootstrap_file.as_deref() else {
        return Ok(());
    };
    let now = Timestamp::now();
    if has_admin(store, now).await? {
        return Ok(());
    }
    let text = value::generate()?;
    let token = token(text.reveal(), now);
    // The file first: a token that nobody can read would be in the way of the next one.
    let write = write_private(path, text.reveal());
    write.map_err(|source| BootstrapError::File {
        path: path.to_owned(),
        source,
    })?;
    let key = repo::token_key(&TokenName::trusted(TOKEN));
    // One of that name has ended, or was narrowed: nobody can do everything with it.
    let batch = Batch::new().put(key, repo::encode(&token), Precondition::Any);
    store.apply(batch).await?;
    let days = LIFE.as_secs() / 86_400;
    tracing::info!(file = %path.display(), days, "the first token for administrators was written: log in with it, make users, then revoke it");
    Ok(())
}

fn token(text: &str, now: Timestamp) -> StoredToken {
    let life = SignedDuration::try_from(LIFE).unwrap_or_default();
    StoredToken {
        metadata: ObjectMeta {
            name: TOKEN.to_owned(),
            uid: Some(uuid::Uuid::now_v7()),
            generation: Generation(1),
            created_at: Some(now),
            updated_at: Some(now),
            ..ObjectMeta::default()
        },
        spec: TokenSpec {
            grants: vec![Grant::everywhere(Role::Admin)],
            description: "The first token, to make users with".to_owned(),
            ..TokenSpec::default()
        },
        status: TokenStatus {
            origin: TokenOrigin::Bootstrap,
            expires_at: Some(now + life),
            hint: value::hint(text),
            created_by: "cara-server".to_owned(),
            ..TokenStatus::default()
        },
        user_uid: None,
        person: None,
        hash: value::hash(text),
    }
}

/// Whether a token exists that may do everything now.
async fn has_admin(store: &dyn Store, now: Timestamp) -> Result<bool, BootstrapError> {
    let unreadable = |entry: &cara_store::Entry| BootstrapError::Object(entry.key.to_string());
    let users = store
        .list(format!("{}{}", repo::ACCESS, repo::USERS), None)
        .await?;
    let users = users.entries.iter();
    let users: Vec<User> = users
        .map(|entry| repo::decode(entry).map_err(|_| unreadable(entry)))
        .collect::<Result<_, _>>()?;
    let tokens = store
        .list(format!("{}{}", repo::ACCESS, repo::TOKENS), None)
        .await?;
    for entry in &tokens.entries {
        let token: StoredToken = repo::decode(entry).map_err(|_| unreadable(entry))?;
        let owner =
            match token.spec.user.as_str() {
                "" => Owner::Itself,
                name => Owner::User(users.iter().find(|user| {
                    user.metadata.name == name && user.metadata.uid == token.user_uid
                })),
            };
        // A login may not come again before its end, nor what follows from one.
        let is_lasting = token.person.is_none()
            && matches!(
                token.status.origin,
                TokenOrigin::Created | TokenOrigin::Bootstrap
            );
        let bearer = rights(TOKEN, &token.spec, &token.status, owner, now);
        let may_all = bearer.is_ok_and(|b| b.rights.allow(Verb::Admin, Object::Installation));
        if is_lasting && may_all {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes a file that only its owner may read, whole or not at all.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let next = path.with_extension("new");
    // One that is left over might be readable by others.
    match std::fs::remove_file(&next) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&next)?;
    file.write_all(format!("{text}\n").as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&next, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use cara_store::SqliteStore;
    use cara_store::sqlite::Options;

    use super::*;

    #[tokio::test]
    async fn there_is_a_first_token_until_another_may_do_everything() {
        let directory = tempfile::tempdir().expect("a directory");
        let registry = prometheus::Registry::new();
        let store = SqliteStore::open(directory.path(), Options::default(), &registry);
        let store = store.expect("a store");
        let path = directory.path().join(FILE_NAME);
        let config = AccessConfig {
            bootstrap_file: Some(path.clone()),
            ..AccessConfig::default()
        };
        run(&config, &store).await.expect("written");
        let first = std::fs::read_to_string(&path).expect("a token");
        assert!(value::is_whole(first.trim()));
        let mode = std::fs::metadata(&path).expect("a file").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        run(&config, &store).await.expect("nothing to do");
        assert_eq!(std::fs::read_to_string(&path).expect("a token"), first);
        let key = repo::token_key(&TokenName::trusted(TOKEN));
        let entry = store.get(key.clone()).await.expect("read").expect("there");
        let stored = String::from_utf8(entry.value.to_vec()).expect("text");
        assert!(!stored.contains(first.trim()), "only its hash is kept");
        store
            .apply(Batch::new().delete(key, Precondition::Any))
            .await
            .expect("deleted");
        run(&config, &store).await.expect("written");
        assert_ne!(std::fs::read_to_string(&path).expect("a token"), first);
    }
}
