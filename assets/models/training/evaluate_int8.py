#!/usr/bin/env python3
"""Measure what 8-bit weights cost the small models, on the test sets of their cards: writes int8.json beside eval.json.

    python evaluate_int8.py text --runner NETWORKS --model ../distilbert-mini-sst2 --data DATA/sst2
    python evaluate_int8.py clip --runner NETWORKS --model ../clip-mini --image ../mobilenetv2-mini --data DATA/tiny-imagenet \\
                                 [--captions DATA/captions --minilm DIR]

NETWORKS is aiq's own program for measuring (`cargo bench --bench networks --no-run` says where it is): it computes the
texts, as a worker does, in fp32 and with 8-bit weights. Sums of those are integers and the same on every processor. Pictures
are fp32 in both.
"""

import argparse
import json
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import torch

from evaluate import PROMPTS, caption_agreement, find_first_of_16, top, validation_features
from pictures import ImageModel
from texts import ClipText


class Runner:
    """Texts through aiq's own inference."""

    def __init__(self, options, network, precision):
        self.command = [options.runner, "texts", network, options.model, precision, options.instructions]

    def outputs(self, texts):
        """One row of outputs for each text."""
        lines = "".join(" ".join(text.split()) + "\n" for text in texts)
        done = subprocess.run(self.command, input=lines, stdout=subprocess.PIPE, text=True, check=True)
        return torch.tensor([json.loads(line) for line in done.stdout.splitlines()])

    def embed(self, texts):
        """Outputs of length one."""
        return torch.nn.functional.normalize(self.outputs(texts), dim=1)


def evaluate_text(options, runner):
    """Accuracy on SST-2, and the logits for comparing."""
    found, logits = {}, {}
    for split in ("dev", "test"):
        table = pq.read_table(options.data / f"{split}.parquet").to_pydict()
        logits[split] = runner("distilbert").outputs(table["sentence"])
        right = logits[split].argmax(1) == torch.tensor(table["label"])
        found[f"sst2_{split}"] = round(right.float().mean().item(), 4)
    return found, torch.cat(list(logits.values())).softmax(1)


def evaluate_clip(options, runner, pooled, labels):
    """How well texts find labels and pictures, and the embeddings for comparing."""
    image, runner = ImageModel(options.image), runner("clip-text")
    pictures = ClipText(options.model).embed_pictures(pooled)
    by_prompt = {prompt: runner.embed([prompt.format(name) for name in image.labels]) for prompt in PROMPTS}
    found = {"labels_by_prompt": {prompt: top(pictures @ texts.T, labels) for prompt, texts in by_prompt.items()},
             "find_first_of_16": find_first_of_16(pictures, labels, by_prompt["find me a {}"])}
    if options.captions and options.minilm:
        found["spearman_with_minilm"] = caption_agreement(runner, options.captions, options.minilm)
    return found, torch.cat(list(by_prompt.values()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=["text", "clip"])
    for name in ("runner", "model", "image", "data", "captions", "minilm"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--instructions", default="avx2", help="the instruction set to compute with")
    parser.add_argument("--limit", type=int, default=0, help="only so many validation pictures, for a try")
    options = parser.parse_args()
    if options.kind == "clip":
        pooled, labels = validation_features(ImageModel(options.image), options.data, options.limit)
    found, reference = {}, None
    for precision in ("fp32", "int8"):
        def runner(network, precision=precision):
            return Runner(options, network, precision)
        if options.kind == "text":
            figures, outputs = evaluate_text(options, runner)
        else:
            figures, outputs = evaluate_clip(options, runner, pooled, labels)
        if reference is None:
            reference = outputs
        elif options.kind == "text":
            figures["mean_difference_of_probability"] = round((outputs - reference).abs().mean().item(), 5)
            figures["other_answers"] = int((outputs.argmax(1) != reference.argmax(1)).sum())
        else:
            figures["least_cosine_with_fp32"] = round((outputs * reference).sum(1).min().item(), 5)
        found[precision] = figures
    text = json.dumps(found, indent=1, ensure_ascii=False)
    print(text)
    (options.model / "int8.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
