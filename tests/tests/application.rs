//! Promise 15: the application decides, and whatever its handlers do costs only their caller.

mod calls;
mod connections;
mod hostile;
mod streams;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// What a handler has seen, and what a test lets it do.
#[derive(Clone, Default)]
struct Seen(Arc<Log>);

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    gate: Notify,
    running: AtomicUsize,
}

impl Seen {
    fn note(&self, line: impl Into<String>) {
        self.0.lines.lock().push(line.into());
    }

    fn lines(&self) -> Vec<String> {
        self.0.lines.lock().clone()
    }

    async fn line(&self, line: &str) {
        fanfare_tests::eventually(line, || self.0.lines.lock().iter().any(|seen| seen == line)).await;
    }

    /// Waits until the test opens the gate once.
    async fn wait(&self) {
        self.0.gate.notified().await;
    }

    fn open(&self) {
        self.0.gate.notify_one();
    }

    fn enter(&self) -> Inside {
        self.0.running.fetch_add(1, Ordering::SeqCst);
        Inside(self.clone())
    }

    fn running(&self) -> usize {
        self.0.running.load(Ordering::SeqCst)
    }
}

/// Tells when a handler has really ended, in whatever way.
struct Inside(Seen);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}
