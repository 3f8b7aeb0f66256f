//! Clients that are asked from anywhere, by their connections' ids: those who are here, and those on other nodes.
//!
//! In: a connection's id, a method, arguments. Out: what the client gave. Invariant: a client is asked the same way
//! whoever asks it: by [`Caller::invoke_raw`] on its own node.

use std::sync::{Arc, Weak};
use std::time::Duration;

use fanfare_protocol::{ConnectionId, MethodName, Payload, PayloadFormat};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::arguments;
use super::caller::{Caller, InvokeError};
use super::serving::Application;
use crate::handle::{Asking, Clients, Given, Giving, HubHandle};

impl Clients for Application {
    fn ask(&self, asking: Asking) -> Giving<'static> {
        let link = self.links.read().get(&asking.connection).cloned();
        Box::pin(async move {
            let Some(link) = link else { return Given::NotThere };
            let Asking { method, arguments, deadline, .. } = asking;
            Caller::new(link).ask(method, arguments, deadline).await.into()
        })
    }

    fn deadline(&self) -> Duration {
        self.context.limits.client_result_deadline
    }
}

impl Application {
    /// As whom clients are asked.
    pub(crate) fn clients(self: &Arc<Self>) -> Weak<dyn Clients> {
        let clients: Weak<Self> = Arc::downgrade(self);
        clients
    }
}

impl HubHandle {
    /// Invokes a method of a client, on whichever node it is, and waits for what it gives, no longer than
    /// [`client_result_deadline`](super::CallLimits::client_result_deadline), and a second more where it is on another
    /// node. `arguments` is a tuple with an element for each, and goes as JSON. A method that asks its own caller does
    /// so by [`Caller::invoke`], which lends its place to what that client calls meanwhile.
    ///
    /// ```
    /// # async fn ask(hub: &fanfare_server::HubHandle, connection: fanfare_server::ConnectionId) -> Option<bool> {
    /// hub.invoke(connection, "Confirm", &("delete it?",)).await.ok()
    /// # }
    /// ```
    ///
    /// # Errors
    /// When there is no answer, or none that can be read as `T`. A server without an application has no clients that
    /// can be asked.
    pub async fn invoke<T: DeserializeOwned>(
        &self,
        connection: ConnectionId,
        method: &str,
        arguments: &impl Serialize,
    ) -> Result<T, InvokeError> {
        let arguments = arguments::encode(arguments, PayloadFormat::Json)
            .map_err(|error| InvokeError::Arguments(error.detail().to_owned()))?;
        let deadline = self.clients().ok_or(InvokeError::NotThere)?.deadline();
        let value = self.invoke_raw(connection, method, arguments, deadline).await?;
        let value = value.unwrap_or_else(|| Payload::json("null"));
        arguments::decode_value(&value).map_err(|error| InvokeError::Answer(error.detail().to_owned()))
    }

    /// The same with arguments and a value as they are, and a deadline of its own, of a day at most. `None`: the
    /// client's method gives no value. Where this is dropped, a client that is here is told that nobody waits; one on
    /// another node at the deadline.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn invoke_raw(
        &self,
        connection: ConnectionId,
        method: &str,
        arguments: Payload,
        deadline: Duration,
    ) -> Result<Option<Payload>, InvokeError> {
        let method = MethodName::new(method)?;
        let here = self.clients().ok_or(InvokeError::NotThere)?;
        let asking = Asking { connection, method, arguments, deadline: deadline.min(LONGEST) };
        let given = match (here.ask(asking.clone()).await, self.others()) {
            (Given::NotThere, Some(others)) => others.ask(asking).await,
            (given, _) => given,
        };
        given.into()
    }
}

/// The longest deadline.
const LONGEST: Duration = Duration::from_secs(86_400);

impl From<Result<Option<Payload>, InvokeError>> for Given {
    fn from(result: Result<Option<Payload>, InvokeError>) -> Self {
        match result {
            Ok(None) => Self::Nothing,
            Ok(Some(value)) => Self::Value(value),
            Err(InvokeError::Failed { code, detail, data }) => Self::Failed { code, detail, data },
            Err(InvokeError::NotUnderstood) => Self::NotUnderstood,
            Err(InvokeError::TooMany) => Self::TooMany,
            Err(InvokeError::Name(error)) => Self::Arguments(error.to_string()),
            Err(InvokeError::Arguments(what) | InvokeError::Answer(what)) => Self::Arguments(what),
            Err(InvokeError::Ended) => Self::Ended,
            Err(InvokeError::TimedOut) => Self::TimedOut,
            Err(InvokeError::NotThere) => Self::NotThere,
            Err(InvokeError::Silent) => Self::Silent,
        }
    }
}

impl From<Given> for Result<Option<Payload>, InvokeError> {
    fn from(given: Given) -> Self {
        match given {
            Given::Nothing => Ok(None),
            Given::Value(value) => Ok(Some(value)),
            Given::Failed { code, detail, data } => Err(InvokeError::Failed { code, detail, data }),
            Given::NotUnderstood => Err(InvokeError::NotUnderstood),
            Given::TooMany => Err(InvokeError::TooMany),
            Given::Arguments(what) => Err(InvokeError::Arguments(what)),
            Given::Ended => Err(InvokeError::Ended),
            Given::TimedOut => Err(InvokeError::TimedOut),
            Given::NotThere => Err(InvokeError::NotThere),
            Given::Silent => Err(InvokeError::Silent),
        }
    }
}
