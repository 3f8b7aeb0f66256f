use std::path::PathBuf;

use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::access::Minter;

const NOW: Seconds = 1_800_000_000;
const SECRET: &str = "0123456789abcdef0123456789abcdef";

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn secret(&self) -> PathBuf {
        self.write("secret", &format!("{SECRET}\n"))
    }

    fn pem(&self, name: &str, kind: &str, der: &[u8]) -> PathBuf {
        self.write(name, &format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", STANDARD.encode(der)))
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

fn verifier(files: &[PathBuf]) -> Verifier {
    let keys = files.iter().flat_map(|file| TokenKey::read(file).unwrap()).collect();
    Verifier::new(Some(TokenRules::new(keys)))
}

fn refusal(verifier: &Verifier, token: &str) -> Option<TokenError> {
    verifier.verify(token, NOW).err()
}

#[test]
fn every_algorithm_is_taken_with_its_own_key_and_no_other() {
    let files = Files::new();
    let (ed, p256, rsa, secret) = (files.ed25519(), files.p256(), files.rsa(), files.secret());
    let pairs = [(secret.clone(), secret), (ed.0, ed.1), p256, rsa];
    for (private, _) in &pairs {
        let token = Minter::read(private).unwrap().sign(&claims()).unwrap();
        for (other, public) in &pairs {
            let (user, pass) = match verifier(std::slice::from_ref(public)).verify(&token, NOW) {
                Ok(accepted) if other == private => accepted,
                Err(TokenError::NoSuchKey) if other != private => continue,
                outcome => panic!("{}: {:?}", public.display(), outcome.err()),
            };
            assert_eq!((user.as_str(), pass.ends, pass.issued.told), ("alice", NOW + 90, false));
            assert!(pass.grants.may_join(&fanfare_protocol::GroupName::new("g").unwrap(), NOW));
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
    let confused =
        Minter::read(&files.write("as-secret", &STANDARD.encode(std::fs::read(&public).unwrap()))).unwrap();
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
        ("public key as secret", confused.sign(&claims()).unwrap(), TokenError::NoSuchKey, 3003),
        ("a token that ended long ago", signed(&with("exp", json!(1))), TokenError::Expired, 3004),
        ("just expired", signed(&with("exp", json!(NOW - 30))), TokenError::Expired, 3004),
        ("no end", signed(&with("exp", Value::Null)), TokenError::Endless, 3003),
        ("an end in words", signed(&with("exp", json!("tomorrow"))), TokenError::Endless, 3003),
        ("an end before 1970", signed(&with("exp", json!(-1))), TokenError::Endless, 3003),
        (
            "for ever",
            signed(&with("exp", json!(9_000_000_000_u64))),
            TokenError::LastsTooLong(2_592_000),
            3003,
        ),
        (
            "longer than a month, by its own account",
            signed(&{
                let mut claims = with("iat", json!(NOW - 2_592_000));
                claims["exp"] = json!(NOW + 1);
                claims
            }),
            TokenError::LastsTooLong(2_592_000),
            3003,
        ),
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
            TokenError::Grants,
            3003,
        ),
        (
            "a grant on nothing",
            signed(&with("grants", json!([{ "may": ["send"] }]))),
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
    assert_eq!(refusal(&by_ed, &signed(&with("exp", json!(1_800_003_600.5)))), None);
    assert_eq!(refusal(&Verifier::new(None), &signed(&claims())), Some(TokenError::NoKeys));
    assert_eq!(refusal(&by_ed, &raw(claims().to_string().as_bytes())), None, "the test signs as it should");
}

#[test]
fn audience_issuer_and_user_claim_are_as_configured() {
    let files = Files::new();
    let minter = Minter::read(&files.secret()).unwrap();
    let mut rules = TokenRules::new(TokenKey::read(&files.secret()).unwrap());
    rules.audience = vec!["chat".to_owned(), "news".to_owned()];
    rules.issuer = vec!["https://login.example".to_owned()];
    rules.user_claim = "email".to_owned();
    let verifier = Verifier::new(Some(rules));
    let outcome = |aud: Value, iss: Value, email: Value| {
        let claims = json!({ "sub": "x", "exp": NOW + 1, "aud": aud, "iss": iss, "email": email });
        verifier.verify(&minter.sign(&claims).unwrap(), NOW).map(|(user, _)| user.as_str().to_owned())
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
    let path = files.write("keys.json", &set.to_string());
    assert_eq!(TokenKey::read(&path).unwrap().len(), 2);
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
        (files.write("short", "secret\n"), "at least 32 bytes"),
        (private, "it is a private key"),
        (
            files.write("cert.pem", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"),
            "\"CERTIFICATE\"",
        ),
        (files.write("half.pem", "-----BEGIN PUBLIC KEY-----\nAA=="), "damaged"),
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
    assert!(!format!("{:?}", TokenKey::read(&files.secret()).unwrap()).contains("0123"));
}

/// The issuer's clock and ours may be apart by the leeway, either way. Whatever was issued before a sign-out is out, and what is
/// issued late enough after it is in; a token that does not say when it was issued is reckoned from its end.
#[test]
fn a_sign_out_holds_whichever_clock_is_ahead() {
    use crate::access::{Bans, Gate, Validity};
    use fanfare_protocol::admin::{BanKind, BanRow};
    const LEEWAY: u64 = 30;
    const HOUR: u64 = 3_600;
    let files = Files::new();
    let minter = Minter::read(&files.secret()).unwrap();
    let mut rules = TokenRules::new(TokenKey::read(&files.secret()).unwrap());
    rules.longest = Some(3_600);
    let bans = Arc::new(Bans::new(Validity { leeway: LEEWAY, longest: Some(HOUR) }));
    let gate = Gate::new(Arc::new(Verifier::new(Some(rules))), Arc::clone(&bans), 1);
    let alice = UserName::new("alice").unwrap();
    bans.put(BanRow {
        kind: BanKind::SignOut,
        user: Some(alice.clone()),
        groups: None,
        jti: None,
        since: NOW,
        until: None,
        reason: String::new(),
        author: "oncall".to_owned(),
    });
    let outcome = |claims: &Value, now: Seconds| {
        let (user, pass) = gate.verify(&minter.sign(claims).unwrap(), now)?;
        gate.enter(&user, &pass, now)
    };
    for ahead in [-30_i64, -29, -1, 0, 1, 29, 30] {
        let by_issuer = |time: u64| time.checked_add_signed(ahead).unwrap();
        for says_when in [true, false] {
            let token = |issued: u64| {
                let iat = by_issuer(issued);
                let claims = json!({ "sub": "alice", "exp": iat + HOUR, "iat": iat });
                if says_when { claims } else { json!({ "sub": "alice", "exp": iat + HOUR }) }
            };
            for (issued, presented) in [(NOW, NOW + 1), (NOW - 5, NOW + 40), (NOW - 1_000, NOW + 2_000)] {
                let denied = outcome(&token(issued), presented).unwrap_err();
                assert_eq!(denied.code, Code::SignedOut, "{ahead}, {says_when}, {issued}: {denied:?}");
            }
            // A new sign-in will do, a minute after at the latest.
            let issued = NOW + 2 * LEEWAY + 1;
            assert_eq!(outcome(&token(issued), issued + LEEWAY), Ok(()), "{ahead}, {says_when}");
        }
    }
    // When the sign-out has ended no token from before it can be valid: here the last one is, and there not.
    let last = json!({ "sub": "alice", "iat": NOW + LEEWAY, "exp": NOW + LEEWAY + HOUR });
    let end = NOW + 2 * LEEWAY + HOUR;
    assert_eq!(outcome(&last, end - 1).unwrap_err().code, Code::SignedOut);
    assert_eq!(outcome(&last, end).unwrap_err().code, Code::TokenExpired);
    assert_eq!(bans.list(end), []);
    assert!(!bans.list(end - 1).is_empty());
}
