//! What operators do: every act from its request to its receipt.
//!
//! In: an operator and an [`Action`]. Out: a [`Receipt`], or a numbered refusal; and an audit
//! record of either. Everything here blocks on the disk: it is not for the runtime's own threads.
//!
//! Invariants:
//! - what forbids is on the disk before it is in force, and in force before anyone is removed (promise 7);
//! - acts are carried out one after the other, and each is recorded before it is answered (promise 11);
//! - an act that failed on the disk has a refusal as its answer, never a receipt, and is not on the disk when the store
//!   can be used again (`cli/tests/full_disk.rs`).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use fanfare_protocol::admin::{Action, BanRow, Receipt, Role};
use fanfare_protocol::{Code, Denial, Limits};
use fanfare_token::Seconds;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

use super::audit::Outcome;
use super::decisions::{Carried, Decided, Decision, Decisions, Fence, add_up};
use super::enforcement::Enforcement;
use super::error::ModerationError;
use super::impaired::Impaired;
use super::journal::{Journal, Pending};
use super::lasting::Memberships;
use super::people::People;
use super::request::{self, described};
use super::store::{Change, Store, StoreError};
use crate::access::{self, ApiKeys, BanKey, Bans, KEY_AUTHOR, Lasting, Names};
use crate::arrivals::Arrivals;
use crate::hub::Hub;
use crate::reason;
use crate::telemetry::Metrics;

/// So many bans, revocations and sign-outs of API keys may be in force. Each takes about a kilobyte.
pub(crate) const MOST_OF_KEYS: usize = 100_000;

/// What the other nodes are asked when an act is recorded.
enum Elsewhere {
    /// How they stand to what was decided, and what it did there.
    Fence(Fence),
    /// What a ban would do there.
    Preview(BanRow),
}

/// Someone with an operator's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// The name in the certificate: the author of whatever is done with it.
    pub name: String,
    /// What it may be used for.
    pub role: Role,
}

/// Carries acts out.
pub struct Moderation {
    pub(super) hub: Arc<Hub>,
    /// Connections that are not welcomed yet.
    pub(super) arrivals: Arc<Arrivals>,
    pub(super) bans: Arc<Bans>,
    pub(super) keys: Arc<ApiKeys>,
    /// How many bans of API keys there may be.
    pub(super) most_of_keys: AtomicUsize,
    pub(super) metrics: Arc<Metrics>,
    pub(super) limits: Limits,
    /// Which groups may be made.
    pub(super) names: Names,
    pub(super) journal: Mutex<Journal>,
    /// The number of the newest audit record.
    pub(super) recorded: watch::Sender<u64>,
    /// Why no act can be taken now, if that is so.
    pub(super) impaired: Impaired,
    /// Where it goes what is decided, where several nodes decide together.
    decisions: OnceLock<Arc<dyn Decisions>>,
}

impl Moderation {
    /// Puts what the store has in force.
    pub(crate) fn open(
        store: Box<dyn Store>,
        hub: Arc<Hub>,
        bans: Arc<Bans>,
        metrics: Arc<Metrics>,
        limits: Limits,
    ) -> Result<Self, StoreError> {
        let (journal, kept) = Journal::open(store)?;
        for ban in kept.bans {
            bans.put(ban);
        }
        for row in kept.lasting {
            bans.lasting().put(row);
        }
        let keys = Arc::new(ApiKeys::default());
        for key in kept.keys {
            keys.put(key);
        }
        let moderation = Self {
            hub,
            arrivals: Arc::default(),
            most_of_keys: AtomicUsize::new(MOST_OF_KEYS),
            bans,
            keys,
            metrics,
            limits,
            names: Names::default(),
            recorded: watch::Sender::new(journal.head().sequence),
            impaired: Impaired::default(),
            journal: Mutex::new(journal),
            decisions: OnceLock::new(),
        };
        moderation.forget_ended(&moderation.journal.lock())?;
        Ok(moderation)
    }

    /// The same, with other names.
    pub(crate) fn taking(mut self, names: Names) -> Self {
        self.names = names;
        self
    }

    /// Connections that are not welcomed yet.
    pub(crate) fn arrivals(&self) -> &Arc<Arrivals> {
        &self.arrivals
    }

    /// Refuses a ban of an API key's where there are as many of theirs as are kept: what a stolen one can fill is
    /// bounded, and operators' own are never refused for it.
    fn has_room(&self, ban: &BanRow, now: Seconds) -> Result<(), ModerationError> {
        let most = self.most_of_keys.load(Ordering::Relaxed);
        let is_new = self.bans.find(&BanKey::from(ban), now).is_none();
        if !is_new || !ban.author.starts_with(KEY_AUTHOR) || self.bans.of_keys() < most {
            return Ok(());
        }
        let message = format!(
            "API keys have made {most} bans and revocations that are in force, as many as are kept of theirs; lift some"
        );
        Err(ModerationError::refused(Code::TooManyRequests, message))
    }

    fn forget_ended(&self, journal: &Journal) -> Result<(), StoreError> {
        let ended = self.bans.prune(access::now());
        if ended.is_empty() { Ok(()) } else { journal.forget(ended) }
    }

    /// Carries out one act, and records it. Blocks on the disk.
    ///
    /// # Errors
    /// When the operator may not, the request makes no sense, or the store does not work.
    pub fn act(&self, operator: &Operator, request: &Action) -> Result<Receipt, ModerationError> {
        self.act_if(operator, request, || Ok(()))
    }

    /// The same, if `counts` says so when it is this act's turn: behind a revocation of whoever asks nothing is done.
    pub(crate) fn act_if(
        &self,
        operator: &Operator,
        request: &Action,
        counts: impl FnOnce() -> Result<(), Denial>,
    ) -> Result<Receipt, ModerationError> {
        let begun = Instant::now();
        let pending = Pending { author: operator.name.clone(), role: operator.role, act: described(request) };
        let mut journal = self.journal.lock();
        counts()?;
        self.mend_in(&mut journal).and_then(|()| journal.settle()).map_err(ModerationError::not_done)?;
        let outcome = self.carry_out(&mut journal, operator, request, &pending, begun);
        if let Err(ModerationError::Refused { code, message }) = &outcome {
            self.metrics.refused.add(*code);
            let refusal = Outcome::Refused { code: code.number(), message: message.clone() };
            // The refusal stands, recorded or not.
            if let Err(source) = journal.refuse(&pending, refusal) {
                tracing::error!(%source, author = operator.name, "a refusal could not be recorded yet");
            }
        }
        // On the disk they harm nobody: what has ended forbids nothing. The next act or the next start tries again.
        if journal.trouble().is_none()
            && let Err(source) = self.forget_ended(&journal)
        {
            tracing::error!(%source, "bans that have ended could not be deleted");
        }
        // Before it is answered, so that what is answered is what is on the disk, if the disk can be asked at all. The
        // act has its own error.
        let _ = self.mend_in(&mut journal);
        self.tell_of(&journal);
        drop(journal);
        let (mut receipt, elsewhere) = outcome?;
        let (Some(elsewhere), Some(decisions)) = (elsewhere, self.decisions()) else { return Ok(receipt) };
        // Nobody else waits for a node that cannot be reached: the act is recorded, and what it forbids is in force.
        let Carried { receipts, silent } = match elsewhere {
            Elsewhere::Preview(ban) => decisions.preview(&ban),
            Elsewhere::Fence(fence) => {
                let (nodes, others) = decisions.fence(fence);
                receipt.nodes = nodes;
                others
            }
        };
        receipts.iter().for_each(|other| add_up(&mut receipt, other));
        Ok(Receipt { silent, took_us: micros(begun), ..receipt })
    }

    /// Records something that is done elsewhere, before it is. Blocks on the disk. Gives the record's number. `counts`
    /// is as for [`Moderation::act_if`].
    ///
    /// # Errors
    /// When the store does not work, or `counts` says no: then it is not to be done.
    pub(crate) fn record(
        &self,
        operator: &Operator,
        act: Value,
        counts: impl FnOnce() -> Result<(), Denial>,
    ) -> Result<u64, ModerationError> {
        let pending = Pending { author: operator.name.clone(), role: operator.role, act };
        let mut journal = self.journal.lock();
        counts()?;
        let recorded = self.mend_in(&mut journal).and_then(|()| journal.settle()).and_then(|()| {
            let receipt = Receipt { audit: journal.next(), ..Receipt::default() };
            journal.record(&pending, &Outcome::Done(receipt), Change::default())?;
            Ok(journal.head().sequence)
        });
        if recorded.is_err() {
            let _ = self.mend_in(&mut journal);
        }
        self.tell_of(&journal);
        recorded.map_err(ModerationError::not_done)
    }

    /// Tries to have a store that failed work again. Blocks on the disk.
    pub(crate) fn mend(&self) {
        // The next one who needs it is told.
        let mut journal = self.journal.lock();
        let _ = self.mend_in(&mut journal);
        self.tell_of(&journal);
    }

    /// Has those who follow the audit look at it again, if there is something new.
    fn tell_of(&self, journal: &Journal) {
        let newest = journal.head().sequence;
        self.recorded.send_if_modified(|known| std::mem::replace(known, newest) != newest);
    }

    pub(super) fn mend_in(&self, journal: &mut Journal) -> Result<(), StoreError> {
        if let Some(why) = journal.trouble() {
            self.impaired.begins(why);
        }
        let mended = journal.mend(|| self.standing());
        match journal.trouble() {
            Some(why) => self.impaired.begins(why),
            None => self.impaired.ends(),
        }
        mended
    }

    /// Why no act can be taken now, if that is so.
    pub(crate) fn impaired(&self) -> &Impaired {
        &self.impaired
    }

    /// The number of the newest audit record, as it changes.
    pub(crate) fn recorded(&self) -> watch::Receiver<u64> {
        self.recorded.subscribe()
    }

    fn carry_out(
        &self,
        journal: &mut Journal,
        operator: &Operator,
        request: &Action,
        pending: &Pending,
        begun: Instant,
    ) -> Result<(Receipt, Option<Elsewhere>), ModerationError> {
        if operator.role != Role::Operator {
            return Err(ModerationError::refused(
                Code::ViewerMayNotAct,
                "this certificate is a viewer's: it may look, and not act",
            ));
        }
        reason::check(request::reason(request))?;
        let now = access::now();
        let author = operator.name.as_str();
        let mut receipt = Receipt::default();
        match request {
            Action::Revoke { dry_run, .. } | Action::Ban { dry_run, .. } if *dry_run => {
                let ban = self.enforcement().asked_for(request, now, author)?;
                receipt.dry_run = true;
                receipt.unchanged = self.enforcement().is_in_force(&ban, now);
                self.enforcement().foretell(&ban, &mut receipt);
                receipt.took_us = micros(begun);
                return Ok((receipt, Some(Elsewhere::Preview(ban))));
            }
            Action::Revoke { .. }
            | Action::Ban { .. }
            | Action::SignOut { .. }
            | Action::RevokeToken { .. } => {
                let ban = self.enforcement().asked_for(request, now, author)?;
                self.has_room(&ban, now)?;
                let unchanged = self.enforcement().is_in_force(&ban, now);
                if let Some(decisions) = self.decisions() {
                    let decision = Decision::Ban(ban);
                    return self.decide(decisions, journal, pending, decision, unchanged, request, begun);
                }
                receipt.unchanged = unchanged;
                journal
                    .begin(pending, Change { put: Some(&ban), ..Change::default() })
                    .map_err(ModerationError::not_done)?;
                let in_force = Instant::now();
                self.enforcement().enforce(ban, &mut receipt);
                receipt.acted_us = micros(in_force);
            }
            Action::Restore { user, groups, .. } => {
                return self.lift(journal, pending, BanKey::group(user, groups), request, begun);
            }
            Action::Unban { user, .. } => {
                return self.lift(journal, pending, BanKey::user(user), request, begun);
            }
            Action::LiftSignOut { user, .. } => {
                return self.lift(journal, pending, BanKey::sign_out(user), request, begun);
            }
            Action::RestoreToken { jti, .. } => {
                request::token_id(jti)?;
                return self.lift(journal, pending, BanKey::token(jti), request, begun);
            }
            Action::Add { .. }
            | Action::Remove { .. }
            | Action::Close { .. }
            | Action::Kick { .. }
            | Action::Send { .. } => match self.decisions() {
                None => self.act_here(request, now, &mut receipt, || {
                    journal.begin(pending, Change::default()).map_err(ModerationError::not_done)
                })?,
                Some(decisions) => {
                    journal.begin(pending, Change::default()).map_err(ModerationError::not_done)?;
                    self.act_everywhere(decisions, request, now, &mut receipt)?;
                }
            },
            Action::AddLasting { user, group, may, until, reason } => {
                let row = self.memberships().row(user, group, *may, *until, now, author)?;
                let lasting = self.bans.lasting();
                let known = lasting.find(user, group);
                let unchanged = known.is_some_and(|known| (known.may, known.until) == (row.may, row.until));
                if let Some(decisions) = self.decisions() {
                    let decision = Decision::Lasting(row);
                    return self.decide(decisions, journal, pending, decision, unchanged, request, begun);
                }
                receipt.unchanged = unchanged;
                let with = Change { put_lasting: Some(&row), ..Change::default() };
                journal.begin(pending, with).map_err(ModerationError::not_done)?;
                let in_force = Instant::now();
                self.memberships().add(row, reason, &mut receipt);
                receipt.acted_us = micros(in_force);
            }
            Action::RemoveLasting { user, group, reason } => {
                if let Some(decisions) = self.decisions() {
                    let unchanged = self.bans.lasting().find(user, group).is_none();
                    let decision = Decision::DropLasting(user.clone(), group.clone());
                    return self.decide(decisions, journal, pending, decision, unchanged, request, begun);
                }
                let drop_lasting = vec![(user.clone(), group.clone())];
                let with = Change { drop_lasting, ..Change::default() };
                journal.begin(pending, with).map_err(ModerationError::not_done)?;
                let in_force = Instant::now();
                receipt = self.memberships().remove(user, group, Code::RemovedFromGroup, reason);
                receipt.acted_us = micros(in_force);
            }
            Action::CreateApiKey { name, id, .. } => {
                let key = request::api_key(request, now, author)?;
                if self.keys.has(name, id) {
                    let message = format!("there is a key {name:?}, or one with this id; revoke it first");
                    return Err(ModerationError::refused(Code::InvalidRequest, message));
                }
                if let Some(decisions) = self.decisions() {
                    let decision = Decision::Key(key);
                    return self.decide(decisions, journal, pending, decision, false, request, begun);
                }
                let with = Change { put_keys: vec![key.clone()], ..Change::default() };
                let receipt =
                    finish(journal, pending, receipt, with, begun).map_err(ModerationError::not_done)?;
                self.keys.put(key);
                return Ok((receipt, None));
            }
            Action::RevokeApiKey { name, .. } => {
                if !self.keys.has(name, "") {
                    let message = format!("there is no key {name:?}");
                    return Err(ModerationError::refused(Code::NothingThere, message));
                }
                if let Some(decisions) = self.decisions() {
                    let decision = Decision::DropKey(name.clone());
                    return self.decide(decisions, journal, pending, decision, false, request, begun);
                }
                let with = Change { drop_key: Some(name), ..Change::default() };
                let receipt =
                    finish(journal, pending, receipt, with, begun).map_err(ModerationError::not_done)?;
                self.keys.revoke(name);
                return Ok((receipt, None));
            }
            Action::ForgetNode { node, .. } => {
                let Some(decisions) = self.decisions() else {
                    let message = "this server is no node of a cluster: there is none to be forgotten";
                    return Err(ModerationError::refused(Code::NothingThere, message));
                };
                journal.begin(pending, Change::default()).map_err(ModerationError::not_done)?;
                decisions.forget_node(node)?;
            }
            Action::Backup {} => journal.backup().map_err(ModerationError::not_done)?,
        }
        let receipt = finish(journal, pending, receipt, Change::default(), begun);
        Ok((receipt.map_err(ModerationError::not_recorded)?, None))
    }

    /// Has something decided for all nodes, and records it.
    #[allow(clippy::too_many_arguments, reason = "an act's parts, passed on by the one who has them all")]
    fn decide(
        &self,
        decisions: &Arc<dyn Decisions>,
        journal: &mut Journal,
        pending: &Pending,
        decision: Decision,
        unchanged: bool,
        request: &Action,
        begun: Instant,
    ) -> Result<(Receipt, Option<Elsewhere>), ModerationError> {
        journal.begin(pending, Change::default()).map_err(ModerationError::not_done)?;
        let Decided { receipt, fence } = decisions.decide(decision, request::reason(request))?;
        let receipt = finish(journal, pending, Receipt { unchanged, ..receipt }, Change::default(), begun);
        Ok((receipt.map_err(ModerationError::not_recorded)?, Some(Elsewhere::Fence(fence))))
    }

    /// Has what is decided here decided for several nodes from now on.
    pub(crate) fn decided_with(&self, decisions: Arc<dyn Decisions>) {
        let _ = self.decisions.set(decisions);
    }

    pub(super) fn decisions(&self) -> Option<&Arc<dyn Decisions>> {
        self.decisions.get()
    }

    /// Lifts a ban: gone from the disk and recorded in one commit, and then no longer in force.
    fn lift(
        &self,
        journal: &mut Journal,
        pending: &Pending,
        key: BanKey,
        request: &Action,
        begun: Instant,
    ) -> Result<(Receipt, Option<Elsewhere>), ModerationError> {
        let unchanged = self.bans.find(&key, access::now()).is_none();
        if let Some(decisions) = self.decisions() {
            let decision = Decision::Lift(key);
            return self.decide(decisions, journal, pending, decision, unchanged, request, begun);
        }
        let receipt = Receipt { unchanged, ..Receipt::default() };
        let with = Change { lift: vec![key.clone()], ..Change::default() };
        let receipt = finish(journal, pending, receipt, with, begun).map_err(ModerationError::not_done)?;
        if let Some(user) = self.bans.lift(&key).and_then(|ban| ban.user) {
            // What it is in whenever it is here, it is in again.
            self.memberships().join_all(&user);
        }
        Ok((receipt, None))
    }

    pub(super) fn memberships(&self) -> Memberships<'_> {
        Memberships { hub: &self.hub, bans: &self.bans, names: self.names, limits: self.limits }
    }

    /// The lasting memberships.
    pub(crate) fn lasting(&self) -> &Lasting {
        self.bans.lasting()
    }

    pub(super) fn people(&self) -> People<'_> {
        People { hub: &self.hub, bans: &self.bans, names: self.names }
    }

    pub(super) fn enforcement(&self) -> Enforcement<'_> {
        Enforcement { hub: &self.hub, bans: &self.bans }
    }

    /// The keys of the HTTP API.
    pub(crate) fn keys(&self) -> &Arc<ApiKeys> {
        &self.keys
    }

    /// The bans in force.
    #[must_use]
    pub fn bans(&self) -> Vec<BanRow> {
        self.bans.list(access::now())
    }
}

/// Records what an act did.
fn finish(
    journal: &mut Journal,
    pending: &Pending,
    mut receipt: Receipt,
    with: Change<'_>,
    begun: Instant,
) -> Result<Receipt, StoreError> {
    receipt.audit = journal.next();
    receipt.took_us = micros(begun);
    journal.record(pending, &Outcome::Done(receipt.clone()), with)?;
    receipt.took_us = micros(begun);
    Ok(receipt)
}

pub(super) fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
