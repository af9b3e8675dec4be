"""The text towers: loading a saved `distilbert-mini-sst2` and the text side of `clip-mini`.

Knows nothing about training.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import (CLIPConfig, CLIPTextModelWithProjection, DistilBertConfig,
                          DistilBertForSequenceClassification)

from pictures import load_float32


def tokenizer(folder, limit):
    """A saved tokenizer without padding that cuts texts at `limit` tokens."""
    tok = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    tok.no_padding()
    tok.enable_truncation(limit)
    return tok


class SentimentModel:
    """A saved DistilBERT sentence classifier."""

    def __init__(self, folder):
        self.config = DistilBertConfig.from_pretrained(folder)
        self.net = DistilBertForSequenceClassification(self.config).eval()
        self.net.load_state_dict(load_float32(folder))
        self.tokenizer = tokenizer(folder, self.config.max_position_embeddings)

    @torch.inference_mode()
    def logits(self, texts, batch=64):
        """Sentences to logits (n, 2), in batches of like length."""
        rows = [e.ids for e in self.tokenizer.encode_batch(texts)]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        out = torch.empty(len(rows), self.config.num_labels)
        for start in range(0, len(order), batch):
            chosen = order[start:start + batch]
            width = max(len(rows[i]) for i in chosen)
            ids = torch.zeros(len(chosen), width, dtype=torch.long)
            mask = torch.zeros(len(chosen), width, dtype=torch.long)
            for row, i in enumerate(chosen):
                ids[row, :len(rows[i])] = torch.tensor(rows[i])
                mask[row, :len(rows[i])] = 1
            out[chosen] = self.net(ids, attention_mask=mask).logits
        return out


class ClipText:
    """The text side of a saved CLIP model, with `logit_scale` and the picture side's matrix."""

    def __init__(self, folder):
        self.weights = load_float32(folder)
        self.net = CLIPTextModelWithProjection(CLIPConfig.from_pretrained(folder).text_config).eval()
        text = {k: v for k, v in self.weights.items() if k.startswith("text_")}
        missing = self.net.load_state_dict(text, strict=False).missing_keys
        assert all("position_ids" in k for k in missing), missing
        self.tokenizer = tokenizer(folder, 77)

    @torch.inference_mode()
    def embed(self, texts):
        """Texts to unit vectors (n, 256). One by one: what a text gives depends on nothing else."""
        rows = [torch.tensor([self.tokenizer.encode(t).ids]) for t in texts]
        return torch.cat([F.normalize(self.net(input_ids=r).text_embeds, dim=1) for r in rows])

    @torch.inference_mode()
    def embed_pictures(self, pooled):
        """Pooled features (n, 1280) of the image model to unit vectors (n, 256)."""
        return F.normalize(pooled @ self.weights["visual_projection.weight"].T, dim=1)
