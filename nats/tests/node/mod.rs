//! A node for tests: a bus, and its events one by one.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should fail on the spot, and each takes what it needs"
)]

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use fanfare_nats::{Bus, Event, Settings};
use tokio::sync::mpsc;

use crate::harness::{Nats, PATIENCE};

pub struct Node {
    pub bus: Bus,
    pub events: mpsc::Receiver<Event>,
    /// What came while something else was waited for.
    kept: VecDeque<Event>,
    /// The server that it was connected to first.
    pub server: String,
}

pub fn number(node: u32) -> [u8; 4] {
    node.to_be_bytes()
}

pub fn settings(nats: &Nats) -> Settings {
    let mut settings = Settings::new(nats.addresses(), "fanfare");
    settings.replicas = nats.servers.len();
    settings.patience = PATIENCE;
    settings
}

impl Node {
    /// A node that is connected.
    pub async fn open(nats: &Nats, node: u32) -> Self {
        Self::with(settings(nats), node).await
    }

    pub async fn with(settings: Settings, node: u32) -> Self {
        // RUST_LOG=fanfare_nats=debug shows what happens.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        let (bus, events) = Bus::open(settings, number(node)).await.unwrap();
        let mut node = Self { bus, events, kept: VecDeque::new(), server: String::new() };
        node.server = node.connected().await.0;
        node
    }

    /// The next event that `wanted` takes; what comes before is kept for others.
    async fn find<T>(&mut self, what: &str, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        for at in 0..self.kept.len() {
            if let Some(found) = wanted(&self.kept[at]) {
                self.kept.remove(at);
                return found;
            }
        }
        let next = async {
            loop {
                let event = self.events.recv().await.expect("the bus is open");
                if let Some(found) = wanted(&event) {
                    return found;
                }
                self.kept.push_back(event);
            }
        };
        let found = tokio::time::timeout(PATIENCE, next).await;
        found.unwrap_or_else(|_| panic!("waited too long for {what}"))
    }

    pub async fn message(&mut self) -> Bytes {
        let message = |event: &Event| match event {
            Event::Message { payload } => Some(payload.clone()),
            _ => None,
        };
        self.find("a message", message).await
    }

    pub async fn entry(&mut self) -> (String, Option<String>, u64) {
        let entry = |event: &Event| match event {
            Event::Entry { key, value, revision, .. } => {
                let text = value.as_ref().map(|value| String::from_utf8(value.to_vec()).unwrap());
                Some((key.clone(), text, *revision))
            }
            _ => None,
        };
        self.find("an entry", entry).await
    }

    /// The server, and how long a message may be.
    pub async fn connected(&mut self) -> (String, usize) {
        let connected = |event: &Event| match event {
            Event::Connected { server, largest } => Some((server.clone(), *largest)),
            _ => None,
        };
        self.find("a connection", connected).await
    }

    pub async fn disconnected(&mut self) {
        self.find("the connection to end", |event| (*event == Event::Disconnected).then_some(())).await;
    }

    pub async fn caught_up(&mut self) {
        self.find("the watch", |event| (*event == Event::CaughtUp).then_some(())).await;
    }
}

/// Tries until there is an answer; fails when that takes too long.
pub async fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
