//! A method of every kind, for the tests of every client: results, errors, streams both ways, what clients answer.
//!
//! ```text
//! cargo run -p fanfare-examples --example everything
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanfare_server::{
    Args, CallError, Caller, Cancellation, GroupName, HubHandle, Identity, Items, Methods, OwnCode, Payload,
    Server, State, TryItems, Upload,
};
use futures_util::{Stream, stream};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Value, json};

const SOLD_OUT: OwnCode = OwnCode::new(10_001).unwrap();

/// How many of the methods that go on have begun, and how many have ended. A clone counts on.
#[derive(Clone, Default)]
struct Counters {
    begun: Arc<AtomicU64>,
    ended: Arc<AtomicU64>,
}

impl Counters {
    fn begin(&self) -> Going {
        self.begun.fetch_add(1, Ordering::SeqCst);
        Going(self.clone())
    }
}

/// A method that goes on, until it is dropped.
struct Going(Counters);

impl Drop for Going {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

/// Bytes as SignalR has them: binary in MessagePack, a text in base64 in JSON.
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&STANDARD.encode(&self.0))
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Bytes;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes, or a text in base64")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
                STANDARD.decode(text).map(Bytes).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

async fn echo(Args((value,)): Args<(Value,)>) -> Result<Value, CallError> {
    Ok(value)
}

async fn reverse(Args((Bytes(mut bytes),)): Args<(Bytes,)>) -> Result<Bytes, CallError> {
    bytes.reverse();
    Ok(Bytes(bytes))
}

async fn add(Args((a, b)): Args<(i64, i64)>) -> Result<i64, CallError> {
    a.checked_add(b).ok_or_else(|| CallError::new("that is too much"))
}

async fn nothing() -> Result<(), CallError> {
    Ok(())
}

async fn whoami(caller: Caller) -> Result<Value, CallError> {
    Ok(json!({
        "user": caller.user().as_str(),
        "connection": caller.connection().to_string(),
        "transport": caller.transport().name(),
    }))
}

async fn fail(Args((reason,)): Args<(String,)>) -> Result<(), CallError> {
    Err(CallError::new(reason))
}

async fn fail_own() -> Result<(), CallError> {
    Err(CallError::own(SOLD_OUT, "sold out"))
}

/// What went wrong is for the log, and not for the caller.
async fn fail_inside() -> Result<(), CallError> {
    Err(CallError::internal("the database is away"))
}

#[allow(clippy::panic, reason = "what becomes of it is the point")]
async fn panic() -> Result<(), CallError> {
    panic!("as it was asked to")
}

/// Takes longer than it may.
async fn late() -> Result<(), CallError> {
    std::future::pending().await
}

/// Goes on until nobody wants to know what comes of it.
async fn slow(State(counters): State<Counters>, cancellation: Cancellation) -> Result<(), CallError> {
    let _going = counters.begin();
    cancellation.cancelled().await;
    Ok(())
}

/// How many have begun and how many have ended of those that go on until they are stopped.
async fn going(State(counters): State<Counters>) -> Result<(u64, u64), CallError> {
    Ok((counters.begun.load(Ordering::SeqCst), counters.ended.load(Ordering::SeqCst)))
}

async fn counter(Args((count,)): Args<(u32,)>) -> Result<Items<impl Stream<Item = u32>>, CallError> {
    Ok(Items::new(stream::iter(0..count)))
}

async fn endless(State(counters): State<Counters>) -> Result<Items<impl Stream<Item = u64>>, CallError> {
    let going = counters.begin();
    let numbers = stream::unfold((0, going), |(next, going)| async move { Some((next, (next + 1, going))) });
    Ok(Items::new(numbers))
}

async fn failing_stream(
    Args((count,)): Args<(u32,)>,
) -> Result<TryItems<impl Stream<Item = Result<u32, CallError>>>, CallError> {
    let items = (0..count).map(Ok).chain([Err(CallError::new("that is all"))]);
    Ok(TryItems::new(stream::iter(items)))
}

async fn sum(mut numbers: Upload<i64>) -> Result<i64, CallError> {
    let mut sum = 0;
    while let Some(number) = numbers.next().await {
        sum += number?;
    }
    Ok(sum)
}

/// For clients that take no result of a call with a stream: they are told it.
async fn tell_sum(caller: Caller, numbers: Upload<i64>) -> Result<(), CallError> {
    let sum = sum(numbers).await?;
    caller.send("Sum", Payload::json(format!("[{sum}]")))?;
    Ok(())
}

/// Ends before the stream does.
async fn first_of(
    Args((count,)): Args<(usize,)>,
    mut values: Upload<Value>,
) -> Result<Vec<Value>, CallError> {
    let mut first = Vec::new();
    while first.len() < count
        && let Some(value) = values.next().await
    {
        first.push(value?);
    }
    Ok(first)
}

async fn echo_stream(
    State(counters): State<Counters>,
    values: Upload<Value>,
) -> Result<TryItems<impl Stream<Item = Result<Value, CallError>>>, CallError> {
    let going = counters.begin();
    let echoed = stream::unfold((values, going), |(mut values, going)| async move {
        let value = values.next().await?;
        Some((value, (values, going)))
    });
    Ok(TryItems::new(echoed))
}

async fn ask_me(caller: Caller, Args((question,)): Args<(String,)>) -> Result<Value, CallError> {
    caller.invoke("Confirm", &(question,)).await.map_err(|error| CallError::new(error.to_string()))
}

async fn join(caller: Caller, Args((group,)): Args<(String,)>) -> Result<usize, CallError> {
    let group = GroupName::new(&group)?;
    caller.join(&group)?;
    Ok(caller.hub().group(group).count())
}

async fn leave(caller: Caller, Args((group,)): Args<(String,)>) -> Result<bool, CallError> {
    Ok(caller.leave(&GroupName::new(&group)?))
}

async fn broadcast(
    hub: HubHandle,
    Args((group, event, value)): Args<(String, String, Value)>,
) -> Result<u64, CallError> {
    let arguments = serde_json::to_vec(&[value]).map_err(CallError::internal)?;
    Ok(hub.group(GroupName::new(&group)?).send(event.as_str(), Payload::json(arguments))?)
}

fn methods() -> Methods<Counters> {
    Methods::with_state(Counters::default())
        .on("Echo", echo)
        .on("Reverse", reverse)
        .on("Add", add)
        .on("Nothing", nothing)
        .on("Whoami", whoami)
        .on("Fail", fail)
        .on("FailOwn", fail_own)
        .on("FailInside", fail_inside)
        .on("Panic", panic)
        .on_within("Late", Duration::from_millis(50), late)
        .on("Slow", slow)
        .on("Going", going)
        .on("Counter", counter)
        .on("Endless", endless)
        .on("FailingStream", failing_stream)
        .on("Sum", sum)
        .on("TellSum", tell_sum)
        .on("FirstOf", first_of)
        .on("EchoStream", echo_stream)
        .on("AskMe", ask_me)
        .on("Join", join)
        .on("Leave", leave)
        .on("Broadcast", broadcast)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut address = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned()).parse();
    let (quic, http) = (address("127.0.0.1:4433")?, address("127.0.0.1:4480")?);
    let made = fanfare_certs::server_leaf(std::path::Path::new(".fanfare"), &[])?.identity;
    let identity = Identity { chain: made.chain, key: made.key };
    let builder = Server::builder().listen(quic).identity(identity).http(http).methods(methods());
    let server = builder.development().start().await?;
    let signalr = server.signalr_url().ok_or("web clients have no way in")?;
    println!("ready quic={} signalr={signalr}", server.address());
    tokio::signal::ctrl_c().await?;
    server.drain().await;
    Ok(())
}
