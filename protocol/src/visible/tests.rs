//! Where the table comes from, and what it is for.

use icu_normalizer::DecomposingNormalizerBorrowed;
use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory};
use icu_properties::{CodePointMapData, CodePointSetData};
use proptest::prelude::*;

use super::*;

/// What draws nothing, or nothing by itself, though no property says so: the blanks of Braille and of Egyptian
/// hieroglyphs with the signs around them that arrange others, the joiners of Tifinagh and Brahmi, Duployan's
/// selector, a note without a head, Khitan's filler, and what stands for an object that is elsewhere.
const DRAWS_NOTHING: [(u32, u32); 8] = [
    (0x2800, 0x2800),
    (0x2d7f, 0x2d7f),
    (0xfffc, 0xfffc),
    (0x1107f, 0x1107f),
    (0x13430, 0x1345f),
    (0x16fe4, 0x16fe4),
    (0x1bc9d, 0x1bc9d),
    (0x1d159, 0x1d159),
];

fn all() -> impl Iterator<Item = char> {
    (0..=u32::from(char::MAX)).filter_map(char::from_u32)
}

fn nfd(text: &str) -> String {
    DecomposingNormalizerBorrowed::new_nfd().normalize(text).into_owned()
}

/// What is always escaped.
fn hidden(character: char) -> bool {
    use GeneralCategory as C;
    let category = CodePointMapData::<GeneralCategory>::new().get(character);
    let code = u32::from(character);
    match category {
        C::Control | C::Format | C::Unassigned | C::PrivateUse | C::Surrogate => true,
        C::LineSeparator | C::ParagraphSeparator => true,
        C::SpaceSeparator => character != ' ',
        _ => {
            CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character)
                || DRAWS_NOTHING.iter().any(|(first, last)| (*first..=*last).contains(&code))
                || !is_nfc(character.encode_utf8(&mut [0; 4]))
        }
    }
}

/// Marks, and what composes with something before it (NFC_Quick_Check=Maybe), which Hangul's letters do, too.
fn attached() -> std::collections::BTreeSet<char> {
    use GeneralCategory as C;
    let categories = CodePointMapData::<GeneralCategory>::new();
    let marks = all().filter(|character| {
        matches!(categories.get(*character), C::NonspacingMark | C::SpacingMark | C::EnclosingMark)
    });
    let composed = all().map(String::from).filter(|text| is_nfc(text)).map(|text| nfd(&text));
    let parts = composed.flat_map(|text| text.chars().skip(1).collect::<Vec<_>>());
    marks.chain(parts).filter(|character| !hidden(*character)).collect()
}

fn ranges(wanted: impl Fn(u32) -> bool) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for code in (0..=u32::from(char::MAX)).filter(|code| wanted(*code)) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == code => *last = code,
            _ => ranges.push((code, code)),
        }
    }
    ranges
}

/// Lines of at most 120 columns.
fn wrapped(pieces: impl Iterator<Item = String>, indent: &str, separator: &str) -> String {
    let mut lines = vec![String::new()];
    for piece in pieces {
        if lines.last().is_some_and(|line| indent.len() + line.len() + piece.len() + separator.len() > 112) {
            lines.push(String::new());
        }
        let line = lines.last_mut().unwrap();
        *line += &piece;
        *line += separator;
    }
    lines.iter().map(|line| format!("{indent}{}\n", line.trim_end())).collect()
}

fn in_rust(name: &str, what: &str, ranges: &[(u32, u32)]) -> String {
    let pairs = ranges.iter().map(|(first, last)| format!("(0x{first:x}, 0x{last:x}),"));
    let lines = wrapped(pairs, "    ", " ");
    format!("/// {what}\n#[rustfmt::skip]\npub(super) const {name}: &[(u32, u32)] = &[\n{lines}];\n")
}

/// For each range how many characters are between it and the last one, and how many it has, to the base of 36.
fn in_typescript(name: &str, what: &str, ranges: &[(u32, u32)]) -> String {
    let mut end = 0;
    let mut numbers = Vec::new();
    for (first, last) in ranges {
        numbers.extend([first - end, last + 1 - first].map(base_36));
        end = last + 1;
    }
    let mut lines = wrapped(numbers.into_iter(), "", " ");
    lines = lines.trim_end().lines().map(|line| format!("  \"{line} \" +\n")).collect();
    let lines = lines.trim_end_matches(" \" +\n");
    format!("/** {what} */\nexport const {name} =\n{lines}\";\n")
}

fn base_36(number: u32) -> String {
    let digit = |at: u32| char::from_digit(at % 36, 36).unwrap();
    match number {
        0..36 => digit(number).to_string(),
        _ => base_36(number / 36) + &digit(number).to_string(),
    }
}

/// Both tables as the Unicode data have them: those of ICU4X, in the version that Cargo.lock names (2.4: Unicode 18).
/// With another version, `FANFARE_BLESS=1 cargo test -p fanfare-protocol` writes them anew; `npm run bundle` is next.
#[test]
fn the_tables_are_those_of_the_unicode_data() {
    const MADE: &str = "Made from the Unicode data by the test `the_tables_are_those_of_the_unicode_data`.";
    let attached = attached();
    let is = |of: &dyn Fn(char) -> bool, code| char::from_u32(code).is_some_and(of);
    let hidden = ranges(|code| char::from_u32(code).is_none_or(hidden));
    let attached = ranges(|code| is(&|character| attached.contains(&character), code));
    let escaped = "What is always escaped.";
    let drawn = "What is drawn onto, or composed with, the character before it.";
    let rust = format!(
        "//! Which characters are escaped, as ranges of code points.\n//!\n//! {MADE}\n\n{}\n{}",
        in_rust("HIDDEN", escaped, &hidden),
        in_rust("ATTACHED", drawn, &attached)
    );
    let typescript = format!(
        "/**\n * Which characters are escaped: protocol/src/visible/table.rs in the browser.\n *\n \
         * {MADE} Two numbers for\n \
         * each range, to the base of 36: how many characters lie between the last one and it, and how many it has.\n \
         */\n\n{}\n{}",
        in_typescript("HIDDEN", escaped, &hidden),
        in_typescript("ATTACHED", drawn, &attached)
    );
    for (path, text) in [
        (concat!(env!("CARGO_MANIFEST_DIR"), "/src/visible/table.rs"), rust),
        (concat!(env!("CARGO_MANIFEST_DIR"), "/../web/src/visible-table.ts"), typescript),
    ] {
        if std::env::var_os("FANFARE_BLESS").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert!(std::fs::read_to_string(path).unwrap() == text, "{path} is not what the Unicode data have");
    }
}

#[test]
fn texts_are_shown_as_the_table_says() {
    let table: Vec<(String, String)> = serde_json::from_str(include_str!("../../visible.json")).unwrap();
    assert!(table.len() > 120);
    for (text, shown) in &table {
        assert_eq!(visible(text), *shown, "{text:?}");
    }
    let mut all: Vec<_> = table.iter().map(|(_, shown)| shown).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), table.len(), "two of them look the same");
}

/// The text that is shown so.
fn read_back(mut shown: &str) -> String {
    let mut text = String::new();
    while let Some((before, escape)) = shown.split_once("\\u{") {
        text += before;
        let (code, behind) = escape.split_once('}').unwrap();
        text.push(char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap());
        shown = behind;
    }
    text + shown
}

fn check(text: &str) {
    let shown = visible(text);
    assert_eq!(read_back(&shown), text);
    assert!(is_nfc(&shown), "{text:?}");
    assert!(!shown.chars().any(hidden), "{text:?}");
    assert!(!shown.contains("  ") && !shown.starts_with(' ') && !shown.ends_with(' '), "{text:?}");
}

#[test]
fn every_character_is_told_from_every_other() {
    for character in all() {
        check(&format!("{character}"));
        check(&format!("a{character}"));
        check(&format!("e\u{323}{character}\u{301}"));
    }
}

proptest! {
    #[test]
    fn what_is_shown_can_be_read_back_and_is_in_nfc(
        text in prop_oneof![
            "[ae \\\\u{}0-3\u{300}-\u{304}\u{323}\u{1100}\u{1161}\u{11a8}\u{ac00}\u{200b}\u{9c7}\u{9be}\"]{0,12}",
            "\\PC{0,12}",
            any::<String>(),
        ]
    ) {
        check(&text);
        check(&nfd(&text));
    }
}
