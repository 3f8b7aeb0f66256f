//! What came of sends and questions on other nodes: whoever wants to know, and the answers, meet here.
//!
//! In: tickets that are waited for, by whoever has one; what came of each, from the cluster's driver. Out: each answer
//! to whom it is for, whoever of the two comes first. Invariant: nothing is kept for somebody who does not come
//! ([`Elsewhere::sweep`]), and nothing is called while the table is locked.

use std::collections::HashMap;

use fanfare_cluster::{NodeId, Tallied};
use fanfare_hub::Ticket;
use parking_lot::Mutex;

/// So many sweeps an answer is kept that nobody has come for: ten seconds of a server that runs. Whoever puts several
/// questions and comes for the answers one by one finds them, also where the process stood still meanwhile.
const KEPT: u32 = 100;

type Then = Box<dyn FnOnce(Tallied) + Send>;

enum Place {
    /// Somebody waits.
    Waiting(Then),
    /// It is there, and has seen so many sweeps.
    Answered(Tallied, u32),
}

/// Answers of other nodes.
#[derive(Default)]
pub(crate) struct Elsewhere {
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    of: HashMap<Ticket, Place>,
    /// Nobody answers any more: what is said then.
    over: Option<Tallied>,
}

impl Elsewhere {
    /// Calls `then` with what came of it, once: now, or when it is known.
    pub(crate) fn then(&self, ticket: Ticket, then: impl FnOnce(Tallied) + Send + 'static) {
        let tallied = {
            let mut places = self.places.lock();
            match places.of.remove(&ticket) {
                Some(Place::Answered(tallied, _)) => tallied,
                _ if places.over.is_some() => places.over.clone().unwrap_or_default(),
                _ => {
                    places.of.insert(ticket, Place::Waiting(Box::new(then)));
                    return;
                }
            }
        };
        then(tallied);
    }

    /// Waits for what came of it. Where nobody answers any more, because the server ends, no node has answered.
    pub(crate) async fn wait(&self, ticket: Ticket) -> Tallied {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.then(ticket, move |tallied| drop(sender.send(tallied)));
        receiver.await.unwrap_or_default()
    }

    /// The same, on a thread that may wait.
    pub(crate) fn wait_here(&self, ticket: Ticket) -> Tallied {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.then(ticket, move |tallied| drop(sender.send(tallied)));
        receiver.recv().unwrap_or_default()
    }

    /// This came of it.
    pub(crate) fn answer(&self, ticket: Ticket, tallied: Tallied) {
        let then = {
            let mut places = self.places.lock();
            match places.of.remove(&ticket) {
                Some(Place::Waiting(then)) => then,
                _ => {
                    places.of.insert(ticket, Place::Answered(tallied, 0));
                    return;
                }
            }
        };
        then(tallied);
    }

    /// Forgets answers that nobody has come for. To be called ten times a second.
    pub(crate) fn sweep(&self) {
        self.places.lock().of.retain(|_, place| match place {
            Place::Waiting(_) => true,
            Place::Answered(_, sweeps) => {
                *sweeps += 1;
                *sweeps <= KEPT
            }
        });
    }

    /// Nobody answers any more: whoever waits, or comes to wait, is told that these nodes have not.
    pub(crate) fn end(&self, silent: Vec<NodeId>) {
        let over = Tallied { silent, ..Tallied::default() };
        let waiting = {
            let mut places = self.places.lock();
            places.over = Some(over.clone());
            std::mem::take(&mut places.of)
        };
        for place in waiting.into_values() {
            if let Place::Waiting(then) = place {
                then(over.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn ticket(number: u64) -> Ticket {
        Ticket(NonZeroU64::new(number).unwrap())
    }

    fn copies(copies: u64) -> Tallied {
        Tallied { copies, ..Tallied::default() }
    }

    #[test]
    fn whoever_comes_first_an_answer_comes_once() {
        let (elsewhere, sum) = (Elsewhere::default(), Arc::new(AtomicU64::new(0)));
        let add = |sum: &Arc<AtomicU64>| {
            let sum = Arc::clone(sum);
            move |tallied: Tallied| {
                sum.fetch_add(tallied.copies, Ordering::Relaxed);
            }
        };
        elsewhere.answer(ticket(1), copies(1));
        elsewhere.then(ticket(1), add(&sum));
        elsewhere.then(ticket(2), add(&sum));
        elsewhere.answer(ticket(2), copies(10));
        elsewhere.answer(ticket(2), copies(100));
        assert_eq!(sum.load(Ordering::Relaxed), 11);
        (0..KEPT).for_each(|_| elsewhere.sweep());
        assert_eq!(elsewhere.places.lock().of.len(), 1);
        elsewhere.sweep();
        assert!(elsewhere.places.lock().of.is_empty());
        let silent = Arc::new(AtomicU64::new(0));
        let count = |silent: &Arc<AtomicU64>| {
            let silent = Arc::clone(silent);
            move |tallied: Tallied| {
                silent.fetch_add(tallied.silent.len() as u64, Ordering::Relaxed);
            }
        };
        elsewhere.then(ticket(3), count(&silent));
        elsewhere.end(vec![NodeId::new([1; 4]), NodeId::new([2; 4])]);
        elsewhere.then(ticket(4), count(&silent));
        assert!(elsewhere.places.lock().of.is_empty(), "whoever comes after the end waits for nobody");
        assert_eq!(silent.load(Ordering::Relaxed), 4, "each is told of whom nothing is known");
    }
}
