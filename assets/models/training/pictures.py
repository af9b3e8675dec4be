"""Pictures as the models see them, and the image model itself.

Owns the preprocessing that config.json describes (Pillow's resize, centre crop, mean and standard
deviation) and the loading of a saved `mobilenetv2-mini`. Knows nothing about training.
"""

import json
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

ASSETS = Path(__file__).resolve().parents[2]
SAMPLES = ASSETS / "samples"


def read_json(path):
    """A JSON file's content."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def load_float32(folder):
    """The saved half precision weights of a model folder, widened to float32."""
    weights = load_file(Path(folder) / "model.safetensors")
    return {name: value.float() for name, value in weights.items()}


class ImageModel:
    """A saved image classifier with its labels and its input size."""

    def __init__(self, folder):
        self.config = read_json(Path(folder) / "config.json")
        self.labels = self.config["label_names"]
        self.size = self.config["pretrained_cfg"]["input_size"][1]
        self.net = timm.create_model(self.config["architecture"], num_classes=len(self.labels))
        missing = self.net.load_state_dict(load_float32(folder), strict=False)
        left = [k for k in missing.missing_keys if not k.endswith("num_batches_tracked")]
        assert not left and not missing.unexpected_keys, missing
        self.net = self.net.eval().to(memory_format=torch.channels_last)

    def prepare(self, picture):
        """A Pillow picture to the uint8 pixels (size, size, 3) that the network is given."""
        return resize_and_crop(picture, self.size)

    @torch.inference_mode()
    def pooled(self, pixels):
        """uint8 pixels (n, h, w, 3) to the pooled features (n, 1280) before the classifier."""
        return self.net.forward_head(self.net.forward_features(to_tensor(pixels)), pre_logits=True)

    @torch.inference_mode()
    def logits(self, pixels):
        """uint8 pixels (n, h, w, 3) to logits (n, labels)."""
        return self.net.classifier(self.pooled(pixels))


def resize_and_crop(picture, size):
    """Shortest side to `size` with Pillow's antialiased bicubic filter, then the middle square."""
    picture = picture.convert("RGB")
    shortest = min(picture.size)
    picture = picture.resize([max(size, round(side * size / shortest)) for side in picture.size], Image.BICUBIC)
    left, top = ((side - size) // 2 for side in picture.size)
    return np.asarray(picture.crop((left, top, left + size, top + size)))


def to_tensor(pixels):
    """uint8 (n, h, w, 3) to float32 (n, 3, h, w), channels last, with mean and deviation 0.5."""
    x = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float()
    return (x / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def samples():
    """The shipped sample pictures: (index entry, Pillow picture) in the order of index.json."""
    return [(entry, Image.open(SAMPLES / entry["file"])) for entry in read_json(SAMPLES / "index.json")]
