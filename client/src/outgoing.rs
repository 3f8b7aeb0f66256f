//! A message on its way out: what, where to, and who is left out.
//!
//! In: names and targets, as text or checked. Out: a [`Send`] that keeps to the server's limits, or the reason why not.
//! Invariant: nothing that the server would surely refuse is sent; a bad name is kept as an error until then.

use fanfare_protocol::{
    ConnectionId, EventName, GroupName, Limits, Payload, RequestId, Send, Target, UserName,
};

use crate::error::RequestError;

/// A message to send, built step by step.
///
/// A connection that several targets reach gets one copy. A name that is empty or too long is reported by the send.
///
/// ```
/// use fanfare_client::Outgoing;
///
/// let outgoing = Outgoing::new("ReceiveMessage", "hello").to_group("lobby").to_user("bob").others();
/// ```
#[derive(Debug, Clone)]
#[must_use = "a message goes out when it is given to Client::send"]
pub struct Outgoing {
    event: Result<EventName, RequestError>,
    payload: Payload,
    to: Vec<Target>,
    except: Vec<ConnectionId>,
    others: bool,
    /// The first target that is not a name.
    problem: Option<RequestError>,
}

impl Outgoing {
    /// A message that carries an event's name and a payload, and goes nowhere yet. A text goes as text, bytes as
    /// binary; [`Payload::json`] and [`Payload::message_pack`] say what they are.
    pub fn new<E>(event: E, payload: impl Into<Payload>) -> Self
    where
        E: TryInto<EventName>,
        RequestError: From<E::Error>,
    {
        Self {
            event: event.try_into().map_err(RequestError::from),
            payload: payload.into(),
            to: Vec::new(),
            except: Vec::new(),
            others: false,
            problem: None,
        }
    }

    /// Also to every member of a group.
    pub fn to_group<G>(mut self, group: G) -> Self
    where
        G: TryInto<GroupName>,
        RequestError: From<G::Error>,
    {
        let group = self.check(group.try_into());
        self.to.extend(group.map(Target::Group));
        self
    }

    /// Also to every connection of a user.
    pub fn to_user<U>(mut self, user: U) -> Self
    where
        U: TryInto<UserName>,
        RequestError: From<U::Error>,
    {
        let user = self.check(user.try_into());
        self.to.extend(user.map(Target::User));
        self
    }

    /// Also to one connection.
    pub fn to_connection(self, connection: ConnectionId) -> Self {
        self.to(Target::Connection(connection))
    }

    /// To every connection of the server.
    pub fn to_all(self) -> Self {
        self.to(Target::All)
    }

    /// Also to this target.
    pub fn to(mut self, target: Target) -> Self {
        self.to.push(target);
        self
    }

    /// But not to this connection, whatever target reaches it.
    pub fn except(mut self, connection: ConnectionId) -> Self {
        self.except.push(connection);
        self
    }

    /// But not to the sending connection.
    pub fn others(mut self) -> Self {
        self.others = true;
        self
    }

    /// The frame, if it keeps to the limits.
    pub(crate) fn into_send(
        self,
        request: RequestId,
        ack: bool,
        limits: &Limits,
    ) -> Result<Send, RequestError> {
        let event = self.event?;
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        if self.to.is_empty() {
            return Err(RequestError::NoTarget);
        }
        let targets = self.to.len().max(self.except.len());
        if targets > limits.targets as usize {
            return Err(RequestError::TooManyTargets { targets, limit: limits.targets });
        }
        if self.payload.bytes.len() > limits.payload_bytes as usize {
            let (bytes, limit) = (self.payload.bytes.len(), limits.payload_bytes);
            return Err(RequestError::PayloadTooLarge { bytes, limit });
        }
        let Self { payload: Payload { format, bytes: payload }, to, except, others, .. } = self;
        Ok(Send { request, ack, to, except, others, event, format, payload })
    }

    /// Keeps the first error for the send to report.
    fn check<T, E>(&mut self, result: Result<T, E>) -> Option<T>
    where
        RequestError: From<E>,
    {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem.get_or_insert(error.into());
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fanfare_protocol::PayloadFormat;

    use super::*;

    fn limits() -> Limits {
        Limits { targets: 2, ..Limits::default().with_payload_bytes(10) }
    }

    #[test]
    fn everything_that_was_asked_for_is_in_the_frame() {
        let id = ConnectionId::from_bytes([1; 16]);
        let group = GroupName::new("lobby").unwrap();
        let send = Outgoing::new("Event", "0123456789")
            .to_group(group.clone())
            .to_user("bob")
            .except(id)
            .others()
            .into_send(9, true, &limits())
            .unwrap();
        let expected = Send {
            request: 9,
            ack: true,
            to: vec![Target::Group(group), Target::User(UserName::new("bob").unwrap())],
            except: vec![id],
            others: true,
            event: EventName::new("Event").unwrap(),
            format: PayloadFormat::Text,
            payload: Bytes::from("0123456789"),
        };
        assert_eq!(send, expected);
    }

    #[test]
    fn what_the_server_would_refuse_is_not_sent() {
        let refused = |outgoing: Outgoing| outgoing.into_send(1, false, &limits()).unwrap_err();
        assert_eq!(refused(Outgoing::new("Event", "")), RequestError::NoTarget);
        assert_eq!(
            refused(Outgoing::new("Event", "01234567890").to_all()),
            RequestError::PayloadTooLarge { bytes: 11, limit: 10 }
        );
        assert_eq!(
            refused(Outgoing::new("Event", "").to_all().to_user("a").to_user("b")),
            RequestError::TooManyTargets { targets: 3, limit: 2 }
        );
        let id = ConnectionId::from_bytes([1; 16]);
        assert_eq!(
            refused(Outgoing::new("Event", "").to_all().except(id).except(id).except(id)),
            RequestError::TooManyTargets { targets: 3, limit: 2 }
        );
    }

    #[test]
    fn the_first_bad_name_is_reported() {
        let error = Outgoing::new("", "").to_group("").to_all().into_send(1, false, &limits()).unwrap_err();
        assert_eq!(error.to_string(), "the event name is empty; it must have 1 to 256 bytes");
    }
}
