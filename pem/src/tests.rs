//! Tests of the parser: files as people have them, and that none of them loses a section.

use proptest::prelude::*;

use super::*;

fn ders(file: &[u8]) -> Vec<(String, Vec<u8>)> {
    let blocks = parse(file).unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(file)));
    blocks.into_iter().map(|block| (block.label, block.der)).collect()
}

#[track_caller]
fn refused(file: &str, expected: Error) {
    assert_eq!(parse(file.as_bytes()).err(), Some(expected), "{file:?}");
    // The same wherever it stands.
    let good = encode("CERTIFICATE", b"good");
    assert!(parse(format!("{good}{file}").as_bytes()).is_err(), "{file:?}");
}

fn utf16(text: &str, big_endian: bool, mark: bool) -> Vec<u8> {
    let mark = mark.then_some(0xfeff);
    let bytes = |unit: u16| if big_endian { unit.to_be_bytes() } else { unit.to_le_bytes() };
    mark.into_iter().chain(text.encode_utf16()).flat_map(bytes).collect()
}

#[test]
fn files_as_people_have_them_lose_nothing() {
    let (first, second) = (encode("CERTIFICATE", &[1; 100]), encode("CERTIFICATE", &[2; 49]));
    let expected = [("CERTIFICATE".to_owned(), vec![1; 100]), ("CERTIFICATE".to_owned(), vec![2; 49])];
    let both = format!("{first}{second}");
    let bag = "Bag Attributes\n    localKeyID: 01 00\nsubject=CN = a\nissuer=CN = b\n";
    for (what, text) in [
        ("as it should be", both.clone()),
        ("a byte order mark", format!("\u{feff}{both}")),
        ("a mark in the middle, of two files put together", format!("{first}\u{feff}{second}")),
        ("glued", format!("{}{second}", first.trim_end())),
        ("no line end at the end", both.trim_end().to_owned()),
        ("CRLF", both.replace('\n', "\r\n")),
        ("CR", both.replace('\n', "\r")),
        ("doubled line ends", both.replace('\n', "\n\n")),
        ("CR CR LF", both.replace('\n', "\r\r\n")),
        ("indented", both.lines().map(|line| format!("  \t{line}\n")).collect()),
        ("spaces at the ends", both.replace('\n', "  \t\n")),
        ("no line ends at all", both.replace('\n', "")),
        ("spaces for line ends", both.replace('\n', " ")),
        ("text around", format!("# the first\n{first}{bag}{second}done\n")),
        ("text on the same lines", format!("first: {} second: {} done", first.trim_end(), second.trim_end())),
        ("text that ends and begins", format!("The end.\nTo begin with:\n{both}-- \nsee --end-date\n---\n")),
        ("without padding", both.replace('=', "")),
        (
            "what openssl says of it",
            format!("Subject: CN=BACKEND ROOT CERTIFICATE, O=ACME VENDOR CRL\n{both}"),
        ),
        ("comments", format!("# VENDOR CERTIFICATE\n# BEGIN CERTIFICATE of Acme\n# EXTENDED KEY\n{both}")),
        ("rules", format!("#----------endpoints\n===== END OF FILE =====\n{both}")),
        ("one column", both.lines().map(one_column).collect()),
    ] {
        assert_eq!(ders(text.as_bytes()), expected, "{what}");
        for (big_endian, mark) in [(false, true), (true, true), (false, false), (true, false)] {
            // Without a mark of its own it is known by its first letter, which a mark in front of it is not.
            if mark || !text.starts_with('\u{feff}') {
                assert_eq!(ders(&utf16(&text, big_endian, mark)), expected, "{what}, UTF-16");
            }
        }
    }
    // Text around the sections may be in any encoding.
    assert_eq!(ders(&[b"caf\xe9\n", both.as_bytes()].concat()), expected);
}

/// Base64 a character a line; a line of hyphens as it is.
fn one_column(line: &str) -> String {
    if line.starts_with('-') {
        format!("{line}\n")
    } else {
        line.chars().map(|one| format!("{one}\n")).collect()
    }
}

#[test]
fn what_is_not_as_it_should_be_is_refused_with_its_line() {
    let body = STANDARD.encode([7; 30]);
    let file = |begin: &str, body: &str, end: &str| format!("{begin}\n{body}\n{end}\n");
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    refused(&format!("{begin}\n{body}\n"), Error::NoEnd { line: 1 });
    refused(&format!("text\n\n{begin}\n{body}\n"), Error::NoEnd { line: 3 });
    refused(&format!("{begin}\n{body}\n{}", file(begin, &body, end)), Error::NoEnd { line: 1 });
    refused(&format!("{begin}\n{body}\n-----END CERTIF"), Error::Marker { line: 3 });
    refused(&format!("{body}\n{end}\n"), Error::NoBegin { line: 2 });
    refused(&file(begin, &body, "-----END PRIVATE KEY-----"), Error::OtherEnd { line: 3, begin: 1 });
    refused(&file(begin, &body, "-----END X509 CERTIFICATE-----"), Error::OtherEnd { line: 3, begin: 1 });
    refused(&file(begin, "AAAA\nAA!A", end), Error::NotBase64 { line: 3 });
    refused(&file(begin, &format!("AAAA\n> {body}"), end), Error::NotBase64 { line: 3 });
    refused(&file(begin, &format!("{body}\\n"), end), Error::NotBase64 { line: 2 });
    refused(&file(begin, "AAA=\nAAAA", end), Error::NotBase64 { line: 3 });
    refused(&file(begin, "AAAA\u{a0}", end), Error::NotBase64 { line: 2 });
    refused(&file(begin, "AAAA\n\nProc-Type: 4,ENCRYPTED", end), Error::NotBase64 { line: 4 });
    refused(&file(begin, &format!("Proc-Type: 4{begin}\n{body}"), end), Error::NotBase64 { line: 2 });
    refused(&file(begin, "AAAAA", end), Error::Uneven { line: 3 });
    refused(&file(begin, "AAA\nAA=", end), Error::Uneven { line: 4 });
    refused(&file(begin, "", end), Error::Empty { line: 1 });
    for almost in [
        "-----begin certificate-----",
        "-----Begin Certificate-----",
        "----BEGIN CERTIFICATE-----",
        "---- BEGIN SSH2 PUBLIC KEY ----",
        "----- BEGIN CERTIFICATE -----",
        "-----BEGIN CERTIFICATE----",
        "-----BEGIN CERTIFICATE",
        "-----BEGIN\tCERTIFICATE-----",
        "-----BEGIN-----",
        "-----BEGIN  CERTIFICATE-----",
        "-----BEGIN CERTIFICATE -----",
        "-----BEGIN Certificate-----",
        "BEGIN CERTIFICATE-----",
        "\u{2014}\u{2014}-BEGIN CERTIFICATE\u{2014}\u{2014}-",
        "\u{2013}\u{2013}\u{2013}BEGIN CERTIFICATE",
        "-----BEGINCERTIFICATE-----",
        "--BEGIN CERTIFICATE--",
        "=====BEGIN CERTIFICATE=====",
        "_____BEGIN X509 CRL_____",
        "&#45;&#45;&#45;&#45;&#45;BEGIN EC PRIVATE KEY&#45;&#45;&#45;&#45;&#45;",
        "-\u{200b}-\u{200b}-\u{200b}-\u{200b}-\u{200b}BEGIN\u{200b} CERTIFICATE-----",
        "-----\u{200b}BEGIN CERTIFICATE\u{200b}-----",
    ] {
        refused(&file(almost, &body, end), Error::Marker { line: 1 });
    }
    // Two of which the second shares its hyphens with the first.
    // Some of the hyphens are the second one's own: found by the fuzzer.
    for rest in
        ["BEGIN CERTIFICATE", "-BEGIN CERTIFICATE", "--BEGIN CERTIFICATE", "----BEGIN CERTIFICATE-----"]
    {
        refused(&format!("{begin}\n{body}\n{end}{rest}\n"), Error::Marker { line: 3 });
    }
    let shared = format!("{begin}\n{body}\n-----END CERTIFICATE-----BEGIN CERTIFICATE-----\n{body}\n{end}\n");
    refused(&shared, Error::Marker { line: 3 });
    refused(&file(&format!("{begin}BEGIN CERTIFICATE-----"), &body, end), Error::Marker { line: 1 });
    refused(&format!("{begin}END CERTIFICATE-----\n"), Error::Marker { line: 1 });
    // Lines are counted as editors do.
    refused(&format!("\r\n\r\n{begin}\r\n{body}"), Error::NoEnd { line: 3 });
    refused(&format!("\r\r{begin}\r{body}"), Error::NoEnd { line: 3 });
}

#[test]
fn what_cannot_be_read_as_utf_16_is_refused_and_something_else_is_not_pem() {
    let text = encode("CERTIFICATE", &[1; 100]);
    let mut whole = utf16(&text, false, true);
    whole.push(b'x');
    assert_eq!(parse(&whole), Err(Error::Encoding { line: text.lines().count() + 1 }));
    let half = utf16(&text, false, true);
    assert_eq!(parse(&half[..half.len() / 2]), Err(Error::NoEnd { line: 1 }));
    for other in [&b""[..], b"hello", b"\xff\xfe\x00\xd8x", b"\x30\x82\x01", &[0; 9]] {
        assert_eq!(parse(other), Ok(Vec::new()), "{other:?}");
    }
}

/// Two bytes in front, and nothing was left of the certificates behind them: found by the property test below.
#[test]
fn a_section_behind_what_looks_like_another_encoding_is_not_left_out() {
    let good = encode("CERTIFICATE", &[7; 60]).repeat(2);
    for before in [&b"\x00\x01"[..], b"a\x00", b"\xff\xfe", b"\xfe\xff", b"\xff\xfea\x00\n\x00"] {
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let file = [before, good.as_bytes()].concat();
        assert_eq!(parse(&file), Err(Error::Encoding { line }), "{before:?}");
    }
}

/// What `>>` of another program makes. The second certificate was left out, and nobody was told.
#[test]
fn files_of_two_encodings_are_refused() {
    let (first, second) = (encode("CERTIFICATE", &[1; 100]), encode("CERTIFICATE", &[2; 49]));
    for big_endian in [false, true] {
        for mark in [false, true] {
            let appended = [first.as_bytes(), &utf16(&second, big_endian, mark)].concat();
            let line = Error::Encoding { line: first.lines().count() + 1 };
            assert_eq!(parse(&appended), Err(line), "{big_endian} {mark}");
            for even in [second.clone(), format!("{second}\n")] {
                let appended = [&utf16(&first, big_endian, mark)[..], even.as_bytes()].concat();
                assert!(matches!(parse(&appended), Err(Error::Encoding { .. })), "{big_endian} {mark}");
            }
        }
    }
}

#[test]
fn headers_are_read_and_passphrases_are_known() {
    let body = STANDARD.encode([7; 30]);
    let old = format!(
        "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00-11\n\n{body}\n-----END EC PRIVATE KEY-----\n"
    );
    for text in [old.clone(), old.replace('\n', "\r\n")] {
        let blocks = parse(text.as_bytes()).unwrap();
        assert!(blocks[0].is_encrypted() && blocks[0].der() == [7; 30], "{text:?}");
    }
    assert!(parse(encode("ENCRYPTED PRIVATE KEY", b"x").as_bytes()).unwrap()[0].is_encrypted());
    let plain = &parse(encode("PRIVATE KEY", b"xyz").as_bytes()).unwrap()[0];
    assert!(!plain.is_encrypted());
    let shown = format!("{plain:?}");
    assert!(shown.contains("PRIVATE KEY") && !shown.contains("120"), "{shown}");
}

#[test]
fn certificates_are_used_or_refused_and_what_stands_beside_them_is_passed_over() {
    let found = |labels: &[&str]| {
        let text: String = labels.iter().map(|label| encode(label, label.as_bytes())).collect();
        certificates(&parse(text.as_bytes()).unwrap()).map(|found| found.len())
    };
    assert_eq!(found(&["CERTIFICATE", "X509 CERTIFICATE"]), Ok(2));
    let beside = ["EC PARAMETERS", "EC PRIVATE KEY", "CERTIFICATE", "DH PARAMETERS", "CERTIFICATE REQUEST"];
    assert_eq!(found(&beside), Ok(1));
    for other in ["TRUSTED CERTIFICATE", "PKCS7", "CMS", "X509 CRL", "CERT", "ATTRIBUTE CERTIFICATE"] {
        let line = encode("CERTIFICATE", b"CERTIFICATE").lines().count() + 1;
        assert_eq!(found(&["CERTIFICATE", other]).map_err(|unused| unused.line), Err(line), "{other}");
        assert_eq!(found(&[other]), Ok(0), "the caller says what it is instead");
    }
}

proptest! {
    /// Any sections, written in any of the ways, are found again; and any change of a byte is found, or is of no
    /// consequence.
    #[test]
    fn sections_are_found_again_however_they_are_written(
        sections in prop::collection::vec(("[A-Z]{1,9}( [A-Z0-9]{1,9})?", prop::collection::vec(any::<u8>(), 1..200)), 1..5),
        end in prop::sample::select(vec!["\n", "\r\n", "\r", " ", ""]),
        between in "[a-z =:.\u{e9}\n-]{0,30}",
    ) {
        let text: String = sections.iter().map(|(label, der)| encode(label, der).replace('\n', end) + &between).collect();
        prop_assert_eq!(ders(text.as_bytes()), sections);
    }

    #[test]
    fn no_bytes_lose_a_section(bytes in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>()) {
        let good = encode("CERTIFICATE", &[7; 60]);
        let mut file = good.repeat(2).into_bytes();
        let at = at.index(file.len());
        file.splice(at..at, bytes);
        if let Ok(blocks) = parse(&file) {
            let begins = String::from_utf8_lossy(&file).matches(BEGIN).count();
            prop_assert!(blocks.len() >= begins.min(2), "{} of {begins}", blocks.len());
        }
    }
}
