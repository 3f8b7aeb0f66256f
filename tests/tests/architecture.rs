//! The house: arrows run down only, there are no circles, and ARCHITECTURE.md draws the folders that are there.
//!
//! It reads paths in code, and Cargo.toml files, and knows nothing of Rust beyond that: a path is `crate::`, `super::`,
//! `self::` or the name of a file of one's own folder, and names, groups in groups included; a name that `lib.rs` or
//! the head of a folder hands on stands for the file that it is from. What is inside `mod tests` is not looked at, since
//! tests may use what they like. That the head of a folder declares its files and hands their names on is no arrow.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The crates, from the top floor down, and which of them each is built on: as ARCHITECTURE.md says it in words.
const CRATES: [(&str, &[&str]); 18] = [
    ("examples", &[]),
    ("tests", &["certs", "client", "protocol", "server"]),
    ("bench", &["certs", "client", "protocol", "server"]),
    ("cli", &["certs", "client", "protocol", "server", "tui"]),
    ("tui", &["client", "protocol"]),
    ("server", &["cluster", "hub", "nats", "pem", "protocol", "signalr", "token", "udp", "websocket"]),
    ("nats", &["pem"]),
    ("cluster", &["hub", "protocol"]),
    ("client", &["pem", "protocol", "websocket"]),
    ("certs", &["pem", "protocol"]),
    ("token", &["pem", "protocol"]),
    ("hub", &["protocol"]),
    ("signalr", &[]),
    ("websocket", &["protocol"]),
    ("udp", &[]),
    ("pem", &[]),
    ("protocol", &[]),
    ("fuzz", &["certs", "protocol", "server", "signalr", "token"]),
];

/// Files that are one thing with the head of their folder, cut into pages: methods of its type.
const PAGES: [&str; 2] = ["application/link/room", "application/link/uploads"];

/// The server's folders and files, from the top floor down: each may use those behind it.
const SERVER: [&str; 36] = [
    "builder",
    "start",
    "server",
    "opened",
    "error",
    "api",
    "admin",
    "edge",
    "webhooks",
    "application",
    "cluster",
    "moderation",
    "config",
    "handle",
    "arrivals",
    "hub",
    "access",
    "signalr",
    "tcp",
    "quic",
    "transport",
    "webhook",
    "cluster_settings",
    "elsewhere",
    "lists",
    "lease",
    "uptime",
    "outbound",
    "network",
    "origins",
    "telemetry",
    "home",
    "database",
    "reason",
    "notices",
    "spread",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A crate's files with their code, without tests and comments; by their path below `src`, without `.rs`.
fn sources(name: &str) -> BTreeMap<String, String> {
    let source = root().join(name).join("src");
    let (mut files, mut folders) = (BTreeMap::new(), vec![source.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let module = path.strip_prefix(&source).unwrap().with_extension("").to_str().unwrap().to_owned();
            let is_test = module.split('/').any(|part| part == "tests") || module.ends_with("/model");
            if path.extension().is_some_and(|extension| extension == "rs") && !is_test {
                files.insert(module, code(&std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!files.is_empty(), "{name} has no files");
    files
}

fn code(text: &str) -> String {
    // A module ends with the first brace that stands where it began, as rustfmt has it.
    let mut parts = text.split("\nmod tests {");
    let mut without_tests = parts.next().unwrap().to_owned();
    for part in parts {
        without_tests += part.split_once("\n}\n").map_or("", |(_, behind)| behind);
    }
    let lines = without_tests.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The names that a path goes on with: `a::{b, c::{d, e}}` is `a/b`, `a/c/d` and `a/c/e`. Stops where the path does.
fn unfolded(path: &str) -> Vec<String> {
    let end = path.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(path.len());
    let head = path[..end].trim_end_matches("::").replace("::", "/");
    let Some(group) = path[end..].strip_prefix('{').filter(|_| end == 0 || path[..end].ends_with("::"))
    else {
        // Another name for it stays with it.
        let alias = path[end..].strip_prefix(" as ").map(str::trim);
        let alias =
            alias.map(|alias| alias.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap());
        return vec![alias.map_or(head.clone(), |alias| format!("{head} as {alias}"))];
    };
    let (mut found, mut depth, mut begin) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                for name in unfolded(group[begin..at].trim()).into_iter().filter(|name| !name.is_empty()) {
                    // `self` in a group is what the group is of.
                    let name = if name == "self" { String::new() } else { name };
                    let parts = [head.as_str(), &name];
                    found.push(
                        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/"),
                    );
                }
                begin = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

/// Code without what it hands on.
fn without_handed_on(code: &str) -> String {
    let mut rest = code;
    let mut left = String::new();
    while let Some(at) = rest.find("pub") {
        let (before, from) = rest.split_at(at);
        left += before;
        let end = from.find(';').map_or(from.len(), |end| end + 1);
        let head = from.find(" use ").filter(|head| *head < end && !from[..*head].contains(['{', '\n']));
        let taken = if head.is_some() { end } else { "pub".len() };
        left += if head.is_some() { "" } else { "pub" };
        rest = &from[taken..];
    }
    left + rest
}

/// The paths in a file, from the crate's root; `files` are the files of its own folder, if it has one.
fn paths(module: &str, code: &str, files: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    let parent = module.rsplit_once('/').map_or("", |(parent, _)| parent);
    let own = without_handed_on(code);
    let above = parent.rsplit_once('/').map_or("", |(above, _)| above);
    let markers = [(code, "crate::", ""), (code, "super::super::", above), (code, "super::", parent)];
    let mut markers: Vec<(&str, String, &str)> =
        markers.map(|(code, marker, base)| (code, marker.to_owned(), base)).to_vec();
    let folders: Vec<String> = files.iter().map(|file| format!("{module}/{file}")).collect();
    if !files.is_empty() {
        markers.push((&own, "self::".to_owned(), module));
    }
    for (file, folder) in files.iter().zip(&folders) {
        markers.push((&own, format!("{file}::"), folder));
    }
    for (code, marker, base) in markers {
        for (at, _) in code.match_indices(&marker) {
            // What is behind another name, and names that end in one of these.
            let before = code[..at].chars().next_back().unwrap_or(' ');
            if before == ':' || before.is_alphanumeric() || before == '_' {
                continue;
            }
            // Who may see something is no use of it.
            if code[..at].ends_with("(in ") {
                continue;
            }
            if marker == "super::" && code[at + marker.len()..].starts_with("super::") {
                continue;
            }
            for path in unfolded(&code[at + marker.len()..]) {
                let parts = [base, path.split(" as ").next().unwrap()];
                found.push(parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/"));
            }
        }
    }
    found
}

/// What code hands on, and nothing else of it.
fn handing_on(code: &str) -> String {
    let mut found = String::new();
    for (at, _) in code.match_indices("pub") {
        let from = &code[at..];
        let end = from.find(';').map_or(from.len(), |end| end + 1);
        if from.find(" use ").is_some_and(|head| head < end && !from[..head].contains(['{', '\n'])) {
            found += &from[..end];
            found.push('\n');
        }
    }
    found
}

/// What `lib.rs` hands on: by its name, the path that it is from.
fn handed_on(lib: &str) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for (at, marker) in lib.match_indices("use ") {
        let path = &lib[at + marker.len()..];
        for path in unfolded(path.strip_prefix("self::").unwrap_or(path)) {
            let (path, alias) =
                path.split_once(" as ").map_or((&*path, None), |(path, alias)| (path, Some(alias)));
            if let Some((_, name)) = path.rsplit_once('/') {
                names.insert(alias.unwrap_or(name).to_owned(), path.to_owned());
            }
        }
    }
    names
}

/// Where a path leads whose beginning is a name that was handed on.
fn resolved(handed_on: &BTreeMap<String, String>, path: &str) -> String {
    let ends = [path.len()].into_iter().chain(path.rmatch_indices('/').map(|(at, _)| at));
    let longest = ends.filter_map(|end| Some((end, handed_on.get(&path[..end])?))).next();
    longest.map_or(path.to_owned(), |(end, from)| format!("{from}{}", &path[end..]))
}

/// Which file of the crate each file uses.
fn arrows(name: &str, files: &BTreeMap<String, String>) -> BTreeMap<String, BTreeSet<String>> {
    let mut by_head = files.get("lib").map(|lib| handed_on(lib)).unwrap_or_default();
    let folder = |module: &str| -> BTreeSet<String> {
        let inside = files.keys().filter_map(|file| file.strip_prefix(module)?.strip_prefix('/'));
        inside.filter(|file| !file.contains('/')).map(str::to_owned).collect()
    };
    for (module, code) in files.iter().filter(|(module, _)| *module != "lib") {
        for (name, path) in handed_on(&handing_on(code)) {
            by_head.insert(format!("{module}/{name}"), format!("{module}/{path}"));
        }
    }
    let arrow = |(module, code): (&String, &String)| {
        let mut targets = BTreeSet::new();
        for path in paths(module, code, &folder(module)) {
            let path = resolved(&by_head, &path);
            // The longest beginning of the path that is a file.
            let mut target = path.as_str();
            while !files.contains_key(target) {
                let Some((shorter, _)) = target.rsplit_once('/') else { break };
                target = shorter;
            }
            let is_page = |page: &str| name == "server" && PAGES.contains(&page);
            if files.contains_key(target) && target != module && !is_page(target) {
                targets.insert(target.to_owned());
            }
        }
        (module.clone(), targets)
    };
    files.iter().filter(|(module, _)| *module != "lib").map(arrow).collect()
}

#[test]
fn paths_are_read_as_rust_has_them() {
    let code = "use crate::{a::{b, c::{self, D}}, E};\nfn f() { super::g::h(1) } x.my_crate::no";
    let mut found = paths("m/n", code, &BTreeSet::new());
    found.sort();
    assert_eq!(found, ["E", "a/b", "a/c", "a/c/D", "m/g/h"]);
    let code = "mod p;\npub(crate) use self::p::Q;\npub use p::{R,\n S};\nuse self::p::T;\npub fn f() { p::u(); o::p::v }";
    let mut found = paths("m/n", code, &BTreeSet::from(["p".to_owned()]));
    found.sort();
    assert_eq!(found, ["m/n/p/T", "m/n/p/u"], "by `self` and by the file");
    let names: Vec<_> = handed_on(&handing_on(code)).into_values().collect();
    assert_eq!(names, ["p/Q", "p/R", "p/S"]);
    let mut found = paths("a/b/c", "super::d; super::super::e; super::super::super::f", &BTreeSet::new());
    found.sort();
    assert_eq!(found, ["a/b/d", "a/e", "a/super/f"]);
    let names = handed_on("mod a;\npub use a::{B, c::D, g as h};\npub(crate) use e::F as G;");
    let list: Vec<_> = names.iter().map(|(name, path)| format!("{name} {path}")).collect();
    assert_eq!(list, ["B a/B", "D a/c/D", "G e/F", "h a/g"]);
    assert_eq!(["B/new", "B", "X/B"].map(|path| resolved(&names, path)), ["a/B/new", "a/B", "X/B"]);
}

/// A way from a file back to it, if there is one.
fn circle(arrows: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn follow(
        at: &str,
        arrows: &BTreeMap<String, BTreeSet<String>>,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> bool {
        if way.iter().any(|known| known == at) {
            way.push(at.to_owned());
            return true;
        }
        if done.contains(at) {
            return false;
        }
        way.push(at.to_owned());
        for next in arrows.get(at).into_iter().flatten() {
            if follow(next, arrows, way, done) {
                return true;
            }
        }
        way.pop();
        done.insert(at.to_owned());
        false
    }
    let mut done = BTreeSet::new();
    arrows.keys().find_map(|start| {
        let mut way = Vec::new();
        follow(start, arrows, &mut way, &mut done).then_some(way)
    })
}

#[test]
fn no_crate_has_a_circle_of_files() {
    let mut circles = Vec::new();
    for name in [
        "protocol",
        "pem",
        "hub",
        "cluster",
        "token",
        "signalr",
        "websocket",
        "certs",
        "client",
        "udp",
        "nats",
        "server",
        "tui",
        "cli",
        "bench",
        "tests",
    ] {
        let arrows = arrows(name, &sources(name));
        circles.extend(circle(&arrows).map(|way| format!("{name}: {}", way.join(" -> "))));
    }
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn the_servers_arrows_run_down() {
    let files = sources("server");
    let floor = |module: &str| {
        let top = module.split('/').next().unwrap();
        SERVER.iter().position(|name| *name == top)
    };
    for (module, targets) in arrows("server", &files) {
        if ["fuzzing", "microbench"].contains(&module.split('/').next().unwrap()) {
            continue;
        }
        let from =
            floor(&module).unwrap_or_else(|| panic!("{module}.rs has no floor: see SERVER in this test"));
        for target in targets {
            let to = floor(&target).unwrap();
            assert!(from <= to, "{module}.rs uses {target}.rs, which is above it");
        }
    }
}

#[test]
fn what_carries_connections_is_imported_in_one_folder_each() {
    for (module, code) in sources("server") {
        let is_inside = |folder: &str| module == folder || module.starts_with(&format!("{folder}/"));
        for word in code.split(|c: char| !(c.is_alphanumeric() || c == '_')) {
            for (prefix, folder) in [
                ("quinn", "quic"),
                ("web_transport", "quic"),
                ("tokio_rustls", "tcp"),
                ("fanfare_websocket", "tcp"),
            ] {
                let is_it =
                    word.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
                assert!(!is_it || is_inside(folder), "{module}.rs has {word}");
            }
        }
    }
}

#[test]
fn the_hub_tokens_signalr_and_the_node_have_no_runtime_no_network_and_no_clock() {
    for name in ["hub", "token", "signalr", "cluster"] {
        for (module, code) in sources(name) {
            for word in [
                "tokio",
                "quinn",
                "rustls",
                "Instant::now",
                "SystemTime::now",
                "std::net::Udp",
                "std::net::Tcp",
            ] {
                assert!(!code.contains(word), "{name}/src/{module}.rs has {word}");
            }
        }
    }
}

/// A moment of `Instant::now` in it would be compared with one of `uptime::now`, which are apart by as long as the
/// machine has slept. What the hub is told of, which has nothing to do with a lease, is the exception.
#[test]
fn what_a_lease_is_measured_by_is_asked_for_in_one_place() {
    let is_hubs = ["cluster/serving", "cluster/observers"];
    for (module, code) in sources("server") {
        let is_measured = module.starts_with("cluster/") || module == "lease";
        if is_measured && !is_hubs.contains(&module.as_str()) {
            for word in ["Instant::now", ".elapsed()"] {
                assert!(
                    !code.contains(word),
                    "server/src/{module}.rs has {word}: it is to ask crate::uptime"
                );
            }
        }
    }
}

/// What only the hub itself needs is `pub(crate)`, so that its documentation offers nothing that nobody can use. A name
/// that means something else in the server, too, is not found out.
#[test]
fn what_the_hub_makes_public_is_used_outside_of_it() {
    let words = |code: &str| {
        let words = code.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        words.map(str::to_owned).collect::<BTreeSet<String>>()
    };
    let mut used: BTreeSet<String> = sources("server").values().flat_map(|code| words(code)).collect();
    // Its tests as well: what a proof is worth is asked from outside alone.
    let cluster = root().join("cluster/src");
    let files = sources("cluster").into_keys().map(|module| cluster.join(module).with_extension("rs"));
    used.extend(files.flat_map(|file| words(&std::fs::read_to_string(file).unwrap())));
    let mut functions = 0;
    for (module, code) in sources("hub") {
        for line in code.lines() {
            let Some(function) = line.trim_start().strip_prefix("pub fn ") else { continue };
            let name = function.split(['(', '<']).next().unwrap();
            assert!(used.contains(name), "hub/src/{module}.rs: nobody uses {name}");
            functions += 1;
        }
    }
    assert!(functions > 50, "{functions} functions are few");
}

/// Whether words speak of a flag of the command line, or of a command of ours.
fn speaks_of_the_command_line(code: &str) -> bool {
    let is_flag = |at: usize| {
        let before = code[..at].chars().next_back();
        let behind = code[at + 2..].chars().next();
        before.is_none_or(|c| c != '-' && !c.is_alphanumeric())
            && behind.is_some_and(|c| c.is_ascii_lowercase())
    };
    code.match_indices("--").any(|(at, _)| is_flag(at)) || code.contains("`fanfare ")
}

#[test]
fn libraries_know_nothing_of_the_command_line() {
    for (words, expected) in [
        ("see --dev", true),
        ("(--cert", true),
        ("`fanfare certs create`", true),
        ("-----begin", false),
        ("xn--a", false),
        ("-a -- b", false),
    ] {
        assert_eq!(speaks_of_the_command_line(words), expected, "{words}");
    }
    for name in ["protocol", "pem", "hub", "token", "signalr", "certs", "client", "udp", "server"] {
        for (module, code) in sources(name) {
            for line in code.lines() {
                assert!(!speaks_of_the_command_line(line), "{name}/src/{module}.rs: {line}");
            }
        }
    }
}

/// The names of the crates that a crate is built on, ours and others': also on some systems alone, and to be built.
fn dependencies(name: &str) -> BTreeSet<String> {
    let manifest = std::fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
    let mut found = BTreeSet::new();
    let mut counts = false;
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            let is_for_tests = section.ends_with("dev-dependencies");
            counts = section.ends_with("dependencies") && !is_for_tests;
            // A table of its own for one crate.
            if let Some((_, name)) = section.split_once("dependencies.").filter(|_| !is_for_tests) {
                found.insert(name.to_owned());
            }
        } else if counts && line.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            found.insert(line.split(['.', ' ', '=']).next().unwrap().to_owned());
        }
    }
    found
}

/// The same of ours, by the names of their folders.
fn ours(name: &str) -> BTreeSet<String> {
    dependencies(name).iter().filter_map(|name| name.strip_prefix("fanfare-")).map(str::to_owned).collect()
}

/// All crates below one of ours, by Cargo.lock; of ours by their manifests, since Cargo.lock has those for tests, too.
fn below(name: &str) -> BTreeSet<String> {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let mut locked: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let name = package.split("name = \"").nth(1).unwrap().split('"').next().unwrap();
        let list =
            package.split("dependencies = [").nth(1).map_or("", |list| list.split(']').next().unwrap());
        // Of several versions each.
        let names = list.split('"').skip(1).step_by(2).map(|name| name.split(' ').next().unwrap());
        locked.entry(name).or_default().extend(names);
    }
    let (mut found, mut open) = (BTreeSet::new(), vec![format!("fanfare-{name}")]);
    while let Some(name) = open.pop() {
        let next: Vec<String> = match name.strip_prefix("fanfare-") {
            Some(own) => dependencies(own).into_iter().collect(),
            None => locked.get(name.as_str()).into_iter().flatten().map(|name| (*name).to_owned()).collect(),
        };
        open.extend(next.into_iter().filter(|name| found.insert(name.clone())));
    }
    found
}

#[test]
fn the_crates_arrows_are_those_that_are_drawn_and_run_down() {
    let workspace = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = workspace.split("members = [").nth(1).unwrap().split(']').next().unwrap();
    let members: BTreeSet<&str> = members.split('"').skip(1).step_by(2).collect();
    let known: BTreeSet<&str> = CRATES.iter().map(|(name, _)| *name).filter(|name| *name != "fuzz").collect();
    assert_eq!(known, members, "see CRATES in this test");
    for (floor, (name, drawn)) in CRATES.iter().enumerate() {
        let drawn: BTreeSet<String> = drawn.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(ours(name), drawn, "{name}: see CRATES in this test, and ARCHITECTURE.md");
        for dependency in drawn {
            let to = CRATES.iter().position(|(known, _)| *known == dependency).unwrap();
            assert!(*name == "fuzz" || floor < to, "{name} depends on {dependency}, which is above it");
        }
    }
}

#[test]
fn below_the_hub_there_is_no_runtime_and_no_network() {
    let below = below("hub");
    assert!(
        below.contains("fanfare-protocol") && below.contains("bytes") && below.contains("serde"),
        "{below:?}"
    );
    for name in ["tokio", "quinn", "quinn-proto", "rustls", "mio", "socket2"] {
        assert!(!below.contains(name), "{name} is below the hub");
    }
    assert!(self::below("client").contains("rustls"), "it would be found");
}

#[test]
fn the_drawing_is_the_folders() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut drawings = text.split("```\n").skip(1).step_by(2);
    let (crates, server) = (drawings.next().unwrap(), drawings.next().unwrap());
    for (name, _) in CRATES.iter().filter(|(name, _)| *name != "fuzz") {
        assert!(crates.lines().any(|line| line.starts_with(&format!("{name}/ "))), "{name}/ is not drawn");
    }
    for line in crates.lines() {
        let name = line.split(' ').next().unwrap();
        assert!(name.is_empty() || root().join(name).exists(), "{name} is drawn, and not there");
    }
    let (mut floors, mut drawn, mut folder) = (Vec::new(), BTreeSet::new(), String::new());
    for line in server.lines().filter(|line| !line.trim().is_empty()) {
        let name = line.trim_start().split(' ').next().unwrap();
        let is_inside = line.starts_with("  ") && !folder.is_empty();
        if !line.starts_with(' ') {
            floors.push(name.trim_end_matches('/').trim_end_matches(".rs").to_owned());
        }
        if let Some(name) = name.strip_suffix('/') {
            folder = if line.starts_with("  ") { format!("{folder}/{name}") } else { name.to_owned() };
            continue;
        }
        // A line that goes on.
        let Some(name) = name.strip_suffix(".rs") else { continue };
        if !is_inside {
            folder.clear();
        }
        drawn.insert(if is_inside { format!("{folder}/{name}") } else { name.to_owned() });
    }
    // A folder with its head beside it is drawn twice.
    floors.dedup();
    assert_eq!(floors, SERVER, "the drawing, and SERVER in this test");
    let files: BTreeSet<String> = sources("server").into_keys().collect();
    for name in &drawn {
        assert!(files.contains(name), "{name}.rs is drawn, and not there");
    }
    // The head of a folder is the folder.
    let heads: BTreeSet<String> =
        files.iter().filter_map(|name| name.rsplit_once('/')).map(|(folder, _)| folder.to_owned()).collect();
    let left_out = ["lib", "fuzzing", "microbench"];
    let is_left_out = |name: &str| left_out.contains(&name.split('/').next().unwrap());
    for name in files.iter().filter(|name| !heads.contains(*name) && !is_left_out(name)) {
        assert!(drawn.contains(name), "{name}.rs is not drawn");
    }
}
