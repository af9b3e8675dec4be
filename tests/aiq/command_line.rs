//! What a person sees of the command line: help texts, usage errors, exit codes.

use crate::support::aiq;

/// Runs a command to its end: exit code, standard output, standard error.
fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let (mut command, _dir) = aiq(args);
    let output = command.env("COLUMNS", "100").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn every_command_explains_itself() {
    let commands = ["up", "infer", "monitor", "load", "models", "health", "serve-coordinator", "serve-worker"];
    let (code, help, _) = run(&["--help"]);
    assert_eq!(code, Some(0));
    insta::assert_snapshot!("help", help);
    for command in commands {
        assert!(help.contains(command), "{command} in\n{help}");
        let (code, help, _) = run(&[command, "--help"]);
        assert_eq!(code, Some(0));
        insta::assert_snapshot!(format!("help-{command}"), help);
    }
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    for (args, says) in [
        (&["serve-worker", "--port", "80000"][..], "80000"),
        (&["up", "--workers", "0"], "--workers"),
        (&["serve-worker", "--max-delay", "soon"], "not a duration"),
        (&["launch"], "launch"),
    ] {
        let (code, out, err) = run(args);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}: {err}");
        assert!(err.contains(says), "\"{says}\" in {err}");
    }
}

#[test]
fn what_can_not_be_done_is_said_in_a_line() {
    for (args, says) in [
        (&["serve-worker", "--models", "/no/such/folder"][..], "--models"),
        (&["serve-worker", "--id", "a b"], "--id"),
        (&["serve-coordinator", "--host", "0.0.0.0"], "--insecure"),
        (&["serve-coordinator", "--config", "missing.toml"], "missing.toml"),
        (&["infer", "--url", "http://127.0.0.1:9", "text", "hello"], "aiq up"),
        (&["infer", "image", "no-such-picture.jpg"], "no-such-picture.jpg"),
        (&["infer", "text", "  "], "empty"),
        (&["infer", "text", "hello", "--timeout", "0s"], "1ms to 10m"),
        (&["infer", "search", "a cat", "--url", "http://127.0.0.1:9"], "http://127.0.0.1:9"),
        (&["health", "http://127.0.0.1:9"], "can't reach"),
        (&["health", "--url", "http://127.0.0.1:9"], "can't reach"),
    ] {
        let (code, out, err) = run(args);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{args:?}: {err}");
        assert!(err.starts_with("aiq: ") && err.contains(says), "\"{says}\" in {err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
}
