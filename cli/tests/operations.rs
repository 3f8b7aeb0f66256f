//! OPERATIONS.md, command by command, as an operator would follow it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod support;

use support::manual::{Harness, blocks, follow};
use support::{Process, Signal};

const MANUAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../OPERATIONS.md");

#[test]
fn the_operators_manual_does_what_it_says() {
    let text = std::fs::read_to_string(MANUAL).unwrap();
    // Between the backup and the restore the reader is told to stop the server.
    let (before, after) = text.split_once("<!-- test: stop -->").unwrap();
    let mut harness = Harness::new();
    for part in [before, after] {
        let mut going_on: Vec<Process> = Vec::new();
        for block in blocks(part) {
            for typed in &block.commands {
                if block.name.starts_with("serve") {
                    going_on.push(harness.serve(typed));
                } else if block.stays {
                    let mut process = harness.start(typed);
                    follow(&mut process.out, &harness.here(&typed.output));
                    going_on.push(process);
                } else {
                    harness.run(typed);
                }
            }
        }
        // The server is the first.
        let server = going_on.remove(0);
        server.signal(Signal::TERM);
        assert_eq!(server.end().code, Some(0));
    }
}

/// Every command of a marked block is run above; this sees to it that there are no others.
#[test]
fn every_block_of_commands_is_marked() {
    let text = std::fs::read_to_string(MANUAL).unwrap();
    let fences = text.lines().filter(|line| *line == "```sh" || *line == "```console").count();
    assert_eq!(blocks(&text.replace("<!-- test: stop -->\n", "")).len(), fences);
}
