"""Captions, prompts, the vocabulary and the teacher for `clip-mini`'s text tower.

Owns what the tower is taught from; knows nothing about the tower.
"""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
PROMPTS = ["a photo of a {}", "a photo of the {}", "a picture of a {}", "an image of a {}", "a close up photo of a {}",
           "a small photo of a {}", "find me a {}", "{}"]


def with_article(text):
    """"a owl" to "an owl"."""
    return re.sub(r"\ba ([aeiou])", r"an \1", text)


def read_captions(path):
    """(picture, caption) from a tab-separated file."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [tuple(line.split("\t", 1)) for line in lines]


def training_texts(captions, labels):
    """All texts to learn from: captions, generated phrases, and prompts with the picture labels."""
    texts = {caption for _, caption in read_captions(captions / "coco_train.tsv")}
    texts |= {line.strip() for line in (captions / "synthetic.txt").read_text(encoding="utf-8").splitlines()}
    texts |= {with_article(prompt.format(label)) for label in labels for prompt in PROMPTS}
    return sorted(texts)


def pairs_of_captions(held, seed=0):
    """Index pairs to compare: 20,000 random ones; the same with up to 4,000 of the same picture."""
    rng = np.random.default_rng(seed)
    i, j = rng.integers(0, len(held), (2, 20000))
    i, j = i[i != j], j[i != j]
    groups = {}
    for row, (picture, _) in enumerate(held):
        groups.setdefault(picture, []).append(row)
    same = np.array([(g[a], g[b]) for g in groups.values() for a in range(len(g)) for b in range(a)])[:4000]
    return {"random_pairs": (i, j), "with_same_picture": (np.concatenate([i, same[:, 0]]), np.concatenate([j, same[:, 1]]))}


def make_tokenizer(path, texts, limit):
    """MiniLM's WordPiece cut to `limit` pieces, framed as CLIP frames texts.

    Kept are single characters (so that every word can be spelled), pieces that occur twice in `texts`, then BERT's
    most frequent ones. The end of text gets the highest id: CLIP pools there. Returns the tokenizer's JSON and the
    old id of every new one but the last two.
    """
    full = Tokenizer.from_file(str(path))
    full.no_padding()
    full.no_truncation()
    counts = Counter(i for e in full.encode_batch(texts, add_special_tokens=False) for i in e.ids)
    spec = json.loads(Path(path).read_text(encoding="utf-8"))
    pieces = sorted(spec["model"]["vocab"].items(), key=lambda item: item[1])

    def is_character(piece):
        core = piece.removeprefix("##") or piece
        return len(core) == 1 and (ord(core) < 0x180 or core in "’‘“”–—€")

    kept = {i for piece, i in pieces if is_character(piece)} | {i for i, count in counts.items() if count >= 2}
    for _, i in pieces[1996:]:
        if len(kept) >= limit:
            break
        kept.add(i)
    kept.discard(full.token_to_id("[UNK]"))
    rows = [(piece, i) for piece, i in pieces if i in kept]
    vocabulary = {"[UNK]": 0} | {piece: n for n, (piece, _) in enumerate(rows, start=1)}
    for frame in (START, END):
        vocabulary[frame] = len(vocabulary)
    special = {frame: {"id": frame, "ids": [vocabulary[frame]], "tokens": [frame]} for frame in (START, END)}
    frame = lambda name: {"SpecialToken": {"id": name, "type_id": 0}}
    single = [frame(START), {"Sequence": {"id": "A", "type_id": 0}}, frame(END)]
    spec["model"]["vocab"], spec["truncation"], spec["padding"] = vocabulary, None, None
    spec["added_tokens"] = [{"id": vocabulary[t], "content": t, "single_word": False, "lstrip": False, "rstrip": False,
                             "normalized": False, "special": True} for t in ("[UNK]", START, END)]
    spec["post_processor"] = {"type": "TemplateProcessing", "single": single, "special_tokens": special,
                              "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}, frame(END)]}
    return spec, [full.token_to_id("[UNK]")] + [i for _, i in rows]


def padded(rows, fill):
    """Token rows to a tensor (n, longest)."""
    out = torch.full((len(rows), max(map(len, rows))), fill, dtype=torch.long)
    for n, row in enumerate(rows):
        out[n, :len(row)] = torch.tensor(row)
    return out


class Teacher:
    """all-MiniLM-L6-v2: texts to unit vectors (n, 384), the mean over the last layer."""

    def __init__(self, folder):
        from transformers import BertModel
        self.net = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
        self.tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(64)

    @torch.inference_mode()
    def __call__(self, texts, batch=64):
        rows = [e.ids for e in self.tokenizer.encode_batch(texts)]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        out = torch.empty(len(rows), self.net.config.hidden_size)
        for start in range(0, len(order), batch):
            chosen = order[start:start + batch]
            ids = padded([rows[i] for i in chosen], 0)
            mask = (ids != 0).float()
            hidden = self.net(ids, attention_mask=mask.long())[0] * mask[..., None]
            out[chosen] = F.normalize(hidden.sum(1) / mask.sum(1, keepdim=True), dim=1)
        return out
