//! A back end that uses a [`Hub`]'s HTTP API, by bytes on a socket, so that what it says and hears is all there is.
//!
//! In: a hub, and what its key may do. Out: answers, with their status and headers.
#![allow(clippy::indexing_slicing, reason = "a harness that cannot go on must say where")]

use std::io;
use std::net::SocketAddr;

use aws_lc_rs::digest::{SHA256, digest};
use fanfare_protocol::admin::Action;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Hub, within};

/// A back end.
#[derive(Clone)]
pub struct BackEnd {
    address: String,
    /// What it shows; nothing, where it is empty.
    pub key: String,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its head, in lower case.
    pub head: String,
    /// Its body; null, where that is not JSON.
    pub body: Value,
}

impl Answer {
    /// The code of the problem that it is.
    #[must_use]
    pub fn code(&self) -> u64 {
        assert!(self.head.contains("\r\ncontent-type: application/problem+json\r\n"), "no problem: {self:?}");
        let code = self.body["code"].as_u64().unwrap_or_default();
        assert_eq!(self.body["status"], self.status, "{self:?}");
        assert_eq!(self.body["type"], format!("urn:fanfare:code:{code}"), "{self:?}");
        assert!(self.body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{self:?}");
        code
    }
}

/// The whole key with this name, for tests alone.
#[must_use]
pub fn shown(name: &str) -> String {
    let id: String =
        digest(&SHA256, name.as_bytes()).as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("ffk_{id}_a-secret-of-{name}")
}

/// What makes that key.
#[must_use]
pub fn create(name: &str, allow: &[&str]) -> Value {
    let shown = shown(name);
    let hash: String =
        digest(&SHA256, shown.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "ask": "create_api_key", "name": name, "id": shown[..20], "hash": hash, "allow": allow })
}

impl BackEnd {
    /// One that shows this key to a hub that answers without TLS.
    #[must_use]
    pub fn with_key(hub: &Hub, key: &str) -> Self {
        Self::at(hub.server.http_address().expect("the hub answers HTTP"), key)
    }

    /// The same, where a hub answers here.
    #[must_use]
    pub fn at(address: SocketAddr, key: &str) -> Self {
        Self { address: address.to_string(), key: key.to_owned() }
    }

    /// One with a new key, which an operator makes with this name.
    pub async fn new(hub: &Hub, name: &str, allow: &[&str]) -> Self {
        let action: Action = serde_json::from_value(create(name, allow)).expect("an action");
        hub.act(action).await.expect("the key is made");
        Self::with_key(hub, &shown(name))
    }

    /// Does something.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, "", &body.to_string()).await
    }

    /// Does something that is expected to work. Gives the answer's body.
    pub async fn done(&self, path: &str, body: &Value) -> Value {
        let answer = self.post(path, body).await;
        assert_eq!(answer.status, 200, "{path} {body}: {answer:?}");
        answer.body
    }

    /// Asks something.
    pub async fn ask(&self, path: &str) -> Answer {
        self.request("GET", path, "", "").await
    }

    /// Asks something that is expected to be told.
    pub async fn told(&self, path: &str) -> Value {
        let answer = self.ask(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.body
    }

    /// Any request, with more headers, each with its line's end.
    pub async fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        read(&within(self.exchange(method, path, headers, body)).await.expect("the hub answers"))
    }

    /// Does something at a hub that may vanish meanwhile: gives nothing where there was no whole answer.
    pub async fn try_post(&self, path: &str, body: &Value) -> Option<Answer> {
        let answer = within(self.exchange("POST", path, "", &body.to_string())).await.ok()?;
        let text = String::from_utf8_lossy(&answer);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        let length = lines.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?.1;
        (length.parse() == Ok(body.len())).then(|| read(&answer))
    }

    async fn exchange(&self, method: &str, path: &str, headers: &str, body: &str) -> io::Result<Vec<u8>> {
        let mut socket = TcpStream::connect(&self.address).await?;
        let request = self.bytes(method, path, &format!("Connection: close\r\n{headers}"), body);
        socket.write_all(&request).await?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await?;
        Ok(answer)
    }

    /// A request as it goes over the wire.
    #[must_use]
    pub fn bytes(&self, method: &str, path: &str, headers: &str, body: &str) -> Vec<u8> {
        let key = match self.key.as_str() {
            "" => String::new(),
            key => format!("Authorization: Bearer {key}\r\n"),
        };
        let kind = if headers.to_lowercase().contains("content-type:") || method != "POST" {
            ""
        } else {
            "Content-Type: application/json\r\n"
        };
        let length = body.len();
        format!(
            "{method} /api/v1{path} HTTP/1.1\r\nHost: hub\r\nContent-Length: {length}\r\n{kind}{key}{headers}\r\n{body}"
        )
        .into_bytes()
    }
}

/// An answer whose end is that of its connection.
#[must_use]
pub fn read(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let head = format!("{}\r\n", head.to_lowercase());
    Answer { status, head, body: serde_json::from_str(body).unwrap_or_default() }
}
