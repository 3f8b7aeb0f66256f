//! What operators do where decisions are those of several nodes: they go to the others, come back in their place, and
//! the receipt says what all of them did.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use fanfare_hub::Ticket;
use fanfare_protocol::admin::{Action, BanRow, NodeStanding, Receipt, Standing};
use fanfare_protocol::{Code, Denial};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Rig, closed, counts, group, groups, user};
use crate::access::BanKey;
use crate::moderation::decisions::{Carried, Decided, Decision, Decisions, Fence};
use crate::moderation::{Moderation, ModerationError};

/// Two other nodes: one that has two connections in `room-1` of whoever it is asked about, and one that is silent.
#[derive(Default)]
struct Others {
    here: OnceLock<Weak<Moderation>>,
    decided: Mutex<Vec<(Decision, String)>>,
    carried_out: Mutex<Vec<Action>>,
    /// What becomes of the next decisions; the others are made.
    refusals: Mutex<VecDeque<Denial>>,
    forgotten: Mutex<Vec<String>>,
    nobody: bool,
}

impl Others {
    fn carried(&self) -> Carried {
        if self.nobody {
            return Carried::default();
        }
        let there =
            Receipt { connections: 2, purged: 5, groups: counts(&[("room-1", 2)]), ..Receipt::default() };
        Carried { receipts: vec![there], silent: vec!["c".to_owned()] }
    }
}

impl Decisions for Others {
    fn decide(&self, decision: Decision, reason: &str) -> Result<Decided, Denial> {
        if let Some(refusal) = self.refusals.lock().pop_front() {
            return Err(refusal);
        }
        let here = self.here.get().and_then(Weak::upgrade).unwrap();
        let receipt = here.put_in_force(&decision, reason);
        self.decided.lock().push((decision, reason.to_owned()));
        Ok(Decided { receipt, fence: Fence { revision: 7, decided: Instant::now() } })
    }

    fn fence(&self, fence: Fence) -> (Vec<NodeStanding>, Carried) {
        assert_eq!(fence.revision, 7);
        // What it takes is in the receipt.
        while fence.decided.elapsed() < Duration::from_micros(300) {
            std::hint::spin_loop();
        }
        let (node, name) = ("00000002".to_owned(), "b".to_owned());
        let standing = NodeStanding { node, name, standing: Standing::InForce, after_ms: 3 };
        (vec![standing], self.carried())
    }

    fn preview(&self, _: &BanRow) -> Carried {
        self.carried()
    }

    fn carry_out(&self, act: &Action) -> Carried {
        self.carried_out.lock().push(act.clone());
        self.carried()
    }

    fn forget_node(&self, node: &str) -> Result<(), Denial> {
        if let Some(refusal) = self.refusals.lock().pop_front() {
            return Err(refusal);
        }
        self.forgotten.lock().push(node.to_owned());
        Ok(())
    }

    fn copies(&self, _: Ticket) -> (u64, Vec<String>) {
        (0, Vec::new())
    }
}

fn among(rig: &Rig, others: Others) -> Arc<Others> {
    let others = Arc::new(others);
    others.here.set(Arc::downgrade(&rig.moderation)).unwrap();
    rig.moderation.decided_with(Arc::clone(&others) as Arc<dyn Decisions>);
    others
}

fn revoke(user: &str) -> Value {
    json!({ "ask": "revoke", "user": user, "groups": "room-*", "reason": "rude" })
}

#[test]
fn promise_19_a_revocation_is_decided_for_all_and_its_receipt_says_what_each_did() {
    let (rig, seats) = Rig::crowded();
    let others = among(&rig, Others::default());
    let receipt = rig.done(&revoke("bob"));
    assert_eq!(receipt.groups, counts(&[("room-1", 3), ("room-2", 1)]));
    assert_eq!((receipt.connections, receipt.purged, receipt.unchanged), (3, 5, false));
    assert_eq!((receipt.silent, receipt.nodes.len()), (vec!["c".to_owned()], 1));
    assert!(receipt.took_us >= 300, "{}", receipt.took_us);
    assert_eq!(groups(&seats[2]).len(), 1, "he is in news alone");
    let (decision, reason) = others.decided.lock().pop().unwrap();
    let Decision::Ban(ban) = decision else { panic!("{decision:?}") };
    assert_eq!((ban.user, reason.as_str()), (Some(user("bob")), "rude"));
    // The others keep it: what is on this disk is written when the driver has it copied.
    assert!(rig.bans_on_disk().is_empty());
    assert_eq!(rig.outcomes(), ["done"]);
    assert!(rig.done(&revoke("bob")).unchanged, "it is in force already");
    rig.verify();
}

#[test]
fn each_kind_of_decision_goes_to_the_others() {
    let (rig, _seats) = Rig::crowded();
    let others = among(&rig, Others::default());
    let lasting = json!({ "ask": "add_lasting", "user": "alice", "group": "hall", "reason": "" });
    assert!(!rig.done(&lasting).unchanged);
    assert!(rig.done(&lasting).unchanged);
    let drop = json!({ "ask": "remove_lasting", "user": "alice", "group": "hall", "reason": "" });
    assert!(!rig.done(&drop).unchanged);
    assert!(rig.done(&drop).unchanged);
    rig.done(&revoke("bob"));
    let restore = json!({ "ask": "restore", "user": "bob", "groups": "room-*" });
    assert!(!rig.done(&restore).unchanged);
    assert!(rig.done(&restore).unchanged);
    let hall = || (user("alice"), group("hall"));
    let kinds: Vec<_> = others.decided.lock().drain(..).map(|(decision, _)| decision).collect();
    assert!(matches!(&kinds[0], Decision::Lasting(row) if (row.user.clone(), row.group.clone()) == hall()));
    assert!(matches!(&kinds[2], Decision::DropLasting(of, group) if (of.clone(), group.clone()) == hall()));
    let Decision::Ban(ban) = &kinds[4] else { panic!("{:?}", kinds[4]) };
    assert!(matches!(&kinds[5], Decision::Lift(key) if *key == BanKey::from(ban)));
    assert_eq!(kinds.len(), 7);
}

#[test]
fn what_the_cluster_does_not_take_is_not_done_and_recorded_as_refused() {
    let (rig, seats) = Rig::crowded();
    let others = among(&rig, Others::default());
    others.refusals.lock().push_back(Code::CutOff.into());
    assert_eq!(rig.refused(&revoke("bob")).0, Code::CutOff);
    assert_eq!(groups(&seats[2]).len(), 3, "he stays");
    assert_eq!(rig.outcomes(), ["refused"]);
    rig.done(&revoke("bob"));
    rig.verify();
}

#[test]
fn a_preview_asks_the_others_and_decides_nothing() {
    let (rig, seats) = Rig::crowded();
    let others = among(&rig, Others::default());
    let mut asked = revoke("bob");
    asked["dry_run"] = json!(true);
    let receipt = rig.done(&asked);
    assert_eq!((receipt.dry_run, receipt.connections, receipt.silent.len()), (true, 3, 1));
    assert_eq!((others.decided.lock().len(), groups(&seats[2]).len()), (0, 3));
    assert!(rig.outcomes().is_empty());
}

#[test]
fn an_act_on_connections_is_done_everywhere_and_nobody_is_nobody_anywhere() {
    let (rig, seats) = Rig::crowded();
    let others = among(&rig, Others::default());
    let kick = |user: &str| json!({ "ask": "kick", "who": { "user": user }, "reason": "enough" });
    let receipt = rig.done(&kick("bob"));
    assert_eq!((receipt.connections, receipt.silent), (3, vec!["c".to_owned()]));
    assert_eq!(closed(&seats[2]).unwrap().0, Code::ClosedByOperator);
    // Only there.
    assert_eq!(rig.done(&kick("mallory")).connections, 2);
    assert_eq!(others.carried_out.lock().len(), 2);

    let (alone, _seats) = Rig::crowded();
    among(&alone, Others { nobody: true, ..Others::default() });
    assert_eq!(alone.refused(&kick("mallory")).0, Code::NothingThere);
    assert_eq!(alone.done(&kick("bob")).connections, 1);
}

#[test]
fn the_part_of_another_nodes_act_is_done_here_and_recorded_there() {
    let (rig, seats) = Rig::crowded();
    let act = |request: Value| rig.moderation.act_for(&super::ask(&request));
    let kick = |user: &str| json!({ "ask": "kick", "who": { "user": user }, "reason": "enough" });
    assert_eq!(act(kick("bob")).unwrap().unwrap().connections, 1);
    assert_eq!(closed(&seats[2]).unwrap().1, "enough");
    assert!(act(kick("mallory")).unwrap().is_none(), "nobody is here");
    let added = act(json!({ "ask": "add", "who": { "user": "alice" }, "group": "hall", "reason": "" }));
    assert_eq!(added.unwrap().unwrap().groups, counts(&[("hall", 2)]));
    for other in [revoke("alice"), super::send_to(&json!("all")), json!({ "ask": "backup" })] {
        let refused = act(other.clone());
        let Err(ModerationError::Refused { code, .. }) = refused else { panic!("{other}: {refused:?}") };
        assert_eq!(code, Code::InvalidRequest);
    }
    assert!(rig.outcomes().is_empty());
}

#[test]
fn a_dead_node_is_forgotten_by_the_others_and_that_is_recorded_whatever_comes_of_it() {
    let (rig, _seats) = Rig::crowded();
    let forget = json!({ "ask": "forget_node", "node": "3f2a9c01", "reason": "burnt down" });
    assert_eq!(rig.refused(&forget).0, Code::NothingThere, "it is no node");
    let denial = Denial { code: Code::InvalidRequest, detail: "it is there".to_owned() };
    let others = among(&rig, Others { refusals: Mutex::new([denial].into()), ..Others::default() });
    assert_eq!(rig.refused(&forget).0, Code::InvalidRequest);
    let receipt = rig.done(&forget);
    assert_eq!((receipt.connections, receipt.nodes.len(), receipt.silent.len()), (0, 0, 0));
    assert_eq!(*others.forgotten.lock(), ["3f2a9c01"]);
    assert_eq!(rig.outcomes(), ["refused", "refused", "done"]);
    rig.verify();
}
