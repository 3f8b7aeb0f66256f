//! What the server itself tells clients of SignalR: events whose names are its own.
//!
//! In: the name of an event that somebody sends. Out: yes, or why not, for the peer. Invariant: whoever sends, a
//! client, a back end, the application or an operator, is asked the same. What the application asks of a client by a
//! method's name is its own business.

use fanfare_protocol::{Code, Denial, EventName};

/// Such names begin so. SignalR's clients look names up without regard to case.
const NOTICES: &str = "fanfare.";

/// Refuses an event that says that the server has said it.
pub(crate) fn refuse(event: &EventName) -> Result<(), Denial> {
    let begins = event.as_str().get(..NOTICES.len());
    if begins.is_some_and(|begins| begins.eq_ignore_ascii_case(NOTICES)) {
        let detail = format!("an event's name that begins with {NOTICES:?} is the server's own");
        return Err(Denial { code: Code::InvalidName, detail });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_with_the_servers_own_word_is_the_servers_own() {
        for (event, is_refused) in [
            ("fanfare.Removed", true),
            ("FanFare.x", true),
            ("fanfare.", true),
            ("fanfare", false),
            ("fanfares.x", false),
            ("my.fanfare.x", false),
            ("fänfare.x", false),
        ] {
            let refused = refuse(&EventName::new(event).unwrap()).err().map(|denial| denial.code);
            assert_eq!(refused, is_refused.then_some(Code::InvalidName), "{event}");
        }
    }
}
