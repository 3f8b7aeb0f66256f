//! What operations have done, in JSON.

use std::collections::BTreeMap;

use fanfare_protocol::GroupName;
use fanfare_protocol::admin::Receipt;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access;

/// What an operation has done.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Outcome {
    /// Of a message.
    Sent(Sent),
    /// Of what changes who is where.
    Done(Done),
    /// Of a token.
    Minted(Minted),
}

/// What became of a message.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Sent {
    /// How many connections it was queued to.
    pub(crate) queued: u64,
    /// In a cluster: nodes that did not say in time what became of it there, by their names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>)]
    pub(crate) silent: Vec<String>,
}

/// What something did, or would do.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(crate) struct Done {
    /// Connections that were added, removed or closed.
    pub(crate) connections: u64,
    /// Connections by group, where it is about groups.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Option<BTreeMap<String, u64>>)]
    pub(crate) groups: BTreeMap<GroupName, u64>,
    /// Whether there was nothing to change: it had been done before.
    pub(crate) unchanged: bool,
    /// Whether nothing was done, because only an answer was wanted.
    pub(crate) dry_run: bool,
    /// The number of the audit record, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) audit: Option<u64>,
    /// In a cluster: nodes that did not say in time what they did, and those where what was decided is not known to be
    /// in force, by their names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>)]
    pub(crate) silent: Vec<String>,
}

/// A token.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Minted {
    /// The token, which is shown to nobody else.
    pub(crate) token: String,
    /// Its id, by which it can be revoked.
    pub(crate) jti: String,
    /// When it ends, in seconds since 1970.
    pub(crate) expires: u64,
}

impl From<Receipt> for Done {
    fn from(receipt: Receipt) -> Self {
        let Receipt { connections, groups, unchanged, dry_run, audit, nodes, mut silent, .. } = receipt;
        silent.extend(nodes.into_iter().filter(|node| !node.standing.is_fenced()).map(|node| node.name));
        silent.sort_unstable();
        silent.dedup();
        Self { connections, groups, unchanged, dry_run, audit: (audit > 0).then_some(audit), silent }
    }
}

impl From<access::Minted> for Minted {
    fn from(access::Minted { token, jti, expires }: access::Minted) -> Self {
        Self { token, jti, expires }
    }
}
