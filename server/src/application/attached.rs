//! A connection that the application has let in, as the edge has it: from `connected` to `disconnected`.
//!
//! In: a connection that wants in. Out: a refusal, or the application's part in the connection, which the edge feeds
//! with what its client says. Invariant: `disconnected` follows exactly where `connected` said yes, once, whatever ends
//! the connection, also before it was welcomed.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use fanfare_hub::{CloseReason, Origin};
use fanfare_protocol::call::ClientCall;
use fanfare_protocol::{Code, Denial, GroupName, RequestId, UserName};
use fanfare_token::Permissions;
use parking_lot::Mutex;

use super::caller::Caller;
use super::connecting::{Connecting, Refusal};
use super::events::Event;
use super::hooks::carry_out;
use super::link::{Link, Opening};
use super::serving::Application;
use super::telling::tell;
use crate::arrivals::Expected;
use crate::hub::Member;

/// The application's part in a connection. A clone is the same.
#[derive(Clone)]
pub(crate) struct Attachment {
    application: Arc<Application>,
    link: Arc<Link>,
}

/// A connection that the application has let in. Dropped, it has ended, and `disconnected` follows.
pub(crate) struct Attached {
    attachment: Attachment,
    /// Until it is in the hub.
    expected: Mutex<Option<Expected>>,
    /// Why the connection has ended, where it was closed.
    pub(crate) reason: Option<CloseReason>,
}

impl Attached {
    /// Asks whether a connection may be here. What it may do is changed where the application says so.
    ///
    /// # Errors
    /// Why not, as its client is told.
    pub(crate) async fn connect(
        application: &Arc<Application>,
        opening: Opening,
        permissions: &mut Permissions,
    ) -> Result<Self, Refusal> {
        let connection = opening.connection;
        let link = Arc::new(Link::new(Arc::clone(&application.context), opening));
        let weak = (Arc::downgrade(application), Arc::downgrade(&link));
        link.begin_by(move || {
            if let (Some(application), Some(link)) = (weak.0.upgrade(), weak.1.upgrade()) {
                application.begin(&link);
            }
        });
        let arrivals = application.context.handle.arrivals();
        let expected = arrivals.expect(connection, link.opening.user.clone());
        if let Some(hook) = &application.hooks.connected {
            let connecting = Connecting::new(Arc::clone(&link));
            let answer = tokio::select! {
                biased;
                // What the application says afterwards does not let it in.
                (reason, after) = expected.turned_away() => return Err(Refusal { reason, after }),
                answer = carry_out(&application.context, "connected", &connection, hook, connecting) => answer,
            };
            answer.ok_or_else(|| Refusal::from(Code::Internal))??;
        }
        if let Some(grants) = link.admission.lock().grants.take() {
            permissions.grants = grants.by_application();
        }
        application.links.write().insert(connection, Arc::clone(&link));
        let attachment = Attachment { application: Arc::clone(application), link };
        Ok(Self { attachment, expected: Mutex::new(Some(expected)), reason: None })
    }

    /// Whose connection it is, as the application has it.
    pub(crate) fn user(&self) -> &UserName {
        self.attachment.link.user()
    }

    pub(crate) fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// It is welcomed, and in the hub.
    pub(crate) fn welcomed(&self, member: &Arc<Member>) {
        let Attachment { application, link } = &self.attachment;
        // Before anybody has its caller: what `connected` said is older than what is said then.
        let description = link.admission.lock().description.take();
        if let Some(description) = description.filter(|description| !description.bytes.is_empty()) {
            // It is no longer than it may be: `Connecting::describe` has looked.
            let _ = application.context.hub.describe(member, Some(description), SystemTime::now());
        }
        link.welcomed(member);
        let expected = self.expected.lock().take();
        if let Some(expected) = expected {
            let groups = expected.arrive(&application.context.hub);
            link.admission.lock().groups.extend(groups);
        }
    }

    /// The groups that `connected` has named, once: the session joins them before it reads anything.
    pub(crate) fn first_groups(&self) -> Vec<GroupName> {
        std::mem::take(&mut self.attachment.link.admission.lock().groups)
    }

    /// Makes it a member of one of them.
    pub(crate) fn join(&self, member: &Arc<Member>, group: &GroupName) {
        let context = &self.attachment.link.context;
        if let Err(Denial { code, .. }) = context.hub.join(member, group, Origin::Application) {
            context.metrics.refused.add(code);
            tracing::debug!(connection = %member.id(), ?group, code = code.number(), "not joined at connect");
        }
    }

    /// The connection has ended: whatever runs for it is told so. Nothing is waited for.
    pub(crate) fn end(&self) {
        self.attachment.link.end();
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let Attachment { application, link } = &self.attachment;
        link.end();
        // What the hub tells of it has been told: it has left its groups.
        application.links.write().remove(&link.opening.connection);
        tell(link, &application.hooks, Event::Disconnected(self.reason.take()));
    }
}

impl Attachment {
    /// Whether its client understands calls.
    pub(crate) fn understands_calls(&self) -> bool {
        self.link.understands_calls()
    }

    /// Takes what the client says about calls.
    ///
    /// # Errors
    /// The number of a call that is refused, and why.
    pub(crate) fn take(&self, call: ClientCall) -> Result<(), (RequestId, Denial)> {
        self.application.take(&self.link, call)
    }

    /// Whose token its client showed when it came.
    pub(crate) fn came_as(&self) -> &UserName {
        &self.link.opening.user
    }

    /// Whether `joining` has to be asked.
    pub(crate) fn asks_about_joins(&self) -> bool {
        self.application.hooks.joining.is_some()
    }

    /// Asks whether its client may join a group that it is granted.
    ///
    /// # Errors
    /// Why not: a number and words for the client.
    pub(crate) async fn joining(&self, group: &GroupName) -> Result<(), (u16, String)> {
        let Some(hook) = &self.application.hooks.joining else { return Ok(()) };
        let (caller, about) = (Caller::new(Arc::clone(&self.link)), self.link.opening.connection);
        let internal = || (Code::Internal.number(), Code::Internal.sentence().to_owned());
        let context = &self.application.context;
        let answer = carry_out(context, "joining", &about, hook, (caller, group.clone())).await;
        answer.ok_or_else(internal)?.map_err(|error| (error.code(), error.detail().to_owned()))
    }

    /// Whether the application is still to be told of so much that the client is not to be read on.
    pub(crate) fn has_much_to_tell(&self) -> bool {
        self.link.events.are_many()
    }

    /// Ready when that is over.
    pub(crate) fn poll_told(&self, context: &mut Context<'_>) -> Poll<()> {
        self.link.events.poll_few(context)
    }
}
