#!/usr/bin/env python3
"""Write full_size.json: what PyTorch computes at full size, from weights that anybody can make again.

    python full_size.py > full_size.json        # needs torch, transformers and timm; some 3 GB of memory

The real checkpoints are too large for a repository and need a network. So every tensor is filled from its name by a small
generator (SplitMix64, Steele, Lea and Flood 2014) that src/inference/tests/full_size.rs has too: the same shapes, the same
names, the same numbers to the last bit. Inputs come from the same generator. Expected outputs are PyTorch's in float32.
"""

import json
import math
import sys

import numpy as np
import timm
import torch
from transformers import CLIPConfig, CLIPModel, DistilBertConfig, DistilBertForSequenceClassification

KEEP = 24


def uniform(name, count):
    """`count` numbers from -1 to 1 (exclusive), multiples of 2^-23, drawn for a name."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():  # FNV-1a
        seed = (seed ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float64) / 2**23 - 1


def tensor(name, shape):
    """A tensor: scaled by its number of inputs, so that activations neither die nor explode."""
    draw = uniform(name, math.prod(shape))
    kind = name.rsplit(".", 1)[-1]
    if name == "logit_scale":
        draw = np.array([math.log(100)])
    elif kind == "running_var":
        draw = 1 + 0.5 * draw
    elif kind == "running_mean" or kind == "bias":
        draw = 0.1 * draw
    elif len(shape) == 1:
        draw = draw if kind == "class_embedding" else 1 + 0.2 * draw
    elif "embedding" in name and len(shape) == 2:
        pass
    else:
        draw = draw * math.sqrt(3 / math.prod(shape[1:]))
    return torch.from_numpy(draw.astype(np.float32).reshape(shape))


def fill(model):
    """Sets every tensor of a model."""
    state = model.state_dict()
    model.load_state_dict({name: value if name.endswith("num_batches_tracked") or "position_ids" in name
                           else tensor(name, tuple(value.shape)) for name, value in state.items()})
    return model.eval()


def token_ids(name, count, low, high):
    """Token ids in [low, high)."""
    return [low + int((x + 1) / 2 * (high - low)) for x in uniform(name, count)]


def picture():
    """One picture of 3 × 224 × 224 numbers."""
    return torch.from_numpy(uniform("picture", 3 * 224 * 224).astype(np.float32).reshape(1, 3, 224, 224))


def first(row):
    """What is kept of an output."""
    return [round(float(x), 7) for x in row.flatten()[:KEEP]]


def distilbert():
    model = fill(DistilBertForSequenceClassification(DistilBertConfig(num_labels=2)))
    cases = [{"tokens": n, "logits": first(model(torch.tensor([token_ids(f"text {n}", n, 1000, 30000)])).logits)}
             for n in (1, 5, 17, 64, 200)]
    return {"cases": cases}


def mobilenet():
    model = fill(timm.create_model("mobilenetv2_100"))
    logits = model(picture())
    pooled = model.forward_head(model.forward_features(picture()), pre_logits=True)
    return {"logits": first(logits), "pooled": first(pooled)}


def clip():
    model = fill(CLIPModel(CLIPConfig(text_config={"eos_token_id": 49407}, projection_dim=512)))
    cases = []
    for n in (1, 7, 30, 75):
        ids = [49406, *token_ids(f"clip {n}", n, 300, 40000), 49407]
        cases.append({"tokens": n, "text": first(model.get_text_features(input_ids=torch.tensor([ids])))})
    return {"cases": cases, "picture": first(model.get_image_features(pixel_values=picture()))}


def main():
    torch.set_num_threads(1)
    with torch.inference_mode():
        golden = {"distilbert": distilbert(), "mobilenet": mobilenet(), "clip": clip()}
    golden["made_with"] = {"torch": torch.__version__, "timm": timm.__version__}
    json.dump(golden, sys.stdout, indent=1)
    print()


main()
