#!/usr/bin/env python3
"""One engine with one network, as benches/networks is for ours: it computes when it is told to on its standard input.

    python peer.py torch|torch-gpu|ort-fp32|ort-int8 NETWORK FOLDER THREADS

Lines in: CASE SECONDS LEAST. Lines out: one JSON object, with the times in milliseconds and the first outputs.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np


def inputs(network, case):
    """The inputs of a case, the same numbers as in benches/networks/main.rs; different lengths are padded."""
    if case.startswith("b"):
        at = np.arange(int(case[1:]))[:, None] * 31 + np.arange(224 * 224 * 3)[None]
        pixels = ((at * 7919 % 2003) / np.float32(1001.5) - 1).astype(np.float32)
        return {"pixel_values": np.ascontiguousarray(pixels.reshape(-1, 224, 224, 3).transpose(0, 3, 1, 2))}
    if "x" in case:
        texts, tokens = map(int, case.split("x"))
        lengths = [tokens] * texts
    else:
        lengths = list(map(int, case.split("+")))
    # CLIP pads with the end of text, behind which nothing is looked at.
    ids = np.full((len(lengths), max(lengths)), 49407 if network == "clip-text" else 0, np.int64)
    mask = np.zeros_like(ids)
    for row, length in enumerate(lengths):
        ids[row, :length] = 1000 + (np.arange(length) * 7919 + row * 101) % 28000
        mask[row, :length] = 1
        if network == "clip-text":
            ids[row, 0], ids[row, length - 1] = 49406, 49407
    return {"input_ids": ids} if network == "clip-text" else {"input_ids": ids, "attention_mask": mask}


def engine(peer, network, folder, threads):
    """A function from inputs to the output."""
    if peer.startswith("torch"):
        import torch
        from safetensors.torch import load_file

        from models import network as build

        torch.set_num_threads(threads)
        module, whole, _ = build(network)
        whole.load_state_dict(load_file(folder / network / "model.safetensors"), strict=False)
        device = ("mps" if torch.backends.mps.is_available() else "cuda") if peer == "torch-gpu" else "cpu"
        module.to(device)

        def run(feed):
            with torch.inference_mode():
                return module(*(torch.from_numpy(value).to(device) for value in feed.values())).cpu().numpy()

        return run
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    file = folder / f"{network}{'-int8' if peer == 'ort-int8' else ''}.onnx"
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda feed: session.run(None, feed)[0]


def main():
    peer, network, folder, threads = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
    start = time.perf_counter()
    run = engine(peer, network, folder, threads)
    print(json.dumps({"load_s": time.perf_counter() - start}), flush=True)
    for line in sys.stdin:
        case, seconds, least = line.split()
        feed = inputs(network, case)
        output = run(feed)
        times, start = [], time.perf_counter()
        while len(times) < int(least) or time.perf_counter() - start < float(seconds):
            begin = time.perf_counter()
            run(feed)
            times.append((time.perf_counter() - begin) * 1e3)
        print(json.dumps({"ms": times, "head": output.ravel()[:8].tolist()}), flush=True)


if __name__ == "__main__":
    main()
