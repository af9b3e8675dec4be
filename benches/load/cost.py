"""What `aiq load` costs itself: one core of it against a bare server on another core.

The server is HAProxy, which answers every request itself (the request's id in a fixed answer, as aiq checks it).
Rates grow until the client can't keep up; for each: what was answered, how late requests were sent, CPU time for
each. Then a million requests at the last rate that held, and the client's memory at their beginning and end.

    cost.py --aiq target/release/aiq [--rates 10000,20000,30000,40000] [--seconds 5] [--million 1000000]
"""

import argparse
import json
import os
import resource
import subprocess
import tempfile
import threading
import time

from compare import free_port

ANSWER = (
    '{"request_id":"%[req.body,json_query("$.request_id")]","result":{"prediction":"NOOP","confidence":0.0,'
    '"worker_id":"worker-1","task_type":"text_classification","model_info":"no model","scores":{"NOOP":0.0},'
    '"model":{"id":"noop","source":"noop"}},"latency":0.001,"retry_count":0,"queue_time":0.0,"inference_time":0.0,'
    '"batch_size":1,"attempts":[{"worker":"worker-1","outcome":"success","seconds":0.001}]}'
)
CONFIG = """
global
    nbthread 1
    maxconn 5000
defaults
    mode http
    timeout client 30s
    timeout connect 1s
    timeout server 30s
frontend bare
    bind 127.0.0.1:{port}
    http-request wait-for-body time 1s if {{ method POST }}
    http-request return status 200 content-type application/json lf-file {answer} if {{ path /infer }}
    http-request return status 404
"""


def on_core(core):
    return ["taskset", "-c", str(core)]


class Bare:
    """A bare server on a core of its own."""

    def __init__(self, core):
        self.folder = tempfile.TemporaryDirectory()
        answer, config = (os.path.join(self.folder.name, name) for name in ("answer", "haproxy.cfg"))
        self.port = free_port()
        with open(answer, "w") as file:
            file.write(ANSWER)
        with open(config, "w") as file:
            file.write(CONFIG.format(port=self.port, answer=answer))
        self.process = subprocess.Popen([*on_core(core), "haproxy", "-db", "-f", config])
        self.url = f"http://127.0.0.1:{self.port}"
        time.sleep(0.5)
        if self.process.poll() is not None:
            raise SystemExit("haproxy did not start")

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()


def rss(pid):
    """Resident memory, MB; none when the process is gone."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, IndexError):
        return None


def load(args, server, rate, seconds):
    """One run: its report, CPU seconds, and its memory every half second."""
    command = [*on_core(args.core), args.aiq, "load", "--url", server.url, "--mix", "text=1", "--no-tui", "-o", "json"]
    command += ["--rate", str(rate), "--duration", f"{seconds}s", "--slo", "error_rate<1%"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    memory = []

    def watch():
        while process.poll() is None:
            memory.append(rss(process.pid))
            time.sleep(0.5)

    watching = threading.Thread(target=watch)
    watching.start()
    report = json.loads(process.communicate()[0])
    watching.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return report, cpu, [m for m in memory if m]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aiq", default="target/release/aiq")
    parser.add_argument("--rates", default="10000,20000,25000,30000,35000,40000")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--million", type=int, default=1_000_000, help="requests of the long run")
    parser.add_argument("--core", type=int, default=0, help="the client's core; the server gets another one")
    args = parser.parse_args()

    server = Bare(core=1 if args.core == 0 else 0)
    held = None
    try:
        print("| offered | answered | errors | not sent | sent late: mean | p99 | p50 | p99 | CPU a request |")
        print("| --: | --: | --: | --: | --: | --: | --: | --: | --: |")
        for rate in map(int, args.rates.split(",")):
            report, cpu, _ = load(args, server, rate, args.seconds)
            totals, lag, latency = report["totals"], report["totals"]["pacer_lag"], report["latency"]
            ok = totals["ok"]
            print(
                f"| {rate} | {totals['rate']:.0f} | {totals['offered'] - ok - totals['not_sent']} "
                f"| {totals['not_sent']} | {lag['mean'] * 1e3:.2f} ms | {lag['p99'] * 1e3:.2f} ms "
                f"| {latency['p50'] * 1e3:.2f} ms | {latency['p99'] * 1e3:.2f} ms | {cpu / max(ok, 1) * 1e6:.1f} us |",
                flush=True,
            )
            if ok == totals["offered"] and latency["p99"] < 0.1:
                held = rate
        if held and args.million:
            report, _, memory = load(args, server, held, -(-args.million // held))
            after = [memory[int(share * len(memory))] for share in (0.1, 0.5, 0.9)]
            print(
                f"\n{report['totals']['ok']} requests at {held} a second; memory after a tenth, half and nine tenths "
                f"of them: {', '.join(f'{m:.1f}' for m in after)} MB (at most {report['totals']['most_in_flight']} in flight)"
            )
    finally:
        server.close()


if __name__ == "__main__":
    main()
