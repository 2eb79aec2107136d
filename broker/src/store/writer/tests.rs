use std::{error::Error, sync::atomic::AtomicBool, sync::atomic::Ordering};

use sqlx::{Row, query};
use tempfile::TempDir;

use super::*;

const PATIENCE: Duration = Duration::from_secs(5);

/// A writer over a file with a table of numbers.
async fn writer(max_waiting: usize) -> (TempDir, Arc<Writer>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    query("CREATE TABLE numbers (n INTEGER)").execute(&mut connection).await.unwrap();
    (directory, Arc::new(Writer::start(connection, options, max_waiting, PATIENCE)))
}

async fn add(writer: &Writer, n: i64) -> std::result::Result<(), StoreError> {
    writer
        .run(move |db| {
            Box::pin(async move {
                query("INSERT INTO numbers VALUES ($1)").bind(n).execute(db).await?;
                Ok(())
            })
        })
        .await
}

async fn numbers(writer: &Writer) -> Vec<i64> {
    writer
        .run(|db| {
            Box::pin(async move {
                let rows = query("SELECT n FROM numbers ORDER BY n").fetch_all(db).await?;
                Ok(rows.iter().map(|row| row.get(0)).collect())
            })
        })
        .await
        .unwrap()
}

/// A change that has begun and goes on when the returned sender says so. It adds a 1 before that.
async fn held(writer: &Arc<Writer>, tasks: &mut JoinSet<bool>) -> oneshot::Sender<()> {
    let (begun, has_begun) = oneshot::channel();
    let (go, may_go) = oneshot::channel::<()>();
    let own = Arc::clone(writer);
    tasks.spawn(async move {
        own.run(move |db| {
            Box::pin(async move {
                query("INSERT INTO numbers VALUES (1)").execute(db).await?;
                begun.send(()).expect("the test waits");
                let _ = may_go.await;
                Ok(())
            })
        })
        .await
        .is_ok()
    });
    has_begun.await.unwrap();
    go
}

/// What stood in the way.
fn cause(outcome: std::result::Result<(), StoreError>) -> String {
    outcome.unwrap_err().source().expect("a cause").to_string()
}

#[tokio::test]
async fn a_change_that_panics_costs_itself_alone() {
    let (_directory, writer) = writer(8).await;
    assert_eq!(
        cause(
            writer
                .run(|db| {
                    Box::pin(async move {
                        query("INSERT INTO numbers VALUES (1)").execute(db).await?;
                        panic!("told to");
                    })
                })
                .await
        ),
        "the change was given up"
    );
    assert!(!writer.is_proven());
    add(&writer, 2).await.expect("the next one finds a good connection");
    assert_eq!(numbers(&writer).await, [2], "what it had done was rolled back");
    assert!(writer.is_proven());
}

#[tokio::test]
async fn a_change_that_fails_is_rolled_back() {
    let (_directory, writer) = writer(8).await;
    assert!(
        cause(
            writer
                .run(|db| {
                    Box::pin(async move {
                        query("INSERT INTO numbers VALUES (1)").execute(&mut *db).await?;
                        query("INSERT INTO nowhere VALUES (1)").execute(db).await?;
                        Ok(())
                    })
                })
                .await
        )
        .contains("nowhere")
    );
    assert_eq!(numbers(&writer).await, [0; 0]);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let (_directory, writer) = writer(1).await;
    let mut tasks = JoinSet::new();
    let go = held(&writer, &mut tasks).await;
    let mut second = Box::pin(add(&writer, 2));
    assert!(poll_once(second.as_mut()).is_none(), "it waits");
    assert_eq!(cause(add(&writer, 3).await), "too many changes are waiting for the database");
    go.send(()).unwrap();
    second.await.unwrap();
    assert_eq!(numbers(&writer).await, [1, 2]);
}

#[tokio::test]
async fn a_caller_who_left_is_skipped_before_its_change_and_not_within_it() {
    let (_directory, writer) = writer(8).await;
    let mut tasks = JoinSet::new();
    let go = held(&writer, &mut tasks).await;
    let mut second = Box::pin(add(&writer, 2));
    assert!(poll_once(second.as_mut()).is_none(), "it waits");
    drop(second);
    tasks.shutdown().await;
    go.send(()).unwrap();
    assert_eq!(numbers(&writer).await, [1], "begun is finished, not begun is not made");
}

#[tokio::test]
async fn a_change_that_waited_too_long_is_not_made() {
    let (_directory, writer) = writer(8).await;
    let mut tasks = JoinSet::new();
    let go = held(&writer, &mut tasks).await;
    let mut second = Box::pin(add(&writer, 2));
    assert!(poll_once(second.as_mut()).is_none(), "it waits");
    tokio::time::pause();
    tokio::time::advance(PATIENCE).await;
    tokio::time::resume();
    go.send(()).unwrap();
    assert!(cause(second.await).contains("busy"));
    assert_eq!(numbers(&writer).await, [1]);
}

#[tokio::test]
async fn closing_does_what_waits_and_refuses_the_rest() {
    let (_directory, writer) = writer(8).await;
    let mut tasks = JoinSet::new();
    let go = held(&writer, &mut tasks).await;
    let mut second = Box::pin(add(&writer, 2));
    assert!(poll_once(second.as_mut()).is_none(), "it waits");
    let closed = Arc::new(AtomicBool::new(false));
    let (own, seen) = (Arc::clone(&writer), Arc::clone(&closed));
    tasks.spawn(async move {
        own.close().await;
        seen.store(true, Ordering::Relaxed);
        true
    });
    tokio::task::yield_now().await;
    assert!(!closed.load(Ordering::Relaxed), "it waits for the change under way");
    go.send(()).unwrap();
    second.await.expect("it waited already");
    assert!(tasks.join_all().await.into_iter().all(|fine| fine));
    assert_eq!(cause(add(&writer, 3).await), "the store is closed");
}

/// Polls once.
fn poll_once<F: Future + Unpin>(future: F) -> Option<F::Output> {
    let mut future = future;
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(&mut future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}
