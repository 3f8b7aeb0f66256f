//! Notes how far this node's audit has come, in the bucket, where the other nodes see it.
//!
//! In: the audit, and what is noted of it. Out: a newer note, or why there must be none. Invariant: over a note goes
//! only one of a chain that has in it what was noted: who was put back to an earlier state, or edited, notes nothing,
//! however long it has become since (promise 11).

use std::sync::Arc;

use fanfare_nats::Expect;

use super::heads::{self, Noted};
use super::questions::to_bytes;
use super::side::Side;
use crate::moderation::{Head, Moderation};

/// What came of it.
pub(super) enum Noting {
    /// This is noted.
    Done(Head),
    /// It is to be tried again, or there is nothing to be noted.
    Later,
    /// The audit is not what was noted.
    Another(String),
}

/// What is to be put.
struct Due {
    key: String,
    noted: Noted,
    over: Expect,
    head: Head,
}

/// Notes it where there is more than `last`.
pub(super) async fn note(side: Arc<Side>, moderation: Arc<Moderation>, last: Option<Head>) -> Noting {
    let looking = Arc::clone(&side);
    // It waits for whoever writes to the audit, and for the disk.
    let looked = tokio::task::spawn_blocking(move || look(&looking, &moderation, last)).await;
    let due = match looked {
        Ok(Ok(Some(due))) => due,
        Ok(Ok(None)) | Err(_) => return Noting::Later,
        Ok(Err(problem)) => return Noting::Another(problem),
    };
    // Over the one that is known: an earlier one may come late, where a NATS server had stood still.
    match side.bus.put(&due.key, to_bytes(&due.noted), due.over).await {
        Ok(_) => Noting::Done(due.head),
        Err(_) => Noting::Later,
    }
}

fn look(side: &Side, moderation: &Moderation, last: Option<Head>) -> Result<Option<Due>, String> {
    let Some((chain, head)) = moderation.chain() else { return Ok(None) };
    if last == Some(head) {
        return Ok(None);
    }
    let (known, over) = {
        let heads = side.heads();
        let known = heads.of(&chain).map(|(noted, problem)| (noted.clone(), problem.map(str::to_owned)));
        (known, heads.revision(&chain).map_or(Expect::Nothing, Expect::Revision))
    };
    if let Some((Noted { sequence, hash, .. }, problem)) = known {
        if let Some(problem) = problem {
            return Err(problem);
        }
        // Where the disk does not say, it is asked again.
        let Ok(holds) = moderation.audit_holds(sequence, &hash) else { return Ok(None) };
        if !holds {
            return Err(format!("record {sequence} with the hash {hash} was noted, and is not in it"));
        }
    }
    let noted = Noted { node: side.name.clone(), sequence: head.sequence, hash: head.hex() };
    Ok(Some(Due { key: heads::key(&chain), noted, over, head }))
}
