//! The golden vectors: what each released version wrote and read, and what this one adds to that.
//!
//! In: protocol/vectors, and the samples. Out: a failure where they differ. Invariant: a file of a released version
//! never changes, and this version reads all of it as it was meant.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::samples::{Frame, Sample, Side, samples};
use super::*;

/// The files of released versions, with what FNV-1a makes of them. A line of them that has to change is a broken
/// protocol: a frame that is new goes into [`NEXT`], and at a release that file gets the version's name and a line
/// here.
const FROZEN: &[(&str, u64)] = &[("1.0.json", 0x6a95_bbce_ccad_7f0e), ("1.1.json", 0x1107_9050_e479_b2cd)];

/// What the version in the making adds. There is none while it adds nothing.
const NEXT: &str = "next.json";

fn id_json(id: &ConnectionId) -> Value {
    json!(hex(id.as_bytes()))
}

fn target_json(target: &Target) -> Value {
    match target {
        Target::Connection(id) => json!({ "Connection": id_json(id) }),
        Target::User(user) => json!({ "User": user.as_str() }),
        Target::Group(group) => json!({ "Group": group.as_str() }),
        Target::All => json!("All"),
    }
}

fn payload_json(payload: &Payload) -> Value {
    json!({ "format": payload.format.number(), "payload": hex(&payload.bytes) })
}

fn failure_json(failure: &Failure) -> Value {
    let Failure { code, detail, data } = failure;
    json!({ "code": code, "detail": detail, "data": payload_json(data) })
}

fn outcome_of_call_json(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Nothing => json!("Nothing"),
        Outcome::Value(value) => json!({ "Value": payload_json(value) }),
        Outcome::Failed(failure) => json!({ "Failed": failure_json(failure) }),
    }
}

fn client_call_json(call: &ClientCall) -> Value {
    match call {
        ClientCall::Invoke(Invoke { request, method, credit, streams, arguments }) => json!({
            "Invoke": {
                "request": request,
                "method": method.as_str(),
                "credit": credit,
                "streams": streams,
                "arguments": payload_json(arguments),
            }
        }),
        ClientCall::Cancel { request } => json!({ "Cancel": { "request": request } }),
        ClientCall::Credit { request, items } => json!({ "Credit": { "request": request, "items": items } }),
        ClientCall::Item { stream, item } => {
            json!({ "StreamItem": { "stream": stream, "item": payload_json(item) } })
        }
        ClientCall::End { stream, failure } => {
            let outcome = failure.clone().map_or(Outcome::Nothing, Outcome::Failed);
            json!({ "StreamEnd": { "stream": stream, "outcome": outcome_of_call_json(&outcome) } })
        }
        ClientCall::Completion { call, outcome } => {
            json!({ "ClientCompletion": { "call": call, "outcome": outcome_of_call_json(outcome) } })
        }
    }
}

fn server_call_json(call: &ServerCall) -> Value {
    match call {
        ServerCall::Completion { request, outcome } => {
            json!({ "Completion": { "request": request, "outcome": outcome_of_call_json(outcome) } })
        }
        ServerCall::Item { request, item } => {
            json!({ "ResultItem": { "request": request, "item": payload_json(item) } })
        }
        ServerCall::Invoke { call, method, arguments } => {
            let arguments = payload_json(arguments);
            json!({ "ClientInvoke": { "call": call, "method": method.as_str(), "arguments": arguments } })
        }
        ServerCall::Cancel { call } => json!({ "ClientCancel": { "call": call } }),
        ServerCall::Credit { stream, items } => {
            json!({ "StreamCredit": { "stream": stream, "items": items } })
        }
        ServerCall::Stop { stream } => json!({ "StreamStop": { "stream": stream } }),
    }
}

fn present_json(present: &Present) -> Value {
    let Present { user, connections, data } = present;
    json!({ "user": user.as_str(), "connections": connections, "data": data.as_ref().map(payload_json) })
}

fn presence_json(frame: &PresenceFrame) -> Value {
    let all = |present: &[Present]| present.iter().map(present_json).collect::<Vec<_>>();
    match frame {
        PresenceFrame::Snapshot { group, revision, begins, complete, present } => json!({
            "Snapshot": {
                "group": group.as_str(),
                "revision": revision,
                "begins": begins,
                "complete": complete,
                "present": all(present),
            }
        }),
        PresenceFrame::Changes { group, revision, present, left } => json!({
            "Changes": {
                "group": group.as_str(),
                "revision": revision,
                "present": all(present),
                "left": left.iter().map(UserName::as_str).collect::<Vec<_>>(),
            }
        }),
        PresenceFrame::Ended { group, code, reason } => {
            json!({ "WatchEnded": { "group": group.as_str(), "code": code, "reason": reason } })
        }
    }
}

/// The frame as other languages' tests read it: fields by name, bytes in hex. Exhaustive, so that a new field or frame
/// cannot be left out of the vectors.
fn frame_json(frame: &Frame) -> Value {
    match frame {
        Frame::Client(ClientFrame::Hello { protocol, features, credential }) => {
            let credential = match credential {
                Credential::Token(token) => json!({ "Token": token.expose() }),
                Credential::DevUser(user) => json!({ "DevUser": user.as_str() }),
                Credential::Certificate => json!("Certificate"),
            };
            json!({ "Hello": { "protocol": protocol, "features": features.bits(), "credential": credential } })
        }
        Frame::Client(ClientFrame::Join { request, group }) => {
            json!({ "Join": { "request": request, "group": group.as_str() } })
        }
        Frame::Client(ClientFrame::Leave { request, group }) => {
            json!({ "Leave": { "request": request, "group": group.as_str() } })
        }
        Frame::Client(ClientFrame::Send(Send {
            request,
            ack,
            to,
            except,
            others,
            event,
            format,
            payload,
        })) => {
            json!({
                "Send": {
                    "request": request,
                    "ack": ack,
                    "to": to.iter().map(target_json).collect::<Vec<_>>(),
                    "except": except.iter().map(id_json).collect::<Vec<_>>(),
                    "others": others,
                    "event": event.as_str(),
                    "format": format.number(),
                    "payload": hex(payload),
                }
            })
        }
        Frame::Client(ClientFrame::Count { request, target }) => {
            json!({ "Count": { "request": request, "target": target_json(target) } })
        }
        Frame::Client(ClientFrame::Refresh { request, token }) => {
            json!({ "Refresh": { "request": request, "token": token.expose() } })
        }
        Frame::Client(ClientFrame::Call(call)) => client_call_json(call),
        Frame::Client(ClientFrame::Watch { request, group }) => {
            json!({ "Watch": { "request": request, "group": group.as_str() } })
        }
        Frame::Client(ClientFrame::Unwatch { request, group }) => {
            json!({ "Unwatch": { "request": request, "group": group.as_str() } })
        }
        Frame::Server(ServerFrame::Call(call)) => server_call_json(call),
        Frame::Server(ServerFrame::Presence(frame)) => presence_json(frame),
        Frame::Server(ServerFrame::Welcome(welcome)) => {
            let Welcome {
                protocol,
                features,
                connection,
                node_bytes,
                session,
                position,
                user,
                limits,
                server,
            } = welcome;
            json!({
                "Welcome": {
                    "protocol": protocol,
                    "features": features.bits(),
                    "connection": id_json(connection),
                    "node_bytes": node_bytes,
                    "session": hex(session),
                    "position": position,
                    "user": user.as_str(),
                    "limits": {
                        "frame_bytes": limits.frame_bytes,
                        "payload_bytes": limits.payload_bytes,
                        "groups": limits.groups,
                        "targets": limits.targets,
                    },
                    "server": server,
                }
            })
        }
        Frame::Server(ServerFrame::Ack { request, count }) => {
            json!({ "Ack": { "request": request, "count": count } })
        }
        // As who does not know the extension reads it: the vector has that beside.
        Frame::Server(ServerFrame::AckPart { request, count, .. }) => {
            json!({ "Ack": { "request": request, "count": count } })
        }
        Frame::Server(ServerFrame::Error { request, code, detail }) => {
            json!({ "Error": { "request": request, "code": code, "detail": detail } })
        }
        Frame::Server(ServerFrame::Message(Message { from, to, event, format, payload })) => {
            let from = match from {
                Sender::Connection { connection, user } => {
                    json!({ "Connection": { "connection": id_json(connection), "user": user.as_str() } })
                }
                Sender::Server => json!("Server"),
            };
            json!({
                "Message": {
                    "from": from,
                    "to": target_json(to),
                    "event": event.as_str(),
                    "format": format.number(),
                    "payload": hex(payload),
                }
            })
        }
        Frame::Server(ServerFrame::Joined { group, members }) => {
            json!({ "Joined": { "group": group.as_str(), "members": members } })
        }
        Frame::Server(ServerFrame::Removed { group, code, reason }) => {
            json!({ "Removed": { "group": group.as_str(), "code": code, "reason": reason } })
        }
        Frame::Server(ServerFrame::Goodbye { code, reason, retry_after_ms }) => {
            json!({ "Goodbye": { "code": code, "reason": reason, "retry_after_ms": retry_after_ms } })
        }
        Frame::Server(ServerFrame::Lagged { dropped }) => json!({ "Lagged": { "dropped": dropped } }),
        Frame::Server(ServerFrame::Expiring { scope, seconds }) => {
            let scope = match scope {
                ExpiryScope::Token => json!("Token"),
                ExpiryScope::Groups { count } => json!({ "Groups": { "count": count } }),
            };
            json!({ "Expiring": { "scope": scope, "seconds": seconds } })
        }
    }
}

/// What becomes of a vector's bytes.
fn outcome_json(read: &Result<Frame, DecodeError>, extensions: &[(u64, &[u8])]) -> Value {
    match read {
        Ok(frame) if extensions.is_empty() => json!({ "frame": frame_json(frame) }),
        Ok(frame) => {
            let skipped: Vec<Value> =
                extensions.iter().map(|(number, content)| json!([number, hex(content)])).collect();
            json!({ "frame": frame_json(frame), "skipped": skipped })
        }
        Err(DecodeError::Unknown { request, what: Unknown::Frame(number) }) => {
            json!({ "unknown": { "request": request, "frame": number } })
        }
        Err(DecodeError::Unknown { request, what: Unknown::Kind(of, number) }) => {
            json!({ "unknown": { "request": request, *of: number } })
        }
        Err(DecodeError::ExtensionNotKnown { request, extension }) => {
            json!({ "critical": { "request": request, "extension": extension } })
        }
        Err(other) => panic!("no vector is {other}"),
    }
}

fn vector(sample: &Sample) -> Value {
    let mut vector = json!({ "name": sample.name, "from": sample.side.name(), "hex": hex(&sample.bytes) });
    let outcome = outcome_json(&sample.read, &sample.extensions);
    vector.as_object_mut().unwrap().extend(outcome.as_object().unwrap().clone());
    vector
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

fn fnv(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

fn read(file: &Path) -> Vec<Value> {
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn a_released_file_is_as_it_was_released() {
    for (name, digest) in FROZEN {
        let text = fs::read_to_string(directory().join(name)).unwrap();
        assert_eq!(fnv(&text), *digest, "{name} has changed: it is what released clients and servers speak");
    }
}

/// `FANFARE_BLESS=1 cargo test -p fanfare-protocol` writes what is new into [`NEXT`], and nothing else.
#[test]
fn what_this_version_writes_is_in_the_files() {
    let frozen: Vec<Value> = FROZEN.iter().flat_map(|(name, _)| read(&directory().join(name))).collect();
    let frozen_names: BTreeSet<&str> = frozen.iter().map(|vector| vector["name"].as_str().unwrap()).collect();
    let mut names = BTreeSet::new();
    let mut added = Vec::new();
    for sample in samples() {
        assert!(names.insert(sample.name), "two samples are called {}", sample.name);
        let vector = vector(&sample);
        if frozen_names.contains(sample.name) {
            assert!(frozen.contains(&vector), "a released frame is written or read in another way: {vector}");
        } else {
            added.push(format!("  {vector}"));
        }
    }
    let file = directory().join(NEXT);
    let text = if added.is_empty() { String::new() } else { format!("[\n{}\n]\n", added.join(",\n")) };
    if std::env::var_os("FANFARE_BLESS").is_some() {
        if text.is_empty() {
            let _ = fs::remove_file(&file);
        } else {
            fs::write(&file, &text).unwrap();
        }
    }
    assert_eq!(fs::read_to_string(&file).unwrap_or_default(), text, "the wire format has changed");
}

#[test]
fn every_vector_of_every_version_is_read_as_it_was_meant_and_written_again_as_it_was() {
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let known = |file: &Path| {
        let name = file.file_name().unwrap().to_str().unwrap();
        name == NEXT || FROZEN.iter().any(|(frozen, _)| *frozen == name)
    };
    assert!(files.iter().all(|file| known(file)), "a file that is no version's: {files:?}");
    let mut seen = 0;
    for vector in files.iter().flat_map(|file| read(file)) {
        let name = vector["name"].as_str().unwrap();
        let side = if vector["from"] == "client" { Side::Client } else { Side::Server };
        let bytes = unhex(vector["hex"].as_str().unwrap());
        let read = side.decode(&bytes.slice(PREFIX_BYTES..));
        let content: Vec<(u64, Bytes)> = vector["skipped"].as_array().map_or(vec![], |skipped| {
            skipped.iter().map(|one| (one[0].as_u64().unwrap(), unhex(one[1].as_str().unwrap()))).collect()
        });
        let extensions: Vec<(u64, &[u8])> =
            content.iter().map(|(number, bytes)| (*number, &bytes[..])).collect();
        let mut outcome = vector.as_object().unwrap().clone();
        outcome.retain(|key, _| !["name", "from", "hex"].contains(&key.as_str()));
        assert_eq!(outcome_json(&read, &extensions), Value::Object(outcome), "{name}");
        if let Ok(frame) = read {
            // One that is known is written with its frame.
            let known = matches!(frame, Frame::Server(ServerFrame::AckPart { .. }));
            let beside = if known { &[][..] } else { &extensions };
            assert_eq!(with_extensions(&frame.encode(), beside), bytes, "{name}");
        }
        seen += 1;
    }
    assert!(seen >= samples().len());
}

#[test]
fn protocol_md_shows_every_golden_vector() {
    let text = [
        include_str!("../../../../PROTOCOL.md"),
        include_str!("../../../../docs/protocol/calls.md"),
        include_str!("../../../../docs/protocol/presence.md"),
    ]
    .concat();
    for sample in samples() {
        let dump = dump(&sample.bytes);
        assert!(text.contains(&dump), "PROTOCOL.md lacks the dump of {}:\n{dump}", sample.name);
    }
}

/// 16 bytes a line, in hex.
fn dump(bytes: &[u8]) -> String {
    let lines: Vec<String> = bytes
        .chunks(16)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "))
        .collect();
    lines.join("\n")
}
