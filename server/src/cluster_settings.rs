//! What a configuration says of the cluster that a server is part of.

use std::time::Duration;

/// A server as one node of several, which meet at a NATS server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClusterSettings {
    /// Where NATS is, and how this node proves itself there.
    pub nats: fanfare_nats::Settings,
    /// What operators call this node. Default: the first eight characters of its id.
    pub name: Option<String>,
    /// So long after it has last heard the cluster the node still delivers and lets people in. Default 5 s; at least
    /// 2 s.
    pub lease: Duration,
    /// Whether it goes on without the cluster: then people stay in who were put out elsewhere meanwhile. Default no.
    pub serves_without: bool,
    /// How long the cluster remembers at least that something was ended: a ban that was lifted, a key that was dropped,
    /// a node that has gone. A node that has not heard the cluster for longer has to be started again, and so many
    /// seconds the clocks of nodes may be apart. Default a day. The same on all nodes.
    pub remembers: Duration,
}

impl ClusterSettings {
    /// The shortest lease: four heartbeats.
    pub const SHORTEST_LEASE: Duration = Duration::from_secs(2);

    const DAY: Duration = Duration::from_secs(86_400);

    /// A node that meets the others at these NATS servers.
    #[must_use]
    pub fn new(nats: fanfare_nats::Settings) -> Self {
        Self { nats, name: None, lease: Duration::from_secs(5), serves_without: false, remembers: Self::DAY }
    }

    pub(crate) fn times(&self) -> fanfare_cluster::Settings {
        fanfare_cluster::Settings {
            lease: self.lease,
            serves_without: self.serves_without,
            ..fanfare_cluster::Settings::default()
        }
    }
}
