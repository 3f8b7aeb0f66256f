//! A watch: who is in a group, as the application has it.
//!
//! In: the application's wish, and what the server tells. Out: everyone who is present, and then changes. Invariant: a
//! watch that is dropped is told to the server; one that is not taken from holds nobody up.

use std::fmt;
use std::sync::Arc;

use fanfare_protocol::presence::Present;
use fanfare_protocol::{ClientFrame, Code, Features, GroupName};
use tokio::sync::Notify;

use crate::client::Client;
use crate::error::RequestError;
use crate::event::WatchEvent;
use crate::requests::Effect;
use crate::state::Shared;
use crate::watches::{NO_PRESENCE, News};

/// Who is in a group, and how that changes. The watch ends when this is dropped. It goes on over outages: what has
/// changed meanwhile is told as a change. Where the server refuses it for now ([`Code::may_reconnect`]: a node that is
/// cut off from its cluster, say) it is asked again, after pauses that grow to ten seconds; until then what was last
/// heard stands.
pub struct Watch {
    shared: Arc<Shared>,
    group: GroupName,
    id: u64,
    news: Arc<Notify>,
}

impl Client {
    /// Watches a group: gives everyone who is present, and then changes. No membership is needed, but the right to know
    /// it (`presence`). Something must call [`next`](Self::next) meanwhile, as for everything else.
    ///
    /// ```no_run
    /// # async fn run(client: &fanfare_client::Client) -> Result<(), fanfare_client::RequestError> {
    /// use fanfare_client::WatchEvent;
    ///
    /// let watch = client.watch("lobby").await?;
    /// while let Some(event) = watch.next().await {
    ///     match event {
    ///         WatchEvent::Changed { present, left } => println!("here: {present:?}, gone: {left:?}"),
    ///         WatchEvent::Ended { reason, .. } => println!("no more: {reason}"),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`RequestError`]; refused with [`Code::NotKnownHere`] where the server has no presence.
    pub async fn watch<G>(&self, group: G) -> Result<Watch, RequestError>
    where
        G: TryInto<GroupName>,
        RequestError: From<G::Error>,
    {
        let group: GroupName = group.try_into()?;
        let shared = Arc::clone(self.shared());
        if !Features::PRESENCE.are_in(shared.link()?.welcome.features) {
            return Err(RequestError::Refused {
                code: Code::NotKnownHere.number(),
                detail: NO_PRESENCE.to_owned(),
            });
        }
        // First, so that there is a place for what comes before the answer.
        let (id, news) = shared.watches.begin(&group);
        let watch = Watch { shared, group: group.clone(), id, news };
        let effect = Effect::Watch(group.clone(), Some(id));
        self.request(effect, |request| ClientFrame::Watch { request, group }).await?;
        Ok(watch)
    }
}

impl Watch {
    /// The group.
    #[must_use]
    pub fn group(&self) -> &GroupName {
        &self.group
    }

    /// The next thing that happened: everyone who is present at first, then what has changed since the last time, as
    /// much as there is. `None` after [`WatchEvent::Ended`], and when the client has ended.
    ///
    /// May be dropped while it waits: nothing is lost.
    pub async fn next(&self) -> Option<WatchEvent> {
        loop {
            match self.shared.watches.news(self.id) {
                News::Event(event) => return Some(event),
                News::Over => return None,
                News::None => self.news.notified().await,
            }
        }
    }

    /// Who is present, as was last heard; during an outage, and until the server tells it again, as it was before.
    /// Nobody before the first event.
    #[must_use]
    pub fn present(&self) -> Vec<Present> {
        self.shared.watches.present(&self.group)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.watches.end(self.id);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("group", &self.group).finish_non_exhaustive()
    }
}
