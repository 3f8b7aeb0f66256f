//! The application that stays where it is: a back end that is asked and told over HTTP.
//!
//! From the bottom up: `event` is what it is told; `post` is one request; `queue` is which event is next, and `spool`
//! those that wait on the disk; `facts` is what operators see; `outgoing` is an end point while the server runs,
//! `backlog` what it is still to be told, `delivery` its task, and `asking` its questions; `users` is who is in which
//! group. This file puts them together, as the hooks and methods of an application: to the edge it is one like any
//! other.
//!
//! Invariants: a back end that is slow, dead or lies costs whoever waits for its answer, and nobody else (promise 15);
//! it hears of everything at least once, in order per connection, or of how much it has not (promise 17).

mod asking;
mod backlog;
mod delivery;
mod event;
mod facts;
mod outgoing;
mod packed;
mod post;
mod queue;
mod spool;
mod users;

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use fanfare_cluster::Subject;
use fanfare_hub::{CloseReason, Left};
use fanfare_protocol::admin::WebhookRow;
use fanfare_protocol::{Code, Denial, GroupName};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::task::TaskTracker;

use self::backlog::Backlog;
use self::delivery::Delivery;
use self::event::Event;
use self::outgoing::{Outgoing, Reached};
use self::post::Poster;
use self::spool::{Found, Spool};
use self::users::Users;
use crate::application::{Answer, Call, CallError, Caller, Connecting, Methods, Refusal};
use crate::cluster::{Notified, Side};
use crate::webhook::{Webhook, WebhookEvent};

pub use self::spool::SpoolError;
pub(crate) use self::spool::file;

/// Why webhooks cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebhooksError {
    /// What waits on the disk cannot be read.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// Whom to trust is not known.
    #[error("webhook {name:?}: {problem}")]
    Trust {
        /// Whose.
        name: String,
        /// What the matter is.
        problem: String,
    },
    /// Other settings need another start.
    #[error("webhook {name:?}: {what} changes only with a restart")]
    NeedsRestart {
        /// Whose.
        name: String,
        /// What has changed.
        what: &'static str,
    },
}

impl WebhooksError {
    pub(crate) fn needs_restart(name: &str, what: &'static str) -> Self {
        Self::NeedsRestart { name: name.to_owned(), what }
    }
}

/// Where groups and users may be.
pub(crate) enum Nodes {
    /// On this node alone. So long a user may be away without being gone.
    One(Duration),
    /// On others, too: they tell together.
    Several(Arc<Side>),
}

/// A back end's end points, while the server runs.
pub(crate) struct Webhooks {
    endpoints: Vec<Arc<Outgoing>>,
    dev: bool,
    /// Where somebody wants to hear of users.
    users: Option<Mutex<Users>>,
    /// Who tells of groups and users, where that is not this node alone.
    nodes: Option<Arc<Side>>,
    /// Somebody may be gone sooner than was known.
    leaving: Arc<Notify>,
    /// How much longer is delivered, when the server ends.
    finishing: watch::Sender<Option<Duration>>,
    tasks: TaskTracker,
}

/// What has been opened of one end point.
struct Opened {
    outgoing: Arc<Outgoing>,
    spool: Option<Spool>,
    found: Found,
}

impl Webhooks {
    /// Whether what waits on the disk can be read. Nothing is changed.
    ///
    /// # Errors
    /// Which file cannot be used.
    pub(crate) fn look(webhooks: &[Webhook], directory: &Path) -> Result<(), WebhooksError> {
        Ok(webhooks.iter().try_for_each(|webhook| Spool::look(&file(directory, &webhook.name)))?)
    }

    /// Files of webhooks that there are no more: events may wait in them.
    pub(crate) fn left_over(webhooks: &[Webhook], directory: &Path) -> Vec<String> {
        let is_used = |file_name: &str| {
            let has_events = |webhook: &&Webhook| !webhook.events.is_empty();
            let mut used = webhooks.iter().filter(has_events).map(|webhook| file(directory, &webhook.name));
            used.any(|used| used.file_name().is_some_and(|used| used == file_name))
        };
        let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let is_file = |name: &String| name.starts_with("webhook-") && name.ends_with(".redb");
        names.filter(is_file).filter(|name| !is_used(name)).collect()
    }

    /// Opens what waits on the disk, and begins to deliver. Reads files; needs a tokio runtime.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub(crate) fn start(
        webhooks: Vec<Webhook>,
        directory: Option<&Path>,
        dev: bool,
        nodes: Nodes,
    ) -> Result<Arc<Self>, WebhooksError> {
        let now = event::now_ms();
        // All of them first: what cannot be reached is found before a file is changed.
        let reached =
            webhooks.into_iter().map(|webhook| reach(webhook, dev)).collect::<Result<Vec<_>, _>>()?;
        let open = |reached: Reached| -> Result<Opened, WebhooksError> {
            let webhook = &reached.webhook;
            let opened = match directory.filter(|_| !webhook.events.is_empty()) {
                Some(directory) => Some(Spool::open(file(directory, &webhook.name), now)?),
                None => None,
            };
            let (spool, found) = match opened {
                Some((spool, found)) => (Some(spool), found),
                None => (None, Found { epoch: now, next: 1, waiting: 0 }),
            };
            Ok(Opened { outgoing: Arc::new(Outgoing::new(reached, found.epoch)), spool, found })
        };
        let opened = reached.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let endpoints: Vec<_> = opened.iter().map(|opened| Arc::clone(&opened.outgoing)).collect();
        let has_users = [WebhookEvent::UserJoined, WebhookEvent::UserLeft];
        let wants_users = has_users.into_iter().any(|kind| wants(&endpoints, kind));
        // Of several nodes, the one that tells waits for users to come back.
        let (grace, nodes) = match nodes {
            Nodes::One(grace) => (grace, None),
            Nodes::Several(nodes) => (Duration::ZERO, Some(nodes)),
        };
        let this = Arc::new(Self {
            endpoints,
            dev,
            users: wants_users.then(|| Mutex::new(Users::new(grace))),
            nodes,
            leaving: Arc::default(),
            finishing: watch::Sender::new(None),
            tasks: TaskTracker::new(),
        });
        this.tell(&Event::started());
        for Opened { outgoing, spool, found } in opened {
            let backlog = Backlog::new(Arc::clone(&outgoing), spool, found.next, found.waiting);
            this.tasks.spawn(Delivery::new(outgoing, backlog).run(this.finishing.subscribe()));
        }
        if wants_users {
            let leaving = Arc::clone(&this.leaving);
            let told = tell_who_is_gone(Arc::downgrade(&this), leaving, this.finishing.subscribe());
            this.tasks.spawn(told);
        }
        Ok(this)
    }

    /// Goes on with other secrets, URLs and bounds. What the back end is asked and told stays as it is.
    ///
    /// # Errors
    /// When something else has changed; then nothing does.
    pub(crate) fn replace(&self, webhooks: &[Webhook]) -> Result<(), WebhooksError> {
        let restart = WebhooksError::needs_restart;
        let mut replaced = Vec::new();
        for outgoing in &self.endpoints {
            let before = outgoing.reached();
            let before = &before.webhook;
            let Some(webhook) = webhooks.iter().find(|webhook| webhook.name == before.name) else {
                return Err(restart(&before.name, "that it is not there any more"));
            };
            for (is_same, what) in [
                (webhook.connect == before.connect, "whether it is asked about connections"),
                (webhook.invoke == before.invoke, "which methods it answers"),
                (webhook.events == before.events, "what it is told"),
                (webhook.groups == before.groups, "of which groups it is told"),
                (webhook.questions == before.questions, "how many questions it is asked at a time"),
            ] {
                if !is_same {
                    return Err(restart(&before.name, what));
                }
            }
            replaced.push((outgoing, reach(webhook.clone(), self.dev)?));
        }
        if let Some(new) = webhooks.iter().find(|webhook| {
            !self.endpoints.iter().any(|outgoing| outgoing.reached().webhook.name == webhook.name)
        }) {
            return Err(restart(&new.name, "that it is there"));
        }
        for (outgoing, reached) in replaced {
            outgoing.replace(reached);
        }
        Ok(())
    }

    /// What operators see of each end point.
    pub(crate) fn rows(&self) -> Vec<WebhookRow> {
        self.endpoints.iter().map(|outgoing| outgoing.facts.row(&outgoing.reached().webhook)).collect()
    }

    /// Delivers for so long what there still is, writes the rest to the disk, and ends. Nothing may be told any more.
    /// Users who are away are not told as gone: the next start says that all have ended, and they may be back by then.
    pub(crate) async fn finish(&self, patience: Duration) {
        self.finishing.send_replace(Some(patience));
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The application that it is to the edge. A handshake takes no longer than `handshake`, and so does no question.
    pub(crate) fn methods(self: &Arc<Self>, handshake: Duration) -> Methods<Arc<Self>> {
        let longest = handshake + Duration::from_secs(1);
        let mut methods = Methods::with_state(Arc::clone(self))
            .configure(|limits| limits.hook_deadline = limits.hook_deadline.max(longest));
        let has = |wanted: &dyn Fn(&Webhook) -> bool| {
            self.endpoints.iter().any(|outgoing| wanted(&outgoing.reached().webhook))
        };
        if has(&|webhook| webhook.connect) {
            methods = methods.connected(connect);
        }
        if has(&|webhook| !webhook.invoke.is_empty()) {
            methods = methods.otherwise(invoke);
        }
        if self.users.is_some() || wants(&self.endpoints, WebhookEvent::Joined) {
            methods = methods.joined(joined);
        }
        if self.users.is_some() || wants(&self.endpoints, WebhookEvent::Left) {
            methods = methods.left(left);
        }
        if [WebhookEvent::GroupOpened, WebhookEvent::GroupClosed]
            .iter()
            .any(|kind| wants(&self.endpoints, *kind))
        {
            methods = methods
                .group_opened(async |webhooks: Arc<Self>, _, group| {
                    webhooks.is_now(Subject::Group(group), true);
                })
                .group_closed(async |webhooks: Arc<Self>, _, group| {
                    webhooks.is_now(Subject::Group(group), false);
                });
        }
        if wants(&self.endpoints, WebhookEvent::Disconnected) {
            methods = methods.disconnected(disconnected);
        }
        methods
    }

    fn tell(&self, event: &Event) {
        for outgoing in &self.endpoints {
            outgoing.tell(event);
        }
    }

    /// A subject is occupied here from now on, or not any more.
    fn is_now(&self, subject: Subject, is_occupied: bool) {
        match &self.nodes {
            None => self.tell(&about(subject, is_occupied)),
            Some(nodes) => nodes.is_now(subject, is_occupied),
        }
    }

    fn tell_gone(&self, users: &Mutex<Users>, now: Instant) -> Option<Instant> {
        let mut users = users.lock();
        // Told under the lock, so that "gone" and the next "here" are told in their order.
        for (group, user) in users.gone(now) {
            self.is_now(Subject::User(group, user), false);
        }
        users.next()
    }
}

impl Notified for Webhooks {
    fn tell_of(&self, subject: Subject, is_occupied: bool, order: (u64, u64)) {
        self.tell(&about(subject, is_occupied).ordered(order));
    }
}

fn about(subject: Subject, is_occupied: bool) -> Event {
    use WebhookEvent::{GroupClosed, GroupOpened, UserJoined, UserLeft};
    match subject {
        Subject::Group(group) => Event::group(if is_occupied { GroupOpened } else { GroupClosed }, group),
        Subject::User(group, user) => {
            Event::presence(if is_occupied { UserJoined } else { UserLeft }, user, group)
        }
    }
}

fn reach(webhook: Webhook, dev: bool) -> Result<Reached, WebhooksError> {
    let poster = Poster::new(&webhook, dev);
    let poster = poster.map_err(|problem| WebhooksError::Trust { name: webhook.name.clone(), problem })?;
    Ok(Reached { webhook, poster })
}

fn wants(endpoints: &[Arc<Outgoing>], kind: WebhookEvent) -> bool {
    endpoints.iter().any(|outgoing| outgoing.reached().webhook.has(kind))
}

async fn connect(webhooks: Arc<Webhooks>, connecting: Connecting) -> Result<(), Refusal> {
    let asked = webhooks.endpoints.iter().find(|outgoing| outgoing.reached().webhook.connect);
    match asked {
        Some(outgoing) => asking::connect(outgoing, &connecting).await,
        // There was one at the start, and that does not change.
        None => Err(Refusal::for_now("nobody can be asked")),
    }
}

async fn invoke(webhooks: Arc<Webhooks>, call: Call) -> Result<Answer, CallError> {
    let method = call.method().as_str();
    match webhooks.endpoints.iter().find(|outgoing| outgoing.reached().webhook.answers(method)) {
        Some(outgoing) => asking::invoke(outgoing, call).await,
        None => {
            let detail = format!("there is no method {:?}", call.method());
            Err(Denial { code: Code::MethodUnknown, detail }.into())
        }
    }
}

async fn joined(webhooks: Arc<Webhooks>, caller: Caller, group: GroupName) {
    webhooks.tell(&Event::joined(caller.connection(), caller.user(), group.clone()));
    if let Some(users) = &webhooks.users {
        let mut users = users.lock();
        if users.joined(group.clone(), caller.user().clone()) {
            webhooks.is_now(Subject::User(group, caller.user().clone()), true);
        }
    }
}

async fn left(webhooks: Arc<Webhooks>, caller: Caller, group: GroupName, why: Left) {
    webhooks.tell(&Event::left(caller.connection(), caller.user(), group.clone(), why));
    if let Some(users) = &webhooks.users {
        users.lock().left(group, caller.user().clone(), Instant::now());
        webhooks.leaving.notify_one();
    }
}

async fn disconnected(webhooks: Arc<Webhooks>, caller: Caller, why: Option<CloseReason>) {
    webhooks.tell(&Event::disconnected(caller.connection(), caller.user(), why));
}

/// Tells of users who have been away for as long as the grace of presence, until the server ends. Meanwhile it keeps
/// nothing of it.
async fn tell_who_is_gone(
    webhooks: Weak<Webhooks>,
    leaving: Arc<Notify>,
    mut finishing: watch::Receiver<Option<Duration>>,
) {
    loop {
        let next = match webhooks.upgrade() {
            None => return,
            Some(this) => this.users.as_ref().and_then(|users| this.tell_gone(users, Instant::now())),
        };
        let is_time = async {
            match next {
                Some(next) => tokio::time::sleep_until(next.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = is_time => {}
            () = leaving.notified() => {}
            _ = finishing.wait_for(Option::is_some) => return,
        }
    }
}
