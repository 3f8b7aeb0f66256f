//! Carries out what back ends ask for: by the hub, or by moderation, as for anybody else.
//!
//! In: a key, and an operation. Out: what it did, or a problem. Invariants: nothing is done that the key does not
//! allow, and who may not, is told what is missing and nothing of what there is; each operation is the hub's or
//! moderation's own, so that it meets the same bans, fences, limits, counters and audit (promise 14); one that has
//! begun is finished, whether or not somebody still waits for the answer.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::http::StatusCode;
use fanfare_protocol::admin::{Action, Role, Subject, Verb, Who};
use fanfare_protocol::{Code, ConnectionId, Denial, GroupName, Target, UserName};
use parking_lot::RwLock;
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body::{AddBody, GrantBody, MintBody, RemoveBody, SendBody, whose};
use super::idempotency::Answers;
use super::operation::{Act, Operation, Task};
use super::outcome::{Done, Minted, Outcome, Sent};
use super::problem::Problem;
use crate::access::{self, ApiKey, KEY_AUTHOR, Minting, TooFast};
use crate::admin::Queries;
use crate::cluster::{Connections, Side};
use crate::handle::{HubError, HubHandle, Reached, Selection};
use crate::moderation::{Moderation, Operator};

/// Back ends' connections at a time, of all keys together.
const MOST_CONNECTIONS: usize = 1_024;

/// Bytes of requests that are worked on at a time, of all keys together.
const MOST_BODIES: usize = 64 * 1024 * 1024;

/// Acts of moderation that wait for the disk at a time: they go there one after the other, and an operator's must not
/// stand behind many.
const MOST_ACTS: usize = 8;

/// What back ends can have done.
pub(crate) struct Api {
    pub(super) hub: HubHandle,
    pub(super) moderation: Arc<Moderation>,
    pub(super) queries: Arc<Queries>,
    /// What tokens are made with, if they are.
    minting: RwLock<Option<Minting>>,
    pub(super) answers: Arc<Answers>,
    /// Places for connections.
    pub(super) connections: Arc<Semaphore>,
    /// Room for requests, in bytes.
    pub(super) bodies: Arc<Semaphore>,
    acts: Semaphore,
    /// The other nodes, where the server is one of several.
    cluster: Option<Arc<Side>>,
    /// Cancelled when nothing more is begun.
    pub(super) closing: CancellationToken,
    /// What goes on, whoever waits for it.
    pub(super) work: TaskTracker,
}

/// Removes members of a group, or adds them.
enum Change {
    Add,
    Remove { reason: String },
}

impl Api {
    pub(crate) fn new(
        hub: HubHandle,
        moderation: Arc<Moderation>,
        queries: Arc<Queries>,
        minting: Option<Minting>,
        cluster: Option<Arc<Side>>,
        closing: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            hub,
            moderation,
            queries,
            minting: RwLock::new(minting),
            answers: Arc::default(),
            connections: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
            bodies: Arc::new(Semaphore::new(MOST_BODIES)),
            acts: Semaphore::new(MOST_ACTS),
            cluster,
            closing,
            work: TaskTracker::new(),
        })
    }

    /// Makes tokens by another key from now on.
    pub(crate) fn replace_minting(&self, minting: Option<Minting>) {
        *self.minting.write() = minting;
    }

    /// Waits until nothing is being done any more. Nobody asks any more.
    pub(crate) async fn finish(&self) {
        self.work.close();
        self.work.wait().await;
    }

    /// Carries out an operation.
    pub(super) async fn carry_out(
        &self,
        key: &Arc<ApiKey>,
        operation: Operation,
    ) -> Result<Outcome, Problem> {
        self.still_counts(key)?;
        match operation.task()? {
            Task::Act(act) => self.act(key, act).await.map(Outcome::Done),
            Task::Send(message) => self.send(key, message).await.map(Outcome::Sent),
            Task::Add(AddBody { group, user, connection }) => {
                self.change(key, &group, whose(user, connection)?, Change::Add).await.map(Outcome::Done)
            }
            Task::Remove(RemoveBody { group, user, connection, reason }) => {
                let change = Change::Remove { reason };
                self.change(key, &group, whose(user, connection)?, change).await.map(Outcome::Done)
            }
            Task::Mint(token) => self.mint(key, token).await.map(Outcome::Minted),
        }
    }

    /// Makes a token. That it was made is in the audit before it is given out.
    async fn mint(&self, key: &Arc<ApiKey>, token: MintBody) -> Result<Minted, Problem> {
        allow(key, Verb::Mint, &Subject::User(&token.user))?;
        let none = || {
            let detail = "this server has no key that it makes tokens with";
            Problem::new(Code::MintingNotConfigured, detail)
        };
        let minting = self.minting.read().clone().ok_or_else(none)?;
        let MintBody { user, seconds, jti, grants } = token;
        let grants: Vec<_> = grants.into_iter().map(GrantBody::claim).collect();
        let minted = minting.mint(&user, seconds.get(), jti, &grants)?;
        // One that nobody would be let in with is none: of a user who is banned, or was signed out a moment ago.
        let refused = |denial| Problem::from(denial).with_status(StatusCode::CONFLICT);
        self.queries.would_let_in(&minted.token).map_err(refused)?;
        let (operator, moderation) = (author(key), Arc::clone(&self.moderation));
        let counts = self.counts(key);
        let act = json!({ "ask": "mint_token", "user": user, "jti": minted.jti, "until": minted.expires });
        let _turn = self.acts.acquire().await;
        self.blocking(move || moderation.record(&operator, act, counts)).await?;
        Ok(minted.into())
    }

    /// Whether the server takes anything more, and this key: a request may have waited, and a batch is long.
    pub(super) fn still_counts(&self, key: &Arc<ApiKey>) -> Result<(), Problem> {
        if self.closing.is_cancelled() {
            return Err(Problem::new(Code::ShuttingDown, "the server stops"));
        }
        // Whether it was revoked elsewhere is not known.
        if self.cluster.as_ref().is_some_and(|cluster| !cluster.lease.holds()) {
            return Err(Problem::from(Denial::from(Code::CutOff)));
        }
        self.counts(key)().map_err(Problem::from)
    }

    /// Asks whether a key still opens something, and the server still does anything, where that is to be asked later:
    /// many acts may wait for their turn.
    fn counts(&self, key: &Arc<ApiKey>) -> impl FnOnce() -> Result<(), Denial> + Send + use<> {
        let (moderation, key, closing) =
            (Arc::clone(&self.moderation), Arc::clone(key), self.closing.clone());
        move || {
            if closing.is_cancelled() {
                return Err(Code::ShuttingDown.into());
            }
            let checked = moderation.keys().check(&key, access::now());
            checked.map_err(|refusal| Denial { code: Code::ApiKeyRefused, detail: refusal.to_string() })
        }
    }

    async fn send(&self, key: &Arc<ApiKey>, mut message: SendBody) -> Result<Sent, Problem> {
        let payload = message.payload()?;
        let targets = message.to.targets();
        if targets.is_empty() {
            return Err(Problem::new(Code::NoTarget, "the member \"to\" names nobody"));
        }
        self.allow_targets(key, Verb::Send, &targets).await?;
        // Other nodes may have been asked, and it may have been revoked meanwhile.
        self.counts(key)()?;
        let selection = message.except.into_iter().fold(self.hub.select(targets), Selection::except);
        let sent = selection.everywhere().send(message.event, payload).await?;
        Ok(Sent { queued: sent.connections, silent: sent.silent })
    }

    async fn change(
        &self,
        key: &ApiKey,
        group: &GroupName,
        whose: Target,
        change: Change,
    ) -> Result<Done, Problem> {
        allow(key, Verb::Members, &Subject::Group(group))?;
        let everywhere = self.hub.select([whose]).everywhere();
        let changed = match &change {
            Change::Add => everywhere.join(group).await,
            Change::Remove { reason } => everywhere.remove(group, reason).await,
        };
        let Reached { connections, silent, .. } = match changed {
            // Who is here is not for everybody to know who may put into groups.
            Err(HubError::Refused { code: Code::NothingThere, .. }) => Reached::default(),
            changed => changed?,
        };
        Ok(Done { connections, unchanged: connections == 0, silent, ..Done::default() })
    }

    async fn act(&self, key: &Arc<ApiKey>, act: Act) -> Result<Done, Problem> {
        let owner = match &act.action {
            Action::Close { who: Who::Connection(id), .. } => {
                self.owners(key, act.verb, vec![*id]).await.remove(id)
            }
            _ => None,
        };
        allow(key, act.verb, &act.subject(owner.as_ref()))?;
        let (operator, counts) = (author(key), self.counts(key));
        let _turn = self.acts.acquire().await;
        let moderation = Arc::clone(&self.moderation);
        let acted = self.blocking(move || moderation.act_if(&operator, &act.action, counts)).await?;
        Ok(acted.into())
    }

    /// Whose connections are, as far as they are there, or about to be, on whichever node; where that is of no account,
    /// because the key may do it to anybody's, nobody is asked.
    async fn owners(
        &self,
        key: &ApiKey,
        verb: Verb,
        ids: Vec<ConnectionId>,
    ) -> HashMap<ConnectionId, UserName> {
        if key.allows(verb, &Subject::Connection(None)) {
            return HashMap::new();
        }
        let here = |id: &ConnectionId| {
            let member = self.queries.hub.connection(id);
            member.map(|member| member.user().clone()).or_else(|| self.hub.arrivals().owner(id))
        };
        let (mut owners, mut elsewhere) = (HashMap::new(), Vec::new());
        for id in ids {
            match here(&id) {
                Some(owner) => drop(owners.insert(id, owner)),
                None => elsewhere.push(id),
            }
        }
        if let Some(cluster) = self.cluster.as_ref().filter(|_| !elsewhere.is_empty()) {
            owners.extend(cluster.owners(elsewhere, Connections::AlsoExpected).await);
        }
        owners
    }

    async fn allow_targets(&self, key: &ApiKey, verb: Verb, targets: &[Target]) -> Result<(), Problem> {
        let connection = |target: &Target| if let Target::Connection(id) = target { Some(*id) } else { None };
        let owners = self.owners(key, verb, targets.iter().filter_map(connection).collect()).await;
        targets.iter().try_for_each(|target| match target {
            Target::Group(group) => allow(key, verb, &Subject::Group(group)),
            Target::User(user) => allow(key, verb, &Subject::User(user)),
            Target::Connection(id) => allow(key, verb, &Subject::Connection(owners.get(id))),
            Target::All => allow(key, verb, &Subject::All),
        })
    }

    /// A turn to have all nodes looked at, where there are several.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.cluster.as_ref()?.turns.acquire().await.ok()
    }

    /// Runs what waits for the disk, or takes long, where messages do not wait for it.
    pub(super) async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match self.work.spawn_blocking(work).await {
            Ok(outcome) => outcome,
            // The one other join error there could be is a panic in there, which goes on here.
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}

/// Who the audit says it was. No operator can have such a name (`check_name` of fanfare-certs).
fn author(key: &ApiKey) -> Operator {
    Operator { name: format!("{KEY_AUTHOR}{}", key.name()), role: Role::Operator }
}

/// Whether a key allows something.
pub(super) fn allow(key: &ApiKey, verb: Verb, subject: &Subject<'_>) -> Result<(), Problem> {
    if key.allows(verb, subject) {
        return Ok(());
    }
    let detail = format!("the key {:?} lacks the scope {}", key.name(), subject.needs(verb));
    Err(Problem::new(Code::ApiKeyTooNarrow, detail))
}

/// Has one operation go, or says how long it has to wait.
pub(super) fn pace(key: &ApiKey) -> Result<(), Problem> {
    key.pace(NonZeroU32::MIN).map_err(too_fast)
}

/// Has all of a batch go, whose request has been counted as one.
pub(super) fn pace_batch(key: &ApiKey, operations: usize) -> Result<(), Problem> {
    let others = u32::try_from(operations.saturating_sub(1)).unwrap_or(u32::MAX);
    NonZeroU32::new(others).map_or(Ok(()), |others| key.pace_others(others)).map_err(too_fast)
}

fn too_fast(why: TooFast) -> Problem {
    match why {
        TooFast::For(pause) => {
            let detail = "the key has asked for as many operations as it may have in a second";
            Problem::new(Code::TooManyRequests, detail).after(pause)
        }
        TooFast::Never => {
            Problem::invalid("the batch has more operations than the key may have carried out in a second")
        }
    }
}

/// The names that are in a path.
pub(super) fn group(name: &str) -> Result<GroupName, Problem> {
    GroupName::new(name).map_err(|error| Problem::new(Code::InvalidName, error.to_string()))
}

pub(super) fn user(name: &str) -> Result<UserName, Problem> {
    UserName::new(name).map_err(|error| Problem::new(Code::InvalidName, error.to_string()))
}
