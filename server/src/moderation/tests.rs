//! What operators do, on a hub and a store in memory: no sockets, and no file.

mod audit;
mod bans;
mod copies;
mod disk;
mod ending;
mod failures;
mod keys;
mod lasting;
mod mending;
mod people;
mod several;

use std::sync::Arc;
use std::time::Duration;

use fanfare_hub::{CloseReason, HubLimits, Origin};
use fanfare_protocol::admin::{Action, BanRow, Receipt, Role};
use fanfare_protocol::{Code, ConnectionId, Denial, GroupName, Limits, ServerFrame, UserName};
use fanfare_token::{Permissions, Seconds};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

pub(super) use self::disk::Disk;
use super::{Moderation, ModerationError, Operator};
use crate::access::{self, BanKey, Bans, Gate, KeySets, Tokens, Validity};
use crate::hub::{Hub, Seat, read, register};
use crate::telemetry::Metrics;

const NOW: Seconds = 1_800_000_000;
/// The most bytes of a payload.
const PAYLOAD: u32 = 99;
/// What a reason may have.
const REASON: usize = 512;

/// What operators can do, and whom they do it to.
struct Rig {
    hub: Arc<Hub>,
    bans: Arc<Bans>,
    metrics: Arc<Metrics>,
    disk: Disk,
    moderation: Arc<Moderation>,
    _clock: Clock,
}

/// Lets the thread's clock go when the test is over: another test may come on it.
struct Clock;

impl Drop for Clock {
    fn drop(&mut self) {
        access::SET.set(None);
    }
}

impl Rig {
    /// Nobody is here, and nothing is forbidden. It is `NOW`.
    fn new() -> Self {
        Self::on(Disk::default(), Validity::default())
    }

    /// As a server starts with this disk.
    fn on(disk: Disk, validity: Validity) -> Self {
        at(NOW);
        let bans = Arc::new(Bans::new(validity));
        let tokens = Arc::new(Tokens::new(None, KeySets::none()));
        let gate = Arc::new(Gate::new(tokens, Arc::clone(&bans)));
        let hub = Arc::new(Hub::new(HubLimits::default(), gate));
        let metrics = Arc::new(Metrics::default());
        let limits = Limits { payload_bytes: PAYLOAD, ..Limits::default() };
        let (held, counted) = (Arc::clone(&bans), Arc::clone(&metrics));
        let moderation =
            Moderation::open(Box::new(disk.clone()), Arc::clone(&hub), held, counted, limits).unwrap();
        Self { hub, bans, metrics, disk, moderation: Arc::new(moderation), _clock: Clock }
    }

    /// A connection of this user, with what was issued a minute ago.
    fn come(&self, number: u8, name: &str) -> Seat {
        self.come_with(number, name, Permissions::development(NOW - 60)).unwrap()
    }

    fn come_with(&self, number: u8, name: &str, permissions: Permissions) -> Result<Seat, Denial> {
        register(&self.hub, id(number), user(name), permissions)
    }

    /// Has a connection join by its client's wish.
    fn join(&self, seat: &Seat, name: &str) -> Result<(), Code> {
        let joined = self.hub.join(seat.member(), &group(name), Origin::Client);
        joined.map(drop).map_err(|denial| denial.code)
    }

    /// Connections 1 and 2 are alice's and 3 is bob's; 1 and 3 are in `room-1`, 2 and 3 in `room-2`, and all in `news`.
    fn crowded() -> (Self, [Seat; 3]) {
        let rig = Self::new();
        let seats = [rig.come(1, "alice"), rig.come(2, "alice"), rig.come(3, "bob")];
        for (which, names) in [(0, ["room-1", "news"]), (1, ["room-2", "news"])] {
            names.iter().for_each(|name| rig.join(&seats[which], name).unwrap());
        }
        ["room-1", "room-2", "news"].iter().for_each(|name| rig.join(&seats[2], name).unwrap());
        for seat in &seats {
            read(seat.member());
        }
        (rig, seats)
    }

    fn act(&self, request: &Value) -> Result<Receipt, ModerationError> {
        self.moderation.act(&oncall(), &ask(request))
    }

    fn done(&self, request: &Value) -> Receipt {
        self.act(request).unwrap()
    }

    fn refused(&self, request: &Value) -> (Code, String) {
        match self.act(request) {
            Err(ModerationError::Refused { code, message }) => (code, message),
            other => panic!("{request} is not refused: {other:?}"),
        }
    }

    /// An act that the store fails. What the operator is told.
    fn failed(&self, request: &Value) -> String {
        match self.act(request) {
            Err(error @ ModerationError::Store { .. }) => {
                assert_eq!(error.code(), Code::Internal);
                error.to_string()
            }
            other => panic!("{request} does not fail: {other:?}"),
        }
    }

    /// The audit, as it is on the disk.
    fn records(&self) -> Vec<Value> {
        let records = self.disk.records.lock();
        records.values().map(|bytes| serde_json::from_slice(bytes).unwrap()).collect()
    }

    /// The author and the outcome of each.
    fn outcomes(&self) -> Vec<String> {
        let of = |record: &Value| match &record["outcome"] {
            Value::String(outcome) => outcome.clone(),
            outcome => outcome.as_object().unwrap().keys().next().unwrap().clone(),
        };
        self.records().iter().map(of).collect()
    }

    /// In the order of their keys.
    fn bans_on_disk(&self) -> Vec<BanRow> {
        let mut bans = self.disk.bans.lock().clone();
        bans.sort_by_cached_key(|ban| BanKey::from(ban));
        bans
    }

    fn verify(&self) {
        let verdict = self.moderation.verify_audit(None).unwrap();
        assert!(verdict.whole, "{verdict:?}");
    }
}

/// Sets this thread's clock.
fn at(now: Seconds) {
    access::SET.set(Some(now));
}

fn oncall() -> Operator {
    Operator { name: "oncall".to_owned(), role: Role::Operator }
}

fn ask(request: &Value) -> Action {
    serde_json::from_value(request.clone()).unwrap()
}

fn user(name: &str) -> UserName {
    UserName::new(name).unwrap()
}

fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

fn id(number: u8) -> ConnectionId {
    ConnectionId::from_bytes([number; 16])
}

/// The groups that a connection is in, with who made it a member.
fn groups(seat: &Seat) -> Vec<(String, Origin)> {
    let mut groups: Vec<_> = seat
        .member()
        .memberships()
        .into_iter()
        .map(|(group, origin)| (group.as_str().to_owned(), origin))
        .collect();
    groups.sort_by(|one, other| one.0.cmp(&other.0));
    groups
}

fn names(seat: &Seat) -> Vec<String> {
    groups(seat).into_iter().map(|(name, _)| name).collect()
}

/// Why a connection is being closed, and when it may come back where that was chosen.
fn closed(seat: &Seat) -> Option<(Code, String, Option<u32>)> {
    let outbox = seat.member().outbox();
    outbox.close_reason().map(|CloseReason { code, reason }| (code, reason, outbox.retry_after_ms()))
}

fn removed(name: &str, code: Code, reason: &str) -> ServerFrame {
    ServerFrame::Removed { group: group(name), code: code.number(), reason: reason.to_owned() }
}

fn counts(counts: &[(&str, u64)]) -> std::collections::BTreeMap<GroupName, u64> {
    counts.iter().map(|(name, count)| (group(name), *count)).collect()
}

/// A receipt without what depends on how fast the machine is.
fn timeless(receipt: Receipt) -> Receipt {
    Receipt { took_us: 0, acted_us: 0, ..receipt }
}

fn send_to(to: &Value) -> Value {
    json!({ "ask": "send", "to": to, "event": "Hello", "payload": "aGVsbG8=", "format": "text" })
}

/// Waits for it on the clock of the runtime, which is paused: it goes on when everybody waits.
async fn until(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), waiting).await.expect("it never comes");
}
