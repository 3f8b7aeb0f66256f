//! The methods of a server without an application: Fanfare's own requests, by names.
//!
//! In: a method's name and its arguments. Out: the request, or what is wrong with them. Invariant: each is one request
//! as any client can make it, so that it may do no more (promise 14).

use fanfare_protocol::{
    ClientFrame, Code, ConnectionId, Denial, EventName, GroupName, NameError, RequestId, Send, Target, Token,
    UserName,
};
use fanfare_signalr::{ArgumentError, Arguments};

use super::payload;

/// The methods that are there with an application, too: going on with another token, and who is in a group.
const ALWAYS: [&str; 3] = ["fanfare.Refresh", "fanfare.WatchGroup", "fanfare.UnwatchGroup"];

/// Whether a method is there with an application, too.
pub(super) fn is_always_there(method: &str) -> bool {
    ALWAYS.iter().any(|known| known.eq_ignore_ascii_case(method))
}

/// The request that a method is. `wants_answer`: the client waits for it.
pub(super) fn built_in(
    method: &str,
    request: RequestId,
    wants_answer: bool,
    arguments: &Arguments,
) -> Result<ClientFrame, Denial> {
    let group = || name(arguments, 0, GroupName::new).map(Target::Group);
    let send = |to: Target, named: usize, others: bool| {
        let payload = payload::of_arguments(&arguments.behind(named + 1));
        Ok(ClientFrame::Send(Send {
            request,
            ack: wants_answer,
            to: vec![to],
            except: Vec::new(),
            others,
            event: name(arguments, named, EventName::new)?,
            format: payload.format,
            payload: payload.bytes,
        }))
    };
    match method.to_ascii_lowercase().as_str() {
        "joingroup" => {
            exactly(arguments, 1)?;
            Ok(ClientFrame::Join { request, group: name(arguments, 0, GroupName::new)? })
        }
        "leavegroup" => {
            exactly(arguments, 1)?;
            Ok(ClientFrame::Leave { request, group: name(arguments, 0, GroupName::new)? })
        }
        "watchgroup" | "fanfare.watchgroup" => {
            exactly(arguments, 1)?;
            Ok(ClientFrame::Watch { request, group: name(arguments, 0, GroupName::new)? })
        }
        "unwatchgroup" | "fanfare.unwatchgroup" => {
            exactly(arguments, 1)?;
            Ok(ClientFrame::Unwatch { request, group: name(arguments, 0, GroupName::new)? })
        }
        "sendtogroup" => send(group()?, 1, false),
        "sendtoothersingroup" => send(group()?, 1, true),
        "sendtouser" => send(Target::User(name(arguments, 0, UserName::new)?), 1, false),
        "sendtoconnection" => send(Target::Connection(connection(arguments, 0)?), 1, false),
        "sendtoall" => send(Target::All, 0, false),
        "count" => Ok(ClientFrame::Count { request, target: counted(arguments)? }),
        "refresh" | "fanfare.refresh" => refresh(request, arguments),
        _ => Err(Code::MethodUnknown.into()),
    }
}

/// Goes on with another token.
fn refresh(request: RequestId, arguments: &Arguments) -> Result<ClientFrame, Denial> {
    exactly(arguments, 1)?;
    let token = Token::new(arguments.str(0).map_err(wrong)?);
    Ok(ClientFrame::Refresh { request, token })
}

/// Whom `Count` is about: a group by its name, or a kind and a name.
fn counted(arguments: &Arguments) -> Result<Target, Denial> {
    let first = arguments.str(0).map_err(wrong)?;
    match (&*first, arguments.len()) {
        ("all", 1) => Ok(Target::All),
        (_, 1) => Ok(Target::Group(name(arguments, 0, GroupName::new)?)),
        ("group", 2) => Ok(Target::Group(name(arguments, 1, GroupName::new)?)),
        ("user", 2) => Ok(Target::User(name(arguments, 1, UserName::new)?)),
        ("connection", 2) => Ok(Target::Connection(connection(arguments, 1)?)),
        _ => Err(Code::ArgumentsInvalid.into()),
    }
}

fn exactly(arguments: &Arguments, count: usize) -> Result<(), Denial> {
    if arguments.len() == count { Ok(()) } else { Err(Code::ArgumentsInvalid.into()) }
}

fn name<T>(
    arguments: &Arguments,
    at: usize,
    valid: impl FnOnce(&str) -> Result<T, NameError>,
) -> Result<T, Denial> {
    valid(&arguments.str(at).map_err(wrong)?)
        .map_err(|error| Denial { code: Code::InvalidName, detail: error.to_string() })
}

fn connection(arguments: &Arguments, at: usize) -> Result<ConnectionId, Denial> {
    let wrong_id =
        |_| Denial { code: Code::ArgumentsInvalid, detail: "this is no connection's id".to_owned() };
    arguments.str(at).map_err(wrong)?.parse().map_err(wrong_id)
}

fn wrong(error: ArgumentError) -> Denial {
    Denial { code: Code::ArgumentsInvalid, detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::PayloadFormat;
    use fanfare_signalr::Encoding;

    use super::*;

    fn made(method: &str, arguments: &str) -> Result<ClientFrame, Code> {
        let arguments = Arguments::new(Encoding::Json, arguments.to_owned()).unwrap();
        built_in(method, 7, true, &arguments).map_err(|denial| denial.code)
    }

    fn room() -> GroupName {
        GroupName::new("room").unwrap()
    }

    #[test]
    fn each_method_is_a_request() {
        let id = ConnectionId::from_bytes([5; 16]);
        let target = |to: Target| match to {
            Target::Group(_) => "sendtogroup",
            Target::User(_) => "SendToUser",
            Target::Connection(_) => "SENDTOCONNECTION",
            Target::All => "SendToAll",
        };
        for (to, arguments) in [
            (Target::Group(room()), r#"["room","E",1,{"a":2}]"#.to_owned()),
            (Target::User(UserName::new("bob").unwrap()), r#"["bob","E",1,{"a":2}]"#.to_owned()),
            (Target::Connection(id), format!(r#"["{id}","E",1,{{"a":2}}]"#)),
            (Target::All, r#"["E",1,{"a":2}]"#.to_owned()),
        ] {
            let Ok(ClientFrame::Send(send)) = made(target(to.clone()), &arguments) else { panic!("{to:?}") };
            assert_eq!((send.to, send.ack, send.others), (vec![to], true, false));
            assert_eq!((send.event.as_str(), send.format), ("E", PayloadFormat::Json));
            assert_eq!(send.payload, br#"[1,{"a":2}]"#.as_slice());
        }
        let Ok(ClientFrame::Send(send)) = made("SendToOthersInGroup", r#"["room","E"]"#) else { panic!() };
        assert!(send.others);
        assert_eq!(send.payload, b"[]".as_slice());
        assert_eq!(made("JoinGroup", r#"["room"]"#), Ok(ClientFrame::Join { request: 7, group: room() }));
        assert_eq!(made("leavegroup", r#"["room"]"#), Ok(ClientFrame::Leave { request: 7, group: room() }));
        assert_eq!(made("WatchGroup", r#"["room"]"#), Ok(ClientFrame::Watch { request: 7, group: room() }));
        assert!(is_always_there("fanfare.watchgroup") && !is_always_there("WatchGroup"));
        let watch = ClientFrame::Watch { request: 7, group: room() };
        assert_eq!(made("fanfare.WatchGroup", r#"["room"]"#), Ok(watch));
        let unwatch = ClientFrame::Unwatch { request: 7, group: room() };
        assert_eq!(made("unwatchgroup", r#"["room"]"#), Ok(unwatch));
        for (arguments, target) in [
            (r#"["room"]"#.to_owned(), Target::Group(room())),
            (r#"["group","all"]"#.to_owned(), Target::Group(GroupName::new("all").unwrap())),
            (r#"["user","bob"]"#.to_owned(), Target::User(UserName::new("bob").unwrap())),
            (format!(r#"["connection","{id}"]"#), Target::Connection(id)),
            (r#"["all"]"#.to_owned(), Target::All),
        ] {
            assert_eq!(made("Count", &arguments), Ok(ClientFrame::Count { request: 7, target }));
        }
        let token = Token::new("x.y.z");
        assert_eq!(made("Refresh", r#"["x.y.z"]"#), Ok(ClientFrame::Refresh { request: 7, token }));
    }

    #[test]
    fn what_is_wrong_has_a_code() {
        for (method, arguments, code) in [
            ("Join", r#"["room"]"#, Code::MethodUnknown),
            ("JoinGroup", "[]", Code::ArgumentsInvalid),
            ("JoinGroup", r#"["room",1]"#, Code::ArgumentsInvalid),
            ("WatchGroup", "[]", Code::ArgumentsInvalid),
            ("UnwatchGroup", r#"[""]"#, Code::InvalidName),
            ("JoinGroup", "[7]", Code::ArgumentsInvalid),
            ("JoinGroup", r#"[""]"#, Code::InvalidName),
            ("SendToGroup", r#"["room"]"#, Code::ArgumentsInvalid),
            ("SendToGroup", r#"["room",""]"#, Code::InvalidName),
            ("SendToConnection", r#"["me","E"]"#, Code::ArgumentsInvalid),
            ("Count", r#"["users","bob"]"#, Code::ArgumentsInvalid),
            ("Count", "[]", Code::ArgumentsInvalid),
            ("Refresh", "[null]", Code::ArgumentsInvalid),
        ] {
            assert_eq!(made(method, arguments), Err(code), "{method} {arguments}");
        }
    }
}
