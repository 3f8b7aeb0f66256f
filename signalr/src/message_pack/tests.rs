use proptest::prelude::*;

use super::*;

fn judged(bytes: &[u8]) -> Result<(), SyntaxError> {
    let mut walker = Walker::new(bytes, 64);
    walker.value()?;
    walker.end()
}

#[test]
fn each_format_is_read_as_what_it_is() {
    for (bytes, token) in [
        (&b"\xc0"[..], Token::Nil),
        (b"\xc2", Token::Bool(false)),
        (b"\xc3", Token::Bool(true)),
        (b"\x7f", Token::Unsigned(127)),
        (b"\xcc\xff", Token::Unsigned(255)),
        (b"\xcd\x01\x00", Token::Unsigned(256)),
        (b"\xce\x00\x01\x00\x00", Token::Unsigned(65_536)),
        (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", Token::Unsigned(u64::MAX)),
        (b"\xe0", Token::Signed(-32)),
        (b"\xd0\x80", Token::Signed(-128)),
        (b"\xd1\x80\x00", Token::Signed(-32_768)),
        (b"\xd2\x80\x00\x00\x00", Token::Signed(i32::MIN.into())),
        (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", Token::Signed(i64::MIN)),
        (b"\xca\x3f\x80\x00\x00", Token::F32(1.0)),
        (b"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", Token::F64(1.0)),
        (b"\xa2hi", Token::Text("hi")),
        (b"\xd9\x02hi", Token::Text("hi")),
        (b"\xda\x00\x02hi", Token::Text("hi")),
        (b"\xdb\x00\x00\x00\x02hi", Token::Text("hi")),
        (b"\xc4\x01\xff", Token::Binary(b"\xff")),
        (b"\xc5\x00\x01\xff", Token::Binary(b"\xff")),
        (b"\xc6\x00\x00\x00\x01\xff", Token::Binary(b"\xff")),
        (b"\x91\xc0", Token::Array(1)),
        (b"\xdc\x00\x01\xc0", Token::Array(1)),
        (b"\xdd\x00\x00\x00\x01\xc0", Token::Array(1)),
        (b"\x81\xc0\xc0", Token::Map(1)),
        (b"\xde\x00\x01\xc0\xc0", Token::Map(1)),
        (b"\xdf\x00\x00\x00\x01\xc0\xc0", Token::Map(1)),
        (b"\xd4\x05a", Token::Extension(5, b"a")),
        (b"\xd5\x05ab", Token::Extension(5, b"ab")),
        (b"\xd6\xffabcd", Token::Extension(-1, b"abcd")),
        (b"\xd7\x05abcdefgh", Token::Extension(5, b"abcdefgh")),
        (b"\xd8\x05abcdefghijklmnop", Token::Extension(5, b"abcdefghijklmnop")),
        (b"\xc7\x03\x05abc", Token::Extension(5, b"abc")),
        (b"\xc8\x00\x03\x05abc", Token::Extension(5, b"abc")),
        (b"\xc9\x00\x00\x00\x03\x05abc", Token::Extension(5, b"abc")),
    ] {
        assert_eq!(Walker::new(bytes, 64).token(), Ok(token), "{bytes:02x?}");
        assert_eq!(judged(bytes), Ok(()), "{bytes:02x?}");
        // Without its last byte it is none.
        let short = &bytes[..bytes.len() - 1];
        assert_eq!(judged(short).unwrap_err().problem, Problem::End, "{short:02x?}");
    }
}

#[test]
fn what_is_no_message_pack_is_refused_at_its_place() {
    for (bytes, at, problem) in [
        (&b""[..], 0, Problem::End),
        (b"\xc1", 0, Problem::Unexpected),
        (b"\x92\xc0\xc1", 2, Problem::Unexpected),
        (b"\xc0\xc0", 1, Problem::Trailing),
        (b"\xa3a\xffb", 2, Problem::NotUtf8),
        // Lengths that the bytes do not bear out: nothing is reserved for them, nor is it tried.
        (b"\xdd\xff\xff\xff\xff\xc0", 5, Problem::End),
        (b"\xdf\xff\xff\xff\xff\xc0\xc0", 5, Problem::End),
        (b"\xdb\xff\xff\xff\xffa", 5, Problem::End),
        (b"\xc6\xff\xff\xff\xffa", 5, Problem::End),
        (b"\xc9\xff\xff\xff\xff\x01a", 6, Problem::End),
    ] {
        assert_eq!(judged(bytes), Err(SyntaxError { at, problem }), "{bytes:02x?}");
    }
}

#[test]
fn the_deepest_value_is_read_and_one_level_more_is_not() {
    let nested = |depth: usize| [vec![0x91; depth - 1], vec![0x90]].concat();
    assert_eq!(judged(&nested(64)), Ok(()));
    assert_eq!(judged(&nested(65)), Err(SyntaxError { at: 65, problem: Problem::TooDeep }));
    assert_eq!(judged(&nested(1 << 20)).unwrap_err().problem, Problem::TooDeep);
    // Maps count, in their keys as well.
    let maps = [[0x81].repeat(65), vec![0xc0; 2]].concat();
    assert_eq!(judged(&maps).unwrap_err().problem, Problem::TooDeep);
    // Side by side costs no level.
    let wide = [&b"\xdc\x03\xe8"[..], &b"\x91\x90".repeat(1_000)].concat();
    assert_eq!(judged(&wide), Ok(()));
}

#[test]
fn the_elements_of_an_array_are_its_elements() {
    let elements: Vec<_> = Elements::new(b"\x93\x01\xa1a\x92\x02\x03", 63).unwrap().collect();
    assert_eq!(elements, [&b"\x01"[..], b"\xa1a", b"\x92\x02\x03"]);
    assert!(Elements::new(b"\x80", 63).is_none());
}

/// Any value.
pub(crate) fn any_value() -> impl Strategy<Value = rmpv::Value> {
    let leaf = prop_oneof![
        Just(rmpv::Value::Nil),
        any::<bool>().prop_map(rmpv::Value::from),
        any::<i64>().prop_map(rmpv::Value::from),
        any::<u64>().prop_map(rmpv::Value::from),
        any::<f32>().prop_map(rmpv::Value::from),
        any::<f64>().prop_map(rmpv::Value::from),
        "\\PC{0,40}".prop_map(rmpv::Value::from),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(rmpv::Value::from),
        (any::<i8>(), prop::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(kind, bytes)| rmpv::Value::Ext(kind, bytes)),
    ];
    leaf.prop_recursive(6, 40, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(rmpv::Value::Array),
            prop::collection::vec((inner.clone(), inner), 0..20).prop_map(rmpv::Value::Map),
        ]
    })
}

pub(crate) fn packed(value: &rmpv::Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).unwrap();
    bytes
}

proptest! {
    #[test]
    fn what_another_implementation_writes_is_read_to_its_end(
        value in any_value(),
        end in any::<prop::sample::Index>(),
    ) {
        let bytes = packed(&value);
        prop_assert_eq!(judged(&bytes), Ok(()));
        let short = &bytes[..end.index(bytes.len())];
        prop_assert_eq!(judged(short).unwrap_err().problem, Problem::End);
    }
}
