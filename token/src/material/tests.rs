//! Tests: keys in every wrapping that was thought of are found, and what is random is not.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::*;

fn wrapped(base64: &str) -> String {
    base64.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line) + "\n").collect()
}

fn hex(bytes: &[u8], between: &str) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(between)
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn quoted(line: &[u8]) -> String {
    format!("\"{}\"\n", text_of(line))
}

/// As programs show bytes: an address, groups of so many bytes, and perhaps the text.
fn dump(bytes: &[u8], group: usize, behind: &str, text: &str) -> String {
    let line = |(number, line): (usize, &[u8])| {
        let groups: Vec<String> = line.chunks(group).map(|bytes| hex(bytes, "")).collect();
        format!("{:08x}{behind}{}{text}\n", number * 16, groups.join(" "))
    };
    bytes.chunks(16).enumerate().map(line).collect()
}

fn wide(text: &str, unit: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    text.chars().flat_map(|one| unit(one.into())).collect()
}

/// Public keys and a certificate in DER: what is common to all of them.
fn ders() -> Vec<Vec<u8>> {
    let ed = Ed25519KeyPair::generate().unwrap();
    let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let rsa = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let pkcs1 = rsa.public_key().as_ref().to_vec();
    let spki = rsa.public_key().as_der().unwrap().as_ref().to_vec();
    let ed = ed.public_key().as_der().unwrap().as_ref().to_vec();
    let p256_private = p256.to_pkcs8v1().unwrap().as_ref().to_vec();
    let p256 = p256.public_key().as_der().unwrap().as_ref().to_vec();
    vec![ed, p256, p256_private, spki, pkcs1]
}

#[track_caller]
fn is_found(what: &str, bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref();
    assert!(found(bytes).is_some(), "{what}: {}", String::from_utf8_lossy(bytes));
    // As any editor or tool would leave it.
    for (before, after) in
        [("", "\n"), ("", "\r\n"), ("\u{feff}", ""), ("\u{feff}\u{feff}", "\0"), (" \n", " ")]
    {
        let more = [before.as_bytes(), bytes, after.as_bytes()].concat();
        assert!(found(&more).is_some(), "{what}, with {before:?} and {after:?}");
    }
}

/// Each of these was accepted as a secret: this failed.
#[test]
fn a_key_is_found_in_whatever_it_is_wrapped() {
    let all = ders();
    for der in &all {
        let (base64, url) = (STANDARD.encode(der), URL_SAFE_NO_PAD.encode(der));
        let pem = fanfare_pem::encode("PUBLIC KEY", der);
        is_found("DER", der);
        is_found("two in DER", [&der[..], &all[0]].concat());
        for (what, text) in [
            ("base64", base64.clone()),
            ("base64url", url.clone()),
            ("base64 on lines", wrapped(&base64)),
            (
                "short lines",
                base64.as_bytes().chunks(16).map(|line| String::from_utf8_lossy(line) + "\r\n").collect(),
            ),
            ("two of them", format!("{base64}\n{}\n", STANDARD.encode(&all[0]))),
            ("quoted", format!("\"{base64}\"")),
            ("a variable", format!("JWT_PUBLIC_KEY={base64}")),
            ("a variable for a shell", format!("export KEY='{url}'")),
            ("escaped line ends", wrapped(&base64).replace('\n', "\\n")),
            ("base64 of base64", STANDARD.encode(&base64)),
            ("base64 of PEM", STANDARD.encode(&pem)),
            ("base64 of PEM, on lines", wrapped(&STANDARD.encode(&pem))),
            ("hex", hex(der, "")),
            ("hex in capitals", hex(der, "").to_uppercase()),
            ("hex with colons", hex(der, ":")),
            ("hex in C", format!("0x{}", hex(der, ", 0x"))),
            ("hex with hyphens", hex(der, "-").to_uppercase()),
            ("hex with dots", hex(der, ".")),
            ("hex in a string", format!("\"\\x{}\"", hex(der, "\\x"))),
            ("hex of Java", format!("(byte)0x{}", hex(der, ", (byte)0x"))),
            ("hex in quoted lines", hex(der, "").as_bytes().chunks(32).map(quoted).collect()),
            ("xxd", dump(der, 2, ": ", "  .0*.H.=...")),
            ("hexdump -C", dump(der, 1, "  ", "  |.0*.H.=...|")),
            ("od", dump(der, 1, " ", "")),
            ("numbers", der.iter().map(|byte| format!("{byte} ")).collect()),
            ("a list of numbers", format!("{der:?}")),
            ("quoted lines", base64.as_bytes().chunks(36).map(quoted).collect()),
            (
                "lines that are added",
                base64.as_bytes().chunks(36).map(quoted).collect::<String>().replace('\n', " +\n"),
            ),
            (
                "an answer to a mail",
                base64.as_bytes().chunks(36).map(|line| format!("> {}\n", text_of(line))).collect(),
            ),
            ("a prefix", format!("pk_{base64}")),
            ("a path", format!("v1/{base64}")),
            ("a line of a difference", format!("+{base64}")),
            ("PEM", pem.clone()),
            ("PEM with dashes", pem.replace("-----", "\u{2013}\u{2013}\u{2013}")),
            ("PEM without hyphens", pem.replace('-', "")),
            ("PEM in one line", pem.replace('\n', "\\n")),
            ("Keycloak's answer", format!(r#"{{"realm":"master","public_key":"{base64}"}}"#)),
            ("a list", format!(r#"["{base64}"]"#)),
            ("by its id", format!("{{\n  \"kid1\": \"{base64}\"\n}}")),
            ("YAML", format!("keys:\n  - id: a\n    value: {base64}\n")),
        ] {
            is_found(what, &text);
            is_found(what, wide(&text, |one| u16::try_from(one).unwrap().to_le_bytes().to_vec()));
            is_found(what, wide(&text, |one| u16::try_from(one).unwrap().to_be_bytes().to_vec()));
            is_found(what, wide(&text, |one| one.to_be_bytes().to_vec()));
            is_found(
                what,
                [b"\xff\xfe\0\0".to_vec(), wide(&text, |one| one.to_le_bytes().to_vec())].concat(),
            );
        }
    }
    let x = URL_SAFE_NO_PAD.encode([7; 32]);
    let jwk = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#);
    let ssh = STANDARD.encode([b"\0\0\0\x0bssh-ed25519\0\0\0\x20", &[7u8; 32][..]].concat());
    for (what, text) in [
        ("a JWK", jwk.clone()),
        ("in a text", format!("{jwk:?}")),
        ("in base64", STANDARD.encode(&jwk)),
        ("behind a comment", format!("// from the issuer\n{jwk}")),
        ("in YAML", format!("kty: OKP\ncrv: Ed25519\nx: {x}\n")),
        ("in JavaScript", format!("{{kty:'OKP',crv:'Ed25519',x:'{x}'}}")),
        ("escaped", format!(r#"{{"\u006bty":"OKP","x":"{x}"}}"#)),
        ("a list of them", format!("[{jwk}]")),
        ("in a URL", jwk.replace('"', "%22").replace(':', "%3A")),
        ("in lines", format!("kty OKP\ncrv Ed25519\nx {x}\n")),
        (
            "a configuration",
            r#"{"issuer":"https://login.example","jwks_uri":"https://login.example/jwks"}"#.to_owned(),
        ),
        ("an address", "https://login.example/.well-known/jwks.json".to_owned()),
        ("XML", format!("<RSAKeyValue><Modulus>{x}</Modulus><Exponent>AQAB</Exponent></RSAKeyValue>")),
        ("openssl's words", format!("Public-Key: (256 bit)\npub:\n    04:{}\n", hex(&[7; 64], ":"))),
        ("a modulus", format!("Modulus={}\n", hex(&[7; 256], "").to_uppercase())),
        ("SSH", format!("ssh-ed25519 {ssh} me@here")),
        ("SSH with options", format!("restrict ssh-ed25519 {ssh}")),
        ("a known host", format!("host.example ssh-ed25519 {ssh}")),
        ("SSH, base64 alone", ssh.clone()),
        ("SSH2", format!("---- BEGIN SSH2 PUBLIC KEY ----\n{ssh}\n---- END SSH2 PUBLIC KEY ----\n")),
        ("a token", format!("eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.{}", "A".repeat(86))),
        ("a token in a header", format!("Authorization: Bearer eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.{x}")),
    ] {
        is_found(what, &text);
        is_found(what, wide(&text, |one| u16::try_from(one).unwrap().to_le_bytes().to_vec()));
    }
    // Half a letter of another encoding makes no secret of it.
    is_found("Latin-1 in it", [&jwk.as_bytes()[..jwk.len() - 1], b",\"n\":\"\xe9\"}"].concat());
}

#[test]
fn each_thing_is_called_by_its_name() {
    let der = &ders()[1];
    let long = "a b c d e f g h i j k l m n o p q r s t u v w x y z";
    for (text, name) in [
        (text_of(b"ssh-rsa AAAA"), "an SSH key"),
        ("-----BEGIN PUBLIC KEY-----".to_owned(), "PEM"),
        ("begin: x509".to_owned(), "PEM"),
        ("The public key is secret".to_owned(), "a key in words"),
        ("kty: x".to_owned(), "a JWK or a JWK Set"),
        ("{\"keys\": []}".to_owned(), "a JWK or a JWK Set"),
        ("kty OKP".to_owned(), "a JWK or a JWK Set"),
        (format!("{{\n\"a\": \"{long}\"\n}}"), "JSON"),
        (format!("\u{feff}[\"{long}\"]\n"), "JSON"),
        (format!("<a>{long}</a>"), "XML"),
        (format!("'<?xml?><a>{long}</a>'"), "XML"),
        (format!(" \"https://login.example/{long}\" "), "an address"),
        (format!("http://login.example/{long}"), "an address"),
        ("eyJh.eyJz.AAAA".to_owned(), "a token"),
        (format!("{long} eyJh.eyJz.AAAA"), "a token"),
        (format!("{long} TOKEN=eyJh.eyJz.AAAA"), "a token"),
        (format!("{long} \u{201c}eyJh.eyJz.AAAA\u{201d}"), "a token"),
        (STANDARD.encode(der), "a key or a certificate in base64 or hex"),
        (hex(der, ""), "a key or a certificate in base64 or hex"),
        (format!("{der:?}"), "a key or a certificate in base64 or hex"),
        ("%7B%22kty%22%3A%22oct%22%7D".to_owned(), "a JWK or a JWK Set"),
        (format!("https://abc.example/%20{long}"), "an address"),
        // In base64 and in hex there may be text, too.
        (format!("value {}", STANDARD.encode(format!("https://login.example/{long}"))), "an address"),
        (STANDARD.encode(format!("https://login.example/{long}")), "an address"),
        (hex(format!("https://login.example/{long}").as_bytes(), ""), "an address"),
        (hex(b"https://login.example", ":"), "an address"),
        (STANDARD.encode(STANDARD.encode("https://login.example/keys/of/mine")), "an address"),
    ] {
        assert_eq!(found(text.as_bytes()), Some(name), "{text}");
    }
    assert_eq!(found(der), Some("a key or a certificate"));
}

#[test]
fn what_only_looks_a_little_like_one_may_be_a_secret() {
    let long = "a b c d e f g h i j k l m n o p q r s t u v w x y z";
    for text in [
        format!("beginning {long}"),
        format!("x0begin rsa {long}"),
        format!("begin everything anew {long}"),
        format!("monkeys: {long}"),
        format!("+keys={long}"),
        format!("my kty was lost {long}"),
        format!("my crv ec {long}"),
        format!("keys rsa {long}"),
        format!("{{{long}}}"),
        format!("{{\"{long}"),
        format!("{long}\"}}"),
        format!("{{\"\u{1}{long}\"}}"),
        format!("<a {long}</a"),
        format!("<a {long}>"),
        format!("a {long}</a>"),
        format!("<1 {long}</a>"),
        format!("ftp://login.example/{long}"),
        format!("a.b.c {long}"),
        format!("eyJh.eyJz {long}"),
        format!("eyJh.!.a {long}"),
        // Fewer characters than any key has are not looked into.
        hex(b"https://a.example", ""),
        STANDARD.encode("https://a.example/keys/a"),
    ] {
        assert_eq!(found(text.as_bytes()), None, "{text}");
    }
    let binary = [b"{\"", &[0xff; 40][..], b"\"}"].concat();
    assert_eq!(found(&binary), None, "random bytes may begin and end like anything");
    let numbers = |length: u8| {
        let numbers = [&[0x02, length][..], &vec![7; length.into()], b"\x02\x01\x03"].concat();
        [&[0x30, length + 5][..], &numbers].concat()
    };
    assert_eq!(found(&numbers(32)), None, "too short for a modulus");
    assert_eq!(found(&numbers(33)), Some("a key or a certificate"));
    assert_eq!(found(&[b" \n\xef\xbb\xbf", &numbers(33)[..]].concat()), Some("a key or a certificate"));
}

#[test]
fn a_key_is_found_whatever_stands_beside_its_lines() {
    for der in ders() {
        let base64 = STANDARD.encode(&der);
        let numbered = base64.as_bytes().chunks(36).zip(1..);
        is_found(
            "numbered lines",
            numbered.map(|(line, at)| format!("{at:02}) {}\n", text_of(line))).collect::<String>(),
        );
        is_found("a dump with text of hex digits", dump(&der, 2, ": ", "  abcdefabcdefabcd"));
        is_found("a dump with little text", dump(&der, 2, ": ", "  .a.b"));
        // Characters behind it that belong to no byte.
        for behind in ["", "x", "xx", "xxx"] {
            is_found("something behind it", URL_SAFE_NO_PAD.encode(&der) + behind);
        }
    }
}

proptest! {
    #[test]
    fn what_is_random_is_no_key(bytes in prop::collection::vec(any::<u8>(), 32..200), word in "[ -~]{32,80}") {
        for secret in [
            bytes.clone(),
            STANDARD.encode(&bytes).into_bytes(),
            URL_SAFE_NO_PAD.encode(&bytes).into_bytes(),
            wrapped(&STANDARD.encode(&bytes)).into_bytes(),
            hex(&bytes, "").into_bytes(),
            hex(&bytes, ":").into_bytes(),
        ] {
            prop_assert_eq!(found(&secret), None);
        }
        prop_assert_eq!(found(b"[q8#Vd0L!kz2&Rm7^Xp4*Tn9(Wb6)Yc1]"), None);
        prop_assert_eq!(found(b"in the beginning a monkey had the master key of it"), None);
        let is_enclosed = word.trim().trim_matches(['"', '\'', '`']).starts_with(['{', '[', '<']);
        prop_assert!(is_enclosed || found(word.as_bytes()).is_none(), "{word:?}");
    }
}
