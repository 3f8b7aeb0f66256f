//! Tests of the server's leaf: when it is kept, when it is made again, and what is never overwritten.

use std::fs;

use rcgen::KeyPair;
use time::Duration;

use super::*;
use crate::file_names::CA_KEY;
use crate::fixture::{pem, self_signed};
use crate::profile::LEAF_LIFETIME;

/// A state directory made at a fixed time.
struct Scene {
    guard: tempfile::TempDir,
    now: OffsetDateTime,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { guard: tempfile::tempdir().unwrap(), now: crate::fixture::now() };
        assert_eq!(scene.leaf(&[]).unwrap().made, Some(Reason::Missing));
        scene
    }

    fn path(&self) -> PathBuf {
        self.guard.path().join("state")
    }

    fn leaf(&self, names: &[&str]) -> Result<Leaf, Error> {
        self.leaf_after(Duration::ZERO, names)
    }

    fn leaf_after(&self, passed: Duration, names: &[&str]) -> Result<Leaf, Error> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        server_leaf_at(&self.path(), &names, self.now + passed)
    }

    fn bytes(&self) -> Vec<Vec<u8>> {
        let names = [CA_CERTIFICATE, CA_KEY, SERVER_CERTIFICATE, SERVER_KEY];
        names.iter().map(|name| fs::read(self.path().join(name)).unwrap()).collect()
    }

    /// The leaf is made again for `reason`, and the authority is as it was.
    #[track_caller]
    fn remakes(&self, passed: Duration, names: &[&str], reason: &Reason) {
        let before = fs::read(self.path().join(CA_KEY)).unwrap();
        assert_eq!(self.leaf_after(passed, names).unwrap().made.as_ref(), Some(reason));
        assert_eq!(fs::read(self.path().join(CA_KEY)).unwrap(), before);
        let again = self.leaf_after(passed, names).unwrap();
        assert_eq!(again.made, None, "made once, then kept");
    }
}

#[test]
fn is_kept_byte_for_byte() {
    let scene = Scene::new();
    let before = scene.bytes();
    assert_eq!(scene.leaf(&[]).unwrap().made, None);
    assert_eq!(scene.leaf(&["LOCALHOST", "::1"]).unwrap().made, None, "those names are in it already");
    assert_eq!(scene.bytes(), before);
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&scene.path()), 0o700);
    for entry in scene.path().read_dir().unwrap() {
        let file = entry.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    assert_eq!(scene.path().read_dir().unwrap().count(), 5, "two pairs and the lock");
}

#[test]
fn browsers_may_pin_it() {
    let scene = Scene::new();
    let leaf = scene.leaf(&["chat.example"]).unwrap();
    let description = &leaf.identity.description;
    let total = description.not_after - description.not_before;
    assert_eq!(total, LEAF_LIFETIME);
    assert!(total < Duration::days(14) && description.is_pinnable());
    assert_eq!(description.not_before, scene.now - Duration::HOUR, "for clocks that are behind");
    assert_eq!(description.names, ["localhost", "127.0.0.1", "::1", "chat.example"]);
    assert_eq!(leaf.renew_at(), description.not_after - Duration::days(3));
}

#[test]
fn says_what_it_is_for() {
    let scene = Scene::new();
    let leaf = scene.leaf(&[]).unwrap();
    let parsed = parse(&leaf.certificate, 1, &leaf.identity.chain[0]).unwrap();
    let usage = parsed.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && usage.flags.count_ones() == 1);
    let extended = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && !extended.client_auth && !extended.any);
    assert!(!parsed.basic_constraints().unwrap().unwrap().value.ca);
    let text = format!("{:?}", parsed.extensions());
    assert!(text.contains("AuthorityKeyIdentifier"), "{text}");
}

#[test]
fn is_made_again_with_less_than_three_days_left() {
    let scene = Scene::new();
    let renew = LEAF_LIFETIME - LEAF_RENEWAL - Duration::HOUR;
    assert_eq!(scene.leaf_after(renew, &[]).unwrap().made, None);
    scene.remakes(renew + Duration::SECOND, &[], &Reason::Expiring);
    scene.remakes(Duration::days(100), &[], &Reason::Expiring);
    // The clock goes back: the leaf of the hundredth day has not begun.
    scene.remakes(Duration::ZERO, &[], &Reason::NotYetValid);
}

#[test]
fn is_made_again_for_a_new_name() {
    let scene = Scene::new();
    scene.remakes(Duration::ZERO, &["chat.example"], &Reason::LacksName("chat.example".to_owned()));
    assert_eq!(scene.leaf(&[]).unwrap().made, None, "fewer names are no reason");
    scene.remakes(Duration::ZERO, &["192.0.2.1"], &Reason::LacksName("192.0.2.1".to_owned()));
}

#[test]
fn is_made_again_when_damaged_or_of_an_old_authority() {
    let scene = Scene::new();
    let (certificate, key) = (scene.path().join(SERVER_CERTIFICATE), scene.path().join(SERVER_KEY));
    let unusable = |scene: &Scene, part: &str| {
        let made = scene.leaf(&[]).unwrap().made;
        assert!(matches!(&made, Some(Reason::Unusable(why)) if why.contains(part)), "{made:?}");
    };
    fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    unusable(&scene, "does not belong");
    fs::write(&certificate, "").unwrap();
    unusable(&scene, "is empty");
    fs::write(&certificate, pem("CERTIFICATE", &[1, 2, 3])).unwrap();
    unusable(&scene, "damaged");
    fs::remove_file(&key).unwrap();
    scene.remakes(Duration::ZERO, &[], &Reason::Missing);

    let old = fs::read(&certificate).unwrap();
    let old_key = fs::read(&key).unwrap();
    for name in [CA_CERTIFICATE, CA_KEY, SERVER_CERTIFICATE, SERVER_KEY] {
        fs::remove_file(scene.path().join(name)).unwrap();
    }
    scene.leaf(&[]).unwrap();
    fs::write(&certificate, old).unwrap();
    fs::write(&key, old_key).unwrap();
    scene.remakes(Duration::ZERO, &[], &Reason::OtherAuthority);
}

#[test]
fn a_users_own_files_are_not_overwritten() {
    let scene = Scene::new();
    let certificate = scene.path().join(SERVER_CERTIFICATE);
    let (own, own_key) = self_signed(|_| {});
    for bytes in [own.into_bytes(), own_key.serialize_pem().into_bytes(), pem("X509 CRL", &[1]).into_bytes()]
    {
        fs::write(&certificate, &bytes).unwrap();
        let before = scene.bytes();
        let error = scene.leaf(&[]).unwrap_err();
        assert!(matches!(error, Error::Foreign { .. }), "{error}");
        assert!(error.to_string().contains("server.pem"), "{error}");
        assert_eq!(scene.bytes(), before);
    }
}

#[test]
fn never_outlives_its_authority() {
    let scene = Scene::new();
    let leaf = scene.leaf_after(Duration::days(3645), &[]).unwrap();
    let end = crate::describe(&leaf.ca_certificate).unwrap()[0].not_after;
    assert_eq!(leaf.identity.description.not_after, end);
}

#[test]
fn a_bad_name_makes_nothing() {
    let guard = tempfile::tempdir().unwrap();
    let path = guard.path().join("state");
    let error = server_leaf(&path, &["chat.example:4433".to_owned()]).unwrap_err().to_string();
    assert!(error.contains("\"chat.example:4433\"") && error.contains("without a port"), "{error}");
    assert!(!path.exists());
}

/// Promise: however many start at once, all of them serve one leaf, and it works.
#[test]
fn many_that_start_at_once_share_one_leaf() {
    for _ in 0..10 {
        let guard = tempfile::tempdir().unwrap();
        let starts = std::sync::Barrier::new(8);
        let hashes: Vec<String> = std::thread::scope(|scope| {
            let work = || {
                starts.wait();
                server_leaf(guard.path(), &[]).unwrap().identity.description.sha256
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
        assert_eq!(server_leaf(guard.path(), &[]).unwrap().made, None);
    }
}
