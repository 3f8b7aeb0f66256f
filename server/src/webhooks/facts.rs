//! What became of one end point's requests: counted, and the last error kept.
//!
//! In: what happened. Out: a row for operators. Invariant: an error is told in the log when it is the first after
//! things went well, and not again and again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use fanfare_protocol::admin::{WebhookError as LastError, WebhookRow};
use parking_lot::Mutex;

use crate::webhook::Webhook;

/// The longest text of an error that is kept, in bytes.
const WORDS: usize = 300;

/// What became of one end point's requests.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) waiting: AtomicU64,
    /// When the oldest of those was, in milliseconds since 1970; 0 where there is none.
    pub(super) oldest_ms: AtomicU64,
    delivered: AtomicU64,
    failed: AtomicU64,
    lost: AtomicU64,
    asked: AtomicU64,
    unanswered: AtomicU64,
    is_failing: AtomicBool,
    error: Mutex<Option<(SystemTime, String)>>,
}

impl Facts {
    /// Events were taken.
    pub(super) fn delivered(&self, events: usize, webhook: &Webhook) {
        self.delivered.fetch_add(events as u64, Ordering::Relaxed);
        self.went_well(webhook);
    }

    /// A request with events was not taken.
    pub(super) fn failed(&self, webhook: &Webhook, words: &str) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.note(webhook, words);
    }

    /// Events are given up.
    pub(super) fn lost(&self, events: u64, webhook: &Webhook, why: &'static str) {
        if events > 0 && self.lost.fetch_add(events, Ordering::Relaxed) == 0 {
            tracing::error!(
                webhook = webhook.name,
                why,
                "events for a back end are lost; it will be told how many"
            );
        }
    }

    /// A question is asked.
    pub(super) fn asked(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    /// It was answered.
    pub(super) fn answered(&self, webhook: &Webhook) {
        self.went_well(webhook);
    }

    /// It was not answered, or could not be asked.
    pub(super) fn unanswered(&self, webhook: &Webhook, words: &str) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        self.note(webhook, words);
    }

    /// Something failed that is no request, such as the disk.
    pub(super) fn note(&self, webhook: &Webhook, words: &str) {
        let words = fanfare_protocol::call::first_bytes(words.to_owned(), WORDS);
        if !self.is_failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(webhook = webhook.name, url = webhook.shown_url(), "a webhook fails: {words}");
        }
        *self.error.lock() = Some((SystemTime::now(), words));
    }

    fn went_well(&self, webhook: &Webhook) {
        if self.is_failing.load(Ordering::Relaxed) && self.is_failing.swap(false, Ordering::Relaxed) {
            tracing::info!(webhook = webhook.name, "a webhook that failed goes well again");
        }
    }

    /// What an operator sees.
    pub(super) fn row(&self, webhook: &Webhook) -> WebhookRow {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let oldest = count(&self.oldest_ms);
        let oldest = (oldest > 0).then(|| super::event::now_ms().saturating_sub(oldest) / 1_000);
        let last_error = self
            .error
            .lock()
            .clone()
            .map(|(at, words)| LastError { seconds_ago: at.elapsed().unwrap_or_default().as_secs(), words });
        WebhookRow {
            name: webhook.name.clone(),
            url: webhook.shown_url(),
            waiting: count(&self.waiting),
            oldest_seconds: oldest,
            delivered: count(&self.delivered),
            failed: count(&self.failed),
            lost: count(&self.lost),
            asked: count(&self.asked),
            unanswered: count(&self.unanswered),
            is_failing: self.is_failing.load(Ordering::Relaxed),
            last_error,
        }
    }
}
