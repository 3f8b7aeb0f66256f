//! What a client asks and waits for, one after the other on each connection.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::connection::{Incoming, Outgoing};
use crate::error::{Fallible, wrong};
use crate::figures::{Found, per};
use crate::harness::Harness;
use crate::wire::{Heard, Wanted, Wire};

/// A connection that asks.
struct Asking {
    outgoing: Outgoing,
    incoming: Incoming,
    wire: Box<dyn Wire>,
    buffer: Vec<u8>,
}

impl Asking {
    async fn connect(harness: &Harness, user: u32) -> Fallible<Self> {
        let (outgoing, incoming) = harness.dialer.dial().await?;
        let mut asking = Self { outgoing, incoming, wire: harness.peer.wire(user), buffer: Vec::new() };
        let greeting = asking.wire.greeting();
        asking.outgoing.write(&greeting).await?;
        asking.hear(|heard| matches!(heard, Heard::Welcome)).await?;
        Ok(asking)
    }

    /// Reads until there is this.
    async fn hear(&mut self, wanted: fn(&Heard<'_>) -> bool) -> Fallible<()> {
        loop {
            let (mut came, mut answers) = (false, Vec::new());
            let used = self.wire.parse(&self.buffer, &mut |heard| {
                came |= wanted(&heard);
                if let Heard::Answer(answer) = heard {
                    answers.extend(answer);
                }
            })?;
            self.buffer.drain(..used);
            if !answers.is_empty() {
                self.outgoing.write(&answers).await?;
            }
            if came {
                return Ok(());
            }
            if !self.incoming.read(&mut self.buffer).await? {
                return Err(wrong("the server ended a connection"));
            }
        }
    }

    /// Asks until then; gives how often.
    async fn ask(mut self, what: Wanted, until: Instant) -> Fallible<(Self, u64)> {
        let (mut request, mut answers) = (Vec::new(), 0);
        while Instant::now() < until {
            request.clear();
            if !self.wire.request(what, &mut request) {
                return Err(wrong("there is nothing to ask in this way"));
            }
            self.outgoing.write(&request).await?;
            self.hear(|heard| matches!(heard, Heard::Done)).await?;
            answers += 1;
        }
        Ok((self, answers))
    }
}

async fn round(asking: Vec<Asking>, what: Wanted, lasting: Duration) -> Fallible<(Vec<Asking>, u64)> {
    let until = Instant::now() + lasting;
    let mut tasks: JoinSet<_> = asking.into_iter().map(|one| one.ask(what, until)).collect();
    let (mut back, mut answers) = (Vec::new(), 0);
    while let Some(ended) = tasks.join_next().await {
        let (one, more) = ended.map_err(|_| wrong("a client's task ended"))??;
        back.push(one);
        answers += more;
    }
    Ok((back, answers))
}

/// So many connections ask, each one thing at a time.
pub async fn requests(
    harness: &Harness,
    what: Wanted,
    connections: u32,
    lasting: Duration,
) -> Fallible<Found> {
    let mut asking = Vec::new();
    for user in 0..connections {
        asking.push(Asking::connect(harness, user).await?);
    }
    let (asking, _) = round(asking, what, lasting / 4).await?;
    let (before, begun) = (harness.server.usage()?, Instant::now());
    let (asking, answers) = round(asking, what, lasting).await?;
    let (after, seconds) = (harness.server.usage()?, begun.elapsed().as_secs_f64());
    drop(asking);
    Ok(per(after.since(before), answers, seconds))
}
