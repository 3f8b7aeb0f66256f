//! Acts on connections: done to those who are here, and to those on other nodes.
//!
//! In: an [`Action`] that adds, removes, closes, kicks or sends. Out: its part of a [`Receipt`]. Invariants: what is
//! refused is refused before anything is done, and before the mark of the act is written; where several servers are one
//! hub, an act is recorded once, where it was asked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use fanfare_hub::{CloseReason, Publication};
use fanfare_protocol::admin::{Action, Receipt, Who};
use fanfare_protocol::{Code, Sender, Target};
use fanfare_token::Seconds;

use super::actions::Moderation;
use super::decisions::{Carried, Decisions, add_up};
use super::error::ModerationError;
use super::people::{close, close_until, remove};
use super::request;
use crate::access;
use crate::arrivals::TurnedAway;
use crate::hub::Member;
use crate::notices;
use crate::reason::{self, told};
use crate::spread;

impl Moderation {
    /// Does to those who are here what an act on connections asks. `begin` is called when nothing can be refused any
    /// more.
    pub(super) fn act_here(
        &self,
        request: &Action,
        now: Seconds,
        receipt: &mut Receipt,
        begin: impl FnOnce() -> Result<(), ModerationError>,
    ) -> Result<(), ModerationError> {
        match request {
            Action::Add { who, group, .. } => {
                let members = self.people().members_to_add(who, group, now)?;
                begin()?;
                self.people().add(members, group, receipt);
            }
            Action::Remove { who, group, reason } => {
                let members = self.people().members(who)?;
                begin()?;
                remove(&self.hub, &members, group, reason, receipt);
            }
            Action::Close { who, retry_after_ms, reason } if *retry_after_ms > 0 => {
                let chosen = Duration::from_millis(u64::from(*retry_after_ms));
                spread::check(chosen)?;
                let mut members = self.to_close(who)?;
                begin()?;
                let code = Code::ClosedForNow;
                let why = CloseReason { code, reason: told(reason, code).to_owned() };
                let is_away = self.turn_away(who, &mut members, (why, Some(chosen)));
                close_until(&self.hub, &members, reason, chosen, receipt);
                receipt.connections += u64::from(is_away);
            }
            Action::Kick { who, reason } | Action::Close { who, reason, .. } => {
                let mut members = self.to_close(who)?;
                begin()?;
                let code = Code::ClosedByOperator;
                let why = CloseReason { code, reason: told(reason, code).to_owned() };
                let is_away = self.turn_away(who, &mut members, (why, None));
                close(&self.hub, &members, code, reason, receipt);
                receipt.connections += u64::from(is_away);
            }
            Action::Send { to, event, payload, format } => {
                let payload = base64::engine::general_purpose::STANDARD.decode(payload).map_err(|error| {
                    ModerationError::refused(
                        Code::InvalidRequest,
                        format!("the payload is not base64: {error}"),
                    )
                })?;
                self.limits.check_payload(payload.len())?;
                notices::refuse(event)?;
                begin()?;
                let delivery = self.hub.send(Publication {
                    from: Sender::Server,
                    to: vec![Target::from(to)],
                    except: Vec::new(),
                    event: event.clone(),
                    format: *format,
                    payload: payload.into(),
                    accepted: Instant::now(),
                    counts: true,
                })?;
                receipt.connections = delivery.queued;
                if let (Some(ticket), Some(decisions)) = (delivery.elsewhere, self.decisions()) {
                    let (copies, silent) = decisions.copies(ticket);
                    receipt.connections += copies;
                    receipt.silent = silent;
                }
            }
            // Whatever else was brought here would be recorded as done.
            _ => {
                let why = "that is nothing that is done to connections";
                return Err(ModerationError::refused(Code::InvalidRequest, why));
            }
        }
        Ok(())
    }

    /// The same for those on other nodes as well. There is nobody only where there is nobody anywhere.
    pub(super) fn act_everywhere(
        &self,
        decisions: &Arc<dyn Decisions>,
        request: &Action,
        now: Seconds,
        receipt: &mut Receipt,
    ) -> Result<(), ModerationError> {
        let here = self.act_here(request, now, receipt, || Ok(()));
        // A message has gone there already.
        if matches!(request, Action::Send { .. }) {
            return here;
        }
        let nobody = match here {
            Err(ModerationError::Refused { code: Code::NothingThere, message }) => Some(message),
            other => other.map(|()| None)?,
        };
        let Carried { receipts, silent } = decisions.carry_out(request);
        if let Some(message) = nobody.filter(|_| receipts.is_empty() && silent.is_empty()) {
            return Err(ModerationError::refused(Code::NothingThere, message));
        }
        receipts.iter().for_each(|other| add_up(receipt, other));
        receipt.silent = silent;
        Ok(())
    }

    /// Another node's act on connections, done to those who are here. It is recorded where it was asked for. Nothing
    /// where there is nobody.
    ///
    /// # Errors
    /// As it would be refused here.
    pub(crate) fn act_for(&self, request: &Action) -> Result<Option<Receipt>, ModerationError> {
        // Everything else reaches this node in another way: messages as such, and what is decided as a decision.
        if !matches!(
            request,
            Action::Add { .. } | Action::Remove { .. } | Action::Close { .. } | Action::Kick { .. }
        ) {
            return Err(ModerationError::refused(Code::InvalidRequest, "that is nothing for other nodes"));
        }
        reason::check(request::reason(request))?;
        let mut receipt = Receipt::default();
        match self.act_here(request, access::now(), &mut receipt, || Ok(())) {
            Ok(()) => Ok(Some(receipt)),
            Err(ModerationError::Refused { code: Code::NothingThere, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whom a close is about: those who are here, or nobody of them where it is one that is expected.
    fn to_close(&self, who: &Who) -> Result<Vec<Arc<Member>>, ModerationError> {
        match who {
            Who::Connection(id) if self.arrivals.owner(id).is_some() => Ok(Vec::new()),
            _ => self.people().members(who),
        }
    }

    /// Turns away whom a close is about, where it is one that is expected; it may be one that has just arrived.
    fn turn_away(&self, who: &Who, members: &mut Vec<Arc<Member>>, told: TurnedAway) -> bool {
        let Who::Connection(id) = who else { return false };
        let is_away = members.is_empty() && self.arrivals.turn_away(id, told);
        if members.is_empty() && !is_away {
            members.extend(self.hub.connection(id));
        }
        is_away
    }
}
