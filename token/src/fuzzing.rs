//! Tokens and key files from strangers, a few million of them: what must hold whatever their bytes are. `fuzz/` feeds
//! it for hours, a property test below in every test run.
#![allow(clippy::expect_used, clippy::panic, reason = "a broken promise must stop the fuzzer")]

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::Value;

use crate::{
    KeySetOrigin, NoKeySets, Seconds, TokenRules, Verifier, key, key_file, key_set, looks, numeric_date,
};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: Seconds = 1_800_000_000;
const LEEWAY: Seconds = 30;

/// A header and claims, with a zero byte between them, signed as they should be.
pub fn token(input: &[u8]) {
    let (header, claims) = match input.iter().position(|byte| *byte == 0) {
        Some(at) => (input.get(..at).unwrap_or_default(), input.get(at + 1..).unwrap_or_default()),
        None => (&br#"{"alg":"HS256"}"#[..], input),
    };
    let jwk = format!(r#"{{"kty":"oct","k":"{}"}}"#, URL_SAFE_NO_PAD.encode(SECRET));
    let keys = key_file::parse(jwk.as_bytes()).expect("a key").keys;
    let verifier = Verifier::new(Some(TokenRules::new(keys)), Arc::new(NoKeySets));
    let verify = |header: &[u8], claims: &[u8]| {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let key = EncodingKey::from_secret(SECRET);
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("it signs");
        verifier.verify(&format!("{message}.{signature}"), NOW).map_err(|refused| refused.error)
    };
    // Without a signature of ours, nothing is believed.
    if let Ok(text) = std::str::from_utf8(input) {
        assert!(verifier.verify(text, NOW).is_err(), "a token without our signature");
    }
    let (user, permissions) = match verify(header, claims) {
        Ok(accepted) => accepted,
        Err(error) => return assert_eq!(error.code().number() / 100, 30, "{error}"),
    };
    assert!((1..=256).contains(&user.as_str().len()));
    assert!(
        permissions.ends > NOW && permissions.ends <= numeric_date::LATEST + LEEWAY,
        "it ends at {}",
        permissions.ends
    );
    assert!(permissions.issued.is_none_or(|issued| issued <= NOW));
    let latest = numeric_date::LATEST + LEEWAY;
    assert!(permissions.all_ends().all(|end| end <= latest), "an end that no clock has");
    // serde_json would take the last of two members. Where there are no two, it makes no difference that it has read
    // them.
    let again = |json: &[u8]| serde_json::from_slice::<Value>(json).expect("JSON").to_string();
    let (same_user, same) = verify(again(header).as_bytes(), again(claims).as_bytes())
        .unwrap_or_else(|error| panic!("the same in other words: {error}"));
    assert_eq!(
        (same_user, same.ends, same.issued, same.token),
        (user, permissions.ends, permissions.issued, permissions.token)
    );
    assert!(same.grants.ends().eq(permissions.grants.ends()));
}

/// A file that was named as keys, or as a secret, or what a URL gave.
pub fn key_file(input: &[u8]) {
    let as_keys = key_file::parse(input);
    match &as_keys {
        Ok(read) => {
            assert!(!read.keys.is_empty());
            let is_json =
                input.strip_prefix(b"\xef\xbb\xbf").unwrap_or(input).trim_ascii_start().starts_with(b"{");
            for key in &read.keys {
                key::check(key.algorithm, &key.key).expect("a key that can check tokens");
                // JSON alone can say that something is a secret.
                assert!(is_json || key.algorithm != Algorithm::HS256, "guessed to be a secret");
            }
        }
        Err(problem) => assert!(!problem.is_empty()),
    }
    if let Ok(secret) = key_file::secret(input) {
        assert!(as_keys.is_err(), "it is a key, which others have, too");
        assert!(secret.len() >= 32 && input.starts_with(secret));
        let rest = input.get(secret.len()..).unwrap_or_default();
        assert!([&b""[..], b"\n", b"\r\n"].contains(&rest), "more than a line end is missing: {rest:?}");
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(read) = key_set::parse(looks::bare(text), KeySetOrigin::Url) {
        assert!(read.keys.iter().all(|key| key.algorithm != Algorithm::HS256), "a secret that is published");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// JSON with something wrong in it, as often as not.
    fn claims() -> impl Strategy<Value = String> {
        let number = || {
            prop_oneof![
                Just("1900000000".to_owned()),
                Just("1e18".to_owned()),
                Just("18446744073709551615".to_owned()),
                any::<i64>().prop_map(|number| number.to_string()),
                any::<f64>().prop_map(|number| number.to_string()),
            ]
        };
        let grant = (prop::sample::select(vec!["group", "user", "all"]), "[*a]{0,3}", number()).prop_map(
            |(kind, pattern, exp)| format!(r#"{{"{kind}":"{pattern}","may":["send"],"exp":{exp}}}"#),
        );
        let member = prop_oneof![
            number().prop_map(|number| format!(r#""exp":{number}"#)),
            number().prop_map(|number| format!(r#""iat":{number}"#)),
            ".{0,3}".prop_map(|user| format!(r#""sub":{user:?}"#)),
            prop::collection::vec(grant, 0..3)
                .prop_map(|grants| format!(r#""grants":[{}]"#, grants.join(","))),
        ];
        let good = r#""sub":"a","exp":1900000000"#;
        prop::collection::vec(member, 0..4)
            .prop_map(move |members| format!("{{{}}}", [vec![good.to_owned()], members].concat().join(",")))
    }

    proptest! {
        #[test]
        fn claims_hold_their_promises(claims in claims(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            super::token(claims.as_bytes());
            let mut changed = claims.into_bytes();
            let at = at.index(changed.len());
            changed[at] = byte;
            super::token(&changed);
        }

        #[test]
        fn key_files_hold_their_promises(
            which in 0usize..4,
            mark in any::<bool>(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            let ed = r#"{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
            let oct = r#"{"kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}"#;
            let mut file = match which {
                0 => ed.to_owned(),
                1 => format!(r#"{{"keys":[{ed},{oct},{{"kty":"x"}}]}}"#),
                2 => "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
                      -----END PUBLIC KEY-----\n"
                    .to_owned(),
                _ => "0123456789abcdef0123456789abcdef\n".to_owned(),
            }
            .into_bytes();
            if mark {
                file.splice(..0, *b"\xef\xbb\xbf");
            }
            super::key_file(&file);
            for (at, byte) in changes {
                let at = at.index(file.len());
                file[at] = byte;
            }
            super::key_file(&file);
        }
    }
}
