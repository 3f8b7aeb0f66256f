//! A bare client of SignalR: hub messages in JSON over a WebSocket, and none of a real client's manners. Real clients
//! are in web/test and tests/python.
//!
//! In: hub messages, or any bytes. Out: hub messages, or how the connection ended.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use rustls::RootCertStore;
use serde_json::{Value, json};
use tokio_websockets::{Message, WebSocketStream};

use crate::socket::{Carrier, dial, upgrade};
use crate::within;

/// What stands behind each message.
const END: char = '\u{1e}';

/// One connection.
pub struct SignalR {
    /// WebSocket itself.
    pub stream: WebSocketStream<Box<dyn Carrier>>,
    messages: VecDeque<Value>,
    next_id: u32,
}

impl SignalR {
    /// Opens a WebSocket and says nothing yet. `query` stands behind the server's URL, headers beside it.
    ///
    /// # Errors
    /// What the server answers instead.
    pub async fn open(
        url: &str,
        query: &str,
        roots: &Arc<RootCertStore>,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, tokio_websockets::Error> {
        let url = format!("{}{query}", url.replacen("http", "ws", 1));
        let carrier = dial(&url.parse().unwrap(), roots).await?;
        Self::open_on(carrier, &url, headers).await
    }

    /// The same over bytes that are there, with the query in the URL.
    ///
    /// # Errors
    /// What the server answers instead.
    pub async fn open_on(
        carrier: Box<dyn Carrier>,
        url: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, tokio_websockets::Error> {
        let stream = upgrade(carrier, url, headers).await?;
        Ok(Self { stream, messages: VecDeque::new(), next_id: 0 })
    }

    /// A development user whose handshake is answered.
    pub async fn welcomed(url: &str, roots: &Arc<RootCertStore>, name: &str) -> Self {
        let mut client = Self::open(url, &format!("?user={name}"), roots, &[]).await.unwrap();
        client.shake().await;
        client
    }

    /// Has the handshake answered.
    pub async fn shake(&mut self) {
        self.say(&json!({ "protocol": "json", "version": 1 })).await;
        assert_eq!(self.message().await, Some(json!({})), "the handshake is answered");
    }

    /// Sends a message.
    pub async fn say(&mut self, message: &Value) {
        self.bytes(format!("{message}{END}")).await;
    }

    /// Sends a text as it is.
    pub async fn bytes(&mut self, text: String) {
        within(self.stream.send(Message::text(text))).await.unwrap();
    }

    /// The next message; `None` when the server has closed. Pings are passed over.
    pub async fn message(&mut self) -> Option<Value> {
        loop {
            while let Some(message) = self.messages.pop_front() {
                if message.get("type") != Some(&json!(6)) {
                    return Some(message);
                }
            }
            let message = within(self.stream.next()).await?.ok()?;
            if message.is_close() {
                return None;
            }
            let text = message.as_text().unwrap_or_else(|| panic!("not JSON: {message:?}"));
            let whole = text.strip_suffix(END).unwrap_or_else(|| panic!("cut: {text}"));
            self.messages.extend(whole.split(END).map(|one| serde_json::from_str::<Value>(one).unwrap()));
        }
    }

    /// Calls a method. What comes meanwhile stays.
    ///
    /// # Errors
    /// What the server says.
    pub async fn call(&mut self, target: &str, arguments: Value) -> Result<Value, String> {
        let id = self.begin(target, arguments).await;
        let mut passed = VecDeque::new();
        loop {
            let message = self.message().await.unwrap_or_else(|| panic!("closed behind {target}"));
            if message.get("invocationId") == Some(&json!(id)) && message.get("type") == Some(&json!(3)) {
                passed.append(&mut self.messages);
                self.messages = passed;
                return match message.get("error") {
                    Some(error) => Err(error.as_str().unwrap().to_owned()),
                    None => Ok(message.get("result").cloned().unwrap_or(Value::Null)),
                };
            }
            passed.push_back(message);
        }
    }

    /// The same without waiting for the answer. Gives its id.
    pub async fn begin(&mut self, target: &str, arguments: Value) -> String {
        let id = self.next_id.to_string();
        self.next_id += 1;
        let call = json!({ "type": 1, "invocationId": id, "target": target, "arguments": arguments });
        self.say(&call).await;
        id
    }

    /// The next invocation: target and arguments.
    pub async fn event(&mut self) -> (String, Value) {
        let message = self.message().await.expect("closed");
        assert_eq!(message.get("type"), Some(&json!(1)), "{message}");
        let target = message.get("target").and_then(Value::as_str).unwrap().to_owned();
        (target, message.get("arguments").cloned().unwrap())
    }

    /// Passes over messages until the server closes. Gives the last of them.
    pub async fn end(&mut self) -> Option<Value> {
        let mut last = None;
        while let Some(message) = self.message().await {
            last = Some(message);
        }
        last
    }

    /// Proves that nothing else has arrived: what is asked for now is answered behind whatever was queued before.
    pub async fn nothing_else(&mut self) {
        self.call("Count", json!(["all"])).await.unwrap();
        assert_eq!(self.messages, [] as [Value; 0], "something else had arrived");
    }
}
