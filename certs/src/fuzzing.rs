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
    let more = [bytes, b"\n", encode("CERTIFICATE", b"one more").as_bytes()].concat();
    // UTF-16, or what begins as if it were: a lone 0 does with what is put behind it.
    if matches!(more[..], [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [_, 0, ..] | [0, _, ..]) {
        return;
    }
    let text = String::from_utf8_lossy(bytes);
    assert_eq!(text.matches("-----BEGIN ").count(), blocks.len(), "a section was left out: {text:?}");
    // What looks like a piece of another encoding is refused where there is a section, and passed over where there is
    // none.
    if text.contains(['\0', '\u{2d2d}']) && matches!(parse(&more), Err(fanfare_pem::Error::Encoding { .. })) {
        return;
    }
    // What is behind it is found, too.
    assert_eq!(parse(&more).map(|more| more.len()), Ok(blocks.len() + 1));
}

fn tell<T>(outcome: Result<T, Error>) {
    if let Err(error) = outcome {
        let text = error.to_string();
        assert!(text.contains("fuzzed.pem") && !text.contains(char::is_control), "{text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look like chance, and are the same each time (xorshift, Marsaglia 2003).
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, most: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % most.max(1) as u64).unwrap()
        }
    }

    #[test]
    fn what_the_fuzzer_found_keeps_the_promises() {
        for bytes in [&b"\0"[..], b"\xff"] {
            pem(bytes);
        }
    }

    #[test]
    fn files_that_were_changed_in_some_places_keep_the_promises() {
        let two = encode("CERTIFICATE", &[1; 60]) + &encode("X509 CERTIFICATE", &[2; 31]);
        let seeds = [
            two.clone(),
            two.replace('\n', "\r\n"),
            format!("\u{feff}text\n{two}more: text\n"),
            encode("EC PARAMETERS", &[3; 9]) + &encode("EC PRIVATE KEY", &[4; 40]) + &two,
            encode("X509 CRL", &[5; 70]),
            two.replace("CERTIFICATE-----\n", "CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\n\n"),
        ];
        let pieces: [&[u8]; 14] = [
            b"-----BEGIN ",
            b"-----END ",
            b"-----",
            b"-",
            b"\n",
            b"\r",
            b"\xef\xbb\xbf",
            b"=",
            b":",
            b" ",
            b"CERTIFICATE",
            b"\0",
            b"\xff\xfe",
            b"\xe2\x80\x94",
        ];
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
        for _ in 0..20_000 {
            let mut bytes = seeds[chance.below(seeds.len())].clone().into_bytes();
            for _ in 0..=chance.below(4) {
                let at = chance.below(bytes.len());
                match chance.below(4) {
                    0 => bytes[at] = u8::try_from(chance.below(256)).unwrap(),
                    1 => drop(bytes.splice(at..at, pieces[chance.below(pieces.len())].iter().copied())),
                    2 => {
                        let end = (at + chance.below(40)).min(bytes.len() - 1);
                        bytes.drain(at.min(end)..end);
                    }
                    _ => {
                        let part = bytes[at..(at + chance.below(90)).min(bytes.len())].to_vec();
                        let to = chance.below(bytes.len());
                        drop(bytes.splice(to..to, part));
                    }
                }
            }
            pem(&bytes);
        }
    }
}
