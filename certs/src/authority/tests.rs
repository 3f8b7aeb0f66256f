//! Tests of the development authority: made once, never overwritten, exact about errors, one of it after a
//! race.

use std::fs;
use std::path::PathBuf;

use rcgen::PKCS_RSA_SHA256;
use time::Duration;

use super::*;
use crate::description::describe;
use crate::fixture::self_signed_with;
use crate::pem_file::PemFile;

fn fresh() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    (directory, path)
}

#[track_caller]
fn fails(directory: &Path, parts: &[&str]) {
    for result in [Authority::open(directory).map(|_| ()), Authority::open_or_create(directory).map(|_| ())] {
        let text = result.unwrap_err().to_string();
        for part in [parts, &["put its files back from a backup, or replace it"]].concat() {
            assert!(text.contains(part), "`{part}` is not in: {text}");
        }
    }
}

#[test]
fn is_made_once_and_opened_after() {
    let (_guard, path) = fresh();
    assert!(Authority::open(&path).unwrap().is_none());
    assert!(!path.exists(), "opening makes nothing");
    let made = Authority::open_or_create(&path).unwrap();
    let files = [CA_CERTIFICATE, CA_KEY].map(|name| fs::read_to_string(path.join(name)).unwrap());
    assert_eq!(made.certificate_pem(), files[0]);
    assert_eq!(Authority::open_or_create(&path).unwrap().certificate_pem(), files[0]);
    assert_eq!(Authority::open(&path).unwrap().unwrap().certificate_pem(), files[0]);
    assert_eq!(files, [CA_CERTIFICATE, CA_KEY].map(|name| fs::read_to_string(path.join(name)).unwrap()));
    let shown = format!("{made:?} {:?}", made.issue_server(&[], OffsetDateTime::now_utc()).unwrap());
    assert!(shown.contains("[hidden]") && !shown.contains("PRIVATE"), "{shown}");
}

#[test]
fn says_ten_years_and_what_it_may_do() {
    let (_guard, path) = fresh();
    Authority::create(&path).unwrap();
    let description = describe(&path.join(CA_CERTIFICATE)).unwrap().remove(0);
    assert_eq!(description.subject, "CN=Fanfare development CA");
    assert_eq!(description.key_algorithm, "ECDSA P-256");
    assert_eq!((description.not_after - description.not_before).whole_days(), 3652);
    let der = PemFile::read(&path.join(CA_CERTIFICATE)).unwrap().certificates().unwrap().remove(0);
    let parsed = parse(&path, 1, &der).unwrap();
    let constraints = parsed.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = parsed.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign());
    assert_eq!(usage.value.flags.count_ones(), 2, "and nothing else");
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let (_guard, path) = fresh();
    Authority::create(&path).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for entry in path.read_dir().unwrap() {
        let file = entry.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn create_overwrites_nothing() {
    for name in [CA_CERTIFICATE, CA_KEY, SERVER_CERTIFICATE, SERVER_KEY] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        fs::write(&path, "mine").unwrap();
        let error = Authority::create(directory.path()).unwrap_err();
        assert!(matches!(&error, Error::Exists { path } if path.ends_with(name)), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        assert!(!directory.path().join(if name == CA_KEY { CA_CERTIFICATE } else { CA_KEY }).exists());
    }
}

#[test]
fn replace_makes_another_and_drops_its_leaf() {
    let (_guard, path) = fresh();
    let old = Authority::create(&path).unwrap();
    for name in [SERVER_CERTIFICATE, SERVER_KEY] {
        fs::write(path.join(name), "old leaf").unwrap();
    }
    let new = Authority::replace(&path, &[]).unwrap();
    assert_ne!(old.certificate_pem(), new.certificate_pem());
    assert_eq!(Authority::open(&path).unwrap().unwrap().certificate_pem(), new.certificate_pem());
    assert!(!path.join(SERVER_CERTIFICATE).exists() && !path.join(SERVER_KEY).exists());
    // It also mends what cannot be opened.
    fs::remove_file(path.join(CA_KEY)).unwrap();
    Authority::replace(&path, &[]).unwrap();
    Authority::open(&path).unwrap().unwrap();
}

#[test]
fn half_an_authority_is_an_error() {
    for (gone, left) in [(CA_CERTIFICATE, CA_KEY), (CA_KEY, CA_CERTIFICATE)] {
        let (_guard, path) = fresh();
        Authority::create(&path).unwrap();
        fs::remove_file(path.join(gone)).unwrap();
        let left_bytes = fs::read(path.join(left)).unwrap();
        fails(&path, &[&format!("{left} is there but "), &format!("{gone} is missing")]);
        assert_eq!(fs::read(path.join(left)).unwrap(), left_bytes);
    }
}

#[test]
fn a_damaged_or_foreign_pair_is_an_error() {
    let (_guard, path) = fresh();
    Authority::create(&path).unwrap();
    let good = fs::read(path.join(CA_KEY)).unwrap();
    fs::write(path.join(CA_KEY), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    fails(&path, &["ca-key.pem does not belong to", "ca.pem"]);
    fs::write(path.join(CA_KEY), "").unwrap();
    fails(&path, &["ca-key.pem is empty"]);
    fs::write(path.join(CA_KEY), good).unwrap();
    fs::write(path.join(CA_CERTIFICATE), "-----BEGIN CERTIFICATE-----\nAAAA").unwrap();
    fails(&path, &["ca.pem has a PEM section that is cut off"]);
    let (leaf, key) = self_signed_with(KeyPair::generate().unwrap(), |_| {});
    fs::write(path.join(CA_CERTIFICATE), leaf).unwrap();
    fs::write(path.join(CA_KEY), key.serialize_pem()).unwrap();
    fails(&path, &["ca.pem is not a CA certificate"]);
}

#[test]
fn an_expired_authority_is_an_error_and_stays() {
    let (_guard, path) = fresh();
    let eleven_years_ago = OffsetDateTime::now_utc() - Duration::days(4018);
    Authority::make(&StateDirectory::make(&path).unwrap(), eleven_years_ago).unwrap();
    let before = fs::read(path.join(CA_CERTIFICATE)).unwrap();
    fails(&path, &["ca.pem expired at 20"]);
    assert_eq!(fs::read(path.join(CA_CERTIFICATE)).unwrap(), before);
}

#[cfg(unix)]
#[test]
fn trouble_with_the_disk_is_no_reason_for_a_new_authority() {
    let (_guard, path) = fresh();
    Authority::create(&path).unwrap();
    fs::remove_file(path.join(CA_KEY)).unwrap();
    fs::create_dir(path.join(CA_KEY)).unwrap();
    let text = Authority::open(&path).unwrap_err().to_string();
    assert!(text.contains("cannot read") && !text.contains("replace"), "{text}");
}

#[test]
fn an_authority_of_the_users_own_signs() {
    let (_guard, path) = fresh();
    let now = OffsetDateTime::now_utc();
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let certificate = profile::authority(now).self_signed(&key).unwrap().pem();
    fs::create_dir(&path).unwrap();
    fs::write(path.join(CA_CERTIFICATE), format!("subject=own\n{certificate}{certificate}")).unwrap();
    fs::write(path.join(CA_KEY), key.serialize_pem()).unwrap();
    let authority = Authority::open(&path).unwrap().unwrap();
    assert_eq!(authority.certificate_pem(), certificate, "the first certificate, without what is around it");
    authority.issue_server(&[], now).unwrap();
}

#[test]
fn a_bad_name_is_named() {
    let (_guard, path) = fresh();
    let authority = Authority::create(&path).unwrap();
    let names = ["chat.example".to_owned(), "not a name".to_owned()];
    let text = authority.issue_server(&names, OffsetDateTime::now_utc()).unwrap_err().to_string();
    assert!(text.contains("\"not a name\""), "{text}");
}

/// Promise: two processes that start at once in a fresh directory agree on one authority.
#[test]
fn many_that_start_at_once_agree() {
    for _ in 0..20 {
        let (_guard, path) = fresh();
        let starts = std::sync::Barrier::new(8);
        let opened: Vec<String> = std::thread::scope(|scope| {
            let work = || {
                starts.wait();
                Authority::open_or_create(&path).unwrap().certificate_pem().to_owned()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(opened.iter().all(|pem| *pem == opened[0]));
        assert_eq!(Authority::open(&path).unwrap().unwrap().certificate_pem(), opened[0]);
    }
}
