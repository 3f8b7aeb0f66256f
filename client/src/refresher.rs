//! Keeps access from running out: gets a new token when the server says that the old one ends, and sends it.
//!
//! In: the reader's word that access is about to end. Out: `Refresh`, or an event that says why there was none.
//!
//! Invariants: one refresh at a time; a provider or a server that fails is asked again with growing pauses, not in a
//! loop, and every failure is told to the application.

use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::{ClientFrame, Credential, codec};
use tokio::time::{sleep, timeout};

use crate::backoff::Backoff;
use crate::credential::Source;
use crate::error::RequestError;
use crate::event::Event;
use crate::events::EventSink;
use crate::link::Link;
use crate::requests::{Answer, Effect};
use crate::state::Shared;

/// The pauses between attempts that failed: short, as access ends soon.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Waits for the next end that is announced on this connection, for ever; to be dropped with it.
pub(crate) async fn run(
    shared: Arc<Shared>,
    link: Arc<Link>,
    source: Source,
    patience: Duration,
    events: EventSink,
) -> std::convert::Infallible {
    loop {
        link.expiring.notified().await;
        if !source.renews() {
            continue;
        }
        let mut pauses = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        while let Err(reason) = attempt(&shared, &source, patience).await {
            events.push(Event::RefreshFailed { reason }).await;
            sleep(pauses.next_delay()).await;
        }
    }
}

async fn attempt(shared: &Shared, source: &Source, patience: Duration) -> Result<(), String> {
    let token = match timeout(patience, source.credential()).await {
        Ok(Ok(Credential::Token(token))) => token,
        Ok(Ok(Credential::DevUser(_) | Credential::Certificate)) => return Ok(()),
        Ok(Err(error)) => return Err(format!("the token provider failed: {error}")),
        Err(_) => return Err(format!("the token provider took longer than {} s", patience.as_secs_f32())),
    };
    let request = shared.next_request();
    let frame = codec::encode_client(&ClientFrame::Refresh { request, token });
    let answered = async {
        let answer = shared.request(request, frame, Effect::None).await?;
        answer.await.map_err(|_| RequestError::Disconnected)
    };
    match timeout(patience, answered).await {
        Ok(Ok(Answer::Done(_) | Answer::Part(..))) => Ok(()),
        Ok(Ok(Answer::Refused { code, detail })) => Err(RequestError::Refused { code, detail }.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the server did not answer within {} s", patience.as_secs_f32())),
    }
}
