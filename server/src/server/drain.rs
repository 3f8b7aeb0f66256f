//! The end of a server: takes the parts apart in the right order.
//!
//! In: a running server. Out: a report. What was accepted is kept: first nobody is let in, then nobody reads requests
//! any more, and only when the last reader has stopped, so that nothing can be queued after it, does everyone get
//! `Goodbye` and are the outboxes written out. Invariant: when [`Server::drain`] returns, no task of the server is left.

use std::time::{Duration, Instant};

use fanfare_protocol::{Code, ServerFrame};

use super::{Admin, Server};
use crate::edge::farewell;
use crate::spread;

/// How long a node that stops waits for another to know more of what it owes back ends.
const HANDING_OVER: Duration = Duration::from_secs(1);

/// How often those who have just come in are looked for.
const LOOK: Duration = Duration::from_millis(50);

/// How a drain went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were there when it began.
    pub connections: usize,
    /// Whether all of them had read everything before the deadline. Those that had not were cut off.
    pub in_time: bool,
}

impl Server {
    /// Stops: lets nobody in, says `Goodbye`, writes out what is queued, and closes. Takes no longer than the
    /// configuration's `drain_deadline` and a moment; with methods that do not stop when they are told, their
    /// [grace](crate::CallLimits::grace) more, and for hooks twice their
    /// [deadline](crate::CallLimits::hook_deadline).
    pub async fn drain(self) -> Drained {
        let Self {
            config,
            endpoint,
            hub,
            application,
            tasks,
            listener,
            expiry,
            rounds,
            announcer,
            key_sets,
            admin,
            http,
            web,
            mending,
            api,
            noting,
            lasting,
            webhooks,
            cluster,
            _home,
            ..
        } = self;
        let (connections, begun) = (hub.population().connections, Instant::now());
        let orderly = async {
            tasks.closing.cancel();
            // It ends by itself now, and has panicked only if we have a bug that its message tells of.
            let _ = listener.await;
            let _ = expiry.await;
            let _ = rounds.await;
            let _ = announcer.await;
            let _ = mending.await;
            let _ = key_sets.await;
            tasks.readers.close();
            // Who was being let in at this moment comes behind those who are there.
            loop {
                for member in hub.list() {
                    member.outbox().stop_reading();
                }
                if tokio::time::timeout(LOOK, tasks.readers.wait()).await.is_ok() {
                    break;
                }
            }
            let code = Code::ShuttingDown;
            for member in hub.list() {
                member.outbox().finish(Some(&ServerFrame::Goodbye {
                    code: code.number(),
                    reason: code.sentence().to_owned(),
                    retry_after_ms: spread::come_back_after(config.come_back_after),
                }));
            }
            tasks.connections.close();
            tasks.connections.wait().await;
        };
        let in_time = tokio::time::timeout(config.drain_deadline, orderly).await.is_ok();
        // Both end with `closing`, when the disk has what they were writing.
        let _ = (noting.await, lasting.await);
        tasks.connections.close();
        if !in_time {
            // Those who take nothing more can still be told why, and that it is over.
            for member in hub.list() {
                member.outbox().hurry(Code::ShuttingDown);
            }
            let _ = tokio::time::timeout(farewell::LAST_WORD, tasks.connections.wait()).await;
        }
        endpoint.close(Code::ShuttingDown);
        tasks.connections.wait().await;
        if let Some(application) = application {
            // Every connection has ended, so that what runs was told to stop, and is dropped soon.
            application.wait().await;
        }
        if let Some(cluster) = &cluster {
            // What a list, an audit or a receipt still waits for of other nodes is not waited for, and they are named.
            cluster.side.end();
        }
        if let (Some(cluster), Some(_)) = (&cluster, &webhooks) {
            // Every membership has ended, and what is still to be told of that another node tells.
            let handing_over = cluster.side.hand_over(HANDING_OVER);
            let left = config.drain_deadline.saturating_sub(begun.elapsed()).max(HANDING_OVER);
            let _ = tokio::time::timeout(left, handing_over).await;
        }
        if let Some(webhooks) = webhooks {
            // Everything that there was to tell has been told them.
            webhooks.finish(config.drain_deadline.saturating_sub(begun.elapsed())).await;
        }
        endpoint.finish().await;
        // Its task, and with it the socket, ends with the last handle.
        drop(endpoint);
        if let Some(Admin { endpoint, listener, feed, .. }) = admin {
            // Both end with `closing`.
            let _ = (listener.await, feed.await);
            drop(endpoint);
        }
        for listener in [http.map(|http| http.listener), web.map(|web| web.listener)].into_iter().flatten() {
            // Ends with `closing`, when the last answer is written; a visit lasts a bounded time.
            let _ = listener.await;
        }
        api.finish().await;
        if let Some(cluster) = cluster {
            // Nobody is here any more whom others could miss. It has panicked only if we have a bug that its message
            // tells of.
            cluster.closing.cancel();
            let _ = cluster.driver.await;
        }
        tasks.endpoint.close();
        tasks.endpoint.wait().await;
        Drained { connections, in_time }
    }
}
