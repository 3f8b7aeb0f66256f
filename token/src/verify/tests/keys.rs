//! Files and sets of keys: their bounds, and what is said of those that cannot be used.

use super::*;
use crate::der::element;
use crate::{FILE_BYTES, read_at_most};

/// An element of DER.
fn der(tag: u8, inside: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(inside.len()).unwrap().to_be_bytes();
    let head = match inside.len() {
        0..=0x7f => vec![tag, low],
        0x80..=0xff => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [&head, inside].concat()
}

/// An RSA key with this modulus, as it is in PEM.
fn rsa_of(modulus: &[u8]) -> Vec<u8> {
    let numbers = [der(0x02, modulus), vec![0x02, 3, 1, 0, 1]].concat();
    let kind = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    let bits = der(0x03, &[&[0][..], &der(0x30, &numbers)].concat());
    der(0x30, &[&kind[..], &bits].concat())
}

fn refused(path: &Path) -> String {
    TokenKey::read(path).map(drop).unwrap_err().to_string()
}

#[test]
fn a_file_is_read_up_to_its_bound_and_not_cut_there() {
    let files = Files::new();
    let path = files.write("file", "0123456789");
    assert_eq!(read_at_most(&path, 10).unwrap(), b"0123456789");
    assert_eq!(read_at_most(&path, 11).unwrap(), b"0123456789");
    let error = read_at_most(&path, 9).unwrap_err().to_string();
    assert!(error.contains("it has more than 9 bytes"), "{error}");
    assert_eq!(FILE_BYTES, 1_048_576);
    let key = json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET) }).to_string();
    let filled = |length: usize| files.write("filled", key.clone() + &" ".repeat(length - key.len()));
    assert!(TokenKey::read(&filled(FILE_BYTES)).is_ok());
    assert!(refused(&filled(FILE_BYTES + 1)).contains("it has more than 1048576 bytes"));
}

#[test]
fn rsa_keys_have_2048_to_8192_bits_however_they_are_written() {
    let files = Files::new();
    let bits = |zeros: usize, first: u8, more: usize| {
        let modulus = [vec![0; zeros], vec![first], vec![0xff; more]].concat();
        let pem = TokenKey::read(&files.pem("rsa.pem", "PUBLIC KEY", &rsa_of(&modulus))).map(drop);
        pem.map_err(|error| error.to_string())
    };
    for (zeros, first, more, said) in [
        (1, 0xff, 127, Some("has 1024 bits")),
        (0, 0x7f, 255, Some("has 2047 bits")),
        (1, 0x80, 255, None),
        (1, 0xff, 255, None),
        (0, 0x01, 256, None),
        (1, 0xff, 1_023, None),
        (0, 0x01, 1_024, Some("the key ")),
    ] {
        let outcome = bits(zeros, first, more);
        match said {
            None => assert_eq!(outcome, Ok(()), "{first:x} and {more} bytes"),
            Some(words) => {
                assert!(outcome.as_ref().is_err_and(|error| error.contains(words)), "{words}: {outcome:?}");
            }
        }
    }
    let jwk = |modulus: &[u8]| {
        let key = json!({ "kty": "RSA", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode(modulus) });
        key_set::parse(&key.to_string(), KeySetOrigin::Url).map(|read| read.keys.len())
    };
    assert_eq!(jwk(&[0xff; 256]), Ok(1));
    let short = [&[0x7f][..], &[0xff; 255]].concat();
    assert_eq!(jwk(&short), Err("the key has 2047 bits; RSA keys have 2048 to 8192".to_owned()));
}

#[test]
fn each_kind_of_key_in_a_set_checks_what_its_owner_signs() {
    let files = Files::new();
    let der_of = |path: &Path| fanfare_pem::parse(&std::fs::read(path).unwrap()).unwrap()[0].der().to_vec();
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (ed_key, _, point) = files.ed25519();
    let (p256_key, p256) = files.p256();
    let (rsa_key, rsa) = files.rsa();
    let p256 = der_of(&p256);
    let (x, y) = p256[p256.len() - 64..].split_at(32);
    let rsa = der_of(&rsa);
    // Behind the kind of the key, and a byte that says that there are only whole bytes: a modulus and an exponent.
    let bits = element(0x30, &rsa).and_then(|(inside, _)| element(0x30, inside)).unwrap().1;
    let numbers = element(0x03, bits).and_then(|(bits, _)| element(0x30, &bits[1..])).unwrap().0;
    let (modulus, rest) = element(0x02, numbers).unwrap();
    let exponent = element(0x02, rest).unwrap().0;
    let set = json!({ "keys": [
        { "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": text(&point) },
        { "kty": "EC", "crv": "P-256", "alg": "ES256", "x": text(x), "y": text(y) },
        { "kty": "RSA", "alg": "RS256", "n": text(&modulus[1..]), "e": text(exponent) },
        { "kty": "oct", "alg": "HS256", "k": text(SECRET.as_bytes()) },
    ] });
    let read = key_set::parse(&set.to_string(), KeySetOrigin::File).unwrap();
    assert_eq!((read.keys.len(), read.skipped.len()), (4, 0), "{:?}", read.skipped);
    let verifier = with_rules(TokenRules::new(read.keys));
    for key in [ed_key, p256_key, rsa_key, files.secret()] {
        let token = minter(&key).sign(&claims()).unwrap();
        assert_eq!(refusal(&verifier, &token), None, "{}", key.display());
    }
}

#[test]
fn a_key_in_another_form_than_its_kind_has_is_damaged() {
    let files = Files::new();
    let (_, ed, _) = files.ed25519();
    let (_, p256) = files.p256();
    let der_of = |path: &Path| fanfare_pem::parse(&std::fs::read(path).unwrap()).unwrap()[0].der().to_vec();
    let okp = |x: &[u8]| {
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(x) });
        key_set::parse(&key.to_string(), KeySetOrigin::Url).map(|read| read.keys.len())
    };
    let ed = der_of(&ed);
    let point = &ed[ed.len() - 32..];
    assert_eq!(okp(point), Ok(1));
    assert_eq!(okp(&ed), Err("the key is damaged".to_owned()), "DER inside of a JWK");
    assert_eq!(okp(&point[1..]), Err("the key is damaged".to_owned()));
    // A point of which one coordinate is left out: other servers cannot read it, and this one does not.
    let mut compressed = der_of(&p256);
    let at = compressed.len() - 65;
    let odd = compressed[compressed.len() - 1] & 1;
    compressed[at] = 2 + odd;
    compressed.truncate(at + 33);
    for length in [1, at - 2] {
        compressed[length] -= 32;
    }
    let error = refused(&files.pem("compressed.pem", "PUBLIC KEY", &compressed));
    assert!(error.contains("the key is damaged"), "{error}");
}

#[test]
fn what_holds_no_key_that_checks_tokens_says_what_to_do() {
    let files = Files::new();
    for (path, words) in [
        (files.pem("c.pem", "CERTIFICATE", b"\x30\x00"), "\"PUBLIC KEY\": openssl x509 -noout -pubkey"),
        (files.pem("r.pem", "RSA PUBLIC KEY", b"\x30\x00"), ": openssl rsa -RSAPublicKey_in -pubout"),
        (files.pem("p.pem", "EC PRIVATE KEY", b"\x30\x00"), "line 1: it is a private key"),
        (
            files.pem("x.pem", "X509 CRL", b"\x30\x00"),
            "it holds \"X509 CRL\", and should hold \"PUBLIC KEY\"",
        ),
        (files.write("e.pem", fanfare_pem::encode("EC PARAMETERS", b"curve")), ", and no key"),
        (
            files.write("ssh", "---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----\n"),
            "it looks like an SSH public key",
        ),
    ] {
        let error = refused(&path);
        assert!(error.contains(words), "{words}: {error}");
    }
    let plain = refused(&files.pem("x.pem", "X509 CRL", b"\x30\x00"));
    assert!(!plain.contains("openssl"), "{plain}");
}

#[test]
fn a_set_has_up_to_100_keys_and_an_error_five_reasons() {
    let good = json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET) });
    let set = |key: Value, count: usize| {
        key_set::parse(&json!({ "keys": vec![key; count] }).to_string(), KeySetOrigin::File)
    };
    assert_eq!(set(good, 100).unwrap().keys.len(), 100);
    let bad = json!({ "kty": "quantum" });
    let (five, six) = (set(bad.clone(), 5).unwrap_err(), set(bad, 6).unwrap_err());
    assert!(five.contains("key 5 is of a kind") && !five.contains("and so on"), "{five}");
    assert!(six.contains("key 5 is of a kind") && six.ends_with(", and so on"), "{six}");
    assert!(!six.contains("key 6"), "{six}");
}
