//! What was decided for all nodes, on this server's own disk: each decision as it comes, and all that stands at once.

use super::*;
use crate::moderation::{Decision, Standing};

/// What one server has decided: a ban, a revocation, a lasting membership, a key.
fn decided() -> (Standing, Vec<Decision>) {
    let rig = Rig::new();
    let hash = "00".repeat(32);
    let key = json!({
        "ask": "create_api_key", "name": "shop", "id": "ffk_0123456789abcdef", "hash": hash, "allow": ["read:all"],
    });
    for request in [
        json!({ "ask": "ban", "user": "mallory", "reason": "enough" }),
        json!({ "ask": "revoke", "user": "bob", "groups": "room-*", "reason": "rude" }),
        json!({ "ask": "add_lasting", "user": "alice", "group": "vip", "reason": "" }),
        key,
    ] {
        rig.done(&request);
    }
    let Standing { bans, lasting, keys } = rig.moderation.standing();
    let all = (bans.iter().cloned().map(Decision::Ban))
        .chain(lasting.iter().cloned().map(Decision::Lasting))
        .chain(keys.iter().cloned().map(Decision::Key));
    let all: Vec<_> = all.collect();
    assert_eq!(all.len(), 4);
    (sorted(Standing { bans, lasting, keys }), all)
}

fn sorted(mut standing: Standing) -> Standing {
    standing.bans.sort_by_cached_key(|ban| BanKey::from(ban));
    standing
}

/// What a server has that starts with this disk.
fn after_a_start(disk: &Disk) -> Standing {
    sorted(Rig::on(disk.clone(), Validity::default()).moderation.standing())
}

#[test]
fn each_decision_is_copied_and_so_is_its_end() {
    let (standing, decisions) = decided();
    let rig = Rig::new();
    for decision in &decisions {
        rig.moderation.copy(decision).unwrap();
    }
    assert_eq!(rig.moderation.standing(), Standing::default(), "it is a copy, and nothing else");
    assert_eq!(after_a_start(&rig.disk), standing);
    assert_eq!(rig.records(), Vec::<Value>::new(), "nobody did it here");
    for decision in &decisions {
        rig.moderation.copy(&decision.end()).unwrap();
    }
    assert_eq!(after_a_start(&rig.disk), Standing::default());
}

#[test]
fn all_that_stands_takes_the_place_of_whatever_the_disk_had() {
    let (standing, decisions) = decided();
    let rig = Rig::new();
    rig.done(&json!({ "ask": "ban", "user": "somebody", "reason": "" }));
    let other = Decision::Ban(rig.bans_on_disk().remove(0));
    rig.moderation.put_in_force(&other.end(), "");
    for decision in &decisions {
        rig.moderation.put_in_force(decision, "");
    }
    assert_ne!(after_a_start(&rig.disk), standing);
    rig.moderation.copy_all().unwrap();
    assert_eq!(after_a_start(&rig.disk), standing);
    assert_eq!(rig.outcomes(), ["done"], "what was recorded stays");
    rig.verify();
}

#[test]
fn what_the_disk_does_not_take_is_said() {
    let (_, decisions) = decided();
    let rig = Rig::new();
    rig.disk.broken.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(rig.moderation.copy(&decisions[0]).is_err());
    assert!(rig.moderation.copy_all().is_err());
    rig.disk.repair();
    rig.moderation.copy(&decisions[0]).unwrap();
    assert_eq!(rig.bans_on_disk().len(), 1);
}

#[test]
fn another_node_is_told_what_a_ban_would_do_here_and_nothing_is_done() {
    let (rig, seats) = Rig::crowded();
    let (_, decisions) = decided();
    let bans = decisions
        .iter()
        .filter_map(|decision| if let Decision::Ban(ban) = decision { Some(ban) } else { None });
    let of_bob = bans.clone().find(|ban| ban.user == Some(user("bob"))).unwrap();
    let receipt = rig.moderation.preview(of_bob);
    assert_eq!((receipt.connections, receipt.groups.len()), (1, 2), "{receipt:?}");
    assert_eq!(groups(&seats[2]).len(), 3, "he stays");
    let of_token = BanRow { user: None, jti: Some("t".to_owned()), ..of_bob.clone() };
    assert_eq!(rig.moderation.preview(&of_token), Receipt::default());
    assert!(!rig.moderation.standing().bans.contains(of_bob));
}
