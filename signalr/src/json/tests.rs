use proptest::prelude::*;

use super::*;

fn judged(text: &[u8]) -> Result<usize, SyntaxError> {
    let mut scanner = Scanner::new(text, 64)?;
    let value = scanner.value()?;
    scanner.end()?;
    Ok(value.elements)
}

#[test]
fn values_are_stepped_over_and_counted() {
    for (text, elements) in [
        ("null", 0),
        (" true ", 0),
        ("\t\r\n false", 0),
        ("0", 0),
        ("-0", 0),
        ("-1.5e+10", 0),
        ("1E-400", 0),
        (r#""""#, 0),
        (r#""\" \\ \/ \b \f \n \r \t \u00e9 \ud83d\ude00 é 😀""#, 0),
        ("\"\u{7f}\u{2028}\"", 0),
        ("[]", 0),
        ("[ ]", 0),
        ("[1 , [2, 3], {}]", 3),
        ("{}", 0),
        (r#"{"a":1,"a":{"b":[]}}"#, 2),
    ] {
        assert_eq!(judged(text.as_bytes()), Ok(elements), "{text}");
    }
}

#[test]
fn what_is_no_json_is_refused_at_its_place() {
    for (text, at, problem) in [
        (&b""[..], 0, Problem::End),
        (b"  ", 2, Problem::End),
        (b"nul", 3, Problem::End),
        (b"nulL", 3, Problem::Unexpected),
        (b"nulls", 4, Problem::Trailing),
        (b"1 2", 2, Problem::Trailing),
        (b"NaN", 0, Problem::Unexpected),
        (b"'a'", 0, Problem::Unexpected),
        (b"\xef\xbb\xbf1", 0, Problem::Unexpected),
        (b"01", 1, Problem::Trailing),
        (b"-", 1, Problem::Number),
        (b"+1", 0, Problem::Unexpected),
        (b".5", 0, Problem::Unexpected),
        (b"1.", 2, Problem::Number),
        (b"1e", 2, Problem::Number),
        (b"1e400", 5, Problem::NumberTooLarge),
        (b"-1e400", 6, Problem::NumberTooLarge),
        (b"\"a", 2, Problem::End),
        (b"\"\n\"", 1, Problem::ControlCharacter),
        (b"\"\x1e\"", 1, Problem::ControlCharacter),
        (b"\"\\x\"", 3, Problem::Escape),
        (b"\"\\u12g4\"", 6, Problem::Escape),
        (b"\"\\ud800\"", 8, Problem::LoneSurrogate),
        (b"\"\\udc00\"", 7, Problem::LoneSurrogate),
        (b"\"\\ud800\\u0041\"", 13, Problem::LoneSurrogate),
        (b"\"\xff\"", 1, Problem::NotUtf8),
        (b"\"\xed\xa0\x80\"", 1, Problem::NotUtf8),
        (b"[1", 2, Problem::End),
        (b"[1,]", 3, Problem::Unexpected),
        (b"[,1]", 1, Problem::Unexpected),
        (b"[1 2]", 3, Problem::Unexpected),
        (b"[1}", 2, Problem::Unexpected),
        (b"{1:2}", 1, Problem::Unexpected),
        (b"{\"a\"}", 4, Problem::Unexpected),
        (b"{\"a\":}", 5, Problem::Unexpected),
        (b"{\"a\":1,}", 7, Problem::Unexpected),
        (b"{\"a\"", 4, Problem::End),
        (b"/**/1", 0, Problem::Unexpected),
    ] {
        assert_eq!(judged(text), Err(SyntaxError { at, problem }), "{}", String::from_utf8_lossy(text));
    }
    let long = "9".repeat(400);
    assert_eq!(judged(long.as_bytes()), Err(SyntaxError { at: 400, problem: Problem::NumberTooLarge }));
    assert_eq!(judged(&long.as_bytes()[..300]), Ok(0));
}

#[test]
fn the_deepest_text_is_read_and_one_level_more_is_not() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(judged(nested(64).as_bytes()), Ok(1));
    assert_eq!(judged(nested(65).as_bytes()), Err(SyntaxError { at: 65, problem: Problem::TooDeep }));
    // Side by side costs no level.
    assert_eq!(judged(format!("[{}1]", "[[]],".repeat(1_000)).as_bytes()), Ok(1_001));
    // And how far it would go makes no difference.
    assert_eq!(judged("[".repeat(1 << 20).as_bytes()).unwrap_err().problem, Problem::TooDeep);
}

#[test]
fn the_elements_of_an_array_are_its_elements() {
    let elements: Vec<_> = Elements::new(br#" [ 1 , "a,]" , [2,3] , {"b":4} ]"#, 63).unwrap().collect();
    assert_eq!(elements, [&b"1"[..], br#""a,]""#, b"[2,3]", br#"{"b":4}"#]);
    assert!(Elements::new(b"{}", 63).is_none());
}

/// Texts that are nearly JSON.
fn almost_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}")),
        "-?[0-9]{1,4}(\\.[0-9]{0,3})?([eE][+-]?[0-9]{1,2})?",
        "\"\\PC{0,6}\"",
        "\"(a|\\\\u[0-9a-fA-F]{4}|\\\\.|\\\\ud[8-9a-f]..){0,3}\"",
    ];
    leaf.prop_recursive(6, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|parts| format!("[{}]", parts.join(","))),
            prop::collection::vec(("\"[a-c]{0,2}\"", inner), 0..5).prop_map(|members| {
                let members = members.into_iter().map(|(name, value)| format!("{name} : {value}"));
                format!("{{ {} }}", members.collect::<Vec<_>>().join(" ,\n"))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn serde_json_judges_the_same(
        text in almost_json(),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![Just(None), any::<u8>().prop_map(Some)],
    ) {
        let mut bytes = text.into_bytes();
        if let (Some(byte), false) = (byte, bytes.is_empty()) {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let theirs = serde_json::from_slice::<serde_json::Value>(&bytes);
        prop_assert_eq!(judged(&bytes).is_ok(), theirs.is_ok(), "{:?}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn a_text_that_is_written_is_the_text_that_is_read(text in any::<String>()) {
        let mut out = Vec::new();
        push_string(&mut out, &text);
        prop_assert_eq!(judged(&out), Ok(0));
        prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text.clone());
        let written = std::str::from_utf8(&out).unwrap();
        prop_assert_eq!(unescaped(written).unwrap(), text);
        prop_assert!(!out.contains(&RECORD_SEPARATOR));
    }
}
