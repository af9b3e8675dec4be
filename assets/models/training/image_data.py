"""Tiny-ImageNet as uint8 arrays, and the random views of it that training sees.

Owns reading `train.parquet`, `val.parquet` and `labels.json`, and the augmentation. Knows nothing about
networks.
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from PIL import Image


def read_split(data, split, cache=None, limit=0):
    """Pixels (n, 64, 64, 3) uint8 and labels (n,) of "train" or "val".

    Decoding takes a minute, so a `cache` folder keeps the arrays. `limit` keeps the first of each label, so
    many in all that the labels stay balanced.
    """
    if cache and (Path(cache) / f"{split}_x.npy").exists():
        x, y = (np.load(Path(cache) / f"{split}_{part}.npy", mmap_mode="r" if limit else None) for part in "xy")
    else:
        table = pq.read_table(Path(data) / f"{split}.parquet")
        y = np.array(table["label"].to_pylist(), np.int64)
        x = np.stack([np.asarray(Image.open(io.BytesIO(j)).convert("RGB")) for j in table["jpeg"].to_pylist()])
        if cache:
            Path(cache).mkdir(parents=True, exist_ok=True)
            np.save(Path(cache) / f"{split}_x.npy", x)
            np.save(Path(cache) / f"{split}_y.npy", y)
    if limit:
        each = max(1, limit // len(np.unique(y)))
        keep = np.sort(np.concatenate([np.flatnonzero(y == label)[:each] for label in np.unique(y)]))
        x, y = np.ascontiguousarray(x[keep]), y[keep]
    return x, y


def read_labels(data):
    """The short label names, the full ones by WordNet id, in the order of the label numbers."""
    labels = json.loads((Path(data) / "labels.json").read_text(encoding="utf-8"))
    return [name.split(",")[0].strip() for name in labels["name"]], dict(zip(labels["wnid"], labels["name"]))


def resize(x, size):
    """uint8 (n, 3, h, w) to (n, 3, size, size) with Pillow's antialiased bicubic filter (the same arithmetic)."""
    if x.shape[2:] == (size, size):
        return x
    return F.interpolate(x, size=(size, size), mode="bicubic", antialias=True, align_corners=False)


def normalize(x):
    """Pixels 0..255 to the network's input, mean and deviation 0.5, channels last."""
    return (x.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Views:
    """How training pictures are varied. Mild: a short fine-tuning learns more from clear pictures."""

    area: tuple[float, float] = (0.4, 1.0)  # of the picture that a crop keeps
    aspect: float = 0.2  # largest logarithm of width over height
    light: float = 0.25  # brightness and contrast, each way
    saturation: float = 0.35
    sharpen: float = 0.35  # share of the pictures that are sharpened: photographs are sharper than this data
    grey: float = 0.03

    def crop(self, picture, size, rng):
        """One random crop of a picture (3, h, w), enlarged to `size`."""
        _, h, w = picture.shape
        side = np.sqrt(rng.uniform(*self.area))
        stretch = np.exp(rng.uniform(-self.aspect, self.aspect) / 2)
        cw, ch = min(w, round(w * side * stretch)), min(h, round(h * side / stretch))
        left, top = rng.integers(0, w - cw + 1), rng.integers(0, h - ch + 1)
        return resize(picture[None, :, top:top + ch, left:left + cw], size)

    def __call__(self, pictures, size, rng):
        """uint8 (n, 3, h, w) to a varied, normalized batch (n, 3, size, size)."""
        x = torch.cat([self.crop(p, size, rng) for p in pictures]).float()
        n = len(x)
        draw = lambda spread: torch.from_numpy(rng.uniform(-spread, spread, (n, 1, 1, 1)).astype(np.float32))
        pick = lambda share: torch.from_numpy(rng.random(n) < share)
        flip = pick(0.5)
        x[flip] = x[flip].flip(3)
        sharp = pick(self.sharpen)
        if sharp.any():
            soft = F.avg_pool2d(F.pad(x[sharp], (1, 1, 1, 1), mode="replicate"), 3, stride=1)
            x[sharp] += (x[sharp] - soft) * (1.2 + draw(0.8))[sharp]
        grey = x.mean(1, keepdim=True)
        colour = 1 + draw(self.saturation)
        colour[pick(self.grey)] = 0
        x = grey + (x - grey) * colour
        middle = x.mean((1, 2, 3), keepdim=True)
        x = (middle + (x - middle) * (1 + draw(self.light))) * (1 + draw(self.light))
        return normalize(x.clamp_(0, 255))
