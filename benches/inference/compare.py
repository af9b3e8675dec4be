#!/usr/bin/env python3
"""Compare aiq's inference with ONNX Runtime, PyTorch and candle's own operations, at full size, in one run.

    python compare.py --models FOLDER --out FILE.json [--threads 1,2] [--networks …] [--engines …] [--rounds 5]

Engines take turns, case by case and round by round, so that whatever else the machine does hits all of them alike: quote
the ratios, not the times. A figure is the median of the rounds' medians. `--runner` names a built benches/networks;
without it, it is built.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
CASES = {
    "distilbert": ["1x16", "1x64", "1x128", "8x16", "8x64", "32x32", "5+9+12+17+23+30+41+64"],
    "mobilenet": ["b1", "b8"],
    "clip-image": ["b1", "b8"],
    "clip-text": ["1x9", "1x77"],
}
ENGINES = ["aiq-fp32", "aiq-int8", "ort-fp32", "ort-int8", "torch", "candle"]
# And, where the runner was built for a GPU that is there: aiq-gpu, torch-gpu.
OURS = ("aiq-fp32", "aiq-int8", "aiq-gpu", "candle")
PAIRS = [("aiq-fp32", "ort-fp32"), ("aiq-int8", "ort-int8"), ("aiq-int8", "aiq-fp32"), ("aiq-fp32", "torch"),
         ("aiq-fp32", "candle"), ("aiq-gpu", "torch-gpu")]


def build():
    """Build benches/networks and return the path of the program."""
    command = ["cargo", "bench", "--bench", "networks", "--no-run", "--message-format=json"]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=HERE.parent.parent).stdout
    found = [message.get("executable") for message in map(json.loads, lines.splitlines())
             if message.get("reason") == "compiler-artifact" and message["target"]["name"] == "networks"]
    return [path for path in found if path][-1]


class Engine:
    """A process that computes when it is told to."""

    def __init__(self, name, network, threads, options):
        if name in OURS:
            command = [options.runner, "serve", name, network, str(options.models / network), str(threads)]
        else:
            command = [sys.executable, str(HERE / "peer.py"), name, network, str(options.models), str(threads)]
        environment = os.environ | {"RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment, stderr=subprocess.DEVNULL)
        self.name = name
        self.greeting = self.read()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended with code {self.process.wait()}: {' '.join(map(str, self.process.args))}")
        return json.loads(line)

    def run(self, case, seconds, least):
        self.process.stdin.write(f"{case} {seconds} {least}\n")
        self.process.stdin.flush()
        return self.read()

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def same(network, case, heads):
    """Complain where engines in fp32 compute different things; return how far int8 outputs are from them."""
    known = [name for name in ("torch", "ort-fp32", "torch-gpu", "aiq-fp32") if name in heads]
    reference = np.array(heads[known[0] if known else next(iter(heads))])
    off = {name: float(np.linalg.norm(np.array(head) - reference) / np.linalg.norm(reference)) for name, head in heads.items()}
    for name, error in off.items():
        if error > (0.2 if name.endswith("int8") else 1e-3):
            print(f"warning: {name} computes something else for {network} {case}: off by {error:.3g}", file=sys.stderr)
    return off


def compare(network, threads, options):
    """All cases of a network: one row for each."""
    names = [name for name in options.engines if not (network == "mobilenet" and name.endswith("int8"))]
    engines = [Engine(name, network, threads, options) for name in names]
    rows = []
    for case in CASES[network]:
        medians, heads = {name: [] for name in names}, {}
        for turn in range(options.rounds):
            # Each round begins with another one: nobody always runs after the same neighbour.
            for engine in engines[turn % len(engines):] + engines[:turn % len(engines)]:
                result = engine.run(case, options.seconds, options.least)
                medians[engine.name].append(statistics.median(result["ms"]))
                heads[engine.name] = result["head"]
        ms = {name: statistics.median(times) for name, times in medians.items()}
        ratios = {f"{a}/{b}": ms[a] / ms[b] for a, b in PAIRS if a in ms and b in ms}
        rows.append({"network": network, "case": case, "threads": threads, "ms": ms, "ratios": ratios, "rounds": medians,
                     "relative_error": same(network, case, heads)})
        print(line(rows[-1], options), flush=True)
    for engine in engines:
        engine.end()
    return rows, engines[0].greeting.get("isa")


def title(row):
    """A case in words: a long list of lengths is a mixed batch."""
    case = "mixed" if "+" in row["case"] else row["case"].replace("b", "batch ")
    return f"{row['network']} {case}"


def pairs(options):
    """The pairs of which both are there."""
    return [(a, b) for a, b in PAIRS if a in options.engines and b in options.engines]


def line(row, options):
    cells = [f"{row['ms'][name]:10.2f}" if name in row["ms"] else "         –" for name in options.engines]
    ratios = [row["ratios"].get(f"{a}/{b}") for a, b in pairs(options)]
    shown = ["          –" if ratio is None else f"{ratio:11.2f}" for ratio in ratios]
    return f"{title(row):22}{row['threads']:2} " + "".join(cells) + "  " + "".join(shown)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    listed = lambda text: text.split(",")
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--runner")
    parser.add_argument("--threads", type=lambda text: list(map(int, text.split(","))), default=[1, 2])
    parser.add_argument("--networks", type=listed, default=list(CASES))
    parser.add_argument("--engines", type=listed, default=ENGINES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each engine in each round")
    parser.add_argument("--least", type=int, default=3, help="runs of each engine in each round")
    options = parser.parse_args()
    options.runner = options.runner or build()
    load = os.getloadavg()[0]
    beside = pairs(options)
    print("milliseconds".ljust(25) + "".join(name.rjust(10) for name in options.engines) + "  " + "".join(a.rjust(11) for a, _ in beside))
    print("network, case, threads".ljust(25) + " " * (10 * len(options.engines) + 2) + "".join(f"/{b}".rjust(11) for _, b in beside))
    rows, isa = [], None
    for threads in options.threads:
        for network in options.networks:
            found, isa = compare(network, threads, options)
            rows += found
    summary = {}
    for a, b in PAIRS:
        ratios = [row["ratios"][f"{a}/{b}"] for row in rows if f"{a}/{b}" in row["ratios"]]
        if ratios:
            summary[f"{a}/{b}"] = {"median": statistics.median(ratios), "least": min(ratios), "greatest": max(ratios)}
            print(f"{a}/{b}: median {statistics.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}")
    if options.out:
        host = {"machine": platform.machine(), "cpus": os.cpu_count(), "isa": isa, "load_before": load}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"host": host, "summary": summary, "rows": rows}, indent=1) + "\n")
        print(f"written to {options.out}")


if __name__ == "__main__":
    main()
