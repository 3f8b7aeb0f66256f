//! PEM (RFC 7468) as people have it: blocks on lines of any kind or on none, with text around them.
//!
//! In: text. Out: each block with the line that it begins on. Invariant: what is between a BEGIN and its END is handed
//! out, or the whole is refused with the line; nothing is left out in silence.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";

/// What is between a BEGIN and its END.
pub(super) struct Block {
    /// The line of BEGIN, from 1 on.
    pub(super) line: usize,
    /// `PUBLIC KEY`
    pub(super) label: String,
    pub(super) der: Vec<u8>,
}

/// Whether there is anything that wants to be PEM.
pub(super) fn is_pem(text: &str) -> bool {
    text.contains(BEGIN)
}

/// All blocks of a text.
///
/// # Errors
/// Where it is damaged, and how.
pub(super) fn blocks(text: &str) -> Result<Vec<Block>, String> {
    let mut found = Vec::new();
    let (mut line, mut rest) = (1, text);
    loop {
        let Some((before, behind)) = rest.split_once(BEGIN) else {
            return if rest.contains(END) { Err(stray(line, rest)) } else { Ok(found) };
        };
        if before.contains(END) {
            return Err(stray(line, before));
        }
        line += lines(before);
        let cut = || format!("line {line}: the PEM is damaged: this block has no END");
        let label = behind.split_once("-----").map(|(label, _)| label).filter(|label| !label.contains('\n'));
        let label =
            label.ok_or_else(|| format!("line {line}: the PEM is damaged: this BEGIN has no label"))?;
        let body = behind.get(label.len() + 5..).unwrap_or_default();
        let (body, after) = body.split_once(&format!("{END}{label}-----")).ok_or_else(cut)?;
        if body.contains(BEGIN) || body.contains(END) {
            return Err(cut());
        }
        if body.contains(':') {
            return Err(format!("line {line}: the block is encrypted, or has headers; it must be plain PEM"));
        }
        let base64: String = body.split_ascii_whitespace().collect();
        let der = STANDARD.decode(base64).map_err(|_| {
            format!("line {line}: the PEM is damaged: what is between BEGIN and END is not base64")
        })?;
        found.push(Block { line, label: label.to_owned(), der });
        line += lines(behind) - lines(after);
        rest = after;
    }
}

fn stray(line: usize, text: &str) -> String {
    let line = line + text.find(END).and_then(|at| text.get(..at)).map_or(0, lines);
    format!("line {line}: the PEM is damaged: this END has no BEGIN")
}

fn lines(text: &str) -> usize {
    text.matches('\n').count()
}

/// The block alone, as the strictest reader wants it.
pub(super) fn text(block: &Block) -> String {
    let base64 = STANDARD.encode(&block.der);
    // Base64 is ASCII, so it can be cut anywhere.
    let lines: Vec<&str> = (0..base64.len())
        .step_by(64)
        .filter_map(|start| base64.get(start..base64.len().min(start + 64)))
        .collect();
    format!("{BEGIN}{label}-----\n{}\n{END}{label}-----\n", lines.join("\n"), label = block.label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Result<Vec<(usize, String, Vec<u8>)>, String> {
        Ok(blocks(text)?.into_iter().map(|block| (block.line, block.label, block.der)).collect())
    }

    #[test]
    fn every_block_is_found_however_it_stands_there() {
        let a = |line| (line, "A".to_owned(), vec![0, 0, 0]);
        let b = |line| (line, "B C".to_owned(), vec![255]);
        for (text, expected) in [
            ("-----BEGIN A-----\nAAAA\n-----END A-----\n", vec![a(1)]),
            ("\u{feff}-----BEGIN A-----\r\nAA\r\nAA\r\n-----END A-----\r\n", vec![a(1)]),
            (
                "-----BEGIN A-----\nAAAA\n-----END A----------BEGIN B C-----\n/w==\n-----END B C-----",
                vec![a(1), b(3)],
            ),
            (
                "subject\nissuer: x\n-----BEGIN A-----\nAAAA\n-----END A-----\nnext\n\n\
                 -----BEGIN B C-----\n/w==\n-----END B C-----\nend\n",
                vec![a(3), b(8)],
            ),
            ("-----BEGIN A-----AAAA-----END A-----", vec![a(1)]),
        ] {
            assert_eq!(found(text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn a_damaged_one_is_refused_with_its_line() {
        for (text, line) in [
            ("x\n-----BEGIN A-----\nAAAA\n", "line 2: "),
            ("-----BEGIN A-----\nAAAA\n-----END B-----\n", "line 1: "),
            (
                "-----BEGIN A-----\nAAAA\n-----END A-----\n-----BEGIN A-----\nA!AA\n-----END A-----\n",
                "line 4: ",
            ),
            ("-----BEGIN A-----\nAAAA\n-----BEGIN A-----\nAAAA\n-----END A-----\n", "line 1: "),
            ("-----BEGIN A-----\nAAAA\n-----END A-----\n-----END A-----\n", "line 4: "),
            ("-----END A-----\n-----BEGIN A-----\nAAAA\n-----END A-----\n", "line 1: "),
            ("-----BEGIN A\nAAAA\n-----END A-----\n", "line 1: "),
            ("-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END A-----\n", "encrypted"),
        ] {
            let error = found(text).unwrap_err();
            assert!(error.contains(line), "{text:?}: {error}");
        }
    }
}
