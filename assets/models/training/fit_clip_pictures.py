#!/usr/bin/env python3
"""Fit `clip-mini`'s picture side: one matrix from the image model's pooled features to the space of its texts.

    python fit_clip_pictures.py --data DATA/tiny-imagenet --image ../mobilenetv2-mini --text ../clip-mini --out OUT

Both the image model and the text tower stay as they are. The matrix starts as the least-squares solution for the mean
text of each label and is then trained with CLIP's loss against the label's prompts (Radford et al. 2021; with the text side
fixed, Zhai et al. 2022). To be run again whenever either side changes. Takes minutes.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

from clip_text_data import PROMPTS, with_article
from image_data import read_split
from pictures import ImageModel, resize_and_crop
from texts import ClipText


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("data", "image", "text", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="folder for the decoded pictures")
    parser.add_argument("--per-label", type=int, default=300, help="training pictures of each label")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def features(image, data, per_label, cache):
    """Pooled features and labels of training pictures, plain and mirrored in turn."""
    x, y = read_split(data, "train", cache, per_label * len(image.labels))
    out = []
    for at in range(0, len(x), 200):
        part = [resize_and_crop(Image.fromarray(p), image.size) for p in x[at:at + 200]]
        out.append(image.pooled(np.stack([p[:, ::-1] if n % 2 else p for n, p in enumerate(part)])))
    return torch.cat(out).clone(), torch.from_numpy(y)


def fit(pooled, labels, texts, steps, sets=3, dropout=0.3):
    """The matrix [256, 1280] and the logarithm of the scale. `texts`: unit vectors (prompts, labels, 256).

    A step takes `sets` sets of one picture of each label; each picture must find its text among all, and each text its
    picture in the set, which is CLIP's loss in both directions without two pairs of one label. Dropout, since the image
    model knows these very pictures better than it will know others.
    """
    mean = F.normalize(texts.mean(0), dim=1)
    matrix = torch.nn.Parameter(torch.linalg.lstsq(pooled, mean[labels]).solution.T.clone().contiguous())
    scale = torch.nn.Parameter(torch.tensor(3.0))
    opt = torch.optim.AdamW([{"params": [matrix], "weight_decay": 0.02}, {"params": [scale], "weight_decay": 0.0}], lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, steps)
    count = texts.shape[1]
    each = int(labels.bincount(minlength=count).min())
    of_label = torch.stack([torch.nonzero(labels == n).flatten()[:each] for n in range(count)])
    right = torch.arange(count).repeat(sets, 1)
    for step in range(steps):
        chosen = of_label[torch.arange(count), torch.randint(0, each, (sets, count))]
        pictures = F.normalize(F.dropout(pooled[chosen], dropout) @ matrix.T, dim=2)
        scores = scale.exp().clamp(max=100) * pictures @ texts[step % len(texts)].T  # set, picture, text
        by_picture = F.cross_entropy(scores.flatten(0, 1), right.flatten(), label_smoothing=0.05)
        by_text = F.cross_entropy(scores.transpose(1, 2).flatten(0, 1), right.flatten(), label_smoothing=0.05)
        loss = (by_picture + by_text) / 2
        opt.zero_grad()
        loss.backward()
        opt.step()
        schedule.step()
        if step % 500 == 0:
            print(f"step {step} loss {loss.item():.3f} scale {scale.exp().item():.1f}", flush=True)
    return matrix.detach(), scale.detach()


def main():
    options = parse()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    image, text = ImageModel(options.image), ClipText(options.text)
    pooled, labels = features(image, options.data, options.per_label, options.cache)
    texts = torch.stack([text.embed([with_article(p.format(name)) for name in image.labels]) for p in PROMPTS]).clone()
    matrix, scale = fit(pooled, labels, texts, options.steps)
    options.out.mkdir(parents=True, exist_ok=True)
    state = {k: v.half() for k, v in text.weights.items() if k.startswith("text_")}
    state |= {"visual_projection.weight": matrix.half(), "logit_scale": scale}
    save_file({k: v.contiguous() for k, v in state.items()}, options.out / "model.safetensors", metadata={"format": "pt"})
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        if (options.text / name).resolve() != (options.out / name).resolve():
            shutil.copy(options.text / name, options.out)
    side = {"height": image.size, "width": image.size}
    (options.out / "preprocessor_config.json").write_text(json.dumps({
        "do_resize": True, "size": {"shortest_edge": image.size}, "resample": 3, "do_center_crop": True, "crop_size": side,
        "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
        "do_convert_rgb": True, "image_processor_type": "CLIPImageProcessor"}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
