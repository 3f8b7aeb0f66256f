//! What a verifier goes by: its rules, which can be replaced, and keys from elsewhere.

use super::*;
use fanfare_protocol::GroupName;

/// A set that a URL gave.
struct Fetched(Vec<TokenKey>);

impl KeySource for Fetched {
    fn in_force(&self) -> Vec<Arc<[TokenKey]>> {
        vec![Arc::from(self.0.clone())]
    }
}

/// A key set with this public key, by this name.
fn set(point: &[u8], id: Option<&str>) -> Vec<TokenKey> {
    let mut key = json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": URL_SAFE_NO_PAD.encode(point) });
    if id.is_none() {
        key.as_object_mut().unwrap().remove("kid");
    }
    key_set::parse(&key.to_string(), KeySetOrigin::Url).unwrap().keys
}

#[test]
fn rules_that_are_replaced_count_from_then_on() {
    let files = Files::new();
    let secret = files.secret();
    let token = minter(&secret).sign(&claims()).unwrap();
    let verifier = Verifier::new(None, Arc::new(NoKeySets));
    assert_eq!(refusal(&verifier, &token), Some(TokenError::NoKeys));
    verifier.replace(TokenRules::new(keys(&secret)));
    assert_eq!(refusal(&verifier, &token), None);
    verifier.replace(TokenRules::new(Vec::new()));
    assert_eq!(refusal(&verifier, &token), Some(TokenError::NoSuchKey));
}

#[test]
fn a_token_that_a_newer_key_may_have_signed_is_told_from_one_that_none_can_have() {
    let files = Files::new();
    let (private, _, point) = files.ed25519();
    let others = Files::new();
    let stranger = others.ed25519().0;
    let by = |keys: Vec<TokenKey>| Verifier::new(Some(TokenRules::new(Vec::new())), Arc::new(Fetched(keys)));
    let outcome = |verifier: &Verifier, token: &str| {
        let refused = verifier.verify(token, NOW).map(drop).err();
        refused.map(|refused| (refused.error, refused.may_be_by_a_new_key))
    };
    let named = |key: &Path, id: &str| {
        raw(key, &json!({ "alg": "EdDSA", "kid": id }).to_string(), &claims().to_string())
    };
    let nameless = |key: &Path| raw(key, r#"{"alg":"EdDSA"}"#, &claims().to_string());
    let one = by(set(&point, Some("one")));
    assert_eq!(outcome(&one, &named(&private, "one")), None);
    assert_eq!(outcome(&one, &nameless(&private)), None);
    assert_eq!(outcome(&one, &named(&private, "two")), Some((TokenError::NoSuchKey, true)));
    assert_eq!(outcome(&one, &nameless(&stranger)), Some((TokenError::Signature, true)));
    // A key of this name is here, and it did not sign.
    assert_eq!(outcome(&one, &named(&stranger, "one")), Some((TokenError::Signature, false)));
    let secret = Minter::read_secret(&files.secret()).unwrap().sign(&claims()).unwrap();
    assert_eq!(
        outcome(&one, &secret),
        Some((TokenError::NoSuchKey, true)),
        "nor is one for its algorithm here"
    );
    let by_no_name = by(set(&point, None));
    assert_eq!(outcome(&by_no_name, &named(&private, "two")), None, "a key without a name may be any");
    assert_eq!(outcome(&by_no_name, &named(&stranger, "two")), Some((TokenError::Signature, true)));
    // What is no token is none by whatever key.
    let message = nameless(&private);
    let unreadable = format!("{}.!", message.rsplit_once('.').unwrap().0);
    assert_eq!(outcome(&one, &unreadable), Some((TokenError::Malformed, false)));
    assert_eq!(outcome(&one, "a.b"), Some((TokenError::Malformed, false)));
    let expired = raw(&private, r#"{"alg":"EdDSA"}"#, r#"{"sub":"a","exp":1}"#);
    assert_eq!(outcome(&one, &expired), Some((TokenError::Expired, false)));
}

#[test]
fn a_token_has_at_most_16_kib_and_256_grants() {
    let files = Files::new();
    let secret = files.secret();
    let (minter, verifier) = (minter(&secret), verifier(&[secret]));
    let filled = |length: usize| minter.sign(&with("x", json!("x".repeat(length)))).unwrap();
    let tokens: Vec<String> = (12_100..12_250).map(filled).collect();
    let outcome =
        |length: usize| refusal(&verifier, tokens.iter().find(|token| token.len() == length).unwrap());
    assert_eq!((outcome(16_384), outcome(16_385)), (None, Some(TokenError::TooLong)));

    let grant = json!({ "group": "g", "may": [] });
    let granted =
        |grants: Vec<Value>| refusal(&verifier, &minter.sign(&with("grants", json!(grants))).unwrap());
    assert_eq!(granted(vec![grant.clone(); 256]), None);
    assert_eq!(granted(vec![grant; 257]), Some(TokenError::TooManyGrants));
    assert_eq!(granted(vec![json!(1); 257]), Some(TokenError::TooManyGrants), "they are not even read");
    assert_eq!(granted(vec![json!(1); 256]), Some(TokenError::Grant(1)));
}

#[test]
fn a_token_ends_so_long_after_it_was_issued_whatever_it_says() {
    let files = Files::new();
    let secret = files.secret();
    let (minter, verifier) = (minter(&secret), verifier(&[secret]));
    let at = |iat: Seconds, exp: Seconds, now: Seconds| {
        let token = minter.sign(&json!({ "sub": "a", "iat": iat, "exp": exp })).unwrap();
        verify(&verifier, &token, now).map(|(_, permissions)| (permissions.ends, permissions.issued))
    };
    let month = 30 * 24 * 3_600;
    let ends = NOW + month + 30;
    assert_eq!(at(NOW, NOW + month + 1, NOW), Ok((ends, Some(NOW - 30))));
    assert_eq!(at(NOW, NOW + month + 1, ends - 1), Ok((ends, Some(NOW - 30))));
    assert_eq!(at(NOW, NOW + month + 1, ends), Err(TokenError::TooOld));
    // Where its own end is no later, that is why.
    assert_eq!(at(NOW, NOW + month, ends), Err(TokenError::Expired));
    assert_eq!(at(NOW, NOW + 60, NOW + 90), Err(TokenError::Expired));
    assert_eq!(at(NOW, NOW + 60, NOW + 89), Ok((NOW + 90, Some(NOW - 30))));
    assert_eq!(at(NOW + 30, NOW + 60, NOW), Ok((NOW + 90, Some(NOW))), "the issuer's clock is ahead");
    assert_eq!(at(NOW + 31, NOW + 60, NOW), Err(TokenError::NotYet));
}

#[test]
fn an_id_is_kept_where_it_is_text_of_1_to_256_bytes() {
    let files = Files::new();
    let secret = files.secret();
    let (minter, verifier) = (minter(&secret), verifier(&[secret]));
    let id = |jti: Value| {
        let token = minter.sign(&with("jti", jti)).unwrap();
        verify(&verifier, &token, NOW).map(|(_, permissions)| (permissions.token, permissions.proof))
    };
    for text in ["a".to_owned(), "a".repeat(256)] {
        assert_eq!(id(json!(text)), Ok((Some(text), Proof::Token)));
    }
    for bad in [json!(""), json!("a".repeat(257)), json!(7)] {
        assert_eq!(id(bad), Err(TokenError::Id));
    }
}

#[test]
fn what_is_wrong_in_a_grant_is_said_of_its_end_only_where_it_is_its_end() {
    let files = Files::new();
    let secret = files.secret();
    let (minter, verifier) = (minter(&secret), verifier(&[secret]));
    let outcome = |grant: Value| {
        let token = minter.sign(&with("grants", json!([grant]))).unwrap();
        verify(&verifier, &token, NOW)
            .map(|(_, permissions)| permissions.grants.join_until(&GroupName::new("g").unwrap()))
    };
    let join = |exp: Value| json!({ "group": "g", "may": ["join"], "exp": exp });
    let unknown = |exp: Value| json!({ "group": "g", "may": ["join"], "exp": exp, "not": 1 });
    assert_eq!(outcome(join(json!(NOW + 5))), Ok(NOW + 35));
    assert_eq!(outcome(join(Value::Null)), Ok(Seconds::MAX), "as long as the token");
    assert_eq!(outcome(join(json!("soon"))), Err(TokenError::GrantEnd(1)));
    for exp in [Value::Null, json!(NOW + 5)] {
        assert_eq!(outcome(unknown(exp)), Err(TokenError::Grant(1)));
    }
    assert_eq!(outcome(unknown(json!("soon"))), Err(TokenError::GrantEnd(1)));
    assert_eq!(outcome(json!({ "group": "g", "may": "join" })), Err(TokenError::Grant(1)));
    assert_eq!(outcome(json!({ "group": "g" })), Err(TokenError::Grant(1)));
    assert_eq!(outcome(json!({ "group": "g", "may": [1] })), Err(TokenError::Grant(1)));
    assert_eq!(outcome(json!({ "group": "g", "may": ["join", 1] })), Err(TokenError::Grant(1)));
}

#[test]
fn a_refusal_has_its_number_and_its_words() {
    let denial = Denial::from(TokenError::Grant(7));
    assert_eq!((denial.code, denial.detail.starts_with("Entry 7 of")), (Code::TokenInvalid, true));
    let refused = Refused::from(TokenError::NotYet);
    assert_eq!((refused.error.code(), refused.may_be_by_a_new_key), (Code::TokenNotYetValid, false));
}
