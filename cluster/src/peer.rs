//! Another node, as this one knows it.
//!
//! In: its heartbeats, and whatever arrives from it. Out: what is known of it, and whether its lease has certainly
//! ended. Invariant: a node is given up only when it cannot have had the lease all the time, so that, if it comes back,
//! it asks for everything anew.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::settings::Settings;

/// What a node writes among the decisions, again and again: that it is there, and what it is. Fields that are not known
/// are passed over, and those of later versions have defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Grows by one with each.
    pub number: u64,
    /// What operators call it.
    pub name: String,
    /// Which version of Fanfare it is.
    #[serde(default)]
    pub version: String,
    /// How long its lease lasts, in milliseconds.
    pub lease_ms: u64,
    /// Whether it delivers without a lease, too.
    #[serde(default)]
    pub serves_without: bool,
    /// Up to which revision what was decided is in force there.
    #[serde(default)]
    pub in_force: u64,
    /// How many connections it has.
    #[serde(default)]
    pub connections: u64,
    /// How many users.
    #[serde(default)]
    pub users: u64,
    /// How many groups.
    #[serde(default)]
    pub groups: u64,
    /// Whether it tells a back end of subjects, where that is its duty.
    #[serde(default)]
    pub notifies: bool,
    /// Whether it has its lease: without it, it reports nothing.
    #[serde(default = "yes")]
    pub holds: bool,
    /// Its claims of that duty up to this one have ended with their leases.
    #[serde(default)]
    pub claims_over: u64,
    /// What its clock said when this was put, in milliseconds since 1970 (UTC); 0 where it does not say that. Whoever
    /// puts it fills it in: a [`Node`](crate::Node) reads no clock.
    #[serde(default)]
    pub time_ms: u64,
}

/// One that has just started says that it has no lease, and has it a moment later.
const WITHOUT: u32 = 3;

fn yes() -> bool {
    true
}

/// Another node.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: NodeId,
    /// The newest that was seen; none yet from one that was only heard.
    pub(crate) heartbeat: Option<Heartbeat>,
    /// The revision of that.
    pub(crate) revision: u64,
    /// When it was seen.
    pub(crate) seen: Instant,
    /// When something last arrived from it directly.
    pub(crate) heard: Option<Instant>,
    /// Up to which revision what was decided is in force there, as far as it was said.
    pub(crate) in_force: u64,
    /// The revision of the heartbeat by which it had the lease when it last asked what is wanted here. Whatever is
    /// known of an earlier revision alone says nothing about this lease.
    pub(crate) lease_from: u64,
    /// How many heartbeats have come since it was met, that were not known before. The first may be one that a node has
    /// left behind.
    pub(crate) beats: u32,
    /// How many heartbeats in a row have said that it has no lease.
    pub(crate) without: u32,
    /// The number under which it is asked for what it wants.
    pub(crate) session: u64,
    /// When it was last asked for what it wants, and how long until it is asked again.
    pub(crate) asked: Option<(Instant, Duration)>,
}

impl Peer {
    pub(crate) fn new(id: NodeId, now: Instant) -> Self {
        Self {
            id,
            heartbeat: None,
            revision: 0,
            seen: now,
            heard: None,
            in_force: 0,
            lease_from: 0,
            beats: 0,
            without: 0,
            session: 0,
            asked: None,
        }
    }

    /// Whether it was there while this node was, so that what it published then may have been for somebody here. This
    /// node began when the log had come to the revision `began`: what is behind that was not left there by one that had
    /// gone before.
    pub(crate) fn was_there(&self, began: u64) -> bool {
        self.heard.is_some() || self.beats > 1 || self.beats == 1 && self.revision > began
    }

    /// Whether it knew of this node, whose first heartbeat has the revision `first`; as far as it has said so. One that
    /// goes says that to all whom it knows.
    pub(crate) fn knew(&self, first: Option<u64>) -> bool {
        self.heard.is_some() || self.beats > 0 && first.is_some_and(|first| self.in_force >= first)
    }

    /// What operators call it.
    pub(crate) fn name(&self) -> String {
        self.heartbeat.as_ref().map_or_else(|| self.id.to_string(), |heartbeat| heartbeat.name.clone())
    }

    /// Whether it reports to whoever has the duty to tell a back end. One that has been without its lease for a while
    /// does not, and says everything anew when it has it again.
    pub(crate) fn reports(&self) -> bool {
        self.heartbeat.as_ref().is_some_and(|heartbeat| heartbeat.notifies) && self.without < WITHOUT
    }

    /// Whether it may have the duty by this claim of its.
    pub(crate) fn may_hold(&self, claim: u64) -> bool {
        let over = |heartbeat: &Heartbeat| !heartbeat.notifies || claim <= heartbeat.claims_over;
        !self.heartbeat.as_ref().is_some_and(over)
    }

    fn lease(&self, settings: &Settings) -> Duration {
        let said = self.heartbeat.as_ref().map(|heartbeat| Duration::from_millis(heartbeat.lease_ms));
        said.unwrap_or(settings.lease)
    }

    /// Whether its lease has ended, at least for a while, before `anchor`: when a heartbeat of ours was sent that came
    /// back with none of its own before it. What it sent later is behind ours. `in_force` is up to where everything is
    /// known here: where it had the lease by something later, it has asked for what is wanted here, and been told, for
    /// that lease, and would not ask again because an earlier one has ended.
    pub(crate) fn has_lost_its_lease(
        &self,
        anchor: Option<Instant>,
        in_force: u64,
        settings: &Settings,
    ) -> bool {
        // It says itself how long its lease is: it may be beyond all time.
        let ends =
            self.seen.checked_add(self.lease(settings)).and_then(|ends| ends.checked_add(settings.margin));
        let is_over = ends.zip(anchor).is_some_and(|(ends, anchor)| anchor > ends);
        is_over && self.lease_from <= in_force
    }
}
