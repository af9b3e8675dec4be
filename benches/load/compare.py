"""`aiq load` beside k6 and oha: the same fleet, the same rate, with and without a stall of one second.

The fleet is `aiq up` with one worker whose model takes a fixed time for each batch. The stall is real: the
coordinator is stopped (SIGSTOP) for a second in the middle of the run. Every tool runs once a round, in
turns; figures are medians over the rounds. What is missing is left out and said.

    compare.py --aiq target/release/aiq [--k6 K6] [--oha OHA] [--rate 200] [--seconds 10] [--rounds 3]
"""

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
BODY = '{"task_type":"text_classification","data":"a short and ordinary sentence to classify"}'
FIGURES = ("requests", "p50", "p90", "p95", "p99", "max")


def free_port():
    """A free port whose next one, the worker's, is free too."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
                return port
            except (OSError, OverflowError):
                continue


class Fleet:
    """A fleet with one worker, and its coordinator's process."""

    def __init__(self, aiq, model):
        self.port = free_port()
        self.logs = tempfile.TemporaryDirectory()
        command = [aiq, "up", "--models", model, "--workers", "1", "--port", str(self.port)]
        command += ["--log-dir", self.logs.name]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.url = f"http://127.0.0.1:{self.port}"
        deadline = time.monotonic() + 30
        while True:
            try:
                post = urllib.request.Request(f"{self.url}/infer", BODY.encode(), {"Content-Type": "application/json"})
                urllib.request.urlopen(post, timeout=2).read()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        pgrep = ["pgrep", "-P", str(self.process.pid), "-f", "serve-coordinator"]
        found = subprocess.run(pgrep, capture_output=True, text=True)
        self.coordinator = int(found.stdout.split()[0])

    def stall(self, after, length):
        def stop():
            time.sleep(after)
            os.kill(self.coordinator, signal.SIGSTOP)
            time.sleep(length)
            os.kill(self.coordinator, signal.SIGCONT)

        thread = threading.Thread(target=stop)
        thread.start()
        return thread

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.logs.cleanup()


def output(command, **env):
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env})
    # `aiq load` and k6 say by their status that an objective broke; there is none here.
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} failed ({done.returncode}): {done.stderr[-2000:]}")
    return done.stdout


def aiq_load(args, fleet):
    command = [args.aiq, "load", "--url", fleet.url, "--mix", "text=1", "--arrivals", "constant", "--no-tui", "-o", "json"]
    return json.loads(output(command + ["--rate", str(args.rate), "--duration", f"{args.seconds}s", "--timeout", "20s"]))


def of_report(report, which):
    times = report[which]
    return {"requests": report["totals"]["ok"], **{p: times[p] * 1e3 for p in FIGURES[1:]}}


def k6(args, fleet):
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [args.k6, "run", "--quiet", "--no-usage-report", "--summary-export", file.name, f"{HERE}/k6.js"]
        env = {"RATE": args.rate, "SECONDS": args.seconds, "CLIENTS": args.clients, "URL": fleet.url, "BODY": BODY}
        output(command, **{k: str(v) for k, v in env.items()})
        metrics = json.load(open(file.name))["metrics"]
    times = metrics["http_req_duration"]
    named = {"p50": "med", "p90": "p(90)", "p95": "p(95)", "p99": "p(99)", "max": "max"}
    return {"requests": metrics["http_reqs"]["count"], **{ours: times[theirs] for ours, theirs in named.items()}}


def oha(args, fleet, *more):
    command = [args.oha, "--no-tui", "--output-format", "json", "-z", f"{args.seconds}s", *more]
    command += ["-m", "POST", "-H", "Content-Type: application/json", "-d", BODY]
    report = json.loads(output(command + [f"{fleet.url}/infer"]))
    times = report["latencyPercentiles"]
    requests = sum(report["statusCodeDistribution"].values())
    return {"requests": requests, **{p: times[p] * 1e3 for p in FIGURES[1:-1]}, "max": report["summary"]["slowest"] * 1e3}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aiq", default="target/release/aiq")
    parser.add_argument("--k6", default=shutil.which("k6"))
    parser.add_argument("--oha", default=shutil.which("oha"))
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=400, help="for k6 and oha: enough for all that wait in a stall")
    parser.add_argument("--model", default="noop:20ms")
    parser.add_argument("--json", help="where the rows go")
    args = parser.parse_args()

    rows = []
    for stall in (0, 1):
        seen = {}

        def note(name, figures):
            seen.setdefault(name, []).append(figures)

        for number in range(args.rounds):
            fleet = Fleet(args.aiq, args.model)

            def run(tool, *more):
                stalling = fleet.stall(args.seconds * 0.4, stall) if stall else None
                made = tool(args, fleet, *more)
                if stalling:
                    stalling.join()
                return made

            try:
                # A fleet's first seconds are nobody's: whoever came first would pay for cold caches.
                output([args.aiq, "load", "--url", fleet.url, "--rate", str(args.rate), "-d", "3s", "--mix", "text=1", "--no-tui"])
                report = run(aiq_load)
                note("aiq load: latency", of_report(report, "latency"))
                note("aiq load: service time", of_report(report, "service_time"))
                if args.k6:
                    note("k6, constant-arrival-rate", run(k6))
                if args.oha:
                    open_loop = ("-q", str(args.rate), "-c", str(args.clients))
                    note("oha -q --latency-correction", run(oha, *open_loop, "--latency-correction"))
                    note("oha -q, from the send", run(oha, *open_loop))
                    note("oha, 4 clients in a closed loop", run(oha, "-c", "4"))
            finally:
                fleet.close()
            print(f"stall {stall} s, round {number + 1} of {args.rounds}", file=sys.stderr)
        print(f"\n{args.rate} requests a second for {args.seconds} s, " + (f"with a stall of {stall} s" if stall else "no stall"))
        print("| | " + " | ".join(FIGURES) + " |\n| --- |" + " --: |" * len(FIGURES))
        for name, all_of_it in seen.items():
            median = {f: statistics.median(figures[f] for figures in all_of_it) for f in FIGURES}
            shown = [f"{median['requests']:.0f}"] + [f"{median[f]:.1f} ms" for f in FIGURES[1:]]
            print(f"| {name} | " + " | ".join(shown) + " |")
            rows.append({"stall": stall, "tool": name, **median})
    for name in ("k6", "oha"):
        if not getattr(args, name):
            print(f"{name}: not found; left out", file=sys.stderr)
    if args.json:
        with open(args.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
