//! The scenarios that every client is held to (tests/scenarios/README.md says what a step means).
//!
//! In: the files of tests/scenarios. Out: for each, what a scripted server got and what an application saw. Invariant:
//! a step that does not come fails with the scenario's name and the step.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_client::{
    Client, CloseReason, ConnectError, Event, Items, ProviderError, RequestError, Target, Watch,
};
use fanfare_protocol::call::{ServerCall, StreamId};
use fanfare_protocol::codec::{self, PREFIX_BYTES};
use fanfare_protocol::{
    ClientFrame, Code, Credential, EventName, ExpiryScope, Features, Message, MethodName, RequestId, Sender,
    ServerFrame, Token, Welcome,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::server::{Peer, Server, application_code, group, next, welcome, within};
use crate::{calls, presence};

type Call = JoinHandle<Value>;

/// What a step may have beside its name.
const BESIDE: [&str; 7] = ["group", "token", "behind", "method", "args", "upload", "number"];

fn frame(value: &Value) -> ServerFrame {
    let (name, fields) = value.as_object().unwrap().iter().next().unwrap();
    let text = |field: &str| fields[field].as_str().unwrap().to_owned();
    let number = |field: &str| fields[field].as_u64().unwrap();
    let code = || u16::try_from(number("code")).unwrap();
    match name.as_str() {
        "Joined" => ServerFrame::Joined { group: group(&text("group")), members: number("members") },
        "Removed" => {
            ServerFrame::Removed { group: group(&text("group")), code: code(), reason: text("reason") }
        }
        "Goodbye" => ServerFrame::Goodbye {
            code: code(),
            reason: text("reason"),
            retry_after_ms: u32::try_from(number("retry_after_ms")).unwrap(),
        },
        "Expiring" => ServerFrame::Expiring {
            scope: ExpiryScope::Token,
            seconds: u32::try_from(number("seconds")).unwrap(),
        },
        "Snapshot" | "Changes" | "WatchEnded" => ServerFrame::Presence(presence::frame(name, fields)),
        "Lagged" => ServerFrame::Lagged { dropped: number("dropped") },
        "Message" => ServerFrame::Message(Message {
            from: Sender::Server,
            to: Target::All,
            event: EventName::new("E").unwrap(),
            format: u8::try_from(number("format")).unwrap().into(),
            payload: unhex(&fields["payload"]),
        }),
        other => panic!("a scenario says {other}"),
    }
}

fn unhex(value: &Value) -> Bytes {
    let text = value.as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// A frame, or what stands for one, with what the step has behind its fields.
fn bytes(step: &Value, value: &Value) -> Bytes {
    match value.get("Raw") {
        Some(body) => followed(step, [&[0; PREFIX_BYTES], &unhex(body)[..]].concat()),
        None => followed(step, codec::encode_server(&frame(value)).into()),
    }
}

fn followed(step: &Value, mut frame: Vec<u8>) -> Bytes {
    frame.extend(step.get("behind").map(unhex).unwrap_or_default());
    let length = u32::try_from(frame.len() - PREFIX_BYTES).unwrap();
    frame[..PREFIX_BYTES].copy_from_slice(&length.to_le_bytes());
    frame.into()
}

/// An event, as scenarios have it. None for the loss that the end follows: the end tells of it.
fn seen(event: Event) -> Option<Value> {
    let names = |groups: Vec<fanfare_client::GroupName>| {
        groups.iter().map(|group| group.as_str().to_owned()).collect::<Vec<_>>()
    };
    Some(match event {
        Event::Joined { group, members } => {
            json!({ "kind": "joined", "group": group.as_str(), "members": members })
        }
        Event::Removed { group, code, reason } => {
            json!({ "kind": "removed", "group": group.as_str(), "code": code, "reason": reason })
        }
        Event::Message(message) => {
            json!({ "kind": "message", "format": message.format, "text": message.text() })
        }
        Event::Lagged { dropped } => json!({ "kind": "lagged", "dropped": dropped }),
        Event::Expiring { seconds, .. } => json!({ "kind": "expiring", "seconds": seconds }),
        Event::RefreshFailed { reason } => json!({ "kind": "refresh_failed", "reason": reason }),
        Event::Goodbye { code, reason, retry_after } => {
            let ms = retry_after.map_or(0, |after| u64::try_from(after.as_millis()).unwrap());
            json!({ "kind": "goodbye", "code": code, "reason": reason, "retry_after_ms": ms })
        }
        Event::Disconnected { retry_in: None, .. } => return None,
        Event::Disconnected { reason, retry_in: Some(pause) } => json!({
            "kind": "disconnected",
            "code": reason.code().map(Code::number),
            "pause_ms": u64::try_from(pause.as_millis()).unwrap(),
        }),
        Event::Reconnected { rejoined, refused, lost, .. } => json!({
            "kind": "reconnected",
            "rejoined": names(rejoined),
            "refused": refused
                .iter()
                .map(|(group, code, reason)| json!({ "group": group.as_str(), "code": code, "reason": reason }))
                .collect::<Vec<_>>(),
            "lost": names(lost),
        }),
        Event::Closed { reason, .. } => {
            let code = match reason {
                CloseReason::Ended(fanfare_client::Disconnect::Closed { code, .. }) => Some(code),
                CloseReason::Refused(error) => match *error {
                    ConnectError::Refused { code, .. } => Some(code),
                    _ => None,
                },
                _ => None,
            };
            json!({ "kind": "closed", "code": code })
        }
        other => panic!("no scenario knows {other:?}"),
    })
}

pub(crate) fn result(outcome: Result<u64, RequestError>) -> Value {
    match outcome {
        Ok(_) => json!("done"),
        Err(RequestError::Refused { code, .. }) => json!(code),
        Err(RequestError::NotConnected) => json!("not-connected"),
        Err(RequestError::Disconnected) => json!("disconnected"),
        Err(other) => panic!("no scenario knows {other}"),
    }
}

/// The steps of a scenario, with those that are to be done for several numbers written out.
fn written(steps: &Value) -> Vec<Value> {
    let each = |step: &Value| match step["for"].as_array() {
        None => vec![step.clone()],
        Some(numbers) => {
            let text = step["steps"].to_string();
            let once = |number| serde_json::from_str(&text.replace('#', &format!("{number:03}"))).unwrap();
            let (first, last) = (numbers[0].as_u64().unwrap(), numbers[1].as_u64().unwrap());
            (first..=last).flat_map(|number| written(&once(number))).collect()
        }
    };
    steps.as_array().unwrap().iter().flat_map(each).collect()
}

struct Run {
    server: Server,
    client: Option<Arc<Client>>,
    connecting: Option<JoinHandle<Result<Client, ConnectError>>>,
    peer: Option<Peer>,
    /// Connections that are over for the server stay open: a close by dropping is no step.
    before: Vec<Peer>,
    unanswered: VecDeque<u64>,
    calls: VecDeque<Call>,
    let_go: Arc<Notify>,
    /// The newest call of a method, as the server got it, and its first stream.
    invoked: Option<(RequestId, Option<StreamId>)>,
    /// How many questions the server has asked on this connection.
    questions: u64,
    /// What the application has of the newest stream.
    items: Arc<tokio::sync::Mutex<Option<Items<Value>>>>,
    /// The newest watch.
    watch: Arc<tokio::sync::Mutex<Option<Watch>>>,
}

impl Run {
    fn new(scenario: &Value) -> Self {
        let server = Server::start();
        let let_go = Arc::new(Notify::new());
        let mut config = server.config();
        if let Some(token) = scenario["token"].as_str() {
            config = server.config_of(Credential::Token(Token::new(token)));
        }
        if let Some(tokens) = scenario["tokens"].as_array() {
            let tokens: VecDeque<String> =
                tokens.iter().map(|token| token.as_str().unwrap().to_owned()).collect();
            let (tokens, let_go) = (Arc::new(Mutex::new(tokens)), Arc::clone(&let_go));
            config = server.config_with(move || {
                let (next, let_go) = (tokens.lock().pop_front(), Arc::clone(&let_go));
                async move {
                    let token = next.ok_or("there are no more tokens").map_err(ProviderError::from)?;
                    match token.strip_prefix('!') {
                        Some("fail") => Err("the sign-in service is down".into()),
                        Some(hang) => {
                            let_go.notified().await;
                            Ok(Token::new(hang.strip_prefix("hang:").unwrap()))
                        }
                        None => Ok(Token::new(token)),
                    }
                }
            });
        }
        if let Some(ms) = scenario["patience_ms"].as_u64() {
            config = config.request_timeout(Duration::from_millis(ms));
        }
        let connecting = tokio::spawn(Client::connect(config));
        Self {
            server,
            client: None,
            connecting: Some(connecting),
            peer: None,
            before: Vec::new(),
            unanswered: VecDeque::new(),
            calls: VecDeque::new(),
            let_go,
            invoked: None,
            questions: 0,
            items: Arc::default(),
            watch: Arc::default(),
        }
    }

    fn client(&self) -> &Arc<Client> {
        self.client.as_ref().unwrap()
    }

    fn peer(&mut self) -> &mut Peer {
        self.peer.as_mut().unwrap()
    }

    /// Says something of calls.
    async fn tell(&mut self, call: ServerCall) {
        self.peer().say(&ServerFrame::Call(call)).await;
    }

    fn invoked(&self) -> RequestId {
        self.invoked.unwrap().0
    }

    /// The newest call's first stream.
    fn stream(&self) -> StreamId {
        self.invoked.and_then(|(_, stream)| stream).unwrap()
    }

    /// Whether a frame is what a step expects, and about what it should be.
    fn got(&mut self, step: &Value, wanted: &Value, got: &Value, number: u64) {
        if let Some(answer) = wanted.get("answer") {
            assert!(calls::is_answer(answer, &got["answer"]), "{got}");
            assert_eq!(Some(number), step["number"].as_u64());
            return;
        }
        assert_eq!(got, wanted);
        match wanted.as_object().and_then(|fields| fields.keys().next()).map(String::as_str) {
            Some("credit") => assert_eq!(number, self.invoked()),
            Some("item" | "end") => assert_eq!(number, self.stream()),
            _ if wanted == "cancel" => assert_eq!(number, self.invoked()),
            _ => self.unanswered.push_back(number),
        }
    }

    async fn step(&mut self, step: &Value) {
        let (what, value) =
            step.as_object().unwrap().iter().find(|(key, _)| !BESIDE.contains(&key.as_str())).unwrap();
        match what.as_str() {
            "accept" => {
                self.before.extend(self.peer.take());
                self.unanswered.clear();
                self.questions = 0;
                let (peer, credential) = self.server.introduced().await;
                if let Some(token) = value.as_str() {
                    assert_eq!(credential, Credential::Token(Token::new(token)));
                }
                self.peer = Some(peer);
            }
            "welcome" => {
                let features = Features::from_bits(value["features"].as_u64().unwrap_or(0));
                let welcome = ServerFrame::Welcome(Welcome { features, ..welcome(1) });
                let bytes = followed(step, codec::encode_server(&welcome).into());
                self.peer().say_bytes(bytes).await;
                if let Some(connecting) = self.connecting.take() {
                    let client = within("the client", connecting).await.unwrap().unwrap();
                    let client = Arc::new(client);
                    calls::answer(&client, &self.let_go);
                    self.client = Some(client);
                }
            }
            "say" => self.peer().say_bytes(bytes(step, value)).await,
            "bytes" => self.peer().say_bytes(unhex(value)).await,
            "datagram" => {
                let datagram = bytes(step, value).slice(PREFIX_BYTES..);
                self.peer().connection.send_datagram(datagram).unwrap();
            }
            "unknown" => assert_eq!(Some(self.client().unknown_frames()), value.as_u64()),
            "closed_with" => {
                let closed = within("the client's close", self.peer().connection.closed()).await;
                let code = application_code(&closed).map(Code::number);
                assert_eq!(code.map(u64::from), value.as_u64(), "{closed}");
            }
            "get" => {
                let (request, got) = match self.peer().frame().await {
                    ClientFrame::Join { request, group } => (request, json!({ "join": group.as_str() })),
                    ClientFrame::Leave { request, group } => (request, json!({ "leave": group.as_str() })),
                    ClientFrame::Refresh { request, token } => {
                        (request, json!({ "refresh": token.expose() }))
                    }
                    ClientFrame::Count { request, .. } => (request, json!("count")),
                    ClientFrame::Watch { request, group } => (request, json!({ "watch": group.as_str() })),
                    ClientFrame::Unwatch { request, group } => {
                        (request, json!({ "unwatch": group.as_str() }))
                    }
                    ClientFrame::Call(call) => {
                        self.invoked = calls::invoked(&call).or(self.invoked);
                        calls::said(&call)
                    }
                    other => panic!("no scenario knows {other:?}"),
                };
                self.got(step, value, &got, request);
            }
            "complete" | "complete_newest" => {
                let unanswered = &mut self.unanswered;
                let request = if what == "complete" { unanswered.pop_front() } else { unanswered.pop_back() };
                let outcome = calls::outcome(value);
                self.tell(ServerCall::Completion { request: request.unwrap(), outcome }).await;
            }
            "item" => {
                let (request, item) = (self.invoked(), calls::payload(value));
                self.tell(ServerCall::Item { request, item }).await;
            }
            "stream_credit" => {
                let (stream, items) = (self.stream(), u32::try_from(value.as_u64().unwrap()).unwrap());
                self.tell(ServerCall::Credit { stream, items }).await;
            }
            "stream_stop" => {
                let stream = self.stream();
                self.tell(ServerCall::Stop { stream }).await;
            }
            "ask" => {
                let call = self.questions;
                self.questions += 1;
                let method = MethodName::new(value.as_str().unwrap()).unwrap();
                self.tell(ServerCall::Invoke { call, method, arguments: calls::payload(&step["args"]) })
                    .await;
            }
            "unask" => self.tell(ServerCall::Cancel { call: value.as_u64().unwrap() }).await,
            "give_up" => {
                let call = self.calls.pop_back().unwrap();
                call.abort();
                assert!(within("its end", call).await.unwrap_err().is_cancelled());
            }
            "ack" => {
                let request = self.unanswered.pop_front().unwrap();
                let ack = ServerFrame::Ack { request, count: value.as_u64().unwrap() };
                let bytes = followed(step, codec::encode_server(&ack).into());
                self.peer().say_bytes(bytes).await;
            }
            "ack_newest" => {
                let request = self.unanswered.pop_back().unwrap();
                self.peer().ack(request, value.as_u64().unwrap()).await;
            }
            "refuse" => {
                let request = self.unanswered.pop_front().unwrap();
                let code = u16::try_from(value.as_u64().unwrap()).unwrap();
                let error = ServerFrame::Error { request, code, detail: "no".to_owned() };
                let bytes = followed(step, codec::encode_server(&error).into());
                self.peer().say_bytes(bytes).await;
            }
            "close" => {
                let code = u16::try_from(value.as_u64().unwrap()).unwrap();
                self.peer().close_with(code, "");
            }
            "break" => {
                let code = u32::try_from(value.as_u64().unwrap_or(0)).unwrap();
                self.peer().send.reset(code.into()).unwrap();
            }
            "finish" => {
                let send = &mut self.peer().send;
                send.finish().unwrap();
                // Fails where the client has gone meanwhile.
                let _ = within("the client's QUIC to have it all", send.stopped()).await;
            }
            "let_go" => self.let_go.notify_waiters(),
            "call" => {
                let client = Arc::clone(self.client());
                let group = step["group"].as_str().map(str::to_owned);
                let token = step["token"].as_str().map(Token::new);
                let call = value.as_str().unwrap().to_owned();
                let (items, watch, step) = (Arc::clone(&self.items), Arc::clone(&self.watch), step.clone());
                // What is called is under way before the next step.
                let begun = Arc::new(Notify::new());
                let told = Arc::clone(&begun);
                self.calls.push_back(tokio::spawn(async move {
                    told.notify_one();
                    match call.as_str() {
                        "join" => result(client.join(group.unwrap()).await),
                        "leave" => result(client.leave(group.unwrap()).await),
                        "refresh" => result(client.refresh(token.unwrap()).await),
                        "count" => result(client.count(Target::All).await),
                        "invoke" => calls::invoke(&client, &step).await,
                        "stream" => calls::stream(&client, &step, &items).await,
                        "next" => calls::next(&items).await,
                        "watch" => match client.watch(group.unwrap()).await {
                            Ok(begun) => {
                                *watch.lock().await = Some(begun);
                                json!("done")
                            }
                            Err(error) => result(Err(error)),
                        },
                        "presence" => presence::next(&watch).await,
                        "unwatch" => {
                            *watch.lock().await = None;
                            json!("done")
                        }
                        "drop" => {
                            *items.lock().await = None;
                            json!("done")
                        }
                        _ => client
                            .close()
                            .await
                            .map_or_else(|error| json!(error.to_string()), |()| json!("done")),
                    }
                }));
                begun.notified().await;
            }
            "result" => {
                let call = self.calls.pop_front().unwrap();
                assert_eq!(&within("a result", call).await.unwrap(), value);
            }
            "see" => {
                let event = loop {
                    if let Some(event) = seen(next(self.client()).await) {
                        break event;
                    }
                };
                for (field, wanted) in value.as_object().unwrap() {
                    if field == "at_least_ms" {
                        assert!(event["pause_ms"].as_u64() >= wanted.as_u64(), "{event}");
                    } else {
                        assert_eq!(&event[field], wanted, "{event}");
                    }
                }
            }
            other => panic!("there is no step {other}"),
        }
    }
}

#[tokio::test]
async fn the_client_keeps_to_every_scenario() {
    let files = [
        include_str!("../../../tests/scenarios/clients.json"),
        include_str!("../../../tests/scenarios/calls.json"),
        include_str!("../../../tests/scenarios/presence.json"),
    ];
    let scenarios = files.map(|text| serde_json::from_str::<Vec<Value>>(text).unwrap()).concat();
    assert!(scenarios.len() >= 40);
    let mut failed = Vec::new();
    for scenario in scenarios {
        let name = scenario["name"].as_str().unwrap().to_owned();
        let reached = Arc::new(Mutex::new(Value::Null));
        let at = Arc::clone(&reached);
        let running = tokio::spawn(async move {
            let mut run = Run::new(&scenario);
            for step in written(&scenario["steps"]) {
                *at.lock() = step.clone();
                run.step(&step).await;
            }
        });
        if running.await.is_err() {
            failed.push(format!("{name}: at {}", reached.lock()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
