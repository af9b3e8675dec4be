#!/usr/bin/env python3
"""Train `clip-mini`'s text tower: a small CLIP text transformer that gives all-MiniLM-L6-v2's cosines.

    python train_clip_text.py --captions DATA/captions --labels DATA/tiny-imagenet/labels.json --minilm DIR --out OUT [--resume]

The joint space is the 256 principal directions of MiniLM's sentence space, so that the cosine of two texts follows
MiniLM's, and the picture side can be fitted to texts afterwards (fit_clip_pictures.py). The word embeddings start as the
192 principal directions of MiniLM's.
"""

import argparse
import json
import math
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import CLIPConfig, CLIPModel

from clip_text_data import END, START, Teacher, make_tokenizer, padded, training_texts
from image_data import read_labels

SPACE, WIDTH, LAYERS, HEADS, PIECES = 256, 192, 3, 3, 5600


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--captions", type=Path, required=True, help="folder of coco_train.tsv and synthetic.txt")
    parser.add_argument("--labels", type=Path, required=True, help="labels.json of the pictures")
    parser.add_argument("--minilm", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=0, help="stop after so long, with the learning rate at zero")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--limit", type=int, default=0, help="only so many texts, for a try")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def config(pieces):
    """CLIP's configuration; the vision part is a placeholder that the format wants and that has no weights."""
    common = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "projection_dim": SPACE, "hidden_size": WIDTH,
              "intermediate_size": 4 * WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
    made = CLIPConfig(projection_dim=SPACE, text_config=common | {
        "vocab_size": pieces, "max_position_embeddings": 77, "bos_token_id": pieces - 2, "eos_token_id": pieces - 1,
        "pad_token_id": pieces - 1}, vision_config=common | {"image_size": 64, "patch_size": 8})
    made.architectures = ["CLIPModel"]
    return made


def principal(matrix, directions):
    """The first principal directions of the rows of a matrix, as columns."""
    return torch.linalg.svd(matrix.T @ matrix)[0][:, :directions]


def embed(net, ids):
    """Token ids to unit vectors."""
    return F.normalize(net.text_projection(net.text_model(input_ids=ids)[1]), dim=1)


def save(net, spec, out):
    """Write the text side of the model folder; fit_clip_pictures.py adds the picture side."""
    state = {k: v.half().contiguous() for k, v in net.state_dict().items() if k.startswith("text_") and "position_ids" not in k}
    save_file(state | {"logit_scale": net.logit_scale.detach()}, out / "model.safetensors", metadata={"format": "pt"})
    write = lambda name, value: (out / name).write_text(json.dumps(value, indent=2, default=str) + "\n", encoding="utf-8")
    write("config.json", net.config.to_dict() | {"torch_dtype": "float16"})
    (out / "tokenizer.json").write_text(json.dumps(spec, ensure_ascii=False), encoding="utf-8")
    write("tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": START, "eos_token": END,
                                    "pad_token": END, "unk_token": "[UNK]", "model_max_length": 77})


def main():
    options = parse()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    names, _ = read_labels(options.labels.parent)
    texts = training_texts(options.captions, names)
    if options.limit:
        texts = random.Random(options.seed).sample(texts, options.limit)
    cache = options.out / "teacher.pt"
    full = torch.load(cache, weights_only=True) if cache.exists() else Teacher(options.minilm)(texts)
    torch.save(full, cache)
    target = F.normalize(full @ principal(full, SPACE), dim=1)

    spec, old = make_tokenizer(options.minilm / "tokenizer.json", texts, PIECES)
    pieces = len(spec["model"]["vocab"])
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    tokenizer.enable_truncation(77)
    rows = [e.ids for e in tokenizer.encode_batch(texts)]
    net = CLIPModel(config(pieces)).train()
    bert = load_file(options.minilm / "model.safetensors")
    words = next(v for k, v in bert.items() if k.endswith("embeddings.word_embeddings.weight"))[old]
    words = words - words.mean(0)
    words = words @ principal(words, WIDTH)
    table = net.text_model.embeddings.token_embedding.weight
    with torch.no_grad():
        table[:len(old)] = words / words.std() * 0.04
    others = [p for n, p in net.named_parameters() if n.startswith("text_") and p is not table]
    opt = torch.optim.AdamW([{"params": others, "peak": options.lr, "weight_decay": 0.02},
                             {"params": [table], "peak": options.lr * 0.3, "weight_decay": 0.0}], lr=options.lr, betas=(0.9, 0.98), fused=True)
    epoch, used, begin, checkpoint = 0, 0.0, time.time(), options.out / "checkpoint.pt"
    if options.resume and checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        net.load_state_dict(saved["net"])
        opt.load_state_dict(saved["optimizer"])
        epoch, used = saved["epoch"], saved["used"]
    per_epoch = -(-len(rows) // options.batch)

    while epoch < options.epochs:
        rng = random.Random(f"{options.seed}/{epoch}")
        order = sorted(range(len(rows)), key=lambda i: (len(rows[i]), rng.random()))
        groups = [order[k:k + options.batch] for k in range(0, len(order), options.batch)]
        rng.shuffle(groups)
        for n, chosen in enumerate(groups):
            by_steps = (epoch * per_epoch + n) / (options.epochs * per_epoch)
            by_time = (used + time.time() - begin) / (options.minutes * 60) if options.minutes else 0.0
            done = min(1.0, max(by_steps, by_time))
            for group in opt.param_groups:
                group["lr"] = group["peak"] * min(done / 0.05, 0.5 * (1 + math.cos(math.pi * done)))
            found = embed(net, padded([rows[i] for i in chosen], pieces - 1))
            near = (1 - (found * target[chosen]).sum(1)).mean()
            alike = F.mse_loss(found @ found.T, full[chosen] @ full[chosen].T)
            opt.zero_grad(set_to_none=True)
            (near + 10 * alike).backward()
            torch.nn.utils.clip_grad_norm_(others, 1.0)
            opt.step()
            if n % 100 == 0:
                print(f"{done:.3f} epoch {epoch} step {n}/{per_epoch} 1-cosine {near.item():.4f} pairs {alike.item():.5f}", flush=True)
            if done >= 1:
                break
        epoch = options.epochs if done >= 1 else epoch + 1
        torch.save({"net": net.state_dict(), "optimizer": opt.state_dict(), "epoch": epoch,
                    "used": used + time.time() - begin}, checkpoint)
    save(net.eval(), spec, options.out)


if __name__ == "__main__":
    main()
