//! Whether a connection may be here: what the application's `connected` decides, before its client hears of anything.
//!
//! In: who connects. Out: yes, with what it may do and the groups that it is in from the beginning; or a refusal.
//! Invariant: what a ban forbids is not allowed here either.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fanfare_hub::CloseReason;
use fanfare_protocol::call::first_bytes;
use fanfare_protocol::presence::DESCRIPTION_BYTES;
use fanfare_protocol::{Code, ConnectionId, Denial, GroupName, Payload, UserName};
use fanfare_token::{GrantClaim, Grants};

use super::caller::Caller;
use super::description;
use super::link::Link;
use crate::handle::{HubError, HubHandle};
use crate::reason::REASON_BYTES;
use crate::spread;
use crate::transport::Transport;

/// A connection that the application is asked about. Its client has shown who it is, and has not been welcomed.
pub struct Connecting {
    caller: Caller,
    link: Arc<Link>,
}

/// The application does not let a connection in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub(super) reason: CloseReason,
    /// After which time it may come back, where somebody chose one.
    pub(super) after: Option<Duration>,
}

impl Refusal {
    /// For good: code [`Code::ConnectRefused`]. The client is told the reason, of which what is beyond 512 bytes is cut
    /// off.
    pub fn new(reason: impl Into<String>) -> Self {
        let reason =
            CloseReason { code: Code::ConnectRefused, reason: first_bytes(reason.into(), REASON_BYTES) };
        Self { reason, after: None }
    }

    /// For now: code [`Code::ConnectRefusedForNow`], and the client tries again by itself.
    pub fn for_now(reason: impl Into<String>) -> Self {
        let reason = CloseReason {
            code: Code::ConnectRefusedForNow,
            reason: first_bytes(reason.into(), REASON_BYTES),
        };
        Self { reason, after: None }
    }

    /// The same, for this long: the client is told a moment of its own, between this and half as much again. A day is
    /// the longest time. It changes nothing where the refusal is for good.
    #[must_use]
    pub fn after(mut self, after: Duration) -> Self {
        if self.reason.code.may_reconnect() {
            self.after = Some(after);
        }
        self
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self { reason: code.into(), after: None }
    }
}

impl Refusal {
    /// What its client is told, and after how many milliseconds it may come back, where somebody chose that.
    pub(crate) fn told(self) -> (CloseReason, Option<u32>) {
        (self.reason, self.after.map(spread::come_back_after))
    }
}

impl Connecting {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { caller: Caller::new(Arc::clone(&link)), link }
    }

    /// The id that the connection has.
    #[must_use]
    pub fn connection(&self) -> ConnectionId {
        self.caller.connection()
    }

    /// Whose it is.
    #[must_use]
    pub fn user(&self) -> &UserName {
        self.caller.user()
    }

    /// Where it comes from.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.caller.address()
    }

    /// What it goes over.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.caller.transport()
    }

    /// The hub.
    #[must_use]
    pub fn hub(&self) -> &HubHandle {
        self.caller.hub()
    }

    /// Makes it a member of a group from its welcome on, for which it needs no grant. It lifts no ban: from such a
    /// group it stays out.
    pub fn join(&self, group: GroupName) {
        self.link.admission.lock().groups.push(group);
    }

    /// Lets it do this, instead of what its token says. A token that the client brings later changes when the
    /// connection ends, and not this.
    ///
    /// # Errors
    /// Which of the grants makes no sense, and why. Nothing has changed then.
    pub fn grant(&self, grants: &[GrantClaim]) -> Result<(), String> {
        GrantClaim::check(grants)?;
        let grants = Grants::parse(grants.to_vec(), 0).map_err(|error| format!("{error:?}"))?;
        self.link.admission.lock().grants = Some(grants);
        Ok(())
    }

    /// Says whose connection it is, instead of whose its client has shown that it is. All that is about users is about
    /// this one from then on: bans are asked for it before it is welcomed, and a token that the client brings later
    /// must be of the user that it came as. The first time counts.
    pub fn rename(&self, user: UserName) {
        self.link.rename(user);
    }

    /// Says something of it, from its welcome on, to everyone who may watch its groups: see [`Caller::describe`].
    ///
    /// # Errors
    /// When it is longer than 1,024 bytes, or is JSON with a whole number beyond 64 bits. Nothing has changed then.
    pub fn describe(&self, data: impl Into<Payload>) -> Result<(), HubError> {
        let data = data.into();
        description::check(&data)?;
        if data.bytes.len() > DESCRIPTION_BYTES {
            let detail = format!(
                "public data has {} bytes; at most {DESCRIPTION_BYTES} are allowed",
                data.bytes.len()
            );
            return Err(Denial { code: Code::PayloadTooLarge, detail }.into());
        }
        self.link.admission.lock().description = Some(data);
        Ok(())
    }

    /// Keeps something for this connection: see [`Caller::insert`].
    pub fn insert<T: Any + Send + Sync>(&self, value: T) {
        self.caller.insert(value);
    }
}
