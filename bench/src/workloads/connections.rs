//! What connections cost: to come, and to be there.

use std::time::{Duration, Instant};

use crate::crowd::Crowd;
use crate::error::Fallible;
use crate::figures::{CPU, Found, per};
use crate::harness::Harness;
use crate::wire::Topic;

/// Handshakes with a credential that is checked. All of them stay until the last has come.
pub async fn connect(harness: &Harness, connections: u32) -> Fallible<Found> {
    // Whatever the first connection of a server's life costs is not what connections cost.
    let mut first = Crowd::new(connections);
    first.connect(&*harness.peer, &harness.dialer, &vec![Vec::new(); 10]).await?;
    let (before, begun) = (harness.server.usage()?, Instant::now());
    let mut crowd = Crowd::new(0);
    crowd.connect(&*harness.peer, &harness.dialer, &vec![Vec::new(); connections as usize]).await?;
    let (after, seconds) = (harness.server.usage()?, begun.elapsed().as_secs_f64());
    crowd.tally.check()?;
    crowd.end().await;
    first.end().await;
    Ok(per(after.since(before), u64::from(connections), seconds))
}

/// Members of groups of 100 who say nothing and hear nothing.
pub async fn idle(harness: &Harness, connections: u32, lasting: Duration) -> Fallible<Found> {
    const GROUP: u32 = 100;
    let mut first = Crowd::new(connections);
    first.connect(&*harness.peer, &harness.dialer, &vec![vec![Topic::Group(0)]; 10]).await?;
    let before = harness.server.memory()?;
    let mut crowd = Crowd::new(0);
    let topics: Vec<_> = (0..connections).map(|user| vec![Topic::Group(user / GROUP)]).collect();
    crowd.connect(&*harness.peer, &harness.dialer, &topics).await?;
    // Timers of the handshake are over then, and what they held is free.
    tokio::time::sleep(lasting / 4).await;
    let quiet = harness.server.usage()?;
    tokio::time::sleep(lasting).await;
    let (memory, used) = (harness.server.memory()?, harness.server.usage()?.since(quiet));
    crowd.tally.check()?;
    crowd.end().await;
    first.end().await;
    let count = f64::from(connections);
    Ok(vec![
        ("memory_bytes", (memory - before) / count),
        // Of one connection, for each second.
        (CPU, used.cpu_ns / count / lasting.as_secs_f64()),
    ])
}
