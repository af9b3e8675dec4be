#!/usr/bin/env python3
"""Train `mobilenetv2-mini`: MobileNetV2 on Tiny-ImageNet's 202 labels.

    python train_image.py --data DIR --init MODEL/model.safetensors --out OUT --minutes 90 [--resume]

The pictures are 64 pixels wide; the network gets them enlarged, first to `--size`, for the last part of the
time to `--last-size`, which is the size it is tested and used at. AdamW, warm-up and cosine decay to
zero over the given wall-clock time: the end of the decay brings most of the gain, so the time is planned, not the
steps. `--resume` goes on from the last checkpoint in OUT with what is left of the time.
"""

import argparse
import json
import math
import queue
import threading
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from image_data import Views, normalize, read_labels, read_split, resize
from image_net import Average, Front, Rest, build, estimate_statistics, export, strided_convolutions_in_float32


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of train.parquet, val.parquet, labels.json")
    parser.add_argument("--cache", type=Path, help="folder for the decoded pictures")
    parser.add_argument("--init", type=Path, required=True, help="model.safetensors to start from")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--steps", type=int, default=0, help="plan so many steps in all instead of the minutes")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--last-size", type=int, default=128)
    parser.add_argument("--last-share", type=float, default=0.4, help="of the time, at the last size")
    parser.add_argument("--frozen", type=int, default=2, help="stages that keep their weights, besides the stem")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=8e-4)
    parser.add_argument("--decay", type=float, default=0.998, help="of the average over the weights, a step")
    parser.add_argument("--smoothing", type=float, default=0.1)
    parser.add_argument("--limit", type=int, default=0, help="only so many pictures, for a try")
    parser.add_argument("--threads", type=int, default=1, help="for the trained part; the views and the front run in one more")
    parser.add_argument("--compile", action="store_true", help="fuse the trained part's operations (needs a C++ compiler; a fifth faster)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def optimizer(rest, lr):
    """AdamW: weight decay for matrices only, a lighter one for the classifier, which learns twice as fast."""
    head = list(rest.classifier.parameters())
    body = [p for p in rest.parameters() if all(p is not q for q in head)]
    groups = [{"params": [p for p in body if p.ndim > 1], "weight_decay": 0.05, "factor": 1.0},
              {"params": [p for p in body if p.ndim <= 1], "weight_decay": 0.0, "factor": 1.0},
              {"params": head, "weight_decay": 0.01, "factor": 2.0}]
    return torch.optim.AdamW(groups, lr=lr, fused=True)


def learning_rate(peak, done, warm_up=0.02):
    """Linear warm-up, then half a cosine to zero; `done` is the share of the time that has passed."""
    if done < warm_up:
        return peak * done / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * min(1, (done - warm_up) / (1 - warm_up))))


@torch.inference_mode()
def accuracy(net, x, y, size, device, batch=200):
    """Top-1 and top-5 on pictures (n, 3, h, w)."""
    net.eval()
    first = five = 0
    for i in range(0, len(x), batch):
        best = net(normalize(resize(x[i:i + batch], size)).to(device)).topk(5, 1).indices.cpu()
        hit = best == y[i:i + batch, None]
        first, five = first + hit[:, 0].sum().item(), five + hit.any(1).sum().item()
    return round(first / len(x), 4), round(five / len(x), 4)


def as_pictures(x):
    """(n, h, w, 3) numpy to (n, 3, h, w) torch, the memory untouched: already channels last."""
    return torch.from_numpy(x).permute(0, 3, 1, 2)


def plain_batches(x, size, device, rng, batches=16, batch=128):
    """Pictures as they are, for batch norm statistics."""
    for _ in range(batches):
        chosen = np.sort(rng.choice(len(x), min(batch, len(x)), replace=False))
        yield normalize(resize(x[torch.from_numpy(chosen)], size)).to(device)


def feed(x, y, options, front, clock, first_step):
    """Batches of (what the front makes of varied pictures, labels), made one after the other in a thread of its own."""
    ready = queue.Queue(maxsize=3)

    def make():
        rng = np.random.default_rng([options.seed, first_step])
        torch.set_num_threads(1)
        views, order, at = Views(), rng.permutation(len(x)), 0
        while (done := clock.done()) < 1:
            if at + options.batch > len(order):
                order, at = rng.permutation(len(x)), 0
            chosen = torch.from_numpy(np.sort(order[at:at + options.batch]))
            at += options.batch
            size = options.last_size if done > 1 - options.last_share else options.size
            ready.put((front(views(x[chosen], size, rng).to(options.device)), y[chosen].to(options.device), size))
        ready.put(None)

    threading.Thread(target=make, daemon=True).start()
    return iter(ready.get, None)


class Clock:
    """How much of the budget is used, over all the runs of a resumed training: wall-clock time, or steps if they are planned."""

    def __init__(self, minutes, steps, used=0.0, step=0):
        self.budget, self.steps, self.before, self.step, self.start = minutes * 60, steps, used, step, time.time()

    def used(self):
        """Seconds."""
        return self.before + time.time() - self.start

    def done(self):
        """0 at the start, 1 at the end."""
        return min(1.0, self.step / self.steps if self.steps else self.used() / self.budget)


def main():
    options = parse()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    names, _ = read_labels(options.data)
    train_x, train_y = read_split(options.data, "train", options.cache, options.limit)
    val_x, val_y = read_split(options.data, "val", options.cache, options.limit)
    x, y, vx, vy = as_pictures(train_x), torch.from_numpy(train_y), as_pictures(val_x), torch.from_numpy(val_y)
    some = torch.from_numpy(np.sort(np.random.default_rng(1).permutation(len(vx))[:2000]))

    net = build(len(names), options.init).to(options.device)
    checkpoint, saved = options.out / "checkpoint.pt", None
    if options.resume and checkpoint.exists():
        saved = torch.load(checkpoint, map_location=options.device, weights_only=True)
        net.load_state_dict(saved["net"])
    else:
        estimate_statistics(net, plain_batches(x, (options.size + options.last_size) // 2, options.device, rng))
    front, rest = Front(net, options.frozen), Rest(net, options.frozen).train()
    if options.device == "cpu":
        strided_convolutions_in_float32(rest)
    learner = torch.compile(rest) if options.compile else rest
    opt, average, step, clock = optimizer(rest, options.lr), Average(net, options.decay), 0, Clock(options.minutes, options.steps)
    if saved:
        opt.load_state_dict(saved["optimizer"])
        average.state, average.steps, step = saved["average"], saved["average_steps"], saved["step"]
        clock = Clock(options.minutes, options.steps, saved["used"], step)
    tester = build(len(names)).to(options.device)

    loss_mean, seen, next_save = 0.0, 0, clock.used() + 240
    for features, labels, size in feed(x, y, options, front, clock, step):
        done = clock.done()
        if done >= 1:
            break
        for group in opt.param_groups:
            group["lr"] = learning_rate(options.lr, done) * group["factor"]
        with torch.autocast(torch.device(options.device).type, torch.bfloat16):
            out = learner(features)
        loss = F.cross_entropy(out.float(), labels, label_smoothing=options.smoothing)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(rest.parameters(), 5.0)
        opt.step()
        average.update(net)
        step, seen = step + 1, seen + len(labels)
        clock.step = step
        loss_mean = 0.98 * loss_mean + 0.02 * loss.item() if loss_mean else loss.item()
        if step % 50 == 0:
            print(f"{done:.3f} step {step} epoch {step * options.batch / len(x):.2f} size {size} loss {loss_mean:.3f} "
                  f"{seen / (clock.used() - clock.before):.0f} pictures/s", flush=True)
        if clock.used() > next_save:
            next_save = clock.used() + 240
            torch.save({"net": net.state_dict(), "optimizer": opt.state_dict(), "average": average.state,
                        "average_steps": average.steps, "step": step, "used": clock.used()}, checkpoint)
            tester.load_state_dict(average.state)
            now = accuracy(tester, vx[some], vy[some], size, options.device)
            print(f"  average, {len(some)} validation pictures at {size}: {now}", flush=True)

    tester.load_state_dict(average.state)
    export(tester, options.out / "model.safetensors")
    found = {s: accuracy(tester, vx, vy, s, options.device) for s in {options.size, options.last_size}}
    report = {"validation": found, "epochs": round(step * options.batch / len(x), 2), "steps": step}
    print(json.dumps(report))
    (options.out / "training.json").write_text(json.dumps(report) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
