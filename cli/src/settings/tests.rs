//! The settings' tests: the order of the layers, and what is said of a bad file.

use std::fs;
use std::time::Duration;

use clap::Parser;
use fanfare_server::Overflow;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    serve: ServeArguments,
}

fn parse(arguments: &[&str]) -> ServeArguments {
    Line::parse_from([&["serve"], arguments].concat()).serve
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    file
}

fn refused(text: &str) -> String {
    let file = file(text);
    let arguments = parse(&["--config", file.path().to_str().unwrap()]);
    let message = Plan::new(&arguments).unwrap_err().to_string();
    message.replace(file.path().to_str().unwrap(), "FILE")
}

#[test]
fn flags_go_before_the_file_and_the_file_before_the_defaults() {
    let file = file("dev = true\nlisten = '127.0.0.1:1'\noutbox_frames = 99\noverflow = 'drop-oldest'\n");
    let path = file.path().to_str().unwrap();
    let plan =
        Plan::new(&parse(&["--config", path, "--listen", "127.0.0.1:2", "--idle-timeout", "1m"])).unwrap();
    assert_eq!(plan.config.listen, "127.0.0.1:2".parse().unwrap());
    assert_eq!(plan.config.outbox.frames, 99);
    assert_eq!(plan.config.outbox.overflow, Overflow::DropOldest);
    assert_eq!(plan.config.idle_timeout, Duration::from_secs(60));
    assert_eq!(plan.config.outbox.bytes, Config::new().outbox.bytes);
    assert_eq!(plan.certificate, Certificate::Development(vec![]));
}

#[test]
fn a_flag_can_take_back_what_the_file_says() {
    let file = file("dev = true");
    let arguments = parse(&["--config", file.path().to_str().unwrap(), "--dev=false"]);
    assert!(Plan::new(&arguments).unwrap_err().to_string().contains("serve needs --cert"));
}

#[test]
fn the_defaults_are_the_servers_own() {
    let (settings, _) = parse(&[]).merge().unwrap();
    // What counts the memory in use is the binary's allocator, and no setting.
    let mut config = settings.into_config();
    config.live_bytes = None;
    // A server of one's own keeps nothing; `serve` does.
    assert_eq!(config.state_dir.take(), Some(".fanfare".into()));
    assert_eq!(format!("{config:?}"), format!("{:?}", Config::new()));
}

#[test]
fn networks_of_proxies_are_those_of_one_layer() {
    let file = file("dev = true\ntrusted_proxy = ['192.0.2.1', '2001:db8::/32']");
    let path = file.path().to_str().unwrap();
    let trusted = |arguments: &[&str]| {
        let plan = Plan::new(&parse(&[&["--config", path], arguments].concat())).unwrap();
        plan.config.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(trusted(&[]), ["192.0.2.1", "2001:db8::/32"]);
    let typed = ["--trusted-proxy", "10.0.0.0/8,::1", "--trusted-proxy", "::ffff:127.0.0.1"];
    assert_eq!(trusted(&typed), ["10.0.0.0/8", "::1", "127.0.0.1"]);
}

#[test]
fn no_requests_per_second_is_any_number() {
    let plan = Plan::new(&parse(&["--dev", "--requests-per-second", "0"])).unwrap();
    assert_eq!(plan.config.requests_per_second, None);
}

#[test]
fn workers_are_as_many_as_processors_unless_it_is_said() {
    let workers = |arguments: &[&str]| Plan::new(&parse(arguments)).unwrap().workers.map(NonZeroUsize::get);
    assert_eq!((workers(&["--dev"]), workers(&["--dev", "--workers", "3"])), (None, Some(3)));
}

#[test]
fn a_bad_file_is_told_with_the_line_and_what_to_do() {
    assert_eq!(
        refused("dev = true\nlisen = '127.0.0.1:1'"),
        "FILE:2: there is no setting \"lisen\"; did you mean \"listen\"?"
    );
    assert!(refused("dev = true\n\nlisten = 7").starts_with("FILE:3: listen: invalid type: integer `7`"));
    assert!(refused("dev = yes").starts_with("FILE:1: "));
    assert!(refused("idle_timeout = 'soon'").starts_with("FILE:1: idle_timeout: write a time like"));
    assert!(refused("listen = 'here'").starts_with("FILE:1: listen: write an address and a port"));
    assert!(
        refused("dev = true\noutbox_frames = -1 # no\nlisten = '[::1]:1'")
            .starts_with("FILE:2: outbox_frames: ")
    );
    let missing = Plan::new(&parse(&["--config", "/nowhere/at/all"])).unwrap_err().to_string();
    assert!(missing.contains("/nowhere/at/all") && missing.contains("--config"), "{missing}");
}

#[test]
fn a_value_out_of_range_is_named() {
    let error = Plan::new(&parse(&["--dev", "--payload-bytes", "9999999"])).unwrap_err().to_string();
    assert_eq!(error, "payload_bytes is 9999999; it must be from 1 to 1048576");
    for workers in ["0", "1025"] {
        let error = Plan::new(&parse(&["--dev", "--workers", workers])).unwrap_err().to_string();
        assert_eq!(error, format!("workers is {workers}; it must be from 1 to 1024"));
    }
    let error = Plan::new(&parse(&["--dev", "--listen", "0.0.0.0:4433"])).unwrap_err().to_string();
    assert!(error.contains("loopback") && error.contains("--listen 127.0.0.1:4433"), "{error}");
}

#[test]
fn half_a_certificate_is_refused() {
    assert!(Plan::new(&parse(&["--cert", "a"])).unwrap_err().to_string().contains("needs --key"));
    assert!(Plan::new(&parse(&["--key", "a"])).unwrap_err().to_string().contains("needs --cert"));
    assert!(Plan::new(&parse(&[])).unwrap_err().to_string().contains("--dev"));
}
