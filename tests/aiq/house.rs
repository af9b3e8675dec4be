//! The rules of the house: which module may import which, and where foreign crates may be named.
//! Reads the `use` lines and paths of the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// For each module, the modules of ours that it may name. What is not listed may not be named.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("by_number", &[]),
    ("cli", &["config", "protocol"]),
    ("config", &["cli", "protocol"]),
    ("telemetry", &["cli", "config", "protocol"]),
    ("client", &["protocol"]),
    ("inference", &["cli", "config", "protocol"]),
    ("scheduler", &["by_number", "config", "protocol"]),
    ("coordinator", &["by_number", "cli", "client", "config", "protocol", "scheduler", "telemetry"]),
    ("worker", &["by_number", "cli", "client", "config", "inference", "process", "protocol", "telemetry"]),
    ("palette", &["cli"]),
    ("monitor", &["cli", "client", "config", "palette", "protocol"]),
    ("load", &["cli", "client", "config", "palette", "protocol"]),
    ("health", &["cli", "client", "protocol"]),
    ("infer", &["cli", "client", "config", "protocol"]),
    ("models", &["cli", "config", "inference", "protocol"]),
    ("process", &[]),
    ("up", &["cli", "client", "config", "monitor", "process", "protocol"]),
    (
        "commands",
        &["cli", "config", "coordinator", "health", "infer", "load", "models", "monitor", "process", "up", "worker"],
    ),
];

/// Crates that only some places may name: crate, and the prefixes of the paths that may.
const CONFINED: &[(&str, &[&str])] = &[
    ("candle_core", &["inference"]),
    ("candle_nn", &["inference"]),
    ("axum", &["coordinator/api", "worker/api"]),
    ("ratatui", &["monitor", "load/live", "palette"]),
    ("crossterm", &["monitor", "load/live"]),
];

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// Every source file as (path under `src` without `.rs`, its code without comments and tests).
fn files() -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&src, &mut paths);
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&src).unwrap().with_extension("").to_str().unwrap().to_owned();
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let is_comment = |line: &&str| !line.trim_start().starts_with("//");
        (name, code.lines().filter(is_comment).collect::<Vec<_>>().join("\n"))
    };
    paths.into_iter().map(read).filter(|(name, _)| !name.ends_with("tests")).collect()
}

/// The identifiers that follow `prefix` in the code: `crate::` gives our modules.
fn named_after(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let rest = &code[at + prefix.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            let mut at_head = true;
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => at_head = true,
                    c if depth == 0 && at_head && (c.is_alphanumeric() || c == '_') => {
                        word.push(c);
                        continue;
                    }
                    c if c.is_whitespace() => continue,
                    _ => {
                        at_head = false;
                    }
                }
                if !word.is_empty() {
                    found.insert(std::mem::take(&mut word));
                }
            }
            if !word.is_empty() {
                found.insert(word);
            }
        } else {
            found.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    found
}

#[test]
fn imports_run_one_way() {
    let modules: BTreeSet<&str> = MAY_IMPORT.iter().map(|(m, _)| *m).collect();
    let mut wrong = Vec::new();
    for (file, code) in files() {
        let own = file.split('/').next().unwrap().to_owned();
        if own == "lib" || own == "main" {
            continue;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(m, _)| *m == own) else {
            wrong
                .push(format!("src/{file}.rs: module {own} has no rule; say in tests/aiq/house.rs what it may import"));
            continue;
        };
        for named in named_after(&code, "crate::") {
            if modules.contains(named.as_str()) && named != own && !allowed.contains(&named.as_str()) {
                wrong.push(format!("src/{file}.rs names crate::{named}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn foreign_crates_stay_in_their_rooms() {
    let mut wrong = Vec::new();
    for (file, code) in files() {
        for (krate, rooms) in CONFINED {
            let inside = rooms.iter().any(|room| file == *room || file.starts_with(&format!("{room}/")));
            let named = code.contains(&format!("{krate}::")) || code.contains(&format!("use {krate}"));
            if named && !inside {
                wrong.push(format!("src/{file}.rs names {krate}, which belongs under {}", rooms.join(" or ")));
            }
        }
        let unsafe_block = ["unsafe {", "unsafe fn", "unsafe impl"].iter().any(|u| code.contains(u));
        if unsafe_block && !file.starts_with("inference/kernels") {
            wrong.push(format!("src/{file}.rs has unsafe code, which belongs under inference/kernels"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_imports_reads_groups_and_paths() {
    let code = "use crate::{cli::Cli, config::{A, B}, protocol};\nlet x = crate::worker::run();";
    let expected = ["cli", "config", "protocol", "worker"].map(String::from);
    assert_eq!(named_after(code, "crate::"), BTreeSet::from(expected));
}
