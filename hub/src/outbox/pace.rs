//! Whether a peer takes what is written to it: how often it was seen to take nothing, what the transport keeps for it
//! meanwhile, and how a writer that waits for it is told to wait no longer.
//!
//! In: the writer's word that something was taken, and a look now and then by whoever closes those that take nothing.
//! Out: for how many looks nothing was taken, and the code to break the stream off with.
//!
//! Invariant: what the transport keeps for a peer is counted in the account that all outboxes share for as long as it
//! is kept, or known to be beyond it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use fanfare_protocol::Code;

use super::Outbox;
use crate::budget::{Account, SEND_WINDOW};

/// What QUIC keeps for a peer, of [`Outbox::hold_window`]: counted until this is dropped, where there was room to count
/// it.
pub struct Window<'a> {
    account: Option<&'a Account>,
    uncounted: &'a AtomicBool,
}

impl Drop for Window<'_> {
    fn drop(&mut self) {
        match self.account {
            Some(account) => account.give_back(SEND_WINDOW),
            None => self.uncounted.store(false, Ordering::Relaxed),
        }
    }
}

impl Outbox {
    /// Tells the writer to wait no longer for what it is writing, and to break the stream off with this code.
    pub fn hurry(&self, code: Code) {
        let hurried = {
            let mut state = self.state.lock();
            state.break_off = Some(code);
            self.overdue.store(true, Ordering::Relaxed);
            state.hurried.take()
        };
        if let Some(writer) = hurried {
            writer.wake();
        }
    }

    /// Remembers the writer's task, for [`Outbox::hurry`].
    pub fn remember_writer(&self, waker: &Waker) {
        self.state.lock().hurried = Some(waker.clone());
    }

    /// What the stream is to be broken off with.
    pub fn break_off(&self) -> Option<Code> {
        self.state.lock().break_off
    }

    /// Whether the writer is to wait no longer. Asked at every turn of the writer, so it takes no lock.
    pub fn is_overdue(&self) -> bool {
        self.overdue.load(Ordering::Relaxed)
    }

    /// The peer has taken something. For the writer.
    pub fn progressed(&self) {
        // It alone writes it, so nothing gets lost between the two.
        self.progress.store(self.progress.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// For how many looks in a row the peer has taken nothing of what is being written.
    pub fn look(&self) -> u32 {
        let progress = self.progress.load(Ordering::Relaxed);
        let mut state = self.state.lock();
        let (before, stalled) = state.looked_at;
        let stalled = if !state.queue.is_being_written() || before != progress { 0 } else { stalled + 1 };
        state.looked_at = (progress, stalled);
        stalled
    }

    /// Counts what QUIC keeps for a peer that takes no more at the moment, until the writer goes on. Where there is
    /// no room for that it is not counted, and the connection goes on: it may be one that reads, and others do not.
    /// Then room is short, and those who take nothing go soon.
    pub fn hold_window(&self) -> Window<'_> {
        let account = self.account.as_ref().filter(|account| account.take_window());
        self.uncounted.store(account.is_none() && self.account.is_some(), Ordering::Relaxed);
        Window { account, uncounted: &self.uncounted }
    }

    /// Whether more is kept for the peer than there is room for.
    pub fn is_uncounted(&self) -> bool {
        self.uncounted.load(Ordering::Relaxed)
    }
}
