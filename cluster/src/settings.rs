//! The times by which a node goes.

use std::time::Duration;

/// The times by which a node goes. All nodes of a cluster should have the same; a node tells the others its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// So long after it has last been up to date a node still delivers what a ban may forbid, and lets people in.
    pub lease: Duration,
    /// How much more the others wait before they count on the end of its lease: clocks do not run alike.
    pub margin: Duration,
    /// How often it shows that it is there.
    pub heartbeat: Duration,
    /// How long a group's or a user's last member may be gone before the others are told to send nothing for it.
    pub linger: Duration,
    /// How long the others may take to say that they send what is wanted here. Whoever waits for it is removed then.
    pub proof: Duration,
    /// After how long something that was not answered is said again; twice as long each time, up to ten times.
    pub again: Duration,
    /// How long a sender waits at most for the others' counts.
    pub counting: Duration,
    /// Whether it goes on delivering and letting in when its lease has ended.
    pub serves_without: bool,
    /// Whether it reports which subjects are occupied here, and tells a back end of those of all nodes where that is
    /// its duty.
    pub notifies: bool,
    /// How long a user may be away from a group without being gone.
    pub grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(5),
            margin: Duration::from_millis(250),
            heartbeat: Duration::from_millis(500),
            linger: Duration::from_secs(5),
            proof: Duration::from_secs(2),
            again: Duration::from_millis(200),
            counting: Duration::from_secs(1),
            serves_without: false,
            notifies: false,
            grace: Duration::from_secs(2),
        }
    }
}
