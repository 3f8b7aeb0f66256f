//! Tokens and key files, good and bad, through the whole of it.

mod keys;
mod minting;
mod rules;

use std::path::{Path, PathBuf};

use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::{KeySetOrigin, Minter, key_set};

const NOW: Seconds = 1_800_000_000;
const SECRET: &str = "0123456789abcdef0123456789abcdef";

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content.as_ref()).unwrap();
        path
    }

    fn secret(&self) -> PathBuf {
        self.write("secret", format!("{SECRET}\n"))
    }

    fn pem(&self, name: &str, kind: &str, der: &[u8]) -> PathBuf {
        self.write(name, format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", STANDARD.encode(der)))
    }

    /// A private and a public key file, and the public key's bytes.
    fn ed25519(&self) -> (PathBuf, PathBuf, Vec<u8>) {
        use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
        let key = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
        let private: Pkcs8V1Der<'_> = key.as_der().unwrap();
        let public: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
        let files = (
            self.pem("ed-key.pem", "PRIVATE KEY", private.as_ref()),
            self.pem("ed.pem", "PUBLIC KEY", public.as_ref()),
        );
        (files.0, files.1, key.public_key().as_ref().to_vec())
    }

    fn p256(&self) -> (PathBuf, PathBuf) {
        use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
        let algorithm = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let random = aws_lc_rs::rand::SystemRandom::new();
        let private = aws_lc_rs::signature::EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let key = aws_lc_rs::signature::EcdsaKeyPair::from_pkcs8(algorithm, private.as_ref()).unwrap();
        let public: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
        (
            self.pem("ec-key.pem", "PRIVATE KEY", private.as_ref()),
            self.pem("ec.pem", "PUBLIC KEY", public.as_ref()),
        )
    }

    fn rsa(&self) -> (PathBuf, PathBuf) {
        use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
        let key = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let private: Pkcs8V1Der<'_> = key.as_der().unwrap();
        let public: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
        (
            self.pem("rsa-key.pem", "PRIVATE KEY", private.as_ref()),
            self.pem("rsa.pem", "PUBLIC KEY", public.as_ref()),
        )
    }
}

fn claims() -> Value {
    json!({ "sub": "alice", "exp": NOW + 60, "grants": [{ "group": "g", "may": ["join"] }] })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

/// The keys of a file. That of a secret is called so, as its owner would say it.
fn keys(file: &Path) -> Vec<TokenKey> {
    match file.ends_with("secret") {
        true => vec![TokenKey::read_secret(file).unwrap()],
        false => TokenKey::read(file).unwrap().keys,
    }
}

fn minter(file: &Path) -> Minter {
    if file.ends_with("secret") { Minter::read_secret(file).unwrap() } else { Minter::read(file).unwrap() }
}

fn with_rules(rules: TokenRules) -> Verifier {
    Verifier::new(Some(rules), Arc::new(NoKeySets))
}

fn verifier(files: &[PathBuf]) -> Verifier {
    with_rules(TokenRules::new(files.iter().flat_map(|file| keys(file)).collect()))
}

/// What a token is taken for, or why it is not taken.
fn verify(verifier: &Verifier, token: &str, now: Seconds) -> Result<(UserName, Permissions), TokenError> {
    verifier.verify(token, now).map_err(|refused| refused.error)
}

fn refusal(verifier: &Verifier, token: &str) -> Option<TokenError> {
    verify(verifier, token, NOW).err()
}

#[test]
fn every_algorithm_is_taken_with_its_own_key_and_no_other() {
    let files = Files::new();
    let (ed, p256, rsa, secret) = (files.ed25519(), files.p256(), files.rsa(), files.secret());
    let pairs = [(secret.clone(), secret), (ed.0, ed.1), p256, rsa];
    for (private, _) in &pairs {
        let token = minter(private).sign(&claims()).unwrap();
        for (other, public) in &pairs {
            let (user, permissions) = match verify(&verifier(std::slice::from_ref(public)), &token, NOW) {
                Ok(accepted) if other == private => accepted,
                Err(TokenError::NoSuchKey) if other != private => continue,
                outcome => panic!("{}: {:?}", public.display(), outcome.err()),
            };
            assert_eq!((user.as_str(), permissions.ends, permissions.issued), ("alice", NOW + 90, None));
            assert!(permissions.grants.may_join(&fanfare_protocol::GroupName::new("g").unwrap(), NOW));
        }
        let all: Vec<PathBuf> = pairs.iter().map(|(_, public)| public.clone()).collect();
        assert!(verifier(&all).verify(&token, NOW).is_ok());
    }
}

#[test]
fn forged_tokens_are_refused_row_by_row() {
    let files = Files::new();
    let (private, public, _) = files.ed25519();
    let good = Minter::read(&private).unwrap();
    let other = Minter::read(&Files::new().ed25519().0).unwrap();
    let by_ed = verifier(std::slice::from_ref(&public));
    let signed = |claims: &Value| good.sign(claims).unwrap();
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = |header: Value| format!("{}.{}.", part(&header), part(&claims()));
    // The public key's file as a secret: what "alg" in the token's hands led to (CVE-2015-9235).
    let confused = jsonwebtoken::encode(
        &jsonwebtoken::Header::default(),
        &claims(),
        &jsonwebtoken::EncodingKey::from_secret(&std::fs::read(&public).unwrap()),
    )
    .unwrap();
    let mut cut = signed(&claims());
    // By whole groups of base64, so that it still is base64.
    cut.truncate(cut.len() - 6);
    let swapped = {
        let token = signed(&claims());
        let mut parts: Vec<&str> = token.split('.').collect();
        let claims = part(&with("sub", json!("mallory")));
        parts[1] = &claims;
        parts.join(".")
    };
    let nested = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let raw = |claims: &[u8]| {
        let message = format!("{}.{}", part(&json!({ "alg": "EdDSA" })), URL_SAFE_NO_PAD.encode(claims));
        let key = jsonwebtoken::EncodingKey::from_ed_pem(&std::fs::read(&private).unwrap()).unwrap();
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::EdDSA).unwrap();
        format!("{message}.{signature}")
    };
    for (what, token, error, code) in [
        ("nothing", String::new(), TokenError::Malformed, 3003),
        ("words", "let me in".to_owned(), TokenError::Malformed, 3003),
        ("dots", "...".to_owned(), TokenError::Malformed, 3003),
        ("alg none", unsigned(json!({ "alg": "none" })), TokenError::Malformed, 3003),
        ("no signature", unsigned(json!({ "alg": "EdDSA" })), TokenError::Signature, 3003),
        ("a cut signature", cut, TokenError::Signature, 3003),
        ("another key", other.sign(&claims()).unwrap(), TokenError::Signature, 3003),
        ("other claims", swapped, TokenError::Signature, 3003),
        ("public key as secret", confused, TokenError::NoSuchKey, 3003),
        ("a token that ended long ago", signed(&with("exp", json!(1))), TokenError::Expired, 3004),
        ("just expired", signed(&with("exp", json!(NOW - 30))), TokenError::Expired, 3004),
        ("no end", signed(&with("exp", Value::Null)), TokenError::Endless, 3003),
        ("an end in words", signed(&with("exp", json!("tomorrow"))), TokenError::Endless, 3003),
        ("an end before 1970", signed(&with("exp", json!(-1))), TokenError::Endless, 3003),
        ("not yet", signed(&with("nbf", json!(NOW + 31))), TokenError::NotYet, 3005),
        ("issued tomorrow", signed(&with("iat", json!(NOW + 86_400))), TokenError::NotYet, 3005),
        ("issued in words", signed(&with("iat", json!("now"))), TokenError::Time, 3003),
        ("no user", signed(&with("sub", Value::Null)), TokenError::User, 3003),
        ("a number as user", signed(&with("sub", json!(7))), TokenError::User, 3003),
        ("an empty user", signed(&with("sub", json!(""))), TokenError::User, 3003),
        ("a long user", signed(&with("sub", json!("u".repeat(257)))), TokenError::User, 3003),
        ("an id that is a list", signed(&with("jti", json!([]))), TokenError::Id, 3003),
        ("grants in words", signed(&with("grants", json!("all"))), TokenError::Grants, 3003),
        (
            "a right unknown",
            signed(&with("grants", json!([{ "group": "g", "may": ["own"] }]))),
            TokenError::Grant(1),
            3003,
        ),
        (
            "a grant on nothing",
            signed(&with("grants", json!([{ "may": ["send"] }]))),
            TokenError::Grant(1),
            3003,
        ),
        // Read in the order of our declaration, these were taken.
        (
            "a grant that is a list",
            signed(&with("grants", json!([["g", null, null, ["join"], null]]))),
            TokenError::Grant(1),
            3003,
        ),
        (
            "a right that is an object",
            signed(&with("grants", json!([{ "group": "g", "may": [{ "join": null }] }]))),
            TokenError::Grant(1),
            3003,
        ),
        ("huge", signed(&with("x", json!("x".repeat(16_384)))), TokenError::TooLong, 3003),
        ("nested", raw(nested.as_bytes()), TokenError::Malformed, 3003),
        ("a list", raw(b"[]"), TokenError::Malformed, 3003),
        ("not UTF-8", raw(b"{\"sub\": \"\xff\xfe\", \"exp\": 9000000000}"), TokenError::Malformed, 3003),
    ] {
        assert_eq!(refusal(&by_ed, &token), Some(error), "{what}");
        assert_eq!(error.code().number(), code, "{what}");
    }
    // Within the leeway, and on the last second.
    assert_eq!(refusal(&by_ed, &signed(&with("exp", json!(NOW - 29)))), None);
    assert_eq!(refusal(&by_ed, &signed(&with("nbf", json!(NOW + 30)))), None);
    assert_eq!(refusal(&by_ed, &signed(&with("exp", json!(f64::from(u32::MAX) + 0.5)))), None);
    assert_eq!(
        refusal(&Verifier::new(None, Arc::new(NoKeySets)), &signed(&claims())),
        Some(TokenError::NoKeys)
    );
    assert_eq!(refusal(&by_ed, &raw(claims().to_string().as_bytes())), None, "the test signs as it should");
}

#[test]
fn audience_issuer_and_user_claim_are_as_configured() {
    let files = Files::new();
    let minter = minter(&files.secret());
    let mut rules = TokenRules::new(keys(&files.secret()));
    rules.audience = vec!["chat".to_owned(), "news".to_owned()];
    rules.issuer = vec!["https://login.example".to_owned()];
    rules.user_claim = "email".to_owned();
    let verifier = with_rules(rules);
    let outcome = |aud: Value, iss: Value, email: Value| {
        let claims = json!({ "sub": "x", "exp": NOW + 1, "aud": aud, "iss": iss, "email": email });
        verify(&verifier, &minter.sign(&claims).unwrap(), NOW).map(|(user, _)| user.as_str().to_owned())
    };
    let iss = || json!("https://login.example");
    let email = || json!("a@example.org");
    assert_eq!(outcome(json!("chat"), iss(), email()), Ok("a@example.org".to_owned()));
    assert_eq!(outcome(json!(["x", "news"]), iss(), email()), Ok("a@example.org".to_owned()));
    for aud in [Value::Null, json!("Chat"), json!([]), json!(1), json!({ "chat": 1 })] {
        assert_eq!(outcome(aud, iss(), email()), Err(TokenError::Audience));
    }
    for other in [Value::Null, json!("https://login.example/"), json!(1)] {
        assert_eq!(outcome(json!("chat"), other, email()), Err(TokenError::Issuer));
    }
    assert_eq!(outcome(json!("chat"), iss(), Value::Null), Err(TokenError::User));
}

#[test]
fn a_key_set_is_read_and_its_ids_are_honoured() {
    let files = Files::new();
    let (private, _, public) = files.ed25519();
    let secret = URL_SAFE_NO_PAD.encode(SECRET);
    let set = json!({ "keys": [
        { "kty": "OKP", "crv": "Ed25519", "kid": "one", "x": URL_SAFE_NO_PAD.encode(public) },
        { "kty": "oct", "kid": "two", "k": secret },
        { "kty": "quantum", "kid": "three" },
        { "kty": "oct", "use": "enc", "kid": "four", "k": "AA" },
    ] });
    let path = files.write("keys.json", set.to_string());
    let read = TokenKey::read(&path).unwrap();
    assert_eq!((read.keys.len(), read.skipped.len()), (2, 2));
    let verifier = verifier(&[path]);
    let token = |algorithm, kid: Option<&str>, key: &jsonwebtoken::EncodingKey| {
        let mut header = jsonwebtoken::Header::new(algorithm);
        header.kid = kid.map(str::to_owned);
        jsonwebtoken::encode(&header, &claims(), key).unwrap()
    };
    let ed = jsonwebtoken::EncodingKey::from_ed_pem(&std::fs::read(private).unwrap()).unwrap();
    let oct = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    use jsonwebtoken::Algorithm::{EdDSA, HS256};
    for (token, error) in [
        (token(EdDSA, Some("one"), &ed), None),
        (token(EdDSA, None, &ed), None),
        (token(HS256, Some("two"), &oct), None),
        (token(EdDSA, Some("two"), &ed), Some(TokenError::NoSuchKey)),
        (token(EdDSA, Some("nine"), &ed), Some(TokenError::NoSuchKey)),
        (token(HS256, Some("one"), &oct), Some(TokenError::NoSuchKey)),
    ] {
        assert_eq!(refusal(&verifier, &token), error);
    }
}

#[test]
fn a_bad_key_file_is_named_with_what_is_wrong() {
    let files = Files::new();
    let (private, ..) = files.ed25519();
    for (path, words) in [
        (files.0.path().join("nowhere"), "cannot read the key in"),
        (files.write("short", "secret\n"), "it looks like a secret, 7 bytes of text"),
        (private, "line 1: it is a private key"),
        (
            files.write("cert.pem", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"),
            "\"CERTIFICATE\"",
        ),
        (files.write("half.pem", "-----BEGIN PUBLIC KEY-----\nAA=="), "cut off"),
        (
            files.write("other.pem", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
            "not supported",
        ),
        (files.write("a.json", "{\"keys\": [}"), "line 1, column 11"),
        (files.write("b.json", "{}"), "a list \"keys\""),
        (files.write("c.json", "{\"keys\": []}"), "no key in it"),
        (files.write("d.json", r#"{"keys": [{"kty": "oct", "k": "c2hvcnQ"}]}"#), "fewer than 32 bytes"),
        (files.write("e.json", r#"{"keys": [{"kty": "RSA", "n": "x"}]}"#), "key 1 is damaged"),
    ] {
        let error = TokenKey::read(&path).unwrap_err().to_string();
        assert!(
            error.contains(words) && error.contains(&*path.to_string_lossy()),
            "{words:?} is not in {error:?}"
        );
    }
    assert!(!format!("{:?}", keys(&files.secret())).contains("0123"));
    let short = TokenKey::read_secret(&files.write("short", "secret\n")).unwrap_err().to_string();
    assert!(short.contains("at least 32 bytes") && short.contains("openssl rand -hex 32"), "{short}");
}

/// Each of these was taken for a secret, and a token that was forged with it was let in: this test failed.
#[test]
fn a_file_that_is_not_understood_is_told_and_never_taken_for_a_secret() {
    let files = Files::new();
    let (ed_key, ed, point) = files.ed25519();
    let (_, rsa) = files.rsa();
    let pem = std::fs::read_to_string(&ed).unwrap();
    let set = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(&point) }] })
        .to_string();
    let bare = set.trim_start_matches("{\"keys\":").trim_end_matches('}').to_owned() + "}]";
    let der = |file: &Path| {
        STANDARD.decode(std::fs::read_to_string(file).unwrap().lines().nth(1).unwrap()).unwrap()
    };
    let wide = |text: &str, mark: Option<u16>, unit: fn(u16) -> [u8; 2]| {
        mark.into_iter().chain(text.encode_utf16()).flat_map(unit).collect::<Vec<u8>>()
    };
    let certificate = {
        let inner =
            [&[0x30, 0x03, 0x02, 0x01, 0x01][..], &[0x30, 0x03, 0x06, 0x01, 0x2a], &[0x03, 0x02, 0, 1]]
                .concat();
        [&[0x30, 0x80 | 0x01, u8::try_from(inner.len()).unwrap()][..], &inner].concat()
    };
    let secret = SECRET.as_bytes();
    // The name, the bytes, the words, and whether it may be a secret if it is said to be one.
    for (name, bytes, words, may_be_secret) in [
        ("a JWK Set in UTF-16LE", wide(&set, Some(0xfeff), u16::to_le_bytes), "UTF-16", false),
        ("a JWK Set in UTF-16BE", wide(&set, Some(0xfeff), u16::to_be_bytes), "UTF-16", false),
        ("a JWK Set in UTF-16 without a mark", wide(&set, None, u16::to_le_bytes), "UTF-16", false),
        ("a bare list", bare.clone().into_bytes(), "a bare list", false),
        ("a bare list with a mark", format!("\u{feff}\n{bare}").into_bytes(), "a bare list", false),
        ("base64 of a public key", STANDARD.encode(der(&ed)).into_bytes(), "base64 of a public key", false),
        (
            "the same on a line",
            (STANDARD.encode(der(&ed)) + "\r\n").into_bytes(),
            "base64 of a public key",
            false,
        ),
        ("the same of RSA", STANDARD.encode(der(&rsa)).into_bytes(), "base64 of a public key", false),
        (
            "base64url of a public key",
            URL_SAFE_NO_PAD.encode(der(&rsa)).into_bytes(),
            "base64 of a public key",
            false,
        ),
        ("a public key in DER", der(&ed), "a public key in DER", false),
        ("a public RSA key in DER", der(&rsa), "a public key in DER", false),
        ("a private key in DER", der(&ed_key), "a private key in DER", false),
        ("a certificate in DER", certificate, "a certificate in DER", false),
        (
            "an SSH key",
            format!("ssh-ed25519 {} me@here", STANDARD.encode(&point)).into_bytes(),
            "an SSH public key",
            false,
        ),
        (
            "PEM that begins too late",
            pem.trim_start_matches('-').to_owned().into_bytes(),
            "looks like the BEGIN",
            false,
        ),
        ("a token", minter(&ed_key).sign(&claims()).unwrap().into_bytes(), "a token", false),
        ("an address", b"https://login.example/.well-known/jwks.json".to_vec(), "an address", false),
        ("JSON of another kind", b"{\"issuer\": \"https://login.example\"}".to_vec(), "with \"kty\"", false),
        ("a secret", secret.to_vec(), "a secret, 32 bytes of text", true),
        ("a secret with a mark", [b"\xef\xbb\xbf", secret].concat(), "a secret", true),
        ("binary data", vec![0xa5; 48], "binary data, 48 bytes", true),
        ("nothing", b" \n\t\r\n".to_vec(), "an empty file", false),
    ] {
        let path = files.write("given", &bytes);
        let error = TokenKey::read(&path).map(|_| name).unwrap_err().to_string();
        assert!(error.contains(words), "{name}: {error}");
        assert!(!error.contains(SECRET), "{name}: {error}");
        let outcome = TokenKey::read_secret(&path);
        assert_eq!(outcome.is_ok(), may_be_secret, "{name}: {outcome:?}");
        assert!(Minter::read(&path).is_err(), "{name} signs nothing");
    }
    // With a byte order mark, or with line ends of another kind, they are what they are.
    for bytes in [
        format!("\u{feff}{set}").into_bytes(),
        format!("\u{feff}{pem}").into_bytes(),
        pem.replace('\n', "\r\n").into_bytes(),
        pem.replace('\n', "").into_bytes(),
        pem.replace('=', "").into_bytes(),
        wide(&pem, Some(0xfeff), u16::to_le_bytes),
        format!("{}{pem}", fanfare_pem::encode("EC PARAMETERS", b"curve")).into_bytes(),
    ] {
        let path = files.write("marked", bytes);
        let token = minter(&ed_key).sign(&claims()).unwrap();
        assert_eq!(refusal(&verifier(std::slice::from_ref(&path)), &token), None);
        assert!(TokenKey::read_secret(&path).is_err());
    }
    // A key that is left out is one whose tokens are refused, and nobody knows why: this started.
    for second in [
        pem.replace("-----BEGIN", "-----Begin").replace("-----END", "-----End"),
        pem.replace("BEGIN ", "BEGIN\t"),
        pem.replace("-----BEGIN", "----- BEGIN"),
        pem.replace("-----BEGIN", "----BEGIN"),
        pem.replace("-----", "\u{2013}\u{2013}\u{2013}"),
        set,
        format!("ssh-ed25519 {} me@here\n", STANDARD.encode([7; 51])),
        format!("{}\n", STANDARD.encode(der(&rsa))),
    ] {
        let error = TokenKey::read(&files.write("second", format!("{pem}{second}"))).unwrap_err().to_string();
        assert!(error.contains("line 4") || error.contains("files of their own"), "{second}: {error}");
    }
    for appended in [
        [pem.as_bytes(), &wide(&pem, None, u16::to_le_bytes)].concat(),
        [pem.as_bytes(), &wide(&pem, Some(0xfeff), u16::to_le_bytes)].concat(),
        [pem.as_bytes(), &wide(&pem, Some(0xfeff), u16::to_be_bytes)].concat(),
        [&wide(&pem, Some(0xfeff), u16::to_le_bytes)[..], pem.as_bytes()].concat(),
    ] {
        assert!(TokenKey::read(&files.write("second", appended)).is_err());
    }
    // Every block counts, and not the first alone.
    let (p256_key, p256) = files.p256();
    let both = files.write("both.pem", pem.trim_end().to_owned() + &std::fs::read_to_string(&p256).unwrap());
    for key in [ed_key, p256_key] {
        assert_eq!(
            refusal(&verifier(std::slice::from_ref(&both)), &minter(&key).sign(&claims()).unwrap()),
            None
        );
    }
}

#[test]
fn a_secret_is_taken_byte_for_byte_but_for_one_line_end() {
    let files = Files::new();
    let random: Vec<u8> = (0..40u8).map(|byte| byte.wrapping_mul(151) ^ 0x80).collect();
    for (content, secret) in [
        (SECRET.as_bytes().to_vec(), SECRET.as_bytes().to_vec()),
        (format!("{SECRET}\n").into_bytes(), SECRET.as_bytes().to_vec()),
        (format!("{SECRET}\r\n").into_bytes(), SECRET.as_bytes().to_vec()),
        (format!("{SECRET}\n\n").into_bytes(), format!("{SECRET}\n").into_bytes()),
        (format!("{SECRET}\r").into_bytes(), format!("{SECRET}\r").into_bytes()),
        (format!(" {SECRET} \t").into_bytes(), format!(" {SECRET} \t").into_bytes()),
        ([&random[..], b" "].concat(), [&random[..], b" "].concat()),
        ([&random[..], b"\x0b\x0c"].concat(), [&random[..], b"\x0b\x0c"].concat()),
        ([&random[..], b"\n\n"].concat(), [&random[..], b"\n"].concat()),
        ([b"\xef\xbb\xbf", SECRET.as_bytes()].concat(), [b"\xef\xbb\xbf", SECRET.as_bytes()].concat()),
    ] {
        let path = files.write("secret", &content);
        let server = verifier(std::slice::from_ref(&path));
        // As any other library has it, which is given the same bytes.
        let elsewhere = jsonwebtoken::EncodingKey::from_secret(&secret);
        let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims(), &elsewhere).unwrap();
        assert_eq!(refusal(&server, &token), None, "{content:?}");
        assert_eq!(refusal(&server, &minter(&path).sign(&claims()).unwrap()), None, "{content:?}");
    }
    let short = [&random[..31], b"\n"].concat();
    assert!(TokenKey::read_secret(&files.write("secret", short)).is_err(), "the line end does not count");
}

/// It failed before: `use` and `key_ops` that do not allow checking were ignored, one bad key refused the whole set,
/// and `Ed25519` was unknown.
#[test]
fn a_key_set_as_it_is_in_the_wild_gives_the_keys_that_can_be_used() {
    let files = Files::new();
    let (ed_key, _, point) = files.ed25519();
    let x = URL_SAFE_NO_PAD.encode(&point);
    let good = |more: Value| {
        let mut key = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "good", "x": x });
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        key
    };
    let token = minter(&ed_key).sign(&claims()).unwrap();
    for (what, key, reason) in [
        ("nothing said", good(json!({})), None),
        ("for signatures", good(json!({ "use": "sig", "key_ops": ["verify"] })), None),
        ("for both", good(json!({ "key_ops": ["sign", "verify"] })), None),
        ("by its old name", good(json!({ "alg": "EdDSA" })), None),
        ("by its new name", good(json!({ "alg": "Ed25519" })), None),
        ("with what nobody knows", good(json!({ "ext": true, "x5t": 7, "future": [{}] })), None),
        ("for encryption", good(json!({ "use": "enc" })), Some("\"use\"")),
        ("for something in capitals", good(json!({ "use": "SIG" })), Some("\"use\"")),
        ("for a number", good(json!({ "use": 1 })), Some("\"use\" is not text")),
        ("to sign", good(json!({ "key_ops": ["sign"] })), Some("\"key_ops\"")),
        ("for nothing", good(json!({ "key_ops": [] })), Some("\"key_ops\"")),
        ("to wrap", good(json!({ "use": "sig", "key_ops": ["wrapKey"] })), Some("\"key_ops\"")),
        ("words for a list", good(json!({ "key_ops": "verify" })), Some("\"key_ops\"")),
        ("a list of numbers", good(json!({ "key_ops": ["verify", 1] })), Some("\"key_ops\"")),
        ("another algorithm", good(json!({ "alg": "ES256" })), Some("\"alg\"")),
        ("one that is none", good(json!({ "alg": "none" })), Some("\"alg\"")),
        ("a number for its algorithm", good(json!({ "alg": 8 })), Some("\"alg\" is not text")),
        ("a number for its id", good(json!({ "kid": 7 })), Some("\"kid\" is not text")),
        ("a private key", good(json!({ "d": x })), Some("private key")),
        ("a point that is cut", good(json!({ "x": x[..40] })), Some("is damaged")),
        ("not base64", good(json!({ "x": "!" })), Some("is damaged")),
        ("no point", good(json!({ "x": null })), Some("\"x\" is not text")),
        ("another curve", good(json!({ "crv": "Ed448" })), Some("not supported")),
        ("no kind", good(json!({ "kty": null })), Some("\"kty\" is not text")),
        ("null", Value::Null, Some("is no object")),
        ("words", json!("key"), Some("is no object")),
        (
            "a point that is on no curve",
            json!({ "kty": "EC", "crv": "P-256", "x": x, "y": x }),
            Some("is damaged"),
        ),
        (
            "RSA with 1,024 bits",
            json!({ "kty": "RSA", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode([0xff; 128]) }),
            Some("1024 bits"),
        ),
        (
            "RSA without an exponent",
            json!({ "kty": "RSA", "n": URL_SAFE_NO_PAD.encode([0xff; 256]) }),
            Some("has no \"e\""),
        ),
    ] {
        // Alone it is an error, beside a good one it is passed over, and said so.
        let alone = files.write("alone.json", json!({ "keys": [key] }).to_string());
        match (TokenKey::read(&alone), reason) {
            (Ok(read), None) => assert_eq!((read.keys.len(), read.skipped.len()), (1, 0), "{what}"),
            (Err(error), Some(reason)) => assert!(error.to_string().contains(reason), "{what}: {error}"),
            (outcome, _) => panic!("{what}: {outcome:?}"),
        }
        let set = json!({ "keys": [key, good(json!({ "kid": "other" }))] }).to_string();
        let set = files.write("set.json", set);
        let read = TokenKey::read(&set).unwrap();
        let expected = if reason.is_some() { (1, 1) } else { (2, 0) };
        assert_eq!((read.keys.len(), read.skipped.len()), expected, "{what}");
        assert!(read.skipped.iter().all(|line| line.starts_with("key 1 ") && !line.contains(&x)), "{read:?}");
        assert_eq!(refusal(&verifier(&[set]), &token), None, "{what}");
        // A JWK alone is read by the same rules.
        if key.get("kty").is_some() {
            assert_eq!(
                TokenKey::read(&files.write("key.json", key.to_string())).is_ok(),
                reason.is_none(),
                "{what}"
            );
        }
    }
    for (text, words) in [
        (r#"{"keys": [], "keys": []}"#, "twice"),
        (r#"{"keys": {}}"#, "is no list"),
        (r#"{"keys": null}"#, "a list \"keys\""),
        (r#"{"issuer": "https://x", "jwks_uri": "https://x/keys"}"#, "jwks_uri"),
        (r#"{"keys": []} x"#, "line 1, column"),
        (r#"{"keys": [{"kty": "oct", "k": "AA", "k": "BB"}]}"#, "key 1 has a member twice"),
    ] {
        let error = TokenKey::read(&files.write("bad.json", text)).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
    let many = json!({ "keys": vec![good(json!({})); 101] }).to_string();
    assert!(TokenKey::read(&files.write("many.json", many)).unwrap_err().to_string().contains("at most 100"));
    // Whoever can read a URL would have the secret.
    let oct = json!({ "keys": [{ "kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET) }] }).to_string();
    assert!(key_set::parse(&oct, KeySetOrigin::File).is_ok());
    assert!(key_set::parse(&oct, KeySetOrigin::Url).unwrap_err().contains("published"));
}

/// A token of exactly these bytes, signed as it should be.
fn raw(private: &Path, header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = jsonwebtoken::EncodingKey::from_ed_pem(&std::fs::read(private).unwrap()).unwrap();
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::EdDSA).unwrap();
    format!("{message}.{signature}")
}

/// It failed before: of two `grants`, and of two members in a grant or in the header, the last counted.
#[test]
fn two_members_of_the_same_name_are_refused_wherever_they_stand() {
    let files = Files::new();
    let (private, public, _) = files.ed25519();
    let by_ed = verifier(&[public]);
    let header = r#"{"alg":"EdDSA","typ":"JWT"}"#;
    let claims = |more: &str| format!(r#"{{"sub":"alice","exp":{},"iat":{NOW}{more}}}"#, NOW + 60);
    assert_eq!(refusal(&by_ed, &raw(&private, header, &claims(""))), None, "the test signs as it should");
    for more in [
        r#","sub":"alice""#,
        r#","exp":1900000000"#,
        r#","iat":1"#,
        r#","nbf":1,"nbf":2"#,
        r#","jti":"a","jti":"b""#,
        r#","aud":"a","aud":"b""#,
        r#","grants":[],"grants":[{"group":"*","may":["join"]}]"#,
        r#","grants":[],"gr\u0061nts":[{"group":"*","may":["join"]}]"#,
        r#","grants":[{"group":"a","group":"*","may":["join"]}]"#,
        r#","grants":[{"group":"a","may":[],"may":["join"]}]"#,
        r#","grants":[{"group":"a","may":["join"],"exp":1,"exp":1900000000}]"#,
        r#","other":{"deep":[{"a":1,"a":1}]}"#,
    ] {
        assert_eq!(
            refusal(&by_ed, &raw(&private, header, &claims(more))),
            Some(TokenError::Duplicate),
            "{more}"
        );
    }
    for header in [
        r#"{"alg":"none","alg":"EdDSA"}"#,
        r#"{"alg":"EdDSA","alg":"EdDSA"}"#,
        r#"{"alg":"EdDSA","kid":"a","kid":"b"}"#,
        r#"{"alg":"EdDSA","jwk":{"kty":"OKP","kty":"oct"}}"#,
    ] {
        assert_eq!(
            refusal(&by_ed, &raw(&private, header, &claims(""))),
            Some(TokenError::Duplicate),
            "{header}"
        );
    }
    for (header, error) in [
        (r#"{"alg":"Ed25519"}"#, None),
        (r#"{"alg":"EdDSA","jwk":{"kty":"oct","k":"AA"},"jku":"https://x","x5c":[]}"#, None),
        (r#"{"alg":"EdDSA","crit":[]}"#, Some(TokenError::Critical)),
        (r#"{"alg":"EdDSA","crit":null}"#, Some(TokenError::Critical)),
        (r#"{"alg":"NONE"}"#, Some(TokenError::Malformed)),
        (r#"{"alg":["EdDSA"]}"#, Some(TokenError::Malformed)),
        (r#"{"alg":"EdDSA","kid":1}"#, Some(TokenError::Malformed)),
        (r#"{"typ":"JWT"}"#, Some(TokenError::Malformed)),
        (r#"{"alg":"eddsa"}"#, Some(TokenError::NoSuchKey)),
        (r#"{"alg":"HS256"}"#, Some(TokenError::NoSuchKey)),
        (r#"["EdDSA"]"#, Some(TokenError::Malformed)),
    ] {
        assert_eq!(refusal(&by_ed, &raw(&private, header, &claims(""))), error, "{header}");
    }
}

/// It failed before: in a grant a fraction was refused, with words about something else; `1e18` was no end.
#[test]
fn times_are_taken_however_they_are_written_in_the_token_and_in_its_grants() {
    let files = Files::new();
    let (private, public, _) = files.ed25519();
    let by_ed = verifier(&[public]);
    let outcome = |claims: String| verify(&by_ed, &raw(&private, r#"{"alg":"EdDSA"}"#, &claims), NOW);
    for (time, seconds) in [
        (format!("{}", NOW + 9), Some(NOW + 9)),
        (format!("{}.5", NOW + 9), Some(NOW + 9)),
        ("1.8000001e9".to_owned(), Some(1_800_000_100)),
        ("1e18".to_owned(), Some(numeric_date::LATEST)),
        ("1000000000000000000".to_owned(), Some(numeric_date::LATEST)),
        ("18446744073709551615".to_owned(), Some(numeric_date::LATEST)),
        ("1e300".to_owned(), Some(numeric_date::LATEST)),
        ("-1".to_owned(), None),
        ("-1e18".to_owned(), None),
        ("-0.5".to_owned(), None),
        ("\"1900000000\"".to_owned(), None),
        ("true".to_owned(), None),
        ("[1900000000]".to_owned(), None),
    ] {
        let token =
            outcome(format!(r#"{{"sub":"alice","exp":{time}}}"#)).map(|(_, permissions)| permissions.ends);
        assert_eq!(token, seconds.map(|seconds| seconds + 30).ok_or(TokenError::Endless), "exp: {time}");
        let grants = format!(r#"[{{"group":"x","may":[]}},{{"group":"g","may":["join"],"exp":{time}}}]"#);
        let claims = format!(r#"{{"sub":"alice","exp":{},"grants":{grants}}}"#, NOW + 60);
        let group = fanfare_protocol::GroupName::new("g").unwrap();
        let grant = outcome(claims).map(|(_, permissions)| permissions.grants.join_until(&group));
        assert_eq!(
            grant,
            seconds.map(|seconds| seconds + 30).ok_or(TokenError::GrantEnd(2)),
            "a grant's exp: {time}"
        );
        for claim in ["nbf", "iat"] {
            let begins =
                outcome(format!(r#"{{"sub":"alice","exp":{},"{claim}":{time}}}"#, NOW + 60)).map(drop);
            let expected = match seconds {
                None => Err(TokenError::Time),
                Some(seconds) if seconds > NOW + 30 => Err(TokenError::NotYet),
                // Nothing that was issued then is still valid, whatever it says of its end.
                Some(seconds) if claim == "iat" && seconds < NOW - 40 * 86_400 => Err(TokenError::TooOld),
                Some(_) => Ok(()),
            };
            assert_eq!(begins, expected, "{claim}: {time}");
        }
    }
    assert_eq!(outcome(r#"{"sub":"alice","exp":1e999}"#.to_owned()).map(drop), Err(TokenError::Malformed));
    for time in ["0", "0.5", "-0.0", "1"] {
        let token = outcome(format!(r#"{{"sub":"alice","exp":{time}}}"#)).map(drop);
        assert_eq!(token, Err(TokenError::Expired), "{time}");
    }
}

#[test]
fn nothing_public_is_taken_for_a_secret_in_memory_either() {
    let files = Files::new();
    for public in [files.ed25519().1, files.p256().1] {
        assert!(TokenKey::from_secret(&std::fs::read(public).unwrap()).is_err());
    }
    assert!(TokenKey::from_secret(b"0123456789abcdef0123456789abcde").is_err());
    assert!(TokenKey::from_secret(b"0123456789abcdef0123456789abcdef\n").is_err());
    assert!(TokenKey::from_secret(SECRET.as_bytes()).is_ok());
}
