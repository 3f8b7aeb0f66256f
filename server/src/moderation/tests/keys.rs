//! Keys of the HTTP API: in the store with their records, in force behind that, and when they were used.

use std::sync::atomic::Ordering;

use aws_lc_rs::digest::{SHA256, digest};
use fanfare_protocol::admin::{Subject, Verb};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::access::KeyRefusal;
use crate::moderation::note_keys;

const SHOWN: &str = "ffk_0123456789abcdef_secret";

fn create(more: &Value) -> Value {
    let hash: String =
        digest(&SHA256, SHOWN.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut request = json!({
        "ask": "create_api_key", "name": "shop", "id": &SHOWN[..20], "hash": hash, "allow": ["read:group:room-*"],
    });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

fn revoke() -> Value {
    json!({ "ask": "revoke_api_key", "name": "shop", "reason": "leaked" })
}

#[test]
fn a_key_comes_and_goes_with_its_record() {
    let rig = Rig::new();
    let keys = Arc::clone(rig.moderation.keys());
    let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let (told, asked) = (Arc::clone(&seen), Arc::clone(&keys));
    rig.disk.look_on(move |change| {
        let opens = asked.verify(SHOWN, NOW).is_ok();
        told.lock().push((change.put_keys.len(), change.drop_key.is_some(), change.record.is_some(), opens));
    });
    assert_eq!(rig.done(&create(&json!({ "until": NOW + 9 }))).audit, 1);
    let key = keys.verify(SHOWN, NOW).ok().unwrap();
    assert!(key.allows(Verb::Read, &Subject::Group(&group("room-1"))));
    assert!(!key.allows(Verb::Read, &Subject::Group(&group("hall"))));
    assert_eq!(keys.verify(SHOWN, NOW + 9).err(), Some(KeyRefusal::Ended));
    assert_eq!(rig.done(&revoke()).audit, 2);
    assert_eq!(keys.verify(SHOWN, NOW).err(), Some(KeyRefusal::Unknown));
    // In one commit with the record; in force behind the one, and until the other is on the disk.
    assert_eq!(*seen.lock(), [(1, false, true, false), (0, true, true, true)]);
    assert_eq!(*rig.disk.keys.lock(), []);
    // What it is checked by is in no record.
    let records = rig.records();
    assert!(records.iter().all(|record| record["act"].get("hash").is_none()));
    assert_eq!(records[0]["act"]["allow"], json!(["read:group:room-*"]));
    rig.verify();
}

#[test]
fn what_the_disk_does_not_take_changes_nothing() {
    let rig = Rig::new();
    rig.disk.broken.store(true, Ordering::Relaxed);
    assert!(rig.failed(&create(&json!({}))).starts_with("nothing was done"));
    assert_eq!(rig.moderation.keys().verify(SHOWN, NOW).err(), Some(KeyRefusal::Unknown));
    rig.disk.repair();
    rig.done(&create(&json!({})));
    rig.disk.broken.store(true, Ordering::Relaxed);
    rig.failed(&revoke());
    assert!(rig.moderation.keys().verify(SHOWN, NOW).is_ok());
    rig.disk.repair();
    // The next server has it, too.
    let again = Rig::on(rig.disk.reopened(), Validity::default());
    assert!(again.moderation.keys().verify(SHOWN, NOW).is_ok());
}

#[test]
fn a_name_and_an_id_are_one_keys() {
    let rig = Rig::new();
    rig.done(&create(&json!({})));
    for other in [json!({ "id": "ffk_ffffffffffffffff" }), json!({ "name": "other" })] {
        let (code, said) = rig.refused(&create(&other));
        assert_eq!(code, Code::InvalidRequest);
        assert!(said.contains("revoke it first"), "{said}");
    }
    rig.done(&create(&json!({ "name": "other", "id": "ffk_ffffffffffffffff" })));
    assert_eq!(rig.refused(&json!({ "ask": "revoke_api_key", "name": "none" })).0, Code::NothingThere);
    let long = "n".repeat(65);
    for (wrong, words) in [
        (json!({ "name": "" }), "letters"),
        (json!({ "name": long }), "letters"),
        (json!({ "name": "a b" }), "letters"),
        (json!({ "id": "ffk_0123456789ABCDEF" }), "hexadecimal"),
        (json!({ "hash": "0" }), "hexadecimal"),
        (json!({ "allow": [] }), "1 to 16"),
        (json!({ "allow": vec!["read"; 17] }), "1 to 16"),
        (json!({ "until": NOW }), "has passed"),
    ] {
        let (code, said) = rig.refused(&create(&wrong));
        assert!(code == Code::InvalidRequest && said.contains(words), "{said}");
    }
    let most = json!({ "name": &long[1..], "id": "ffk_0000000000000000", "allow": vec!["read"; 16] });
    rig.done(&create(&most));
}

#[test]
fn when_a_key_was_used_is_written_down_now_and_then() {
    let rig = Rig::new();
    rig.done(&create(&json!({})));
    let written = rig.moderation.keys().all();
    let commits = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = Arc::clone(&commits);
    rig.disk.look_on(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let written = rig.moderation.note_keys(written);
    assert_eq!(commits.load(Ordering::Relaxed), 0, "nothing is new");
    rig.moderation.keys().verify(SHOWN, NOW + 5).unwrap_or_else(|_| panic!("it opens"));
    let noted = rig.moderation.note_keys(written);
    assert_eq!(noted[0].row.used, Some(NOW + 5));
    assert_eq!(rig.disk.keys.lock()[0].row.used, Some(NOW + 5));
    assert_eq!(commits.load(Ordering::Relaxed), 1);
    // On a disk that fails it is tried again later; and one that was revoked is not written again.
    rig.moderation.keys().verify(SHOWN, NOW + 6).unwrap_or_else(|_| panic!("it opens"));
    rig.disk.broken.store(true, Ordering::Relaxed);
    assert_eq!(rig.moderation.note_keys(noted.clone()), noted);
    rig.disk.repair();
    rig.done(&revoke());
    assert_eq!(rig.moderation.note_keys(noted), rig.moderation.keys().all());
    assert_eq!(*rig.disk.keys.lock(), []);
}

/// A `kill -9` loses a minute of it, and a server that stops nothing.
#[tokio::test(start_paused = true)]
async fn when_a_key_was_used_is_written_down_each_minute_and_when_the_server_stops() {
    let rig = Rig::new();
    rig.done(&create(&json!({})));
    let commits = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = Arc::clone(&commits);
    rig.disk.look_on(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let closing = CancellationToken::new();
    let task = tokio::spawn(note_keys(Arc::clone(&rig.moderation), closing.clone()));
    let used = |at: Seconds| drop(rig.moderation.keys().verify(SHOWN, at));
    let noted = || (commits.load(Ordering::Relaxed), rig.disk.keys.lock()[0].row.used);
    for (minute, second) in [(1, 5), (2, 90)] {
        sleep(Duration::from_secs(30)).await;
        used(NOW + second);
        used(NOW + second + 1);
        until(|| noted() == (minute, Some(NOW + second + 1))).await;
    }
    sleep(Duration::from_secs(600)).await;
    assert_eq!(noted().0, 2, "nothing is new");
    used(NOW + 700);
    closing.cancel();
    task.await.unwrap();
    assert_eq!(noted(), (3, Some(NOW + 700)));
}

#[test]
fn what_is_done_elsewhere_has_a_record_first_or_is_not_done() {
    let rig = Rig::new();
    let act = json!({ "ask": "mint_token", "user": "guest" });
    assert_eq!(rig.moderation.record(&oncall(), act.clone(), || Ok(())).unwrap(), 1);
    let record = &rig.records()[0];
    assert_eq!((&record["act"], &record["outcome"]["done"]["audit"]), (&act, &json!(1)));
    rig.disk.broken.store(true, Ordering::Relaxed);
    assert!(rig.moderation.record(&oncall(), act.clone(), || Ok(())).is_err());
    rig.disk.repair();
    assert_eq!(rig.moderation.record(&oncall(), act, || Ok(())).unwrap(), 2);
    rig.verify();
}
