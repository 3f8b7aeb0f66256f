//! Whose duty it is to tell back ends what happens once for all nodes, as an entry of the bucket.
//!
//! In: who has it, or an entry's bytes. Out: the other of the two. Invariant: an entry of a later version, which cannot
//! be read, is claimed by nobody here: it may say that somebody has the duty.

use bytes::Bytes;
use fanfare_cluster::{Claim, Duties, Subject};
use serde::{Deserialize, Serialize};

/// Back ends, as the node with the duty has them.
pub(crate) trait Notified: Send + Sync {
    /// A subject is occupied on some node from now on, or on none any more.
    /// What is told later has a greater `order`, whichever node tells it.
    fn tell_of(&self, subject: Subject, is_occupied: bool, order: (u64, u64));
}

/// Where it is.
pub(super) const KEY: &str = "duty";

#[derive(Serialize, Deserialize)]
struct Row {
    /// Who has it; nobody where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(default)]
    claim: u64,
    #[serde(default)]
    before: u64,
}

/// As it is put.
pub(super) fn to_bytes(duties: &Duties) -> Bytes {
    let Duties { holder, before } = *duties;
    let (node, claim) = holder.map(|holder| (holder.node.to_string(), holder.number)).unzip();
    // Texts and numbers: there is nothing in it that JSON does not have.
    serde_json::to_vec(&Row { node, claim: claim.unwrap_or_default(), before }).unwrap_or_default().into()
}

/// What an entry says. One that was taken out says that nobody has the duty.
pub(super) fn read(value: Option<&[u8]>) -> Option<Duties> {
    let Some(value) = value else { return Some(Duties { holder: None, before: 0 }) };
    let Row { node, claim, before } = serde_json::from_slice(value).ok()?;
    let node = node.map(|node| node.parse()).transpose().ok()?;
    Some(Duties { holder: node.map(|node| Claim { node, number: claim }), before })
}

#[cfg(test)]
mod tests {
    use fanfare_cluster::NodeId;

    use super::*;

    #[test]
    fn an_entry_is_read_as_it_was_put_and_one_of_a_later_version_not_at_all() {
        let holder = Some(Claim { node: NodeId::new([0xab, 0, 0, 1]), number: 7 });
        for duties in [Duties { holder, before: 4 }, Duties { holder: None, before: 9 }] {
            assert_eq!(read(Some(&to_bytes(&duties))), Some(duties));
        }
        assert_eq!(read(None), Some(Duties { holder: None, before: 0 }));
        assert_eq!(read(Some(br#"{"node":"ab000001","claim":7,"more":1}"#)).unwrap().holder, holder);
        assert_eq!(read(Some(br#"{"node":"everybody"}"#)), None);
        assert_eq!(read(Some(b"7")), None);
    }
}
