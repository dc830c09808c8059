//! The suite that every engine must pass.
//!
//! Each check gets a store of its own, empty and at revision 0 or later. A check panics with a
//! sentence when the engine breaks a promise of [`crate::Store`].

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use futures_util::{FutureExt, StreamExt};

use crate::{
    Batch, Changes, Entry, Event, Key, Precondition, ReadError, Revision, Store, Watch, WriteError,
};

/// How long a watch may take to show a change before it counts as lost.
const WATCH_DEADLINE: Duration = Duration::from_secs(10);

type Check = fn(Arc<dyn Store>) -> BoxFuture<'static, ()>;

/// Every check with its name.
pub const CHECKS: &[(&str, Check)] = &[
    ("revisions grow by one with every batch that writes", |s| {
        revisions(s).boxed()
    }),
    ("a batch may leap over revisions", |s| leaps(s).boxed()),
    ("preconditions guard every step", |s| {
        preconditions(s).boxed()
    }),
    ("a refused batch leaves nothing behind", |s| {
        atomicity(s).boxed()
    }),
    ("a batch may not name a key twice", |s| {
        duplicates(s).boxed()
    }),
    ("concurrent conditional writers lose no update", |s| {
        contention(s).boxed()
    }),
    ("a list shows one revision, sorted, under its prefix", |s| {
        lists(s).boxed()
    }),
    ("a watch yields every change once and in order", |s| {
        watches(s).boxed()
    }),
    ("a watch resumes without gap or duplicate", |s| {
        resumes(s).boxed()
    }),
    ("a slow watch loses nothing in a burst", |s| {
        bursts(s).boxed()
    }),
    ("compaction keeps values and refuses old revisions", |s| {
        compaction(s).boxed()
    }),
];

/// Runs every check against a fresh store of `open`.
pub async fn run<F, Fut>(open: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Store>>,
{
    for (name, check) in CHECKS {
        tracing::info!(name, "conformance check");
        check(open().await).await;
    }
}

fn key(text: &str) -> Key {
    Key::new(text)
}

async fn put(
    store: &Arc<dyn Store>,
    name: &str,
    value: &str,
    when: Precondition,
) -> Result<Revision, WriteError> {
    store
        .apply(Batch::new().put(key(name), value.to_owned(), when))
        .await
}

async fn read(store: &Arc<dyn Store>, name: &str) -> Option<Entry> {
    store.get(key(name)).await.expect("a read succeeds")
}

async fn head(store: &Arc<dyn Store>) -> Revision {
    store
        .list(String::new(), None)
        .await
        .expect("a list succeeds")
        .revision
}

fn is_conflict_on(result: &Result<Revision, WriteError>, name: &str) -> bool {
    matches!(result, Err(WriteError::Conflict { key }) if key.as_str() == name)
}

async fn next(watch: &mut Watch) -> Changes {
    let item = tokio::time::timeout(WATCH_DEADLINE, watch.next())
        .await
        .expect("a watch shows a change in time");
    item.expect("a watch does not end")
        .expect("a watch does not fail")
}

async fn revisions(store: Arc<dyn Store>) {
    let start = head(&store).await.0;
    for step in 1..=3 {
        let revision = put(&store, "a", "x", Precondition::Any)
            .await
            .expect("a write succeeds");
        assert_eq!(
            revision,
            Revision(start + step),
            "each batch takes the next revision"
        );
    }
    let both =
        Batch::new()
            .put(key("b"), "1", Precondition::Any)
            .put(key("c"), "2", Precondition::Any);
    let revision = store.apply(both).await.expect("a write succeeds");
    let (b, c) = (read(&store, "b").await, read(&store, "c").await);
    let modified = |entry: Option<Entry>| entry.map(|e| (e.created, e.modified));
    assert_eq!(
        modified(b),
        Some((revision, revision)),
        "all keys of a batch share its revision"
    );
    assert_eq!(
        modified(c),
        Some((revision, revision)),
        "all keys of a batch share its revision"
    );
    let a = read(&store, "a").await.map(|e| (e.created, e.modified));
    assert_eq!(
        a,
        Some((Revision(start + 1), Revision(start + 3))),
        "a key remembers when it was created"
    );
    let unchanged = store
        .apply(Batch::new().delete(key("ghost"), Precondition::Any))
        .await;
    assert_eq!(
        unchanged.ok(),
        Some(revision),
        "a batch that changes nothing takes no revision"
    );
}

async fn leaps(store: Arc<dyn Store>) {
    let before = head(&store).await;
    let mut watch = store.watch(String::new(), before);
    let far = Revision(before.0 + 1_000_000);
    let batch = || Batch::new().put(Key::new("a"), "1", Precondition::Any);
    let leapt = store.apply_beyond(batch(), far).await.expect("applied");
    assert!(leapt > far, "{leapt} is greater than {far}");
    assert_eq!(head(&store).await, leapt, "the leap is the head");
    assert_eq!(next(&mut watch).await.revision, leapt, "a watch sees it");
    let entry = read(&store, "a").await.expect("written");
    assert_eq!((entry.created, entry.modified), (leapt, leapt));
    let after = store.apply_beyond(batch(), far).await.expect("applied");
    assert!(after > leapt, "no revision is given twice");
}

async fn preconditions(store: Arc<dyn Store>) {
    assert!(
        is_conflict_on(&put(&store, "a", "x", Precondition::Present).await, "a"),
        "absent is not present"
    );
    assert!(
        is_conflict_on(
            &put(&store, "a", "x", Precondition::At(Revision(1))).await,
            "a"
        ),
        "absent is at no revision"
    );
    let first = put(&store, "a", "1", Precondition::Absent)
        .await
        .expect("absent holds");
    assert!(
        is_conflict_on(&put(&store, "a", "2", Precondition::Absent).await, "a"),
        "present is not absent"
    );
    let second = put(&store, "a", "2", Precondition::At(first))
        .await
        .expect("the revision matches");
    assert!(
        is_conflict_on(&put(&store, "a", "3", Precondition::At(first)).await, "a"),
        "an old revision conflicts"
    );
    let stale = store
        .apply(Batch::new().delete(key("a"), Precondition::At(first)))
        .await;
    assert!(is_conflict_on(&stale, "a"), "a delete is conditional too");
    store
        .apply(Batch::new().delete(key("a"), Precondition::At(second)))
        .await
        .expect("the revision matches");
    assert_eq!(read(&store, "a").await, None, "a deleted key is absent");
    let third = put(&store, "a", "3", Precondition::Absent)
        .await
        .expect("a deleted key is absent");
    let created = read(&store, "a").await.map(|e| e.created);
    assert_eq!(
        created,
        Some(third),
        "a key that was deleted is created anew"
    );
}

async fn atomicity(store: Arc<dyn Store>) {
    let before = put(&store, "a", "1", Precondition::Any)
        .await
        .expect("a write succeeds");
    let batch = Batch::new()
        .put(key("b"), "1", Precondition::Absent)
        .delete(key("a"), Precondition::Any)
        .require(key("c"), Precondition::Present);
    assert!(
        is_conflict_on(&store.apply(batch).await, "c"),
        "the failing check is named"
    );
    assert_eq!(
        read(&store, "b").await,
        None,
        "no step of a refused batch is applied"
    );
    assert!(
        read(&store, "a").await.is_some(),
        "no step of a refused batch is applied"
    );
    assert_eq!(
        head(&store).await,
        before,
        "a refused batch takes no revision"
    );
}

async fn duplicates(store: Arc<dyn Store>) {
    let batch = Batch::new()
        .put(key("a"), "1", Precondition::Any)
        .delete(key("a"), Precondition::Any);
    let result = store.apply(batch).await;
    assert!(
        matches!(result, Err(WriteError::DuplicateKey { .. })),
        "the order within a batch is not defined"
    );
}

async fn contention(store: Arc<dyn Store>) {
    put(&store, "n", "0", Precondition::Any)
        .await
        .expect("a write succeeds");
    let increment = |store: Arc<dyn Store>| async move {
        loop {
            let entry = read(&store, "n").await.expect("the counter exists");
            let number: u64 = std::str::from_utf8(&entry.value)
                .expect("text")
                .parse()
                .expect("a number");
            match put(
                &store,
                "n",
                &(number + 1).to_string(),
                Precondition::At(entry.modified),
            )
            .await
            {
                Ok(_) => return,
                Err(error) => assert!(
                    error.is_retryable(),
                    "a lost race can be tried again: {error}"
                ),
            }
        }
    };
    join_all((0..32).map(|_| increment(Arc::clone(&store)))).await;
    let value = read(&store, "n").await.map(|e| e.value);
    assert_eq!(
        value.as_deref(),
        Some(b"32".as_slice()),
        "every increment counts"
    );
}

async fn lists(store: Arc<dyn Store>) {
    for name in ["p/b", "p/a", "q/a", "p", "p0"] {
        put(&store, name, name, Precondition::Any)
            .await
            .expect("a write succeeds");
    }
    let early = head(&store).await;
    put(&store, "p/a", "new", Precondition::Any)
        .await
        .expect("a write succeeds");
    store
        .apply(Batch::new().delete(key("p/b"), Precondition::Any))
        .await
        .expect("a write succeeds");
    let show = |listing: crate::Listing| {
        let entries = listing.entries.iter();
        let text = |e: &Entry| format!("{}={}", e.key, String::from_utf8_lossy(&e.value));
        entries.map(text).collect::<Vec<_>>().join(" ")
    };
    let now = store
        .list("p/".into(), None)
        .await
        .expect("a list succeeds");
    assert_eq!(
        show(now),
        "p/a=new",
        "a list shows the newest values under its prefix"
    );
    let then = store
        .list("p/".into(), Some(early))
        .await
        .expect("a list succeeds");
    assert_eq!(then.revision, early, "a list says which revision it shows");
    assert_eq!(
        show(then),
        "p/a=p/a p/b=p/b",
        "a list at a revision shows the values of that time, sorted"
    );
}

async fn watches(store: Arc<dyn Store>) {
    let start = put(&store, "w/old", "0", Precondition::Any)
        .await
        .expect("a write succeeds");
    let mut watch = store.watch("w/".into(), start);
    put(&store, "elsewhere", "1", Precondition::Any)
        .await
        .expect("a write succeeds");
    let batch = Batch::new()
        .put(key("w/a"), "1", Precondition::Any)
        .delete(key("w/old"), Precondition::Any);
    let both = store.apply(batch).await.expect("a write succeeds");
    let changes = next(&mut watch).await;
    assert_eq!(
        changes.revision, both,
        "changes outside the prefix are skipped"
    );
    let mut shown: Vec<String> = changes.events.iter().map(show_event).collect();
    shown.sort();
    assert_eq!(
        shown,
        ["delete w/old", "put w/a=1"],
        "a batch arrives as one"
    );
    let last = put(&store, "w/a", "2", Precondition::Any)
        .await
        .expect("a write succeeds");
    assert_eq!(
        next(&mut watch).await.revision,
        last,
        "changes arrive as they happen"
    );
}

fn show_event(event: &Event) -> String {
    match event {
        Event::Put(entry) => format!(
            "put {}={}",
            entry.key,
            String::from_utf8_lossy(&entry.value)
        ),
        Event::Delete(key) => format!("delete {key}"),
    }
}

async fn resumes(store: Arc<dyn Store>) {
    let start = head(&store).await;
    let mut seen = Vec::new();
    let mut after = start;
    for round in 0..5 {
        let mut watch = store.watch(String::new(), after);
        for step in 0..10 {
            put(&store, "k", &format!("{round}-{step}"), Precondition::Any)
                .await
                .expect("a write succeeds");
        }
        // Read only part of it, then come back with the last revision that was seen.
        for _ in 0..7 {
            after = next(&mut watch).await.revision;
            seen.push(after);
        }
    }
    let expected: Vec<Revision> = (1..=35).map(|step| Revision(start.0 + step)).collect();
    assert_eq!(
        seen, expected,
        "a watch that resumes sees every revision once"
    );
}

async fn bursts(store: Arc<dyn Store>) {
    const WRITES: u64 = 3_000;
    let start = head(&store).await;
    let mut watch = store.watch("burst/".into(), start);
    let big = (0..1_500).fold(Batch::new(), |batch, n| {
        batch.put(key(&format!("burst/{n}")), "x", Precondition::Any)
    });
    store.apply(big).await.expect("a write succeeds");
    let writes = (1..WRITES).map(|n| {
        let store = Arc::clone(&store);
        async move {
            put(&store, &format!("burst/{}", n % 7), "y", Precondition::Any)
                .await
                .expect("a write succeeds")
        }
    });
    join_all(writes).await;
    let mut events = 0;
    for step in 1..=WRITES {
        let changes = next(&mut watch).await;
        assert_eq!(
            changes.revision,
            Revision(start.0 + step),
            "revisions are contiguous"
        );
        events += changes.events.len();
    }
    assert_eq!(events, 1_500 + 2_999, "no event is lost");
}

async fn compaction(store: Arc<dyn Store>) {
    let first = put(&store, "a", "1", Precondition::Any)
        .await
        .expect("a write succeeds");
    put(&store, "gone", "1", Precondition::Any)
        .await
        .expect("a write succeeds");
    store
        .apply(Batch::new().delete(key("gone"), Precondition::Any))
        .await
        .expect("a write succeeds");
    let last = put(&store, "a", "2", Precondition::Any)
        .await
        .expect("a write succeeds");
    store.compact(last).await.expect("compaction succeeds");
    let too_old = store.list(String::new(), Some(first)).await;
    assert!(
        matches!(too_old, Err(ReadError::Compacted { oldest }) if oldest == last),
        "old lists are refused"
    );
    let mut watch = store.watch(String::new(), first);
    let item = tokio::time::timeout(WATCH_DEADLINE, watch.next())
        .await
        .expect("a watch answers in time");
    assert!(
        matches!(item, Some(Err(ReadError::Compacted { .. }))),
        "old watches are refused"
    );
    let value = read(&store, "a").await.map(|e| e.value);
    assert_eq!(
        value.as_deref(),
        Some(b"2".as_slice()),
        "current values stay"
    );
    let mut watch = store.watch(String::new(), last);
    let after = put(&store, "a", "3", Precondition::Any)
        .await
        .expect("a write succeeds");
    assert_eq!(
        next(&mut watch).await.revision,
        after,
        "revisions go on after compaction"
    );
}
