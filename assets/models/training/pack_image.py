#!/usr/bin/env python3
"""Put trained image weights into a model folder: config.json with labels and preprocessing, model.safetensors.

    python pack_image.py --data DATA/tiny-imagenet --weights OUT/model.safetensors --size 128 --out ../mobilenetv2-mini
"""

import argparse
import json
import shutil
from pathlib import Path

from image_data import read_labels
from image_net import ARCHITECTURE


def config(labels, descriptions, size):
    """timm's config.json for these labels and this input size."""
    return {"architecture": ARCHITECTURE, "num_classes": len(labels), "num_features": 1280, "global_pool": "avg",
            "label_names": labels, "label_descriptions": descriptions,
            "pretrained_cfg": {"tag": "tiny_in202", "custom_load": False, "input_size": [3, size, size],
                               "fixed_input_size": False, "interpolation": "bicubic", "crop_pct": 1.0, "crop_mode": "center",
                               "mean": [0.5] * 3, "std": [0.5] * 3, "num_classes": len(labels),
                               "pool_size": [-(-size // 32)] * 2, "first_conv": "conv_stem", "classifier": "classifier"}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of labels.json")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--size", type=int, required=True, help="the input size that the model is used at")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    labels, descriptions = read_labels(options.data)
    text = json.dumps(config(labels, descriptions, options.size), indent=1, ensure_ascii=False)
    (options.out / "config.json").write_text(text + "\n", encoding="utf-8")
    shutil.copy(options.weights, options.out / "model.safetensors")


if __name__ == "__main__":
    main()
