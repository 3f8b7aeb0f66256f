//! Whether the audit is whole; in a cluster, whether those of all nodes are.
//!
//! In: this server's chain, those of the other nodes as they say, and what was noted of each in the bucket. Out: a
//! verdict. Invariant: a chain that is behind what was noted of it, or is another, is broken, whatever its node says of
//! it; that a node has looked at its own records is its own word.

use fanfare_protocol::admin::{AdminError, AuditHead, AuditVerdict, NodeAudit};

use super::query::Queries;
use super::reply::store_failed;
use crate::cluster::{ChainThere, Heads, Noted, note_key};
use crate::moderation::StoreError;

impl Queries {
    /// Checks the chain here, which must have a record with this hash, and those of all other nodes. Blocks.
    pub(super) fn verify_audits(&self, head: Option<&str>) -> Result<AuditVerdict, AdminError> {
        let Some(side) = &self.cluster else {
            return self.moderation.verify_audit(head).map_err(|error| store_failed(&error));
        };
        // As it is now: what is noted meanwhile may not be in what is said meanwhile.
        let heads = side.heads().clone();
        let noted = heads.hashes();
        let (here, (others, silent)) = std::thread::scope(|scope| {
            let others = scope.spawn(|| side.chains(noted.clone()));
            let here = self.chain_here(&noted, head);
            // It has no reason to panic; where it did, nobody has said anything.
            (here, others.join().unwrap_or_default())
        });
        let here = here.map_err(|error| store_failed(&error))?;
        let mut verdict = here.verdict.clone();
        let all = std::iter::once((side.name().to_owned(), here)).chain(others).collect();
        (verdict.nodes, verdict.silent) = judge(&heads, all, silent);
        let first = verdict.nodes.iter().find_map(|node| Some((&node.node, node.broken.as_ref()?)));
        verdict.broken = first.map(|(node, problem)| format!("the audit of {node}: {problem}"));
        verdict.whole = verdict.broken.is_none();
        Ok(verdict)
    }

    /// The chain here, which must have in it what was noted of it.
    pub(super) fn chain_here(
        &self,
        noted: &[(String, Vec<String>)],
        head: Option<&str>,
    ) -> Result<ChainThere, StoreError> {
        let chain = self.moderation.chain().map(|(chain, _)| chain);
        let of_it = noted.iter().find(|(of, _)| Some(of) == chain.as_ref());
        let of_it = of_it.into_iter().flat_map(|(_, hashes)| hashes.iter().map(String::as_str));
        let hashes: Vec<&str> = head.into_iter().chain(of_it).collect();
        Ok(ChainThere { verdict: self.moderation.verify_chain(&hashes)?, chain })
    }
}

/// What is to be said of each node's chain, in their order, and of whose nothing is known. A chain that was noted and
/// is on no node was begun anew, where a node of its name is there; else that node is not.
fn judge(
    heads: &Heads,
    all: Vec<(String, ChainThere)>,
    mut silent: Vec<String>,
) -> (Vec<NodeAudit>, Vec<String>) {
    let here: Vec<String> = all.iter().filter_map(|(_, there)| there.chain.clone()).collect();
    let missing = |name: &str| {
        let (chain, noted) = heads.others(&here).find(|(_, noted)| noted.node == name)?;
        let (Noted { sequence, hash, .. }, key) = (noted, note_key(chain));
        Some(format!(
            "it was begun anew: {sequence} records were noted in {key}, the last with the hash {hash}"
        ))
    };
    let audit = |(node, ChainThere { chain, verdict }): (String, ChainThere)| {
        let noted = chain.and_then(|chain| {
            let (noted, problem) = heads.of(&chain)?;
            let problem = problem.map(str::to_owned).or_else(|| behind(&verdict.head, noted))?;
            Some(format!("{problem} ({})", note_key(&chain)))
        });
        // What was noted says more than that something is missing.
        let broken = noted.or(verdict.broken).or_else(|| missing(&node));
        NodeAudit { node, records: verdict.records, head: verdict.head, broken }
    };
    let nodes: Vec<NodeAudit> = all.into_iter().map(audit).collect();
    silent.extend(heads.others(&here).map(|(_, noted)| noted.node.clone()));
    // A run of a node that has ended a moment ago does not answer, and the next one does.
    silent.retain(|name| nodes.iter().all(|node| node.node != *name));
    silent.sort_unstable();
    silent.dedup();
    (nodes, silent)
}

fn behind(head: &AuditHead, Noted { sequence, hash, .. }: &Noted) -> Option<String> {
    let is_less = head.sequence < *sequence || head.sequence == *sequence && head.hash != *hash;
    is_less.then(|| {
        format!(
            "its last record was noted as number {sequence} with the hash {hash}, and is number {} with {}",
            head.sequence, head.hash
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(node: &str, sequence: u64, hash: u8) -> Noted {
        Noted { node: node.to_owned(), sequence, hash: format!("{hash:02x}").repeat(32) }
    }

    fn there(chain: &str, sequence: u64, hash: u8, broken: Option<&str>) -> ChainThere {
        let head = AuditHead { sequence, hash: format!("{hash:02x}").repeat(32) };
        let verdict = AuditVerdict {
            whole: broken.is_none(),
            records: sequence,
            head,
            broken: broken.map(str::to_owned),
            nodes: Vec::new(),
            silent: Vec::new(),
        };
        ChainThere { chain: Some(chain.to_owned()), verdict }
    }

    #[test]
    fn a_nodes_word_for_its_audit_counts_as_far_as_what_was_noted_of_it() {
        let mut heads = Heads::default();
        for (chain, node, sequence) in
            [("1", "a", 5), ("2", "b", 6), ("3", "c", 7), ("4", "d", 8), ("5", "e", 9)]
        {
            heads.saw(chain, Some(noted(node, sequence, 1)), 1);
        }
        let all = [
            ("a", there("1", 6, 2, None)),
            ("b", there("2", 6, 2, None)),
            ("c", there("3", 6, 1, None)),
            ("d", there("9", 3, 1, None)),
            ("f", there("7", 3, 1, Some("record 2 is missing"))),
        ];
        let all = all.map(|(node, there)| (node.to_owned(), there)).into();
        let (nodes, silent) = judge(&heads, all, vec!["g".to_owned()]);
        let found: Vec<_> = nodes
            .iter()
            .map(|node| (node.node.as_str(), node.broken.as_deref().unwrap_or("whole")))
            .collect();
        let words = ["whole", "number 6", "number 7", "begun anew: 8 records", "record 2 is missing"];
        for ((node, broken), words) in found.iter().zip(words) {
            assert!(broken.contains(words), "{node}: {broken}");
        }
        assert_eq!(found.iter().map(|(node, _)| *node).collect::<String>(), "abcdf");
        // One is not there, and one has not answered.
        assert_eq!(silent, ["e", "g"]);
        // One that was started again a moment ago answers, and did not.
        let all = vec![("a".to_owned(), there("1", 6, 2, None))];
        assert_eq!(judge(&heads, all, vec!["a".to_owned()]).1, ["b", "c", "d", "e"]);
    }
}
