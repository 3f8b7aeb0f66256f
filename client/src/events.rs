//! The queue of events between the connection and the application.
//!
//! In: events, from the reader and from the supervisor, never from both at once. Out: the same, in order.
//!
//! Invariants: the queue is bounded, and a full one makes its filler wait, until the client is being closed; from then
//! on an event that finds no room is counted and dropped, so that nobody who is slow to read can hold up a close.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_channel::{Receiver, Sender};
use tokio_util::sync::CancellationToken;

use crate::event::Event;

/// The end that events are put into.
#[derive(Clone)]
pub(crate) struct EventSink {
    queue: Sender<Event>,
    closing: CancellationToken,
    discarded: Arc<AtomicU64>,
}

impl EventSink {
    /// A queue for so many events, and its two ends.
    pub(crate) fn new(events: usize, closing: CancellationToken) -> (Self, Receiver<Event>) {
        let (queue, receiver) = async_channel::bounded(events);
        (Self { queue, closing, discarded: Arc::default() }, receiver)
    }

    /// Puts an event at the end, when there is room. Returns at once when there is nobody left to read it.
    pub(crate) async fn push(&self, event: Event) {
        tokio::select! {
            biased;
            // Fails only when the last client is dropped, and everything with it.
            _ = self.queue.send(event) => {}
            () = self.closing.cancelled() => {
                self.discarded.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Ends the series: what is queued can still be taken, and then there is nothing more.
    pub(crate) fn close(&self) {
        self.queue.close();
    }

    /// How many events were dropped.
    pub(crate) fn discarded(&self) -> u64 {
        self.discarded.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(dropped: u64) -> Event {
        Event::Lagged { dropped }
    }

    #[tokio::test]
    async fn while_closing_what_fits_is_kept_and_the_rest_is_counted() {
        let closing = CancellationToken::new();
        let (sink, events) = EventSink::new(2, closing.clone());
        closing.cancel();
        for number in 0..5 {
            sink.push(event(number)).await;
        }
        sink.close();
        assert!(matches!(events.recv().await, Ok(Event::Lagged { dropped: 0 })));
        assert!(matches!(events.recv().await, Ok(Event::Lagged { dropped: 1 })));
        assert!(events.recv().await.is_err());
        assert_eq!(sink.discarded(), 3);
    }

    #[tokio::test]
    async fn a_full_queue_waits_for_room() {
        let (sink, events) = EventSink::new(1, CancellationToken::new());
        sink.push(event(0)).await;
        let (_, first) = tokio::join!(sink.push(event(1)), events.recv());
        assert!(matches!(first, Ok(Event::Lagged { dropped: 0 })));
        assert!(matches!(events.recv().await, Ok(Event::Lagged { dropped: 1 })));
    }
}
