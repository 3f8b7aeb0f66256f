//! Who is in watched groups, for `fanfare listen --watch`.
//!
//! In: groups. Out: lines for a person or objects for a program, in a bounded queue: a snapshot of each group, and then
//! who comes and goes. Invariant: what others chose is shown as `output` shows it.

use std::collections::BTreeMap;

use base64::Engine;
use fanfare_client::{Client, GroupName, Payload, PayloadFormat, Present, UserName, WatchEvent};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::output::{harmless, visible};
use crate::preview;

/// Watches a group and tells of it until the watch ends, or nobody wants to hear more.
pub(crate) async fn tell(
    client: &Client,
    group: &GroupName,
    as_json: bool,
    lines: &mpsc::Sender<String>,
) -> Result<(), Failure> {
    let watch = client
        .watch(group.clone())
        .await
        .map_err(|error| Failure::failed(format!("cannot watch {}: {error}", visible(group.as_str()))))?;
    let mut known = None;
    while let Some(event) = watch.next().await {
        let told =
            if as_json { vec![object(group, &event).to_string()] } else { words(group, event, &mut known) };
        for line in told {
            if lines.send(line).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// An event as a JSON object.
fn object(group: &GroupName, event: &WatchEvent) -> Value {
    let group = group.as_str();
    match event {
        WatchEvent::Changed { present, left } => json!({
            "kind": "presence",
            "group": group,
            "present": present.iter().map(user).collect::<Vec<_>>(),
            "left": left.iter().map(UserName::as_str).collect::<Vec<_>>(),
        }),
        WatchEvent::Ended { code, reason } => {
            json!({ "kind": "watch_ended", "group": group, "code": code, "reason": reason })
        }
        other => json!({ "kind": "other", "text": format!("{other:?}") }),
    }
}

fn user(present: &Present) -> Value {
    let Present { user, connections, data } = present;
    json!({ "user": user.as_str(), "connections": connections, "data": data.as_ref().map(said) })
}

/// What is said of a user. JSON, too, stays a text: to read its numbers and its members again would change some.
fn said(data: &Payload) -> Value {
    let text = match data.format {
        PayloadFormat::Text | PayloadFormat::Json => std::str::from_utf8(&data.bytes).ok(),
        PayloadFormat::Binary | PayloadFormat::MessagePack | PayloadFormat::Other(_) => None,
    };
    match text {
        Some(text) => json!({ "format": data.format, "text": text }),
        None => {
            let base64 = base64::engine::general_purpose::STANDARD.encode(&data.bytes);
            json!({ "format": data.format, "base64": base64 })
        }
    }
}

/// An event in words. `known` are those who were told, with their connections; nobody yet at first.
fn words(group: &GroupName, event: WatchEvent, known: &mut Option<BTreeMap<UserName, u32>>) -> Vec<String> {
    let group = visible(group.as_str());
    match event {
        WatchEvent::Changed { present, left } => {
            let Some(known) = known else {
                *known = Some(present.iter().map(|one| (one.user.clone(), one.connections)).collect());
                let names: Vec<String> = present.iter().map(shown).collect();
                let who = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
                return vec![format!("* in {group}: {who}")];
            };
            let here = present.into_iter().map(|one| {
                let name = shown(&one);
                match known.insert(one.user, one.connections) {
                    None => format!("* {name} came to {group}"),
                    Some(_) => format!("* in {group} now: {name}"),
                }
            });
            let mut lines: Vec<String> = here.collect();
            for user in left {
                known.remove(&user);
                lines.push(format!("* {} left {group}", visible(user.as_str())));
            }
            lines
        }
        WatchEvent::Ended { code, reason } => {
            vec![format!("* {group} is watched no more: {} (code {code})", harmless(&reason))]
        }
        other => vec![format!("* {}", harmless(&format!("{other:?}")))],
    }
}

/// `alice (2): away`
fn shown(present: &Present) -> String {
    let mut text = visible(present.user.as_str());
    if present.connections > 1 {
        text.push_str(&format!(" ({})", present.connections));
    }
    if let Some(data) = &present.data {
        text.push_str(": ");
        text.push_str(&preview::shown_payload(data.format, &data.bytes));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present(name: &str, connections: u32, data: Option<Payload>) -> Present {
        Present { user: UserName::new(name).unwrap(), connections, data }
    }

    fn changed(present: Vec<Present>, left: &[&str]) -> WatchEvent {
        WatchEvent::Changed { present, left: left.iter().map(|name| UserName::new(name).unwrap()).collect() }
    }

    fn lobby() -> GroupName {
        GroupName::new("lobby").unwrap()
    }

    #[test]
    fn who_is_there_is_told_first_and_then_who_comes_changes_and_leaves() {
        let mut known = None;
        let mut told = |event| words(&lobby(), event, &mut known);
        let first = changed(
            vec![present("alice", 2, None), present("b\u{1b}b", 1, Some(Payload::from("a\nway")))],
            &[],
        );
        assert_eq!(told(first), ["* in lobby: alice (2), b\\u{1b}b: a\\u{a}way"]);
        let then = changed(vec![present("alice", 1, None), present("carol", 1, None)], &["b\u{1b}b"]);
        assert_eq!(told(then), ["* in lobby now: alice", "* carol came to lobby", "* b\\u{1b}b left lobby"]);
        let ended = WatchEvent::Ended { code: 3104, reason: "over\u{7}".to_owned() };
        assert_eq!(told(ended), ["* lobby is watched no more: over\\u{7} (code 3104)"]);
        assert_eq!(words(&lobby(), changed(vec![], &[]), &mut None), ["* in lobby: nobody"]);
    }

    #[test]
    fn a_program_is_told_the_same_as_objects() {
        let data = Some(Payload::json("{\"n\": 9007199254740993}"));
        let event = changed(vec![present("alice", 2, data), present("bob", 1, None)], &["carol"]);
        assert_eq!(
            object(&lobby(), &event),
            json!({
                "kind": "presence",
                "group": "lobby",
                "present": [
                    {
                        "user": "alice",
                        "connections": 2,
                        "data": { "format": "json", "text": "{\"n\": 9007199254740993}" },
                    },
                    { "user": "bob", "connections": 1, "data": null },
                ],
                "left": ["carol"],
            })
        );
        let ended = WatchEvent::Ended { code: 3104, reason: "over".to_owned() };
        let expected = json!({ "kind": "watch_ended", "group": "lobby", "code": 3104, "reason": "over" });
        assert_eq!(object(&lobby(), &ended), expected);
        assert_eq!(said(&Payload::from([0xff])), json!({ "format": "binary", "base64": "/w==" }));
    }
}
