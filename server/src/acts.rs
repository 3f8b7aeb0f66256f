//! What operators do: every act from its request to its receipt.
//!
//! In: an operator and an [`AdminRequest`] that changes something. Out: a [`Receipt`], or a numbered refusal; and an audit
//! record of either. Everything here blocks on the disk: it is not for the runtime's own threads.
//!
//! Invariants:
//! - what forbids is on the disk before it is in force, and in force before anyone is removed (promise 7);
//! - acts are carried out one after the other, and each is recorded before it is answered (promise 11);
//! - an act that failed on the disk has a refusal as its answer, never a receipt.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use fanfare_protocol::admin::{
    AdminError, AdminRequest, AuditHead, AuditVerdict, BanKind, BanRow, Receipt, Role, Who,
};
use fanfare_protocol::{Code, GroupName, Pattern, Sender, Target, UserName};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::access::{self, BanKey, Bans, Seconds};
use crate::audit::{self, Head, Outcome, Record};
use crate::envelope::Envelope;
use crate::metrics::Metrics;
use crate::outbox::Ending;
use crate::registry::{Expulsion, Farewell, Member, Origin, Registry};
use crate::store::{Change, Store, StoreError};

/// The longest reason, in bytes: it goes to every connection concerned, and fits in a close (RFC 9000 section 19.19).
const REASON_BYTES: usize = 512;
/// Audit records that are read at a time.
const RECORDS_AT_ONCE: usize = 1_000;

/// Someone with an operator's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// The name in the certificate: the author of whatever is done with it.
    pub name: String,
    /// What it may be used for.
    pub role: Role,
}

/// Carries acts out.
pub struct Acts {
    registry: Arc<Registry>,
    bans: Arc<Bans>,
    metrics: Arc<Metrics>,
    payload_bytes: usize,
    ledger: Mutex<Ledger>,
}

/// The disk, and what is on it last.
struct Ledger {
    store: Box<dyn Store>,
    head: Head,
}

/// An act that has begun, as its mark in the store has it.
#[derive(Serialize, Deserialize)]
struct Pending {
    author: String,
    role: Role,
    act: Value,
}

/// Why an act was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// It was refused.
    #[error("{message} (code {})", code.number())]
    Refused {
        /// Why, by number.
        code: Code,
        /// Why, and what to do.
        message: String,
    },
    /// It could not be written down, and so was not done; or it was done and could not be recorded, which the message
    /// says.
    #[error("{said}: {source}")]
    Store {
        /// How far it came.
        said: &'static str,
        /// What is wrong with the store.
        source: StoreError,
    },
}

impl ActError {
    fn refused(code: Code, message: impl Into<String>) -> Self {
        Self::Refused { code, message: message.into() }
    }

    /// Its number.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Refused { code, .. } => *code,
            Self::Store { .. } => Code::Internal,
        }
    }
}

impl From<&ActError> for AdminError {
    fn from(error: &ActError) -> Self {
        let message = match error {
            ActError::Refused { message, .. } => message.clone(),
            error @ ActError::Store { .. } => error.to_string(),
        };
        Self { code: error.code().number(), message }
    }
}

const NOT_DONE: &str = "nothing was done, because it could not be written down";
const NOT_RECORDED: &str = "it was done, but the audit record could not be written";

/// Puts a ban in force, and then removes whom it concerns: in this order, because a join asks the bans inside the critical
/// section in which it is removed from (model `join_against_revoke_against_disconnect`).
pub(crate) fn enforce_on_groups(
    bans: &Bans,
    registry: &Registry,
    ban: BanRow,
    user: &UserName,
    groups: &Pattern,
    farewell: Farewell<'_>,
) -> Expulsion {
    bans.put(ban);
    registry.expel_user(user, |group, _| groups.matches(group.as_str()), farewell)
}

impl Acts {
    /// Puts what the store has in force.
    pub(crate) fn open(
        store: Box<dyn Store>,
        registry: Arc<Registry>,
        bans: Arc<Bans>,
        metrics: Arc<Metrics>,
        payload_bytes: usize,
    ) -> Result<Self, StoreError> {
        let kept = store.load()?;
        for ban in kept.bans {
            bans.put(ban);
        }
        let mut ledger = Ledger { store, head: kept.head };
        if let Some(pending) = kept.pending {
            // Written by ourselves; where it cannot be read, it is recorded as it is.
            let text = || Value::String(String::from_utf8_lossy(&pending).into_owned());
            let pending = serde_json::from_slice(&pending).unwrap_or_else(|_| Pending {
                author: "unknown".to_owned(),
                role: Role::Operator,
                act: text(),
            });
            ledger.record(&pending, &Outcome::Interrupted, Change::default())?;
        }
        let lift = bans.prune(access::now());
        if !lift.is_empty() {
            ledger.store.commit(Change { lift, ..Change::default() })?;
        }
        Ok(Self { registry, bans, metrics, payload_bytes, ledger: Mutex::new(ledger) })
    }

    /// Carries out one act, and records it. Blocks on the disk.
    ///
    /// # Errors
    /// When the operator may not, the request makes no sense, or the store does not work.
    pub fn act(&self, operator: &Operator, request: &AdminRequest) -> Result<Receipt, ActError> {
        let begun = Instant::now();
        let pending = Pending { author: operator.name.clone(), role: operator.role, act: described(request) };
        let mut ledger = self.ledger.lock();
        let outcome = self.carry_out(&mut ledger, operator, request, &pending, begun);
        if let Err(ActError::Refused { code, message }) = &outcome {
            self.metrics.refused.add(*code);
            let refusal = Outcome::Refused { code: code.number(), message: message.clone() };
            // The refusal stands, recorded or not.
            if let Err(source) = ledger.record(&pending, &refusal, Change::default()) {
                tracing::error!(%source, author = operator.name, "a refusal could not be recorded");
            }
        }
        outcome
    }

    fn carry_out(
        &self,
        ledger: &mut Ledger,
        operator: &Operator,
        request: &AdminRequest,
        pending: &Pending,
        begun: Instant,
    ) -> Result<Receipt, ActError> {
        if operator.role != Role::Operator {
            return Err(ActError::refused(
                Code::ViewerMayNotAct,
                "this certificate is a viewer's: it may look, and not act",
            ));
        }
        if reason(request).len() > REASON_BYTES {
            let message = format!("the reason has more than {REASON_BYTES} bytes");
            return Err(ActError::refused(Code::InvalidRequest, message));
        }
        let now = access::now();
        let author = operator.name.as_str();
        let mut change = Change { lift: self.bans.prune(now), ..Change::default() };
        let mut receipt = Receipt::default();
        match request {
            AdminRequest::Revoke { dry_run, .. } | AdminRequest::Ban { dry_run, .. } if *dry_run => {
                let ban = ban(request, now, author)?;
                receipt.dry_run = true;
                receipt.unchanged = self.is_in_force(&ban, now);
                self.foretell(&ban, &mut receipt);
                receipt.took_us = micros(begun);
                return Ok(receipt);
            }
            AdminRequest::Revoke { .. }
            | AdminRequest::Ban { .. }
            | AdminRequest::SignOut { .. }
            | AdminRequest::RevokeToken { .. } => {
                let ban = ban(request, now, author)?;
                receipt.unchanged = self.is_in_force(&ban, now);
                let mark = serde_json::to_vec(pending).unwrap_or_default();
                let put = Change {
                    put: Some(&ban),
                    lift: std::mem::take(&mut change.lift),
                    pending: Some(&mark),
                    record: None,
                };
                ledger.store.commit(put).map_err(|source| ActError::Store { said: NOT_DONE, source })?;
                let in_force = Instant::now();
                self.enforce(ban, &mut receipt);
                receipt.acted_us = micros(in_force);
            }
            AdminRequest::Restore { user, groups, .. } => {
                let key = BanKey {
                    kind: BanKind::Group,
                    subject: user.as_str().to_owned(),
                    groups: groups.as_str().to_owned(),
                };
                return self.lift(ledger, &key, change, pending, receipt, begun);
            }
            AdminRequest::Unban { user, .. } => {
                let key =
                    BanKey { kind: BanKind::User, subject: user.as_str().to_owned(), groups: String::new() };
                return self.lift(ledger, &key, change, pending, receipt, begun);
            }
            AdminRequest::Add { who, group, .. } => self.add(who, group, now, &mut receipt)?,
            AdminRequest::Remove { who, group, reason } => {
                let reason = told(reason, Code::RemovedFromGroup);
                let mut done = Expulsion::default();
                for member in self.members(who)? {
                    let farewell = Farewell { code: Code::RemovedFromGroup, reason };
                    self.registry.expel(&member, |name, _| name == group, farewell, &mut done);
                }
                self.account(Code::RemovedFromGroup, done, &mut receipt);
            }
            AdminRequest::Kick { who, reason } => {
                close(&self.members(who)?, Code::ClosedByOperator, reason, &mut receipt);
            }
            AdminRequest::Send { to, event, payload } => {
                let payload = base64::engine::general_purpose::STANDARD.decode(payload).map_err(|error| {
                    ActError::refused(Code::InvalidRequest, format!("the payload is not base64: {error}"))
                })?;
                if payload.len() > self.payload_bytes {
                    let message = format!(
                        "the payload has {} bytes; at most {} are allowed",
                        payload.len(),
                        self.payload_bytes
                    );
                    return Err(ActError::refused(Code::PayloadTooLarge, message));
                }
                let to = match to.clone() {
                    Who::Connection(connection) => Target::Connection(connection),
                    Who::User(user) => Target::User(user),
                    Who::Group(group) => Target::Group(group),
                    Who::All => Target::All,
                };
                let envelope = Envelope::new(&Sender::Server, vec![to], event.clone(), payload.into());
                let delivery = self.registry.send(&Arc::new(envelope), &[]);
                self.metrics.sends.add(1);
                self.metrics.deliveries.add(delivery.queued);
                self.metrics.displaced.add(delivery.displaced);
                receipt.connections = delivery.queued;
            }
            AdminRequest::Status
            | AdminRequest::Connections(_)
            | AdminRequest::Users(_)
            | AdminRequest::Groups(_)
            | AdminRequest::Members { .. }
            | AdminRequest::Connection { .. }
            | AdminRequest::Bans(_)
            | AdminRequest::Explain { .. }
            | AdminRequest::Audit { .. }
            | AdminRequest::VerifyAudit { .. }
            | AdminRequest::Watch { .. } => {
                return Err(ActError::refused(Code::InvalidRequest, "this is a question, and no act"));
            }
        }
        ledger.finish(pending, receipt, change, begun)
    }

    /// Lifts a ban: gone from the disk and recorded in one commit, and then no longer in force.
    fn lift(
        &self,
        ledger: &mut Ledger,
        key: &BanKey,
        mut change: Change<'_>,
        pending: &Pending,
        mut receipt: Receipt,
        begun: Instant,
    ) -> Result<Receipt, ActError> {
        receipt.unchanged = self.bans.find(key, access::now()).is_none();
        change.lift.push(key.clone());
        let receipt = ledger.finish(pending, receipt, change, begun).map_err(|error| match error {
            ActError::Store { source, .. } => ActError::Store { said: NOT_DONE, source },
            error => error,
        })?;
        self.bans.lift(key);
        Ok(receipt)
    }

    fn is_in_force(&self, ban: &BanRow, now: Seconds) -> bool {
        // A sign-out is another one each time: it is about everything up to now.
        ban.kind != BanKind::SignOut
            && self.bans.find(&BanKey::from(ban), now).is_some_and(|known| known.until == ban.until)
    }

    /// Puts a ban in force and carries it out. It is on the disk.
    fn enforce(&self, ban: BanRow, receipt: &mut Receipt) {
        let reason = ban.reason.clone();
        match (ban.kind, ban.user.clone(), ban.groups.clone()) {
            (BanKind::Group, Some(user), Some(groups)) => {
                let code = Code::BannedFromGroup;
                let farewell = Farewell { code, reason: told(&reason, code) };
                let done = enforce_on_groups(&self.bans, &self.registry, ban, &user, &groups, farewell);
                self.account(code, done, receipt);
            }
            _ => {
                self.bans.put(ban.clone());
                let code = if ban.kind == BanKind::User { Code::UserBanned } else { Code::TokenRevoked };
                close(&self.concerned(&ban), code, &reason, receipt);
            }
        }
    }

    /// The connections that a ban that is no group's closes.
    fn concerned(&self, ban: &BanRow) -> Vec<Arc<Member>> {
        let mut members = match &ban.user {
            Some(user) => self.registry.of_user(user),
            None => self.registry.members(),
        };
        members.retain(|member| match ban.kind {
            BanKind::SignOut => member.pass().issued <= ban.since,
            BanKind::Token => member.pass().token.is_some() && member.pass().token == ban.jti,
            BanKind::User | BanKind::Group => true,
        });
        members
    }

    /// What a ban would do now.
    fn foretell(&self, ban: &BanRow, receipt: &mut Receipt) {
        let Some(groups) = &ban.groups else {
            receipt.connections = self.concerned(ban).len() as u64;
            return;
        };
        for member in self.concerned(ban) {
            let mut any = false;
            for (group, _) in member.memberships() {
                if groups.matches(group.as_str()) {
                    any = true;
                    *receipt.groups.entry(group).or_default() += 1;
                }
            }
            receipt.connections += u64::from(any);
        }
    }

    fn add(&self, who: &Who, group: &GroupName, now: Seconds, receipt: &mut Receipt) -> Result<(), ActError> {
        let banned = |member: &Member| self.bans.forbids_group(member.user(), group, now);
        let members = self.members(who)?;
        if let Some(member) = members.iter().find(|member| banned(member)) {
            let message = format!(
                "the user {:?} is banned from the group {:?}; restore it first",
                member.user().as_str(),
                group.as_str()
            );
            return Err(ActError::refused(Code::BannedFromGroup, message));
        }
        for member in members {
            let permit = || if banned(&member) { Err(Code::BannedFromGroup) } else { Ok(()) };
            // One that has gone meanwhile, or was banned meanwhile, is not counted.
            if self.registry.join(&member, group, usize::MAX, Origin::Operator, permit).is_ok() {
                receipt.connections += 1;
            }
        }
        receipt.groups = BTreeMap::from([(group.clone(), receipt.connections)]);
        Ok(())
    }

    fn members(&self, who: &Who) -> Result<Vec<Arc<Member>>, ActError> {
        let (members, what) = match who {
            Who::Connection(id) => {
                (self.registry.connection(id).into_iter().collect(), format!("no connection {id}"))
            }
            Who::User(user) => {
                (self.registry.of_user(user), format!("no connection of the user {:?}", user.as_str()))
            }
            Who::Group(group) => {
                (self.registry.of_group(group), format!("no member of the group {:?}", group.as_str()))
            }
            Who::All => return Ok(self.registry.members()),
        };
        if members.is_empty() {
            return Err(ActError::refused(Code::NothingThere, format!("there is {what}")));
        }
        Ok(members)
    }

    fn account(&self, code: Code, done: Expulsion, receipt: &mut Receipt) {
        self.metrics.removed.add_many(code, done.groups.values().sum());
        self.metrics.purged.add(done.purged);
        receipt.connections = done.connections;
        receipt.groups = done.groups;
        receipt.purged = done.purged;
    }

    /// The bans in force.
    #[must_use]
    pub fn bans(&self) -> Vec<BanRow> {
        self.bans.list(access::now())
    }

    /// The newest audit record.
    #[must_use]
    pub fn audit_head(&self) -> AuditHead {
        self.ledger.lock().head.into()
    }

    /// Audit records with higher numbers than `after`, at most `limit` and never more than 1,000, as they were stored.
    ///
    /// # Errors
    /// When the store does not work.
    pub fn audit(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.ledger.lock().store.records(after, limit.min(RECORDS_AT_ONCE))
    }

    /// Checks the audit's chain, and that it holds a record whose hash was `noted` some time ago. No act is carried out
    /// meanwhile.
    ///
    /// # Errors
    /// When the store does not work.
    pub fn verify_audit(&self, noted: Option<&str>) -> Result<AuditVerdict, StoreError> {
        let ledger = self.ledger.lock();
        let mut records = Vec::new();
        loop {
            let after = records.last().map_or(0, |(number, _)| *number);
            let more = ledger.store.records(after, RECORDS_AT_ONCE)?;
            if more.is_empty() {
                break;
            }
            records.extend(more);
        }
        let kept = ledger.store.load()?.head;
        let records = records.iter().map(|(number, bytes)| (*number, bytes.as_slice()));
        Ok(audit::verify(records, kept, noted))
    }
}

impl Ledger {
    fn finish(
        &mut self,
        pending: &Pending,
        mut receipt: Receipt,
        change: Change<'_>,
        begun: Instant,
    ) -> Result<Receipt, ActError> {
        receipt.audit = self.head.sequence + 1;
        receipt.took_us = micros(begun);
        let outcome = Outcome::Done(receipt.clone());
        self.record(pending, &outcome, change)
            .map_err(|source| ActError::Store { said: NOT_RECORDED, source })?;
        receipt.took_us = micros(begun);
        Ok(receipt)
    }

    /// Writes a record, and in the same commit whatever else is to be changed.
    fn record(&mut self, pending: &Pending, outcome: &Outcome, change: Change<'_>) -> Result<(), StoreError> {
        let sequence = self.head.sequence + 1;
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let bytes = Record {
            sequence,
            at_ms: u64::try_from(at).unwrap_or(u64::MAX),
            author: &pending.author,
            role: pending.role,
            act: &pending.act,
            outcome,
            previous: audit::hex(&self.head.hash),
        }
        .bytes();
        let head = Head { sequence, hash: audit::hash(&bytes) };
        self.store.commit(Change { record: Some((&bytes, head)), ..change })?;
        self.head = head;
        Ok(())
    }
}

/// Closes connections. What is queued to them is thrown away.
fn close(members: &[Arc<Member>], code: Code, reason: &str, receipt: &mut Receipt) {
    for member in members {
        member.outbox().end(Ending { code, reason: told(reason, code).to_owned() });
    }
    receipt.connections = members.len() as u64;
}

/// What the user is told: the operator's reason, or else what the code says.
fn told(reason: &str, code: Code) -> &str {
    if reason.is_empty() { code.sentence() } else { reason }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// The ban that a request asks for.
fn ban(request: &AdminRequest, since: Seconds, author: &str) -> Result<BanRow, ActError> {
    let row = |kind, user: Option<&UserName>, until: Option<Seconds>, reason: &str| BanRow {
        kind,
        user: user.cloned(),
        groups: None,
        jti: None,
        since,
        until,
        reason: reason.to_owned(),
        author: author.to_owned(),
    };
    let ban = match request {
        AdminRequest::Revoke { user, groups, until, reason, .. } => {
            BanRow { groups: Some(groups.clone()), ..row(BanKind::Group, Some(user), *until, reason) }
        }
        AdminRequest::Ban { user, until, reason, .. } => row(BanKind::User, Some(user), *until, reason),
        AdminRequest::SignOut { user, reason } => row(BanKind::SignOut, Some(user), None, reason),
        AdminRequest::RevokeToken { jti, until, reason } => {
            if !(1..=256).contains(&jti.len()) {
                let message = "a token's id (jti) has 1 to 256 bytes";
                return Err(ActError::refused(Code::InvalidRequest, message));
            }
            BanRow { jti: Some(jti.clone()), ..row(BanKind::Token, None, *until, reason) }
        }
        _ => return Err(ActError::refused(Code::InvalidRequest, "this forbids nothing")),
    };
    if ban.until.is_some_and(|until| until <= since) {
        return Err(ActError::refused(Code::InvalidRequest, "the end (until) has passed already"));
    }
    Ok(ban)
}

fn reason(request: &AdminRequest) -> &str {
    match request {
        AdminRequest::Revoke { reason, .. }
        | AdminRequest::Restore { reason, .. }
        | AdminRequest::Ban { reason, .. }
        | AdminRequest::Unban { reason, .. }
        | AdminRequest::SignOut { reason, .. }
        | AdminRequest::RevokeToken { reason, .. }
        | AdminRequest::Add { reason, .. }
        | AdminRequest::Remove { reason, .. }
        | AdminRequest::Kick { reason, .. } => reason,
        _ => "",
    }
}

/// The request as the audit has it: as it came, but for a payload, of which the length is enough.
fn described(request: &AdminRequest) -> Value {
    let mut act = serde_json::to_value(request).unwrap_or_default();
    if let (AdminRequest::Send { payload, .. }, Some(act)) = (request, act.as_object_mut()) {
        act.remove("payload");
        act.insert("payload_bytes".to_owned(), (payload.len() / 4 * 3).into());
    }
    act
}
