#!/usr/bin/env python3
"""What serving costs: a running worker over HTTP beside its own engine, with full-size DistilBERT and sentences of all lengths.

    python over_http.py --models FOLDER [--threads 2] [--in-flight 64] [--precision fp32] [--rounds 3] [--seconds 10]
                   [--aiq AIQ] [--runner NETWORKS]

FOLDER is what `models.py` wrote. The fleet is `aiq up` with one worker, the load `aiq load`, all on this machine: client,
coordinator and worker share its cores, while the engine has them for itself. Both take turns. The engine computes batches of
32 of the same sentences, one after the other, from tokens that are there already.
"""

import argparse
import json
import random
import re
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

from tokenizers import Tokenizer

from compare import Engine, build

ROOT = Path(__file__).resolve().parent.parent.parent
SMALL = ROOT / "assets/models/distilbert-mini-sst2"
BATCH = 32


class Fleet:
    """`aiq up` with one worker, gone at the end of the block."""

    def __init__(self, options, models):
        self.command = [options.aiq, "up", "-w", "1", "-p", "0", "--models", models, "--precision", options.precision,
                        "--threads", str(options.threads)]

    def __enter__(self):
        self.process = subprocess.Popen([*map(str, self.command)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in self.process.stdout:
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                self.url = found[0]
                return self
        raise SystemExit(f"aiq up ended with code {self.process.wait()}")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def over_http(options, url):
    """Sentences a second of clients that ask again at once."""
    command = [options.aiq, "load", "--url", url, "--pattern", "sustained", "--concurrency", options.in_flight, "--mix", "text=1",
               "--duration", f"{options.seconds}s", "--timeout", "60s", "--no-tui", "--output", "json"]
    done = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    totals = json.loads(done.stdout)["totals"]
    wrong = sum(totals[name] for name in ("refused", "failed", "timed_out", "wrong", "missing"))
    if wrong:
        raise SystemExit(f"{wrong} of {totals['sent']} requests had no right answer")
    return totals["goodput"]


def by_engine(options, engine, cases):
    """Sentences a second of the engine alone, over batches of all lengths."""
    typical = [statistics.median(engine.run(case, options.seconds / len(cases), 1)["ms"]) for case in cases]
    return sum(case.count("+") + 1 for case in cases) / sum(typical) * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--aiq", type=Path, default=ROOT / "target/release/aiq")
    parser.add_argument("--runner", type=Path)
    parser.add_argument("--precision", choices=["fp32", "int8"], default="fp32")
    for name, default in [("threads", 2), ("in-flight", 64), ("rounds", 3), ("seconds", 10)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    options.runner = options.runner or build()
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder)
        shutil.copytree(options.models / "distilbert", models / "distilbert")
        for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(SMALL / name, models / "distilbert")
        tokenizer = Tokenizer.from_file(str(SMALL / "tokenizer.json"))
        lines = (ROOT / "assets/load/sentences.txt").read_text(encoding="utf-8").splitlines()
        texts = [line[2:] for line in lines if line.strip() and not line.startswith("#")]
        lengths = [len(tokenizer.encode(text).ids) for text in texts]
        random.Random(1).shuffle(lengths)
        cases = ["+".join(map(str, lengths[at:at + BATCH])) for at in range(0, len(lengths), BATCH)]
        engine = Engine(f"aiq-{options.precision}", "distilbert", options.threads, options)
        rounds = []
        with Fleet(options, models) as fleet:
            over_http(options, fleet.url)  # Not counted: the worker gets to know what its batches cost.
            for _ in range(options.rounds):
                rounds.append((over_http(options, fleet.url), by_engine(options, engine, cases)))
                print(f"over HTTP {rounds[-1][0]:.1f} sentences/s, the engine alone {rounds[-1][1]:.1f}, "
                      f"ratio {rounds[-1][0] / rounds[-1][1]:.3f}")
        engine.end()
        print(f"{options.precision}, {options.threads} threads, {options.in_flight} in flight: median ratio "
              f"{statistics.median(http / alone for http, alone in rounds):.3f}")


if __name__ == "__main__":
    main()
