//! A hub of our own on loopback: redirects, etags, transfers that break off, lies, and no hub at all.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

static MODEL: HubModel = HubModel {
    repository: "org/name",
    revisions: &["main", "refs/pr/15"],
    files: &["config.json", WEIGHTS],
    optional_files: &["tokenizer.json"],
    bytes: 0,
};

/// How the loopback hub behaves.
#[derive(Clone, Default)]
struct Behaviour {
    /// Files at each revision.
    files: HashMap<&'static str, Vec<(&'static str, Vec<u8>)>>,
    /// Weights are elsewhere, as on the real hub: a redirect with `x-linked-etag` leads there.
    redirect: bool,
    /// A transfer of weights ends after so many bytes, this many times.
    break_off: Option<(usize, usize)>,
    /// What is sent in place of the weights.
    sent_weights: Option<Vec<u8>>,
    /// The etag of every file, in place of its checksum.
    etag: Option<&'static str>,
}

struct LoopbackHub {
    endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl LoopbackHub {
    fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let broken = Arc::new(AtomicUsize::new(0));
        let (log, own) = (Arc::clone(&requests), endpoint.clone());
        // It ends with the test process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (behaviour, log, own, broken) =
                    (behaviour.clone(), Arc::clone(&log), own.clone(), Arc::clone(&broken));
                std::thread::spawn(move || {
                    // A client that hangs up ends its conversation.
                    let _ = converse(&stream.unwrap(), &behaviour, &own, &log, &broken);
                });
            }
        });
        Self { endpoint, requests }
    }

    fn hub(&self, cache: &Path) -> Hub {
        Hub::new(HubConfig {
            endpoint: self.endpoint.clone(),
            cache: cache.to_owned(),
            offline: false,
            token: None,
            proxied: false,
        })
    }
}

/// One request a connection.
fn converse(
    stream: &TcpStream,
    behaviour: &Behaviour,
    own: &str,
    log: &Mutex<Vec<String>>,
    broken: &AtomicUsize,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut from = 0;
    let mut asked_to = None;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some((start, end)) = line.strip_prefix("range: bytes=").and_then(|range| range.split_once('-')) {
            from = start.parse().unwrap();
            asked_to = end.parse::<usize>().ok();
        }
    }
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    log.lock().unwrap().push(path.clone());
    let mut out = stream;
    let files_at = |revision: &str| behaviour.files.get(revision.replace("%2F", "/").as_str());
    if let Some(revision) = path.strip_prefix("/api/models/org/name/revision/") {
        let Some(files) = files_at(revision) else {
            return write!(out, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        };
        let siblings: Vec<String> = files.iter().map(|(name, _)| format!(r#"{{"rfilename":"{name}"}}"#)).collect();
        let body = format!(r#"{{"siblings":[{}],"sha":"{COMMIT}"}}"#, siblings.join(","));
        return write!(
            out,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
    }
    let elsewhere = path.strip_prefix("/storage/");
    let Some((revision, name)) =
        elsewhere.or_else(|| path.strip_prefix("/org/name/resolve/")).and_then(|rest| rest.split_once('/'))
    else {
        return write!(out, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    };
    let Some((_, content)) = files_at(revision).and_then(|files| files.iter().find(|(known, _)| *known == name)) else {
        return write!(out, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    };
    let etag = behaviour.etag.map_or_else(|| etag_of(name, content), str::to_owned);
    if behaviour.redirect && name == WEIGHTS && elsewhere.is_none() {
        return write!(
            out,
            "HTTP/1.1 302 Found\r\nlocation: {own}/storage/{revision}/{name}\r\nx-linked-etag: \"{etag}\"\r\nx-repo-commit: {COMMIT}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
    }
    let content = if name == WEIGHTS { behaviour.sent_weights.as_ref().unwrap_or(content) } else { content };
    let to = asked_to.map_or(content.len(), |last| last + 1).min(content.len());
    let body = &content[from.min(to)..to];
    write!(
        out,
        "HTTP/1.1 206 Partial Content\r\netag: \"{etag}\"\r\nx-repo-commit: {COMMIT}\r\ncontent-range: bytes {from}-{}/{}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        to.saturating_sub(1),
        content.len(),
        body.len()
    )?;
    if let Some((after, times)) = behaviour.break_off
        && name == WEIGHTS
        && body.len() > after
        && broken.fetch_add(1, Ordering::Relaxed) < times
    {
        return out.write_all(&body[..after]);
    }
    out.write_all(body)
}

fn etag_of(name: &str, content: &[u8]) -> String {
    use sha2::Digest as _;
    let bytes = if name == WEIGHTS {
        sha2::Sha256::digest(content).to_vec()
    } else {
        let mut hasher = sha1::Sha1::new();
        hasher.update(format!("blob {}\0", content.len()));
        hasher.update(content);
        hasher.finalize().to_vec()
    };
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn weights() -> Vec<u8> {
    (0..100_000u32).flat_map(u32::to_le_bytes).collect()
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![("config.json", b"{}".to_vec()), (WEIGHTS, weights()), ("README.md", b"x".to_vec())]
}

fn at_main() -> Behaviour {
    Behaviour { files: HashMap::from([("main", files())]), ..Behaviour::default() }
}

fn silent(_: Transferred) {}

#[test]
fn a_model_is_fetched_once_through_a_redirect_with_progress() {
    let cache = tempfile::tempdir().unwrap();
    let server = LoopbackHub::start(Behaviour { redirect: true, ..at_main() });
    let hub = server.hub(cache.path());
    assert!(hub.cached(&MODEL).is_none());
    let reports = Mutex::new(Vec::new());
    let files = hub.fetch(&MODEL, &|transferred| reports.lock().unwrap().push(transferred)).unwrap();
    let total = weights().len() as u64 + 2;
    let reports = reports.into_inner().unwrap();
    assert!(reports.is_sorted_by_key(|report| report.done), "{reports:?}");
    assert_eq!(reports.last(), Some(&Transferred { done: total, total }));
    assert_eq!(files.reference().id, "org/name");
    assert_eq!(files.reference().revision.as_deref(), Some(COMMIT));
    assert_eq!(*files.required("config.json").unwrap(), *b"{}");
    assert!(server.requests.lock().unwrap().iter().any(|path| path.starts_with("/storage/")));
    assert!(!server.requests.lock().unwrap().iter().any(|path| path.contains("README")));
    // From now on no hub is needed.
    let offline = Hub::new(HubConfig { offline: true, ..hub.config.clone() });
    assert_eq!(offline.cached(&MODEL).unwrap().reference(), files.reference());
    assert_eq!(offline.verify(&files, &MODEL).unwrap(), 2);
}

#[test]
fn weights_on_a_pull_request_are_found() {
    let cache = tempfile::tempdir().unwrap();
    let old = vec![("config.json", b"{}".to_vec()), ("pytorch_model.bin", b"x".to_vec())];
    let behaviour =
        Behaviour { files: HashMap::from([("main", old), ("refs/pr/15", files())]), ..Behaviour::default() };
    let hub = LoopbackHub::start(behaviour).hub(cache.path());
    let fetched = hub.fetch(&MODEL, &silent).unwrap();
    assert_eq!(hub.cached(&MODEL).unwrap().reference(), fetched.reference());
}

#[test]
fn a_transfer_that_breaks_off_is_taken_up_where_it_broke() {
    let cache = tempfile::tempdir().unwrap();
    let server = LoopbackHub::start(Behaviour { break_off: Some((100_000, 2)), ..at_main() });
    server.hub(cache.path()).fetch(&MODEL, &silent).unwrap();
    let stored = cache.path().join("models--org--name/snapshots").join(COMMIT).join(WEIGHTS);
    assert_eq!(std::fs::read(stored).unwrap(), weights());
}

#[test]
fn what_an_earlier_process_fetched_is_not_fetched_again() {
    let cache = tempfile::tempdir().unwrap();
    let blobs = cache.path().join("models--org--name/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let part = blobs.join(format!("{}.part", etag_of(WEIGHTS, &weights())));
    std::fs::write(&part, &weights()[..300_000]).unwrap();
    let server = LoopbackHub::start(at_main());
    let reports = Mutex::new(Vec::new());
    server.hub(cache.path()).fetch(&MODEL, &|transferred| reports.lock().unwrap().push(transferred)).unwrap();
    let config = 2;
    let first_of_weights = reports.lock().unwrap().iter().find(|report| report.done > config).copied().unwrap();
    assert_eq!(first_of_weights.done, 300_000 + config);
    assert!(!part.exists());
}

#[test]
fn a_file_that_does_not_match_its_checksum_is_deleted() {
    let cache = tempfile::tempdir().unwrap();
    let mut other = weights();
    other[12_345] ^= 1;
    let server = LoopbackHub::start(Behaviour { sent_weights: Some(other), ..at_main() });
    let hub = server.hub(cache.path());
    let error = hub.fetch(&MODEL, &silent).err().unwrap();
    assert!(matches!(error, HubError::WrongChecksum { .. }), "{error}");
    assert!(hub.cached(&MODEL).is_none());
    let blob = cache.path().join("models--org--name/blobs").join(etag_of(WEIGHTS, &weights()));
    assert!(!blob.exists());
    // An honest hub makes it good.
    let hub = LoopbackHub::start(at_main()).hub(cache.path());
    hub.fetch(&MODEL, &silent).unwrap();
    assert!(blob.exists());
}

#[test]
fn damage_in_the_cache_is_found_by_verify() {
    let cache = tempfile::tempdir().unwrap();
    let hub = LoopbackHub::start(at_main()).hub(cache.path());
    let files = hub.fetch(&MODEL, &silent).unwrap();
    let snapshot = cache.path().join("models--org--name/snapshots").join(COMMIT);
    let blob = std::fs::canonicalize(snapshot.join(WEIGHTS)).unwrap();
    std::fs::write(blob, b"damaged").unwrap();
    assert!(matches!(hub.verify(&files, &MODEL), Err(HubError::WrongChecksum { .. })));
    assert!(hub.cached(&MODEL).is_none());
}

#[test]
fn an_etag_that_is_no_checksum_is_refused_before_anything_is_written() {
    let cache = tempfile::tempdir().unwrap();
    let server = LoopbackHub::start(Behaviour { etag: Some("../../../escaped"), ..at_main() });
    let error = server.hub(cache.path()).fetch(&MODEL, &silent).err().unwrap();
    assert!(matches!(error, HubError::NoChecksum { .. }), "{error}");
    assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0);
}

#[test]
fn a_hub_without_the_model_says_so() {
    let cache = tempfile::tempdir().unwrap();
    let hub = LoopbackHub::start(Behaviour::default()).hub(cache.path());
    let error = hub.fetch(&MODEL, &silent).err().unwrap().to_string();
    assert!(error.contains("org/name") && error.contains("404"), "{error}");
    let without =
        Behaviour { files: HashMap::from([("main", vec![]), ("refs/pr/15", vec![])]), ..Behaviour::default() };
    let error = LoopbackHub::start(without).hub(cache.path()).fetch(&MODEL, &silent).err().unwrap();
    assert!(matches!(error, HubError::NoWeights { .. }), "{error}");
}

#[test]
fn no_network_and_offline_are_told_apart() {
    let cache = tempfile::tempdir().unwrap();
    // A port that was just free.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = HubConfig {
        endpoint: format!("http://{address}"),
        cache: cache.path().to_owned(),
        offline: false,
        token: None,
        proxied: false,
    };
    let error = Hub::new(config.clone()).fetch(&MODEL, &silent).err().unwrap();
    assert!(matches!(error, HubError::Unreachable { .. }), "{error}");
    let error = Hub::new(HubConfig { offline: true, ..config }).fetch(&MODEL, &silent).err().unwrap();
    assert!(matches!(error, HubError::Offline { .. }), "{error}");
    assert!(error.to_string().contains("HF_HUB_OFFLINE"));
}
