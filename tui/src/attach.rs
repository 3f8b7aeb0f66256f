//! The dashboard's connection to the server: made, kept, and made again.
//!
//! In: credentials, and what the operator wants asked or done. Out: events. Invariants: at most one connection at a
//! time; what the operator orders is sent once, and answered, be it with why not; everything ends when the receiver of
//! the events is gone.

use std::sync::Arc;
use std::time::Duration;

use fanfare_client::{OperatorClient, OperatorConfig, OperatorError};
use fanfare_protocol::admin::{
    self, BanRow, ConnectionDetail, ConnectionRow, Listing, Page, Receipt, Status, Update,
};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use crate::everywhere::{Everywhere, Lists, bare};
use crate::update::{Effect, Event};

/// Milliseconds between updates: the most that the server offers.
const INTERVAL_MS: u32 = 250;
/// Audit records from before that are shown.
const RECORDS: u64 = 500;
/// How often the bans are asked for where nothing is heard of them: they end by themselves.
const BANS_EVERY: Duration = Duration::from_secs(5);
/// How often all nodes are asked, where all are looked at.
const LISTS_EVERY: Duration = Duration::from_secs(1);
/// The first and the longest pause before it is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// How long is waited for answers when a connection has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The channels to the rest of the dashboard.
pub(crate) struct Attachment {
    pub(crate) config: OperatorConfig,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) wishes: mpsc::Receiver<Effect>,
    /// When the dashboard began.
    pub(crate) began: Instant,
    /// Whether all nodes are looked at.
    pub(crate) all_nodes: bool,
}

/// The dashboard is gone.
struct Gone;

/// What came of something that was asked.
enum Answer {
    Event(Event),
    Lists(Option<Lists>),
}

impl Attachment {
    /// Stays attached until nobody takes events any more, or the server does not take the certificate, which no other
    /// attempt changes: then it says so.
    pub(crate) async fn run(mut self) -> Option<OperatorError> {
        let mut failures = 0;
        loop {
            let ended = match OperatorClient::connect(self.config.clone()).await {
                Ok((client, status)) => {
                    failures = 0;
                    match self.follow(client, status).await {
                        Ok(ended) => ended,
                        Err(Gone) => return None,
                    }
                }
                Err(error) => Some(error),
            };
            if matches!(ended, Some(OperatorError::Certificate { .. })) {
                return ended;
            }
            let reason = ended.map_or("the server ended the answer".to_owned(), |error| error.to_string());
            let most = PAUSES.0.saturating_mul(1 << failures.min(6)).min(PAUSES.1);
            failures += 1;
            // Half of it at least, so that a restarted server is not asked by all of its watchers at once.
            let pause = most.mul_f64(0.5 + fastrand::f64() / 2.0);
            let retry = Instant::now() + pause;
            let retry_ms = u64::try_from((retry - self.began).as_millis()).unwrap_or(u64::MAX);
            if self.pause(reason, retry, retry_ms).await.is_err() {
                return None;
            }
        }
    }

    /// Waits until it is time to try again, and says no to whatever is ordered meanwhile.
    async fn pause(&mut self, reason: String, retry: Instant, retry_ms: u64) -> Result<(), Gone> {
        self.tell(Event::Lost { reason, retry_ms }).await?;
        loop {
            let wish = tokio::select! {
                () = sleep_until(retry) => return Ok(()),
                wish = self.wishes.recv() => wish.ok_or(Gone)?,
            };
            match wish {
                Effect::Act(name, request) => {
                    let why = "there is no server to act on now".to_owned();
                    self.tell(Event::Done(name, request, Err(why))).await?;
                }
                Effect::Scope(all_nodes) => self.all_nodes = all_nodes,
                _ => {}
            }
        }
    }

    async fn tell(&self, event: Event) -> Result<(), Gone> {
        self.events.send(event).await.map_err(|_| Gone)
    }

    /// Follows the server. Gives why it could not go on; `None` where the server ended what has no end.
    async fn follow(
        &mut self,
        client: OperatorClient,
        status: Status,
    ) -> Result<Option<OperatorError>, Gone> {
        let client = Arc::new(client);
        let after = status.audit.sequence.saturating_sub(RECORDS);
        self.tell(Event::Attached(Box::new(status))).await?;
        let watch = admin::Subscription::Watch { interval_ms: INTERVAL_MS };
        let audit = admin::Subscription::Audit { after, limit: 0, follow: true };
        let followed = async {
            Ok::<_, OperatorError>((
                client.follow::<Update>(&watch).await?,
                client.follow::<Value>(&audit).await?,
            ))
        };
        let (mut updates, mut records) = match followed.await {
            Ok(both) => both,
            Err(error) => return Ok(Some(error)),
        };
        let (mut bans, mut lists) = (interval(BANS_EVERY), interval(LISTS_EVERY));
        bans.set_missed_tick_behavior(MissedTickBehavior::Delay);
        lists.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked: JoinSet<Option<Answer>> = JoinSet::new();
        // What was told of all nodes, what the node said of itself last, and whether all are being asked.
        let (mut everywhere, mut newest, mut is_asking) = (Everywhere::default(), None, false);
        let ended = loop {
            tokio::select! {
                update = updates.next() => match update {
                    Ok(Some(update)) if self.all_nodes => {
                        newest = Some(bare(update));
                    }
                    Ok(Some(update)) => self.tell(Event::Update(Box::new(update))).await?,
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                },
                record = records.next() => match record {
                    Ok(Some(record)) => {
                        self.tell(Event::Record(record)).await?;
                        // Most actions change the bans.
                        bans.reset_immediately();
                    }
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                },
                _ = bans.tick() => { asked.spawn(ask_bans(Arc::clone(&client))); }
                _ = lists.tick(), if self.all_nodes && newest.is_some() && !is_asking => {
                    let client = Arc::clone(&client);
                    is_asking = true;
                    asked.spawn(async move { Some(Answer::Lists(Lists::ask(&client).await)) });
                }
                Some(answer) = asked.join_next() => match answer {
                    Ok(Some(Answer::Event(event))) => self.tell(event).await?,
                    Ok(Some(Answer::Lists(lists))) => {
                        is_asking = false;
                        if let (true, Some(node), Some(lists)) = (self.all_nodes, &newest, lists) {
                            let (update, at_most) = everywhere.update(node, lists);
                            self.tell(Event::Everywhere(Box::new(update), at_most)).await?;
                        }
                    }
                    _ => {}
                },
                wish = self.wishes.recv() => match wish.ok_or(Gone)? {
                    Effect::Scope(all_nodes) => {
                        (self.all_nodes, everywhere, newest) = (all_nodes, Everywhere::default(), None);
                        // The feed begins anew, with everything.
                        match client.follow::<Update>(&watch).await {
                            Ok(anew) => updates = anew,
                            Err(error) => break Some(error),
                        }
                    }
                    wish => { asked.spawn(ask(Arc::clone(&client), wish)); }
                },
            }
        };
        // What was ordered and not answered yet is told, too: with the connection gone, all of it fails at once.
        drop(client);
        while let Ok(Some(answer)) = timeout(LAST_ANSWERS, asked.join_next()).await {
            if let Ok(Some(Answer::Event(event))) = answer {
                self.tell(event).await?;
            }
        }
        Ok(ended)
    }
}

async fn ask_bans(client: Arc<OperatorClient>) -> Option<Answer> {
    let newest = Page { sort: "since".to_owned(), descending: true, ..Page::default() };
    let bans: Listing<BanRow> = client.ask(&admin::Question::Bans(newest)).await.ok()?;
    Some(Answer::Event(Event::Bans(bans)))
}

/// Has a wish answered. What only looks and fails is asked again soon.
async fn ask(client: Arc<OperatorClient>, wish: Effect) -> Option<Answer> {
    let event = match wish {
        Effect::Act(name, request) => {
            let outcome = client.ask::<Receipt>(&request).await;
            Event::Done(name, request, outcome.map_err(|error| error.to_string()))
        }
        Effect::Preview(request) => {
            let outcome = client.ask::<Receipt>(&request).await;
            Event::Previewed(request, outcome.map_err(|error| error.to_string()))
        }
        Effect::Look(connection) => {
            let detail = client.ask::<ConnectionDetail>(&admin::Question::Connection { connection }).await;
            Event::Detail(detail.ok().map(Box::new))
        }
        Effect::Members(group) => {
            let page = Page::default();
            let request = admin::Question::Members { group: group.clone(), page };
            let members = client.ask::<Listing<ConnectionRow>>(&request).await;
            // Refused where it has no member any more.
            Event::Members(group, members.unwrap_or_else(|_| Listing::new(0, Vec::new())))
        }
        Effect::Quit | Effect::Copy(_) | Effect::Scope(_) => return None,
    };
    Some(Answer::Event(event))
}
