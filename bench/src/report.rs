//! `docs/benchmarks/`: the report, from the files that runs left there.
//!
//! In: `results.json`, `soak.json`, `instructions.json` and `levers.json` where they are, and the words of `notes.md`.
//! Out: `README.md` and plots. Invariant: every number in the report is one of those files.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Fallible, Tried, wrong};
use crate::figures::{CPU, Results};
use crate::plan::{CONNECT, IDLE, KIBIBYTE, LATENCY, PACED, SATURATED};
use crate::table;
use crate::workloads::Workload;
use crate::workloads::soak::Soaked;
use crate::{budgets, plot};

/// One thing that was tried.
#[derive(Debug, Deserialize)]
struct Lever {
    /// What.
    name: String,
    /// Whether it stays.
    kept: bool,
    /// What it gave, by metric; each is with against without, in one run.
    gave: BTreeMap<String, String>,
    /// Why it stays or does not.
    why: String,
}

/// Makes the report anew.
///
/// # Errors
/// When there are no results, a file is none of ours, or cannot be written.
pub fn make(directory: &Path) -> Fallible<()> {
    let results: Results =
        read(directory, "results.json")?.ok_or_else(|| wrong("there is no results.json: run make bench"))?;
    let soaked: Option<Soaked> = read(directory, "soak.json")?;
    let levers: Vec<Lever> = read(directory, "levers.json")?.unwrap_or_default();
    let counts: BTreeMap<String, f64> = read(directory, "instructions.json")?.unwrap_or_default();
    let notes = fs::read_to_string(directory.join("notes.md")).unwrap_or_default();

    let mut out = String::from(
        "# How fast Fanfare is\n\nMade by `make bench-report` from the files beside it; every number here is in one of them.\n\n",
    );
    let _ = writeln!(out, "{}", notes.trim());
    let _ = writeln!(out, "\n## The machine\n");
    for (what, how) in &results.machine {
        let _ = writeln!(out, "- {what}: {how}");
    }
    let _ = writeln!(out, "- measured with: `{}`\n\n| peer | version |\n| --- | --- |", results.command);
    for (peer, version) in &results.versions {
        let _ = writeln!(out, "| {peer} | {version} |");
    }
    let _ =
        writeln!(out, "\n## Budgets\n\n| figure | found | must | aim | |\n| --- | --- | --- | --- | --- |");
    for verdict in budgets::judge(&results) {
        let unit = if verdict.unit == "x" { String::new() } else { format!(" {}", verdict.unit) };
        let shown = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.2}{unit}"));
        let (found, must, aim) = (shown(verdict.found), shown(Some(verdict.must)), shown(verdict.aim));
        let _ = writeln!(out, "| {} | {found} | {must} | {aim} | {} |", verdict.figure, verdict.word());
    }
    let _ = writeln!(out, "\n## Plots\n");
    for (file, title, cell, metric) in [
        ("saturated", "Server CPU per delivery, one group of 1,000, saturated", SATURATED, CPU),
        ("paced", "Server CPU per delivery, 30 messages/s to 1,000", PACED, CPU),
        ("kibibyte", "Server CPU per delivery, 1,024 bytes to 100, saturated", KIBIBYTE, CPU),
        ("latency", "p99 latency to 100 members, the same rate for all", LATENCY, "p99_us"),
        ("connect", "Server CPU per connect", CONNECT, CPU),
        ("idle", "Memory per idle connection", IDLE, "memory_bytes"),
    ] {
        if let Some(svg) = bars(&results, title, cell, metric)? {
            write(directory, &format!("{file}.svg"), &svg)?;
            let _ = writeln!(out, "![{title}]({file}.svg)\n");
        }
    }
    if let Some(soaked) = &soaked {
        out += &soak(directory, soaked)?;
    }
    if !levers.is_empty() {
        let _ =
            writeln!(out, "## What was tried\n\n| lever | kept | gave | why |\n| --- | --- | --- | --- |");
        for lever in &levers {
            let gave: Vec<_> = lever.gave.iter().map(|(what, how)| format!("{what}: {how}")).collect();
            let kept = if lever.kept { "yes" } else { "no" };
            let _ = writeln!(out, "| {} | {kept} | {} | {} |", lever.name, gave.join("; "), lever.why);
        }
        out.push('\n');
    }
    if !counts.is_empty() {
        let _ = writeln!(
            out,
            "## Instructions\n\nCounted by callgrind (`make bench-instructions`), so a noisy machine does not matter.\n\n| what | instructions |\n| --- | --- |"
        );
        for (what, count) in &counts {
            let _ = writeln!(out, "| {what} | {count:.0} |");
        }
        out.push('\n');
    }
    let _ = writeln!(
        out,
        "## All figures\n\nMedians; behind CPU the least and the most of the rounds.\n\n```text\n{}```",
        table::printed(&results)
    );
    write(directory, "README.md", &out)
}

fn bars(results: &Results, title: &str, cell: Workload, metric: &str) -> Fallible<Option<String>> {
    let cell = cell.name();
    let rows: Vec<_> = results.rows.iter().filter(|row| row.cell == cell && row.metric == metric).collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let unit = match metric {
        CPU => "us",
        "memory_bytes" => "KiB",
        _ => "us",
    };
    let bars: Vec<_> = rows
        .iter()
        .map(|row| (row.peer.clone(), row.median, format!("{} {unit}", table::value(metric, row.median))))
        .collect();
    plot::bars(title, &bars).map(Some)
}

fn soak(directory: &Path, soaked: &Soaked) -> Fallible<String> {
    let mib = |bytes: f64| bytes / 1_048_576.0;
    let points: Vec<_> = soaked.memory.iter().map(|(at, bytes)| (at / 60.0, mib(*bytes))).collect();
    let title = format!("{} connections in three groups each: resident memory", soaked.connections);
    write(directory, "soak.svg", &plot::line(&title, "minutes", "MiB", &points)?)?;
    Ok(format!(
        "## {} connections, {:.0} minutes\n\n{} deliveries and {} joins and leaves; every message arrived once and in order. Memory: {:.1} MiB after the first minute, {:.1} MiB at the end, {:+.3} MiB a minute by least squares. The server took {:.0} % of one core.\n\n![{title}](soak.svg)\n\n",
        soaked.connections,
        soaked.seconds / 60.0,
        soaked.deliveries,
        soaked.changes,
        mib(soaked.after_first_minute),
        mib(soaked.at_end),
        mib(soaked.slope_per_minute),
        soaked.cpu_percent,
    ))
}

/// What a file says; none where it is not there.
fn read<T: DeserializeOwned>(directory: &Path, name: &str) -> Fallible<Option<T>> {
    let path = directory.join(name);
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).tried(format!("reading {}", path.display())).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { what: format!("reading {}", path.display()), source }),
    }
}

fn write(directory: &Path, name: &str, text: &str) -> Fallible<()> {
    let path = directory.join(name);
    fs::write(&path, text).tried(format!("writing {}", path.display()))
}
