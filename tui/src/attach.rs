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

use crate::update::{Effect, Event};

/// Milliseconds between updates: the most that the server offers.
const INTERVAL_MS: u32 = 250;
/// Audit records from before that are shown.
const RECORDS: u64 = 500;
/// How often the bans are asked for where nothing is heard of them: they end by themselves.
const BANS_EVERY: Duration = Duration::from_secs(5);
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
}

/// The dashboard is gone.
struct Gone;

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
            if let Effect::Act(name, request) = wish {
                let why = "there is no server to act on now".to_owned();
                self.tell(Event::Done(name, request, Err(why))).await?;
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
        let mut bans = interval(BANS_EVERY);
        bans.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked: JoinSet<Option<Event>> = JoinSet::new();
        let ended = loop {
            tokio::select! {
                update = updates.next() => match update {
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
                Some(answer) = asked.join_next() => {
                    if let Ok(Some(event)) = answer {
                        self.tell(event).await?;
                    }
                }
                wish = self.wishes.recv() => { asked.spawn(ask(Arc::clone(&client), wish.ok_or(Gone)?)); }
            }
        };
        // What was ordered and not answered yet is told, too: with the connection gone, all of it fails at once.
        drop(client);
        while let Ok(Some(answer)) = timeout(LAST_ANSWERS, asked.join_next()).await {
            if let Ok(Some(event)) = answer {
                self.tell(event).await?;
            }
        }
        Ok(ended)
    }
}

async fn ask_bans(client: Arc<OperatorClient>) -> Option<Event> {
    let newest = Page { sort: "since".to_owned(), descending: true, ..Page::default() };
    let bans: Listing<BanRow> = client.ask(&admin::Question::Bans(newest)).await.ok()?;
    Some(Event::Bans(bans))
}

/// Has a wish answered. What only looks and fails is asked again soon.
async fn ask(client: Arc<OperatorClient>, wish: Effect) -> Option<Event> {
    match wish {
        Effect::Act(name, request) => {
            let outcome = client.ask::<Receipt>(&request).await;
            Some(Event::Done(name, request, outcome.map_err(|error| error.to_string())))
        }
        Effect::Preview(request) => {
            let outcome = client.ask::<Receipt>(&request).await;
            Some(Event::Previewed(request, outcome.map_err(|error| error.to_string())))
        }
        Effect::Look(connection) => {
            let detail = client.ask::<ConnectionDetail>(&admin::Question::Connection { connection }).await;
            Some(Event::Detail(detail.ok().map(Box::new)))
        }
        Effect::Members(group) => {
            let page = Page::default();
            let request = admin::Question::Members { group: group.clone(), page };
            let members = client.ask::<Listing<ConnectionRow>>(&request).await;
            // Refused where it has no member any more.
            let (total, rows) = members.map_or((0, Vec::new()), |members| (members.total, members.rows));
            let rows = rows.into_iter().map(|row| row.connection).collect();
            Some(Event::Members(group, Listing::new(total, rows)))
        }
        Effect::Quit | Effect::Copy(_) => None,
    }
}
