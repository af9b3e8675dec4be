//! A network that only the benchmark is in.
//!
//! On the machine's own loopback device each packet passes the firewall's rules and its tracking of connections, of which
//! Docker alone installs dozens: that would be measured as well. A new network namespace has none.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Says to this program that it is there already.
const INSIDE: &str = "SERVING_NETWORK";
const UP: &str = "ip link set lo up";

/// Starts this program again in such a network, where one can be made; returns only where not, or inside.
pub(crate) fn enter() {
    if std::env::var_os(INSIDE).is_some() {
        return;
    }
    let made = inside(UP).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("`unshare --net` can make no network here: the machine's firewall takes part in all figures");
        return;
    }
    let error = inside(&format!("{UP} && exec \"$0\" \"$@\""))
        .arg(std::env::current_exe().expect("this program"))
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    panic!("a shell in a network of its own: {error}");
}

/// A shell in a new network; without root's rights it needs a new user namespace to make one.
fn inside(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "sh", "-c", script]);
    command
}
