#!/usr/bin/env python3
"""Measure a saved model and write its eval.json: the figures of the cards.

    python evaluate.py text    --model ../distilbert-mini-sst2 --data DATA/sst2
    python evaluate.py image   --model ../mobilenetv2-mini --data DATA/tiny-imagenet
    python evaluate.py clip    --model ../clip-mini --image ../mobilenetv2-mini --data DATA/tiny-imagenet \\
                               --captions DATA/captions --minilm DIR
    python evaluate.py samples --model ../clip-mini --image ../mobilenetv2-mini

Everything is computed in float32 from the saved float16 file. `samples` prints only.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image

from everyday import EVALUATION
from image_data import read_split
from pictures import ImageModel, resize_and_crop, samples
from texts import ClipText, SentimentModel

PROMPTS = ["a photo of a {}", "{}", "a picture of the {}", "find me a {}"]


def calibration_error(confidence, right, bins=15):
    """Expected calibration error (Naeini et al. 2015): the mean distance of confidence and accuracy, by confidence."""
    edges = torch.linspace(0, 1, bins + 1)
    error = 0.0
    for low, high in zip(edges[:-1], edges[1:]):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            error += inside.float().mean().item() * abs(confidence[inside].mean() - right[inside].float().mean()).item()
    return error


def top(scores, labels):
    """Top-1 and top-5 accuracy of scores (n, classes)."""
    hit = scores.topk(5, 1).indices == labels[:, None]
    return {"top1": round(hit[:, 0].float().mean().item(), 4), "top5": round(hit.any(1).float().mean().item(), 4)}


def evaluate_text(options):
    """Accuracy and calibration on SST-2, and on plain sentences from everyday life."""
    model, found = SentimentModel(options.model), {}
    for split in ("dev", "test"):
        path = options.data / f"{split}.parquet"
        if not path.exists():
            continue
        table = pq.read_table(path).to_pydict()
        probs, labels = model.logits(table["sentence"]).softmax(1), torch.tensor(table["label"])
        confidence, guess = probs.max(1)
        found[f"sst2_{split}"] = {"sentences": len(labels), "accuracy": round((guess == labels).float().mean().item(), 4),
                                  "calibration_error": round(calibration_error(confidence, guess == labels), 4)}
    guesses = model.logits([sentence for sentence, _ in EVALUATION]).argmax(1).tolist()
    wrong = [s for (s, label), guess in zip(EVALUATION, guesses) if guess != label]
    found["everyday"] = {"sentences": len(EVALUATION), "right": len(EVALUATION) - len(wrong), "wrong": wrong}
    return found


def validation_features(image, data, limit):
    """Pooled features of the validation pictures through the whole preprocessing, and their labels."""
    x, y = read_split(data, "val", limit=limit)
    pixels = np.stack([resize_and_crop(Image.fromarray(p), image.size) for p in x])
    return torch.cat([image.pooled(pixels[i:i + 200]) for i in range(0, len(pixels), 200)]), torch.from_numpy(y)


def evaluate_image(options):
    """Accuracy on the validation set at the size of config.json, and on the sample pictures."""
    image = ImageModel(options.model)
    pooled, labels = validation_features(image, options.data, options.limit)
    with torch.inference_mode():
        logits = image.net.classifier(pooled)
    confidence, guess = logits.softmax(1).max(1)
    right1, right5, total = sample_labels(image)
    return {"input_size": image.size, "validation": {"pictures": len(labels), **top(logits, labels),
            "calibration_error": round(calibration_error(confidence, guess == labels), 4)},
            "samples": {"pictures": total, "right_first": right1, "right_in_first_five": right5}}


def sample_labels(image, say=False):
    """How many sample pictures have a right label first, in the first five, and how many there are."""
    first = five = 0
    for entry, picture in samples():
        probs = image.logits(image.prepare(picture)[None])[0].softmax(0)
        best = [(image.labels[int(i)], round(float(p), 2)) for p, i in zip(*probs.topk(5))]
        first += best[0][0] in entry["labels"]
        five += any(label in entry["labels"] for label, _ in best)
        if say:
            print("right" if any(label in entry["labels"] for label, _ in best) else "WRONG", entry["name"], best)
    return first, five, len(samples())


def find_first_of_16(pictures, labels, texts, trials=2000):
    """Share of the trials in which a label's text finds its picture among 16 pictures of 16 labels."""
    g, hits = torch.Generator().manual_seed(1), 0
    members = [torch.nonzero(labels == c)[:, 0] for c in range(len(texts))]
    usable = torch.tensor([c for c, m in enumerate(members) if len(m)])
    for _ in range(trials):
        chosen = usable[torch.randperm(len(usable), generator=g)[:16]]
        rows = torch.stack([members[c][torch.randint(len(members[c]), (1,), generator=g)[0]] for c in chosen])
        hits += int((pictures[rows] @ texts[chosen[0]]).argmax() == 0)
    return hits / trials


def caption_agreement(text, captions, minilm):
    """Spearman's rank correlation of caption cosines with MiniLM's, random pairs and with pairs of the same picture."""
    from clip_text_data import Teacher, pairs_of_captions, read_captions
    from scipy.stats import spearmanr
    held = read_captions(captions / "coco_held.tsv")
    ours = text.embed([caption for _, caption in held])
    theirs = Teacher(minilm)([caption for _, caption in held])
    found = {}
    for name, (i, j) in pairs_of_captions(held).items():
        found[name] = round(float(spearmanr((ours[i] * ours[j]).sum(1), (theirs[i] * theirs[j]).sum(1))[0]), 4)
    return found


def evaluate_clip(options):
    """How well texts find labels, pictures and each other."""
    text, image = ClipText(options.model), ImageModel(options.image)
    pooled, labels = validation_features(image, options.data, options.limit)
    with torch.inference_mode():
        classifier = top(image.net.classifier(pooled), labels)
    pictures = text.embed_pictures(pooled)
    by_prompt = {prompt: text.embed([prompt.format(name) for name in image.labels]) for prompt in PROMPTS}
    cat, kitten, dog, car = text.embed(["a photo of a cat", "a photo of a kitten", "a photo of a dog", "a photo of a car"])
    found = {"classifier": classifier, "labels_by_prompt": {p: top(pictures @ t.T, labels) for p, t in by_prompt.items()},
             "find_first_of_16": find_first_of_16(pictures, labels, by_prompt["find me a {}"]),
             "cosine_of_cat_with": {n: round(float(cat @ v), 3) for n, v in [("kitten", kitten), ("dog", dog), ("car", car)]}}
    if options.captions and options.minilm:
        found["spearman_with_minilm"] = caption_agreement(text, options.captions, options.minilm)
    found["samples"] = sample_captions(text, image)
    return found


def sample_captions(text, image, say=False):
    """How many samples' captions find their own picture first among all the samples."""
    entries = [entry for entry, _ in samples()]
    pictures = text.embed_pictures(image.pooled(np.stack([image.prepare(p) for _, p in samples()])))
    order = (text.embed([e["caption"] for e in entries]) @ pictures.T).argsort(1, descending=True)
    hits = [int(row[0]) == i for i, row in enumerate(order)]
    if say:
        for entry, row, hit in zip(entries, order, hits):
            print("right" if hit else "WRONG", entry["caption"], [entries[int(i)]["name"] for i in row[:3]])
    return {"captions": len(hits), "own_picture_first": sum(hits)}


def evaluate_samples(options):
    """Print label and caption results for every sample picture."""
    image = ImageModel(options.image)
    first, five, total = sample_labels(image, say=True)
    print(f"{first} first, {five} in the first five, of {total}")
    print(sample_captions(ClipText(options.model), image, say=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=["text", "image", "clip", "samples"])
    for name in ("model", "image", "data", "captions", "minilm"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--limit", type=int, default=0, help="only so many validation pictures, for a try")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.kind == "samples":
        return evaluate_samples(options)
    found = {"text": evaluate_text, "image": evaluate_image, "clip": evaluate_clip}[options.kind](options)
    text = json.dumps(found, indent=1, ensure_ascii=False)
    print(text)
    (options.model / "eval.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
