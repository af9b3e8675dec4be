//! `aiq models`: what there is, fetching it, and whether it is sound.
//!
//! Owns what a person sees of it; the models, the hub and the checks are `inference`'s.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use crate::cli::{ModelsArgs, ModelsCommand};
use crate::inference::registry::{FAMILIES, Family};
use crate::inference::source::{Files, Hub, HubConfig, Loader, Transferred, find_models};
use crate::inference::verify::{Verified, verify};
use crate::inference::{Context, Model};

/// Time between two updates of the progress line.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Lists, downloads or checks models.
///
/// # Errors
/// What it could not do, for a person.
pub async fn run(args: ModelsArgs) -> anyhow::Result<ExitCode> {
    // All of it blocks: disk, network, arithmetic.
    tokio::task::spawn_blocking(move || match args.command {
        ModelsCommand::List { json } => list(json),
        ModelsCommand::Pull { names } => pull(&families(&names)?),
        ModelsCommand::Verify { names, folder: None } => verify_all(&families(&names)?),
        ModelsCommand::Verify { names, folder: Some(folder) } => verify_folder(&folder, &families(&names)?),
    })
    .await?
}

/// One line of the list.
#[derive(Serialize)]
struct Entry {
    name: &'static str,
    tasks: Vec<&'static str>,
    full_size: FullSize,
    small: String,
}

/// What is known of a full-size model.
#[derive(Serialize)]
struct FullSize {
    repository: &'static str,
    bytes: u64,
    /// The commit in the cache, where it is there.
    cached: Option<String>,
}

fn list(json: bool) -> anyhow::Result<ExitCode> {
    let config = HubConfig::from_env();
    let entries = entries(&Hub::new(config.clone()));
    let text = if json { serde_json::to_string_pretty(&entries)? + "\n" } else { table(&entries, &config) };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn entries(hub: &Hub) -> Vec<Entry> {
    FAMILIES
        .iter()
        .map(|family| Entry {
            name: family.name,
            tasks: family.tasks.iter().map(|task| task.as_str()).collect(),
            full_size: FullSize {
                repository: family.full.repository,
                bytes: family.full.bytes,
                cached: hub.cached(&family.full).and_then(|files| files.reference().revision.clone()),
            },
            small: family.small_files().reference().id.clone(),
        })
        .collect()
}

fn table(entries: &[Entry], config: &HubConfig) -> String {
    let mut text = String::new();
    for Entry { name, tasks, full_size, small } in entries {
        let here = match &full_size.cached {
            Some(commit) => format!("in the cache, commit {}", commit.get(..12).unwrap_or(commit)),
            None => format!("not here; `aiq models pull {name}` fetches it"),
        };
        // Writing to a string can't fail.
        let _ = writeln!(text, "{name}");
        let _ = writeln!(text, "  tasks      {}", tasks.join(", "));
        let _ = writeln!(text, "  full size  {}, {} MB: {here}", full_size.repository, full_size.bytes / 1_000_000);
        let _ = writeln!(text, "  small      {small}: in this program\n");
    }
    let offline = if config.offline { ", not used: HF_HUB_OFFLINE is set" } else { "" };
    let _ = writeln!(text, "hub    {}{offline}\ncache  {}", config.endpoint, config.cache.display());
    text
}

fn pull(wanted: &[&'static Family]) -> anyhow::Result<ExitCode> {
    let hub = Hub::new(HubConfig::from_env());
    let loader = Loader::default();
    let mut out = std::io::stdout();
    for family in wanted {
        let model = &family.full;
        let progress = Progress::new(model.repository);
        let files = hub.fetch(model, &|transferred| progress.show(transferred)).with_context(|| {
            format!(
                "{} was not fetched; what has arrived is kept, and the next try goes on from there",
                model.repository
            )
        })?;
        progress.clear();
        // What can't be loaded had better be known now.
        family
            .load(&files, &loader)
            .with_context(|| format!("{} was fetched but can't be loaded", model.repository))?;
        let commit = files.reference().revision.clone().unwrap_or_default();
        writeln!(out, "{}: here, checksums match, loads (commit {commit})", model.repository)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn verify_all(wanted: &[&'static Family]) -> anyhow::Result<ExitCode> {
    let hub = Hub::new(HubConfig::from_env());
    let mut report = Report::default();
    for family in wanted {
        let small = family.small_files();
        report.tell(&small.reference().id.clone(), examine(family, &small, |loader| family.load_small(loader)));
        let Some(files) = hub.cached(&family.full) else { continue };
        let checked = hub.verify(&files, &family.full);
        let outcome = match checked {
            Ok(count) => examine(family, &files, |loader| family.load(&files, loader))
                .map(|found| format!("{count} checksums match, {found}")),
            Err(error) => Err(error.into()),
        };
        report.tell(family.full.repository, outcome);
    }
    report.end()
}

fn verify_folder(folder: &Path, wanted: &[&'static Family]) -> anyhow::Result<ExitCode> {
    let mut report = Report::default();
    for path in find_models(folder)? {
        let files = Files::folder(&path);
        match Family::recognise(&files) {
            Ok(family) if wanted.iter().any(|known| known.name == family.name) => {
                let outcome = examine(family, &files, |loader| family.load(&files, loader));
                report.tell(&path.display().to_string(), outcome);
            }
            Ok(_) => {}
            Err(error) => report.tell(&path.display().to_string(), Err(error.into())),
        }
    }
    report.end()
}

/// Loads a model and compares it with its golden file; what a person is told of it.
fn examine<E: std::error::Error + Send + Sync + 'static>(
    family: &Family,
    files: &Files,
    load: impl FnOnce(&Loader) -> Result<Arc<dyn Model>, E>,
) -> anyhow::Result<String> {
    let start = Instant::now();
    let model = load(&Loader::default())?;
    let loaded = start.elapsed().as_secs_f64();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(match verify(family, files, &model, &mut Context::new(threads))? {
        Verified::Golden(count) => format!("loads in {loaded:.2} s, {count} answers are as its golden file says"),
        Verified::Answers => format!("loads in {loaded:.2} s and answers; there is no golden file beside it"),
    })
}

/// What was checked, line by line, and whether all of it was sound.
#[derive(Default)]
struct Report {
    lines: Vec<String>,
    failed: usize,
}

impl Report {
    fn tell(&mut self, name: &str, outcome: anyhow::Result<String>) {
        self.lines.push(match outcome {
            Ok(text) => format!("ok      {name}: {text}"),
            Err(error) => {
                self.failed += 1;
                format!("FAILED  {name}: {error:#}")
            }
        });
    }

    fn end(self) -> anyhow::Result<ExitCode> {
        let mut out = std::io::stdout().lock();
        for line in &self.lines {
            writeln!(out, "{line}")?;
        }
        Ok(if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The families of these names, all of them where none is named.
fn families(names: &[String]) -> anyhow::Result<Vec<&'static Family>> {
    if names.is_empty() {
        return Ok(FAMILIES.iter().collect());
    }
    let known = || FAMILIES.each_ref().map(|family| family.name).join(", ");
    names
        .iter()
        .map(|name| Family::named(name).with_context(|| format!("there is no model \"{name}\"; there are {}", known())))
        .collect()
}

/// A line on a terminal that says how far a download is; nothing where nobody looks.
struct Progress {
    name: &'static str,
    last: std::cell::Cell<Option<Instant>>,
    visible: bool,
}

impl Progress {
    fn new(name: &'static str) -> Self {
        Self { name, last: std::cell::Cell::new(None), visible: std::io::stderr().is_terminal() }
    }

    fn show(&self, Transferred { done, total }: Transferred) {
        if !self.visible || self.last.get().is_some_and(|last| last.elapsed() < PROGRESS_EVERY) {
            return;
        }
        self.last.set(Some(Instant::now()));
        let percent = done * 100 / total.max(1);
        let line = format!("{}: {} of {} MB ({percent} %)", self.name, done / 1_000_000, total / 1_000_000);
        // Progress that can't be shown is no reason to stop.
        let _ = write!(std::io::stderr(), "\r{line}\x1b[K");
    }

    fn clear(&self) {
        if self.visible {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_for_a_person() {
        let config = HubConfig {
            endpoint: "https://huggingface.co".to_owned(),
            cache: "/nowhere/huggingface/hub".into(),
            offline: true,
            token: None,
            proxied: false,
        };
        let mut entries = entries(&Hub::new(config.clone()));
        entries[1].full_size.cached = Some("0123456789abcdef0123456789abcdef01234567".to_owned());
        insta::assert_snapshot!(table(&entries, &config));
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = families(&["bert".to_owned()]).err().unwrap().to_string();
        assert!(error.contains("bert") && error.contains("distilbert, mobilenet, clip"), "{error}");
        assert_eq!(families(&[]).unwrap().len(), FAMILIES.len());
    }

    #[test]
    fn a_folder_is_verified_and_damage_is_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/models/distilbert-mini-sst2");
        for file in ["config.json", "model.safetensors", "vocab.txt", "golden.json"] {
            std::fs::copy(Path::new(source).join(file), folder.path().join(file)).unwrap();
        }
        let family = Family::named("distilbert").unwrap();
        let files = Files::folder(folder.path());
        let examined = || examine(family, &files, |loader| family.load(&files, loader));
        assert!(examined().unwrap().contains("5 answers are as its golden file says"));
        let golden = std::fs::read_to_string(folder.path().join("golden.json")).unwrap();
        std::fs::write(folder.path().join("golden.json"), golden.replace("\"POSITIVE\"", "\"NEGATIVE\"")).unwrap();
        assert!(examined().unwrap_err().to_string().contains("its golden file says NEGATIVE"));
    }
}
