//! One connection that sends, and counts what it sent.
//!
//! In: topics. Out: messages, numbered per stream. Invariant: a stream's numbers go up by one, and one publisher sends
//! to each topic.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::connection::{Dialer, Incoming, Outgoing};
use crate::error::{Fallible, wrong};
use crate::payload::{self, Mark};
use crate::peer::Peer;
use crate::wire::{Heard, Topic, Wire};

type SharedWire = Arc<Mutex<Box<dyn Wire>>>;

/// A sender.
pub struct Publisher {
    outgoing: Outgoing,
    wire: SharedWire,
    answers: mpsc::Receiver<Vec<u8>>,
    reading: JoinHandle<()>,
    error: Arc<Mutex<Option<String>>>,
    size: usize,
    /// The next number of each stream.
    numbers: HashMap<u32, u64>,
    payload: Vec<u8>,
    buffer: Vec<u8>,
}

impl Publisher {
    /// Connects as the user with this number, to send messages of `size` bytes.
    ///
    /// # Errors
    /// When the server does not let it in.
    pub async fn connect(peer: &dyn Peer, dialer: &Dialer, user: u32, size: usize) -> Fallible<Self> {
        let (mut outgoing, mut incoming) = dialer.dial().await?;
        let mut wire = peer.wire(user);
        outgoing.write(&wire.greeting()).await?;
        let (mut buffer, mut welcome) = (Vec::new(), false);
        while !welcome {
            if !incoming.read(&mut buffer).await? {
                return Err(wrong("the server did not let a publisher in"));
            }
            let mut answers = Vec::new();
            let used = wire.parse(&buffer, &mut |heard| match heard {
                Heard::Welcome => welcome = true,
                Heard::Answer(answer) => answers.extend(answer),
                _ => {}
            })?;
            buffer.drain(..used);
            outgoing.write(&answers).await?;
        }
        let wire: SharedWire = Arc::new(Mutex::new(wire));
        let error = Arc::new(Mutex::new(None));
        let (told, answers) = mpsc::channel(16);
        let reading = tokio::spawn(listen(incoming, buffer, Arc::clone(&wire), told, Arc::clone(&error)));
        Ok(Self {
            outgoing,
            wire,
            answers,
            reading,
            error,
            size,
            numbers: HashMap::new(),
            payload: Vec::new(),
            buffer: Vec::new(),
        })
    }

    /// Queues a message. Nothing goes before [`Self::flush`].
    pub fn publish(&mut self, topic: Topic) {
        let number = self.numbers.entry(topic.stream()).or_default();
        payload::write(&mut self.payload, Mark { stream: topic.stream(), number: *number }, self.size);
        *number += 1;
        self.wire.lock().publish(topic, &self.payload, &mut self.buffer);
    }

    /// The number that the next message to this topic has.
    #[must_use]
    pub fn next_number(&self, topic: Topic) -> u64 {
        self.numbers.get(&topic.stream()).copied().unwrap_or(0)
    }

    /// Sends what is queued.
    ///
    /// # Errors
    /// When the server refused something, or is gone.
    pub async fn flush(&mut self) -> Fallible<()> {
        if let Some(error) = &*self.error.lock() {
            return Err(wrong(format!("a publisher: {error}")));
        }
        while let Ok(answer) = self.answers.try_recv() {
            self.buffer.extend(answer);
        }
        let written = self.outgoing.write(&self.buffer).await;
        self.buffer.clear();
        written
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// Reads what the server says to a publisher: nothing, receipts, or that something is wrong.
async fn listen(
    mut incoming: Incoming,
    mut buffer: Vec<u8>,
    wire: SharedWire,
    answers: mpsc::Sender<Vec<u8>>,
    failed: Arc<Mutex<Option<String>>>,
) {
    loop {
        let read = incoming.read(&mut buffer).await;
        let mut owed = Vec::new();
        let parsed = match read {
            Ok(true) => wire.lock().parse(&buffer, &mut |heard| {
                if let Heard::Answer(answer) = heard {
                    owed.push(answer);
                }
            }),
            Ok(false) => Err(wrong("the server ended the connection")),
            Err(error) => Err(error),
        };
        match parsed {
            Ok(used) => drop(buffer.drain(..used)),
            Err(error) => {
                *failed.lock() = Some(error.to_string());
                return;
            }
        }
        for answer in owed {
            if answers.send(answer).await.is_err() {
                return;
            }
        }
    }
}
