//! Tests of a server's identity: one row per thing that can be wrong with a certificate or a key.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519, PKCS_RSA_SHA256,
};
use time::Duration;

use super::*;
use crate::fixture::{file, now, pair, pem, self_signed, self_signed_with};

struct Row {
    directory: tempfile::TempDir,
    certificate: PathBuf,
    key: PathBuf,
}

impl Row {
    fn new(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (certificate, key) = pair(directory.path(), change);
        Self { directory, certificate, key }
    }

    fn good() -> Self {
        Self::new(|_| {})
    }

    fn certificate(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.certificate = file(self.directory.path(), "other-cert.pem", bytes);
        self
    }

    fn key(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.key = file(self.directory.path(), "other-key.pem", bytes);
        self
    }

    fn load(&self) -> Result<Identity, Error> {
        load_identity(&self.certificate, &self.key, now())
    }

    /// The message must hold every part, and nothing of a key.
    #[track_caller]
    fn fails(&self, parts: &[&str]) {
        let error = self.load().unwrap_err();
        let text = error.to_string();
        for part in parts {
            assert!(text.contains(part), "`{part}` is not in: {text}");
        }
        let shown = format!("{text} {error:?}");
        let key = std::fs::read(&self.key).unwrap_or_default();
        let secrets = String::from_utf8_lossy(&key).into_owned();
        for start in
            secrets.lines().filter(|line| !line.starts_with("-----")).filter_map(|line| line.get(..16))
        {
            assert!(!shown.contains(start), "a line of the key file is in: {shown}");
        }
    }
}

fn key_pem() -> String {
    KeyPair::generate().unwrap().serialize_pem()
}

fn certificate_pem() -> String {
    self_signed(|_| {}).0
}

#[test]
fn loads_a_pair_and_hides_the_key() {
    let row = Row::good();
    let identity = row.load().unwrap();
    assert_eq!(identity.chain.len(), 1);
    assert_eq!(identity.description.names, ["chat.example"]);
    let shown = format!("{identity:?}");
    assert!(shown.contains("[hidden]") && shown.contains("chat.example"), "{shown}");
    let der: Vec<String> = identity.key.secret_der().iter().map(u8::to_string).collect();
    assert!(!shown.contains(&der[..8].join(", ")), "{shown}");
}

#[test]
fn loads_every_supported_kind_of_key() {
    for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519, &PKCS_RSA_SHA256] {
        let (certificate, key) = self_signed_with(KeyPair::generate_for(algorithm).unwrap(), |_| {});
        Row::good().certificate(certificate).key(key.serialize_pem()).load().unwrap();
    }
}

#[test]
fn loads_a_chain_and_one_file_with_both() {
    let (certificate, key) = self_signed(|_| {});
    let chain = format!("{certificate}\n{}", self_signed(authority).0);
    assert_eq!(Row::good().certificate(&chain).key(key.serialize_pem()).load().unwrap().chain.len(), 2);
    let both = format!("{}{chain}", key.serialize_pem());
    assert_eq!(Row::good().certificate(&both).key(&both).load().unwrap().chain.len(), 2);
    // Explanations around the sections (openssl writes them) and Windows line ends.
    let explained = format!("subject=CN = chat\n\n{chain}").replace('\n', "\r\n");
    assert_eq!(Row::good().certificate(explained).key(key.serialize_pem()).load().unwrap().chain.len(), 2);
}

fn authority(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
}

#[test]
fn missing_unreadable_and_empty_files() {
    let mut row = Row::good();
    row.certificate = row.directory.path().join("nowhere.pem");
    row.fails(&["nowhere.pem does not exist", "make development certificates"]);
    let mut row = Row::good();
    row.key = row.directory.path().join("nokey.pem");
    row.fails(&["nokey.pem does not exist"]);
    let mut row = Row::good();
    row.certificate = row.directory.path().to_owned();
    row.fails(&["cannot read", "directory"]);
    Row::good().certificate("").fails(&["other-cert.pem is empty"]);
    Row::good().key("").fails(&["other-key.pem is empty"]);
    Row::good()
        .certificate(vec![b'x'; 1024 * 1024 + 1])
        .fails(&["other-cert.pem is larger than 1048576 bytes"]);
}

#[test]
fn files_that_are_not_pem() {
    Row::good().certificate("hello\n").fails(&["other-cert.pem is not a PEM file"]);
    Row::good().key([0, 1, 2, 255]).fails(&["other-key.pem is not a PEM file"]);
    let good = Row::good().load().unwrap();
    Row::good().certificate(&good.chain[0]).fails(&[
        "other-cert.pem holds a certificate in binary form (DER)",
        "openssl x509 -inform der -in /",
    ]);
    Row::good()
        .key(good.key.secret_der())
        .fails(&["other-key.pem holds a private key in binary form (DER)", "openssl pkey -inform der -in /"]);
    let pkcs12 = [&[0x30, 0x82, 9, 0x4c, 2, 1, 3, 0x30][..], &[0; 64]].concat();
    Row::good().certificate(pkcs12).fails(&["a PKCS#12 bundle in binary form", "openssl pkcs12 -in /"]);
}

#[test]
fn damaged_pem() {
    let certificate = certificate_pem();
    Row::good()
        .certificate(&certificate[..certificate.len() / 2])
        .fails(&["other-cert.pem has a PEM section that is cut off"]);
    Row::good()
        .certificate(certificate.replace("MII", "M!!"))
        .fails(&["other-cert.pem has a PEM section that is cut off"]);
    let key = key_pem();
    Row::good().key(&key[..key.len() / 2]).fails(&["other-key.pem has a PEM section that is cut off"]);
    Row::good()
        .key(key.replace("-----END PRIVATE KEY-----", "-----BEGIN x"))
        .fails(&["other-key.pem has a PEM section"]);
}

#[test]
fn swapped_files_and_other_contents() {
    let row = Row::good();
    let swapped =
        Row { certificate: row.key.clone(), key: row.certificate.clone(), directory: row.directory };
    swapped.fails(&["key.pem holds a private key, not a certificate (were the two files swapped?)"]);
    Row::good()
        .key(certificate_pem())
        .fails(&["other-key.pem holds a certificate, not a private key (were the two files swapped?)"]);
    let public = KeyPair::generate().unwrap().public_key_pem();
    Row::good().certificate(&public).fails(&["other-cert.pem holds a public key, not a certificate"]);
    Row::good().key(&public).fails(&["other-key.pem holds a public key, not a private key"]);
    Row::good()
        .certificate(pem("CERTIFICATE REQUEST", &[1]))
        .fails(&["holds a certificate request (what is sent"]);
}

#[test]
fn encrypted_keys_in_both_forms() {
    let parts =
        ["other-key.pem is encrypted", "`openssl pkey -in /", "other-key.pem -out decrypted-key.pem`"];
    Row::good().key(pem("ENCRYPTED PRIVATE KEY", &[0x30; 90])).fails(&parts);
    let body = pem("EC PRIVATE KEY", &[0x30; 90]);
    let old = body.replacen('\n', "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n", 1);
    Row::good().key(old.replace('\n', "\r\n")).fails(&parts);
}

#[test]
fn unsupported_damaged_and_several_keys() {
    Row::good()
        .key(pem("OPENSSH PRIVATE KEY", &[1; 80]))
        .fails(&["is an OpenSSH key, which is not supported", "ECDSA"]);
    Row::good().key(pem("DSA PRIVATE KEY", &[1; 80])).fails(&["is a DSA key, which is not supported"]);
    // PKCS#8 with id-Ed448 and with an elliptic curve that TLS 1.3 does not have (secp256k1).
    let ed448 = [&[0x30, 71, 2, 1, 0, 0x30, 5, 6, 3, 43, 101, 113, 4, 59][..], &[7; 59]].concat();
    Row::good()
        .key(pem("PRIVATE KEY", &ed448))
        .fails(&["algorithm 1.3.101.113, which is not supported", "Ed25519"]);
    let k256 = [
        &[0x30, 60, 2, 1, 0, 0x30, 16, 6, 7, 42, 134, 72, 206, 61, 2, 1, 6, 5, 43, 129, 4, 0, 10, 4, 37][..],
        &[7; 37],
    ]
    .concat();
    Row::good().key(pem("PRIVATE KEY", &k256)).fails(&["on the curve 1.3.132.0.10, which is not supported"]);
    // The beginning of a PKCS#1 key: version, and a modulus of 1024 bits.
    let small = [&[0x30, 0x81, 135, 2, 1, 0, 2, 0x81, 129, 0][..], &[0xd1; 128]].concat();
    Row::good()
        .key(pem("RSA PRIVATE KEY", &small))
        .fails(&["an RSA key of 1024 bits, which is not supported"]);

    let mut der = KeyPair::generate().unwrap().serialize_der();
    der.truncate(80);
    Row::good().key(pem("PRIVATE KEY", &der)).fails(&["other-key.pem is damaged"]);
    Row::good().key(pem("EC PRIVATE KEY", &[1; 80])).fails(&["other-key.pem is damaged"]);
    Row::good().key(key_pem() + &key_pem()).fails(&["other-key.pem holds 2 private keys"]);
}

#[test]
fn a_key_that_is_not_the_certificates() {
    Row::good()
        .key(key_pem())
        .fails(&["other-key.pem does not belong to the first certificate in", "cert.pem"]);
    let rsa = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap().serialize_pem();
    Row::good().key(rsa).fails(&["does not belong"]);
    // The right certificate is in the file, but not first.
    let (certificate, key) = self_signed(|_| {});
    let chain = certificate_pem() + &certificate;
    Row::good()
        .certificate(chain)
        .key(key.serialize_pem())
        .fails(&["does not belong to the first certificate"]);
}

#[test]
fn dates_are_checked_to_the_second() {
    let ends = |end| Row::new(move |params| params.not_after = end);
    ends(now() - Duration::SECOND).fails(&["number 1", "expired at 2027-01-15T07:59:59Z"]);
    ends(now()).load().unwrap();
    let begins = |begin| Row::new(move |params| params.not_before = begin);
    begins(now() + Duration::SECOND).fails(&["number 1", "is not valid until 2027-01-15T08:00:01Z", "clock"]);
    begins(now()).load().unwrap();
    // Within its last second it is still valid.
    let row = ends(now());
    load_identity(&row.certificate, &row.key, now() + Duration::milliseconds(900)).unwrap();

    let (certificate, key) = self_signed(|_| {});
    let old = self_signed(|params| params.not_after = now() - Duration::DAY).0;
    Row::good().certificate(certificate + &old).key(key.serialize_pem()).fails(&["number 2", "expired at"]);
}

#[test]
fn certificates_that_clients_refuse() {
    Row::new(authority).fails(&["cert.pem is a CA certificate", "basicConstraints=critical,CA:FALSE"]);
    Row::new(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth])
        .fails(&["cert.pem is not issued for servers", "serverAuth"]);
    Row::new(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]).load().unwrap();
}

#[test]
fn damaged_certificates() {
    Row::good().certificate(pem("CERTIFICATE", &[0x30, 3, 1, 2, 3])).fails(&["number 1", "damaged"]);
    let good = Row::good().load().unwrap();
    let longer = [&good.chain[0][..], &[0]].concat();
    Row::good().certificate(pem("CERTIFICATE", &longer)).fails(&["number 1", "something follows its end"]);
    let (certificate, key) = self_signed(|_| {});
    let chain = certificate + &pem("CERTIFICATE", &good.chain[0][..200]);
    Row::good().certificate(chain).key(key.serialize_pem()).fails(&["number 2", "other-cert.pem is damaged"]);
}

/// Any byte of either file may be wrong: an error or a load, never a panic.
#[test]
fn no_flipped_byte_panics() {
    let row = Row::good();
    for path in [&row.certificate, &row.key] {
        let good = std::fs::read(path).unwrap();
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 0x41;
            std::fs::write(path, &bad).unwrap();
            let _ = row.load();
        }
        std::fs::write(path, &good).unwrap();
    }
    row.load().unwrap();
}
