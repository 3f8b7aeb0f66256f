//! Has requests answered: by the queries, the acts or the feed, on threads that may wait.
//!
//! In: an operator and a request. Out: a line of JSON. Invariant: nothing that takes long (a list of 100,000, a commit
//! to the disk, a file of certificates) runs on a thread that messages need; and nothing is being done any more when
//! the endpoint has ended (test `acts_that_have_begun_are_finished_before_a_drain_is`).

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_protocol::Code;
use fanfare_protocol::admin::{Action, AdminError, AdminReply, Question};
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::query::Queries;
use super::reply::{line, refusal, store_failed};
use super::{Feed, Operators};
use crate::moderation::{Moderation, Operator};
use crate::telemetry::Metrics;

/// What answers operators.
pub(crate) struct Service {
    pub(crate) operators: Arc<dyn Operators>,
    pub(crate) moderation: Arc<Moderation>,
    pub(crate) queries: Arc<Queries>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) metrics: Arc<Metrics>,
    /// Nothing more is begun.
    pub(crate) closing: CancellationToken,
    /// What is being done on threads that may wait. It goes on when its session ends: an act that has begun is
    /// finished.
    pub(crate) work: TaskTracker,
}

impl Service {
    /// Who this is, if it is an operator at this moment.
    pub(super) async fn identify(&self, chain: &Arc<[CertificateDer<'static>]>) -> Result<Operator, String> {
        let (operators, chain) = (Arc::clone(&self.operators), Arc::clone(chain));
        self.blocking(move || operators.identify(&chain)).await
    }

    /// Counts and logs that somebody is no operator.
    pub(super) fn refuse(&self, reason: &str, address: SocketAddr) {
        self.metrics.closed.add(Code::OperatorRefused);
        tracing::warn!(reason, %address, "operator refused");
    }

    pub(super) fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// Answers a question.
    pub(super) async fn answer(self: &Arc<Self>, operator: Operator, question: Question) -> Bytes {
        if let Question::Explain { token: Some(token), .. } = &question {
            // The door waits for keys that have to be fetched first. What it says of the token is asked again below.
            let _ = self.queries.gate.verify_or_fetch(token.expose()).await;
        }
        // What is of all nodes waits for them on its thread.
        let side = self.queries.cluster.clone();
        let _turn = match &side {
            Some(side) => side.turns.acquire().await.ok(),
            None => None,
        };
        let service = Arc::clone(self);
        let answered = move || service.queries.answer(&operator, &question);
        self.blocking(answered).await.unwrap_or_else(|error| refusal(&error))
    }

    /// Has an action carried out.
    pub(super) async fn act(self: &Arc<Self>, operator: Operator, action: Action) -> Bytes {
        let service = Arc::clone(self);
        // Many acts may wait for their turn.
        let counts = {
            let closing = self.closing.clone();
            move || if closing.is_cancelled() { Err(Code::ShuttingDown.into()) } else { Ok(()) }
        };
        let done = self.blocking(move || service.moderation.act_if(&operator, &action, counts)).await;
        match done {
            Ok(receipt) => line(&AdminReply::Ok(receipt)),
            Err(error) => refusal(&AdminError::from(&error)),
        }
    }

    /// The number of the newest audit record, as it changes.
    pub(super) fn recorded(&self) -> watch::Receiver<u64> {
        self.moderation.recorded()
    }

    /// Audit records as lines, with their numbers.
    pub(super) async fn records(&self, after: u64, most: usize) -> Result<Vec<(u64, Bytes)>, AdminError> {
        let moderation = Arc::clone(&self.moderation);
        let page = self
            .blocking(move || moderation.audit(after, most))
            .await
            .map_err(|error| store_failed(&error))?;
        // As they were stored, byte for byte: they have a hash.
        let line = |record: Vec<u8>| [br#"{"ok":"#, &record[..], b"}\n"].concat().into();
        Ok(page.into_iter().map(|(number, record)| (number, line(record))).collect())
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match self.work.spawn_blocking(work).await {
            Ok(outcome) => outcome,
            // The one other join error there could be is a panic in there, which goes on here.
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }

    /// Waits until nothing is being done any more. The sessions have ended.
    pub(super) async fn finish(&self) {
        self.work.close();
        self.work.wait().await;
    }
}
