//! The reading of PEM files, for the fuzzer.
//!
//! In: the bytes of a file. Out: nothing; it panics where a promise is broken: nothing between a BEGIN and an END is
//! left out in silence, sections are the same when they are written again in any of the usual ways, and an error is one
//! line that names the file. Not part of the crate's interface: it exists only with `--cfg fuzzing` and in tests.
#![allow(clippy::expect_used, clippy::panic, reason = "a broken promise must stop the fuzzer")]

use std::path::Path;

use fanfare_pem::{Block, encode, parse};

use crate::Error;
use crate::pem_file::PemFile;

/// Reads a file as the server reads its own.
pub fn pem(bytes: &[u8]) {
    let path = Path::new("fuzzed.pem");
    match PemFile::parse(path, bytes) {
        Ok(file) => {
            tell(file.certificates());
            // Has no `Debug`, and should not.
            tell(file.key().map(drop));
            let text = file.first_certificate_text();
            assert_eq!(text.is_empty(), !file.holds_certificate());
            let _ = file.revocation_list();
        }
        Err(error) => tell::<()>(Err(error)),
    }
    let Ok(blocks) = parse(bytes) else { return };
    let contents = |blocks: &[Block]| -> Vec<(String, Vec<u8>)> {
        blocks.iter().map(|block| (block.label().to_owned(), block.der().to_vec())).collect()
    };
    let found = contents(&blocks);
    let written: String = found.iter().map(|(label, der)| encode(label, der)).collect();
    for text in [
        written.clone(),
        format!("\u{feff}{written}"),
        written.replace('\n', "\r\n"),
        written.replace('\n', "\r"),
        written.replace('\n', " "),
        written.replace("-----\n-----", "----------"),
    ] {
        let again = parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(contents(&again), found, "{text}");
    }
    if matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [_, 0, ..] | [0, _, ..]) {
        return;
    }
    let text = String::from_utf8_lossy(bytes);
    assert_eq!(text.matches("-----BEGIN ").count(), blocks.len(), "a section was left out");
    // What is behind it is found, too.
    let more = [bytes, b"\n", encode("CERTIFICATE", b"one more").as_bytes()].concat();
    assert_eq!(parse(&more).map(|more| more.len()), Ok(blocks.len() + 1));
}

fn tell<T>(outcome: Result<T, Error>) {
    if let Err(error) = outcome {
        let text = error.to_string();
        assert!(text.contains("fuzzed.pem") && !text.contains(char::is_control), "{text}");
    }
}
