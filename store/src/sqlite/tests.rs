use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;

use super::*;
use crate::{Precondition, conformance};

fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(directory, Options::default(), &Registry::new()).expect("the store opens")
}

fn put(name: &str) -> Batch {
    Batch::new().put(Key::new(name), "value", Precondition::Any)
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_passes_the_conformance_suite() {
    let root = tempfile::tempdir().expect("a directory");
    let count = AtomicUsize::new(0);
    conformance::run(|| async {
        let directory = root
            .path()
            .join(count.fetch_add(1, Ordering::Relaxed).to_string());
        Arc::new(open(&directory)) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_and_revisions_survive_a_restart() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(root.path());
    store.apply(put("a")).await.expect("a write succeeds");
    let last = store
        .apply(Batch::new().delete(Key::new("a"), Precondition::Any))
        .await
        .expect("a write succeeds");
    store.compact(last).await.expect("compaction succeeds");
    drop(store);
    let store = open(root.path());
    assert_eq!(
        store.get(Key::new("a")).await.expect("a read succeeds"),
        None
    );
    let next = store.apply(put("b")).await.expect("a write succeeds");
    assert_eq!(
        next,
        Revision(last.0 + 1),
        "revisions go on even when the last rows were compacted"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_concurrent_writers_share_commits() {
    let root = tempfile::tempdir().expect("a directory");
    let registry = Registry::new();
    let store =
        SqliteStore::open(root.path(), Options::default(), &registry).expect("the store opens");
    join_all((0..64).map(|n| store.apply(put(&format!("k{n}"))))).await;
    let families = registry.gather();
    let family = families
        .iter()
        .find(|f| f.name() == "cara_store_commit_seconds")
        .expect("the metric exists");
    let commits: u64 = family
        .get_metric()
        .iter()
        .map(|m| m.get_histogram().get_sample_count())
        .sum();
    assert!(commits <= 16, "64 writers took {commits} commits");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_belongs_to_one_store() {
    let root = tempfile::tempdir().expect("a directory");
    let _first = open(root.path());
    let second = SqliteStore::open(root.path(), Options::default(), &Registry::new());
    assert!(matches!(second, Err(OpenError::InUse(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_bounded() {
    let root = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(root.path(), Options { history: 100 }, &Registry::new())
        .expect("the store opens");
    for _ in 0..30 {
        join_all((0..64).map(|_| store.apply(put("same")))).await;
    }
    let result = store.list(String::new(), Some(Revision(1))).await;
    assert!(matches!(result, Err(ReadError::Compacted { oldest }) if oldest >= Revision(1_000)));
}
