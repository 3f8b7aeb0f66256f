use super::*;

fn json(text: &'static str) -> Arguments {
    Arguments::new(Encoding::Json, text).unwrap()
}

fn packed(bytes: &'static [u8]) -> Arguments {
    Arguments::new(Encoding::MessagePack, bytes).unwrap()
}

#[test]
fn an_argument_is_read_as_what_it_is_in_both_encodings() {
    let of = [
        json(r#"["a\u0062", -3, 7, 1.5, true, "AQI=", null]"#),
        packed(b"\x97\xa2ab\xfd\x07\xcb\x3f\xf8\0\0\0\0\0\0\xc3\xc4\x02\x01\x02\xc0"),
    ];
    for arguments in of {
        assert_eq!(arguments.len(), 7);
        assert_eq!(arguments.str(0).unwrap(), "ab");
        assert_eq!(arguments.i64(1), Ok(-3));
        assert_eq!(arguments.u64(2), Ok(7));
        assert_eq!(arguments.i64(2), Ok(7));
        assert_eq!(arguments.f64(3), Ok(1.5));
        assert_eq!(arguments.f64(1), Ok(-3.0));
        assert_eq!(arguments.bool(4), Ok(true));
        assert_eq!(arguments.bytes(5).unwrap(), &b"\x01\x02"[..]);
        assert!(arguments.value(6).unwrap().is_null());
        assert_eq!(arguments.value(7), Err(ArgumentError::Missing { index: 7, count: 7 }));

        // And as nothing else.
        for index in [1, 2, 3, 4, 6] {
            assert!(arguments.str(index).is_err(), "{index} of {arguments:?}");
            assert!(arguments.bytes(index).is_err(), "{index} of {arguments:?}");
        }
        for index in [0, 3, 4, 5, 6] {
            assert!(arguments.i64(index).is_err(), "{index} of {arguments:?}");
            assert!(arguments.u64(index).is_err(), "{index} of {arguments:?}");
        }
        assert!(arguments.u64(1).is_err());
        for index in [0, 1, 2, 3, 5, 6] {
            assert!(arguments.bool(index).is_err(), "{index} of {arguments:?}");
        }
        for index in [0, 4, 5, 6] {
            assert!(arguments.f64(index).is_err(), "{index} of {arguments:?}");
        }
    }
    let largest = json("[18446744073709551615,18446744073709551616]");
    assert_eq!(largest.u64(0), Ok(u64::MAX));
    assert!(largest.i64(0).is_err() && largest.u64(1).is_err());
    assert_eq!(packed(b"\x91\xca\x3f\x80\0\0").f64(0), Ok(1.0));
}

#[test]
fn an_error_says_which_argument_and_repeats_none() {
    let arguments = json(r#"["secret"]"#);
    assert_eq!(arguments.i64(0).unwrap_err().to_string(), "argument 1 is not an integer of 64 bits");
    assert_eq!(arguments.str(1).unwrap_err().to_string(), "argument 2 is missing: there are 1");
    assert_eq!(format!("{arguments:?}"), "Arguments(JSON, 1 in 10 bytes)");
    assert_eq!(format!("{:?}", arguments.value(0).unwrap()), "Value(JSON, 8 bytes)");
}

#[test]
fn arguments_are_an_array_and_nothing_else() {
    for encoding in Encoding::ALL {
        let none = Arguments::none(encoding);
        assert!(none.is_empty());
        assert_eq!(Arguments::new(encoding, none.raw().clone()), Ok(none));
    }
    let no_array = Err(SyntaxError { at: 0, problem: Problem::NotAnArray });
    assert_eq!(Arguments::new(Encoding::Json, r#"{"a":1}"#), no_array);
    assert_eq!(Arguments::new(Encoding::MessagePack, &b"\x81\xa1a\x01"[..]), no_array);
    assert_eq!(json(" [1] \n").raw(), "[1]");
    assert!(Arguments::new(Encoding::Json, "[1] 2").is_err());
    assert!(Arguments::new(Encoding::MessagePack, &b"\x90\xc0"[..]).is_err());
}

#[test]
fn there_is_room_for_the_message_around_them() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(Arguments::new(Encoding::Json, nested(63)).is_ok());
    assert!(Arguments::new(Encoding::Json, nested(64)).is_err());
    let value = Value::new(Encoding::Json, nested(62)).unwrap();
    assert_eq!(Arguments::of(&value).unwrap().raw(), nested(63).as_str());
    let value = Value::new(Encoding::Json, nested(63)).unwrap();
    assert_eq!(Arguments::of(&value).unwrap_err().problem, Problem::TooDeep);
}

#[test]
fn one_argument_of_a_native_client_is_a_text_or_bytes() {
    for encoding in Encoding::ALL {
        let text = Arguments::of(&Value::text(encoding, "a \"quote\"")).unwrap();
        assert_eq!(text.str(0).unwrap(), "a \"quote\"");
        let bytes = Arguments::of(&Value::binary(encoding, b"\x00\xff")).unwrap();
        assert_eq!(bytes.bytes(0).unwrap(), &b"\x00\xff"[..]);
        assert!(Arguments::of(&Value::null(encoding)).unwrap().value(0).unwrap().is_null());
    }
    assert_eq!(Value::binary(Encoding::Json, b"\x00\xff").raw(), "\"AP8=\"");
}

#[test]
fn what_is_taken_out_is_a_slice_and_what_is_detached_is_none() {
    let arguments = json(r#"["a", [1, 2]]"#);
    let range = arguments.raw().as_ptr_range();
    for value in arguments.iter() {
        assert!(range.contains(&value.raw().as_ptr()), "the value was copied");
    }
    let (detached, value) = (arguments.detach(), arguments.value(1).unwrap().detach());
    assert_eq!(detached, arguments);
    assert_eq!(value, arguments.value(1).unwrap());
    assert!(!range.contains(&detached.raw().as_ptr()) && !range.contains(&value.raw().as_ptr()));
}

#[test]
fn what_stands_behind_the_first_is_arguments_again() {
    let all = Arguments::new(Encoding::Json, r#"["room", "Send" ,  {"a":[1, 2]},null]"#).unwrap();
    for (skipped, expected) in
        [(0, r#"["room","Send",{"a":[1, 2]},null]"#), (2, r#"[{"a":[1, 2]},null]"#), (4, "[]"), (9, "[]")]
    {
        for encoding in Encoding::ALL {
            let behind = all.to_encoding(encoding).unwrap().behind(skipped);
            assert_eq!(Arguments::new(encoding, behind.raw().clone()), Ok(behind.clone()), "well-formed");
            let expected = Arguments::new(Encoding::Json, expected).unwrap().to_encoding(encoding).unwrap();
            let found: Vec<_> =
                behind.iter().map(|value| value.to_encoding(Encoding::Json).unwrap()).collect();
            let wanted: Vec<_> =
                expected.iter().map(|value| value.to_encoding(Encoding::Json).unwrap()).collect();
            assert_eq!(found.len(), behind.len());
            assert_eq!(found, wanted, "{skipped} {encoding}");
        }
    }
}
