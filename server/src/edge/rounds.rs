//! The rounds: every second each connection is looked at, for what nothing else would notice.
//!
//! In: the registry's members. Out: the end of one that has taken nothing for too long while something waited (4007);
//! streams that the protocol has no use for, stopped, so that what is written on them takes no room; a note of when
//! something was last heard of each.
//!
//! Invariant: a look waits for nothing, and costs a connection that is well two locks and no timer of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_hub::CloseReason;
use fanfare_protocol::Code;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::hub::{Hub, Member};
use crate::telemetry::Metrics;

/// How often everybody is looked at. Deadlines are kept to this, and so is what is told about silence.
const EVERY: Duration = Duration::from_secs(1);

/// The deadline where there is little room left for what waits.
const SHORT: Duration = Duration::from_secs(2);

/// How many are looked at before others have their turn.
const AT_A_TIME: usize = 256;

pub(crate) struct Rounds {
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Arc<Metrics>,
    /// How long a client may take nothing while something waits for it. Zero: for ever.
    pub(crate) reader_deadline: Duration,
}

impl Rounds {
    /// Goes round until `closing`.
    pub(crate) async fn run(self, closing: CancellationToken) {
        let mut seconds = interval(EVERY);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = closing.cancelled() => return,
                _ = seconds.tick() => {}
            }
            for some in self.hub.list().chunks(AT_A_TIME) {
                for member in some {
                    self.look(member);
                }
                tokio::task::yield_now().await;
            }
        }
    }

    fn look(&self, member: &Member) {
        member.listen_in(Instant::now());
        self.metrics.stopped_streams.add(member.line().tend());
        let stalled = member.outbox().look();
        let is_short = self.hub.budget().is_short() || member.outbox().is_uncounted();
        let deadline = match self.reader_deadline.as_secs_f64() {
            0.0 if is_short => SHORT.as_secs_f64(),
            0.0 => return,
            seconds if is_short => seconds.min(SHORT.as_secs_f64()),
            seconds => seconds,
        };
        if f64::from(stalled) * EVERY.as_secs_f64() >= deadline {
            let reason = format!("nothing was read for {deadline} s, and something waits");
            self.hub.close(member, CloseReason { code: Code::SlowConsumer, reason }, None);
        }
    }
}
