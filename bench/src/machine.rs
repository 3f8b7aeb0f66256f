//! The machine in words: what a reader must know to compare.

use std::collections::BTreeMap;
use std::fs;

/// Processor, cores, memory, kernel.
#[must_use]
pub fn described() -> BTreeMap<String, String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let (processors, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let gib = field(&memory, "MemTotal")
        .and_then(|text| text.trim_end_matches(" kB").parse::<f64>().ok())
        .map_or_else(String::new, |kib| format!("{:.0} GiB", kib / 1_048_576.0));
    BTreeMap::from([
        ("cores".to_owned(), cores.to_string()),
        ("kernel".to_owned(), read("/proc/sys/kernel/osrelease").trim().to_owned()),
        ("memory".to_owned(), gib),
        ("processor".to_owned(), field(&processors, "model name").unwrap_or_else(|| "unknown".to_owned())),
    ])
}
