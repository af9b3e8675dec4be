//! The dashboard in a real pseudo-terminal, over a real fleet: what is pressed, what is seen, what
//! happens to the workers, and how the terminal is left.

use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize};
use serde_json::Value;
use tempfile::TempDir;
use vt100::MouseProtocolMode;

use super::support::{PATIENCE, Process, aiq, eventually, get, post};

/// A program in a terminal of its own.
struct Tty {
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn MasterPty + Send>,
    keyboard: Box<dyn Write + Send>,
    screen: Arc<(Mutex<vt100::Parser>, Condvar)>,
    modes: String,
    _dir: TempDir,
}

impl Tty {
    fn aiq(args: &[&str]) -> Self {
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_aiq"));
        command.args(args);
        Self::start(command)
    }

    fn start(mut command: CommandBuilder) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let size = PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 };
        let pty = portable_pty::native_pty_system().openpty(size).unwrap();
        command.env_clear();
        command.env("TERM", "xterm-256color");
        command.env("HOME", dir.path());
        command.cwd(dir.path());
        let modes = format!("{:?}", pty.master.get_termios());
        let child = pty.slave.spawn_command(command).unwrap();
        let screen = Arc::new((
            Mutex::new(vt100::Parser::new(size.rows.try_into().unwrap(), size.cols.try_into().unwrap(), 200)),
            Condvar::new(),
        ));
        let mut output = pty.master.try_clone_reader().unwrap();
        let shared = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut bytes) {
                shared.0.lock().unwrap().process(&bytes[..n]);
                shared.1.notify_all();
            }
        });
        let keyboard = pty.master.take_writer().unwrap();
        Self { child, master: pty.master, keyboard, screen, modes, _dir: dir }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// Waits until the screen holds a text, and returns it.
    fn see(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let (parser, changed) = &*self.screen;
        let mut parser = parser.lock().unwrap();
        loop {
            let contents = parser.screen().contents();
            if contents.contains(text) {
                return contents;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{text:?} was not seen; the screen is\n{contents}");
            parser = changed.wait_timeout(parser, left.min(Duration::from_secs(1))).unwrap().0;
        }
    }

    fn exit_code(&mut self) -> u32 {
        eventually("the dashboard ends", || self.child.try_wait().unwrap()).exit_code()
    }

    /// The terminal is as it was: its own screen, a cursor, no mouse, the line's modes.
    fn assert_restored(&self) {
        eventually("the terminal is given back", || {
            let parser = self.screen.0.lock().unwrap();
            let screen = parser.screen();
            let own = !screen.alternate_screen() && !screen.hide_cursor();
            (own && screen.mouse_protocol_mode() == MouseProtocolMode::None).then_some(())
        });
        assert_eq!(format!("{:?}", self.master.get_termios()), self.modes);
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A coordinator and two workers that answer without a model.
fn fleet() -> (Process, [Process; 2]) {
    let coordinator = Process::serve(&["serve-coordinator", "--port", "0"]);
    let worker = |name: &str| {
        let to = ["--coordinator", coordinator.url.as_str(), "--port", "0", "--models", "noop", "--faults"];
        let quiet = ["--crash-probability", "0", "--timeout-probability", "0"];
        let quick = ["--network-delay-min", "0", "--network-delay-max", "0"];
        let args = [&["serve-worker", "--id", name], &to[..], &quiet[..], &quick[..]].concat();
        Process::serve(&args)
    };
    let workers = [worker("worker-1"), worker("worker-2")];
    eventually("both workers are ready", || (ready_workers(&coordinator.url) == 2).then_some(()));
    (coordinator, workers)
}

fn ready_workers(url: &str) -> u64 {
    get(&format!("{url}/status")).json()["healthy_workers"].as_u64().unwrap()
}

fn state_of(url: &str, name: &str) -> Option<String> {
    let workers = get(&format!("{url}/workers")).json();
    let worker = workers["workers"].as_array()?.iter().find(|w| w["worker_id"] == name)?.clone();
    worker["state"].as_str().map(str::to_owned)
}

#[test]
fn a_worker_is_killed_and_revived_from_the_keyboard() {
    let (coordinator, _workers) = fleet();
    let mut tty = Tty::aiq(&["monitor", "--url", &coordinator.url]);
    tty.see("Workers 2/2 up");
    tty.see("HEALTHY");
    tty.press("K");
    tty.see("Kill worker-1");
    tty.press("\r");
    tty.press("jK");
    tty.see("Kill worker-2");
    tty.press("\t\r");
    tty.see("✗ killed");
    tty.see("worker-2 killed");
    assert_eq!(state_of(&coordinator.url, "worker-1").as_deref(), Some("ready"), "Cancel had the focus");
    assert_eq!(state_of(&coordinator.url, "worker-2").as_deref(), Some("killed"));
    tty.press("R");
    eventually("worker-2 is ready again", || {
        (state_of(&coordinator.url, "worker-2").as_deref() == Some("ready")).then_some(())
    });
    tty.see("Workers 2/2 up");
    tty.press("f50\r");
    tty.see("faults injected on worker-2");
    tty.press("q");
    assert_eq!(tty.exit_code(), 0);
    tty.assert_restored();
}

#[test]
fn it_outlives_its_coordinator() {
    let (mut coordinator, _workers) = fleet();
    let port = coordinator.url.rsplit(':').next().unwrap().to_owned();
    let mut tty = Tty::aiq(&["monitor", "--url", &coordinator.url]);
    tty.see("● CONNECTED");
    coordinator.signal(nix::sys::signal::Signal::SIGKILL);
    coordinator.wait();
    tty.see("✗ LOST");
    tty.see("? UNKNOWN");
    let _again = Process::serve(&["serve-coordinator", "--port", &port]);
    tty.see("● CONNECTED");
    tty.see("Workers 2/2 up");
    tty.press("\x03");
    assert_eq!(tty.exit_code(), 0);
    tty.assert_restored();
}

#[test]
fn it_tries_again_and_again_with_growing_pauses() {
    let mut tty = Tty::aiq(&["monitor", "--url", "http://127.0.0.1:1"]);
    // The fifth attempt comes after a pause of two seconds, in which the clock ticks twice.
    tty.see("attempt 5 failed");
    tty.press("q");
    assert_eq!(tty.exit_code(), 0);
}

#[test]
fn signals_give_the_terminal_back() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        // Nobody listens on port 1: the dashboard says so and stays.
        let mut tty = Tty::aiq(&["monitor", "--url", "http://127.0.0.1:1"]);
        tty.see("No coordinator answers");
        kill(Pid::from_raw(tty.child.process_id().unwrap() as i32), signal).unwrap();
        assert_eq!(tty.exit_code(), 0, "{signal}");
        tty.assert_restored();
    }
}

#[test]
fn a_panic_gives_the_terminal_back_and_is_read() {
    let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "monitor::panicking_child"]);
    let mut tty = Tty::start(command);
    tty.see("the view has failed");
    assert_ne!(tty.exit_code(), 0);
    tty.assert_restored();
}

#[test]
#[ignore = "runs in the terminal of another test"]
fn panicking_child() {
    use aiq::monitor::terminal::{Mouse, Screen};
    let mut screen = Screen::enter(Mouse::Captured).unwrap();
    screen.draw(|_| ()).unwrap();
    screen.draw(|_| panic!("the view has failed")).unwrap();
}

#[test]
fn a_fleet_of_its_own_is_asked_about() {
    let args = ["up", "--monitor", "--workers", "2", "--port", "0", "--models", "noop"];
    let mut tty = Tty::aiq(&args);
    tty.see("Workers 2/2 up");
    tty.press("q");
    tty.see("[ Stop the fleet ]");
    tty.press("\r");
    tty.see("q quit");
    tty.press("qy");
    tty.see("stopping the fleet");
    assert_eq!(tty.exit_code(), 0);
    tty.assert_restored();
}

#[test]
fn without_a_terminal_it_prints_one_page() {
    let (coordinator, _workers) = fleet();
    for args in [&["monitor"][..], &["monitor", "--once"][..]] {
        let (mut command, _dir) = aiq(args);
        let output = command.env("AIQ_URL", &coordinator.url).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains("HEALTHY") && text.contains("worker-2"), "{text}");
        assert!(!text.contains('\u{1b}'));
    }
    let (mut command, _dir) = aiq(&["monitor", "--url", "http://127.0.0.1:1"]);
    let output = command.output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("refused"));
}

#[test]
fn its_figures_are_those_of_the_statistics() {
    let (coordinator, _workers) = fleet();
    let url = &coordinator.url;
    for n in 0..20 {
        let body = format!(r#"{{"request_id":"m-{n}","task_type":"text_classification","data":"fine"}}"#);
        assert_eq!(post(&format!("{url}/infer"), body).status, 200);
    }
    let (mut command, _dir) = aiq(&["monitor", "--json", "--url", url]);
    let snapshot: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    let queue = get(&format!("{url}/queue/stats")).json();
    for field in ["queue_size", "active_tasks", "total_workers", "healthy_workers", "stats"] {
        assert_eq!(snapshot["queue"][field], queue[field], "{field}");
    }
    assert_eq!(snapshot["queue"]["stats"]["successful_requests"], 20);
    let performance = get(&format!("{url}/workers/performance")).json();
    for worker in performance["workers"].as_array().unwrap() {
        let shown = snapshot["workers"].as_array().unwrap();
        let shown = shown.iter().find(|w| w["worker_id"] == worker["worker_id"]).unwrap();
        assert_eq!(shown["completed"], worker["successful_requests"]);
        assert_eq!(shown["failed"], worker["failed_requests"]);
        assert_eq!(shown["in_flight"], worker["active_tasks"]);
        assert_eq!(shown["latency"]["count"], worker["latency"]["count"]);
    }
}

#[test]
fn followed_json_is_a_line_a_snapshot() {
    let (coordinator, _workers) = fleet();
    let follow = Process::start_with(&["monitor", "--json", "--follow", "--url", &coordinator.url], &[]);
    for _ in 0..2 {
        let rest = follow.line_after(r#"{"status":{"status":"ready""#);
        assert!(rest.ends_with('}') && rest.contains("worker-2"), "{rest}");
    }
}
