//! The README's own commands, run as they stand there, with the output that stands below them.
//!
//! How a block is marked and read, `support/manual.rs` says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod support;

use support::manual::{Block, Harness, Typed, blocks, follow, is_like};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");

#[test]
fn the_readme_does_what_it_says() {
    let mut blocks = blocks(&std::fs::read_to_string(README).unwrap());
    let mut take = |name: &str| {
        let block = take_block(&mut blocks, name);
        assert_eq!(block.commands.len(), 1, "the block {name} is one command");
        block.commands.into_iter().next().unwrap()
    };
    let (serve, listen, send) = (take("serve"), take("listen"), take("send"));
    let tokens = ["tokens", "token server", "token client"].map(|name| take_block(&mut blocks, name));
    let mut harness = Harness::new();
    let server = harness.serve(&serve);

    let mut listener = harness.start(&listen);
    let expected = harness.here(&listen.output);
    // The rest comes when something is sent.
    let joined = expected.iter().position(|line| line.contains("joined")).unwrap() + 1;
    follow(&mut listener.out, &expected[..joined]);

    let others = blocks.into_iter().flat_map(|block| block.commands);
    for typed in std::iter::once(send).chain(others) {
        harness.run(&typed);
    }
    follow(&mut listener.out, &expected[joined..]);
    drop((server, listener));

    // The part about tokens, which has a server and a directory of its own.
    let mut harness = Harness::new();
    let [tokens, server, client] = tokens;
    for typed in &tokens.commands {
        harness.run(typed);
    }
    let _server = harness.serve(&server.commands[0]);
    let mut listener = harness.start(&client.commands[0]);
    follow(&mut listener.out, &client.commands[0].output);
}

fn take_block(blocks: &mut Vec<Block>, name: &str) -> Block {
    let at = blocks.iter().position(|block| block.name == name);
    blocks.remove(at.unwrap_or_else(|| panic!("README.md has no block marked <!-- test: {name} -->")))
}

#[test]
fn only_marked_blocks_are_run_and_each_line_is_what_it_looks_like() {
    let markdown = "\
```sh
make test
```

<!-- test: one -->
```console
$ fanfare serve
...
ready on ...
$ fanfare config
```
<!-- not a test -->
<!-- test: two, stays -->
```sh
fanfare config

fanfare serve
```
";
    let typed = |command: &str, output: &[&str]| Typed {
        command: command.to_owned(),
        output: output.iter().map(|line| (*line).to_owned()).collect(),
    };
    let one = vec![typed("fanfare serve", &["...", "ready on ..."]), typed("fanfare config", &[])];
    let two = vec![typed("fanfare config", &["..."]), typed("fanfare serve", &["..."])];
    let expected = [
        Block { name: "one".to_owned(), stays: false, commands: one },
        Block { name: "two".to_owned(), stays: true, commands: two },
    ];
    assert_eq!(blocks(markdown), expected);
}

#[test]
fn three_dots_are_anything() {
    for (line, pattern, is) in [
        ("abc", "abc", true),
        ("abc", "ab", false),
        ("abc", "...", true),
        ("", "...", true),
        ("as alice, 4F", "as alice, ...", true),
        ("as alice", "as alice, ...", false),
        ("2026 INFO made it: done", "... INFO ... it...", true),
        ("a b c", "a...b...d", false),
        ("ab", "ab...b", false),
    ] {
        assert_eq!(is_like(line, pattern), is, "{line:?} {pattern:?}");
    }
}
