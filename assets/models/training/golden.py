#!/usr/bin/env python3
"""Write the golden.json of a model: what PyTorch computes in float32 from the saved float16 weights.

    python golden.py text  --model ../distilbert-mini-sst2
    python golden.py image --model ../mobilenetv2-mini
    python golden.py clip  --model ../clip-mini --image ../mobilenetv2-mini

Another implementation must agree within 1e-3 when it starts from `input_ids` or from `pixels` (base64 of
uint8 RGB, row by row, already resized and cropped); `top1` and `first_picture` hold for its own
preprocessing of the sample pictures, whatever its decoder and resize filter. Those two leave out what is
too close to call.
"""

import argparse
import base64
import json
from pathlib import Path

import numpy as np
import torch

from pictures import ImageModel, samples
from texts import ClipText, SentimentModel

WEIGHTS = "model.safetensors (float16) widened to float32"
SENTENCES = ["This movie is a delight from start to finish.", "A dull, lifeless script and terrible acting.",
             "not bad at all", "I wouldn't recommend it to anyone.",
             "The plot is thin, but the performances are wonderful!"]
TEXTS = ["a photo of a cat", "a photo of an airplane", "A dog runs on the beach.",
         "two people riding a red motorcycle", "a plate of food on a wooden table"]
CLOSE_PROBABILITY, CLOSE_COSINE = 0.05, 0.02
EXACT = ["cat", "coffee", "penguin", "bear"]


def rounded(tensor):
    """A tensor as a flat list with six decimals."""
    return [round(float(v), 6) for v in tensor.flatten()]


@torch.inference_mode()
def text_golden(options):
    """Tokens, hidden state, logits and probabilities of a few sentences."""
    model = SentimentModel(options.model)
    cases = []
    for sentence in SENTENCES:
        encoding = model.tokenizer.encode(sentence)
        out = model.net(torch.tensor([encoding.ids]), output_hidden_states=True)
        cases.append({"text": sentence, "tokens": encoding.tokens, "input_ids": encoding.ids,
                      "cls_hidden_first8": rounded(out.hidden_states[-1][0, 0, :8]), "logits": rounded(out.logits),
                      "probs": rounded(out.logits.softmax(1)), "label": model.config.id2label[int(out.logits.argmax())]})
    return {"weights": WEIGHTS, "cases": cases}


def image_golden(options):
    """Exact pixels with logits for some sample pictures, the first label for all of them."""
    model = ImageModel(options.model)
    cases, top1 = [], {}
    for entry, picture in samples():
        pixels = model.prepare(picture)
        pooled = model.pooled(pixels[None])[0]
        logits = model.logits(pixels[None])[0]
        probs = logits.softmax(0)
        best = probs.topk(5)
        if best.values[0] - best.values[1] > CLOSE_PROBABILITY:
            top1[entry["name"]] = model.labels[int(best.indices[0])]
        if entry["name"] in EXACT:
            cases.append({"sample": entry["name"], "pixels": base64.b64encode(pixels.tobytes()).decode(),
                          "pooled_first8": rounded(pooled[:8]), "logits_first16": rounded(logits[:16]),
                          "top5": [{"label": model.labels[int(i)], "probability": round(float(p), 6)}
                                   for p, i in zip(*best)]})
    return {"weights": WEIGHTS, "input_size": model.size, "cases": cases, "top1": top1}


def clip_golden(options):
    """Embeddings of texts and sample pictures; for every caption, the picture it finds first."""
    text, image = ClipText(options.model), ImageModel(options.image)
    cases = []
    for t in TEXTS:
        encoding = text.tokenizer.encode(t)
        cases.append({"text": t, "tokens": encoding.tokens, "input_ids": encoding.ids,
                      "text_embed": rounded(text.embed([t]))})
    entries = [entry for entry, _ in samples()]
    pixels = np.stack([image.prepare(picture) for _, picture in samples()])
    pictures = text.embed_pictures(image.pooled(pixels))
    captions = text.embed([entry["caption"] for entry in entries])
    scale = float(text.weights["logit_scale"].exp())
    found = (captions @ pictures.T).topk(2)
    clear = found.values[:, 0] - found.values[:, 1] > CLOSE_COSINE
    embedded = text.embed(TEXTS)
    return {"weights": WEIGHTS, "logit_scale_exp": scale, "cases": cases,
            "text_text_cosine": [rounded(row) for row in embedded @ embedded.T],
            "pixels": "the `pixels` of the same sample in mobilenetv2-mini's golden.json",
            "pictures": [{"sample": e["name"], "image_embed": rounded(v),
                          "logits_per_text": rounded(scale * embedded @ v)}
                         for e, v in zip(entries, pictures) if e["name"] in EXACT],
            "first_picture": {e["caption"]: entries[int(i)]["name"]
                              for e, i, sure in zip(entries, found.indices[:, 0], clear) if sure}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=["text", "image", "clip"])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--image", type=Path, help="the image model under clip's picture side")
    options = parser.parse_args()
    torch.set_num_threads(1)
    golden = {"text": text_golden, "image": image_golden, "clip": clip_golden}[options.kind](options)
    (options.model / "golden.json").write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for key in ("top1", "first_picture"):
        if key in golden:
            print(json.dumps(golden[key], indent=1))
    print([case.get("label") for case in golden["cases"]])


if __name__ == "__main__":
    main()
