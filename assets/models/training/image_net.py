"""The image network in training: a fixed front, a trained rest, and what makes that fast on a CPU.

Owns MobileNetV2's construction from saved weights, its batch norm statistics, the running average of its
weights and its export. Knows nothing about the data set or the schedule.
"""

import copy

import timm
import torch
import torch.nn as nn
from safetensors.torch import load_file, save_file

ARCHITECTURE = "mobilenetv2_100"


def build(labels, weights=None):
    """A MobileNetV2 for so many labels, from a saved model.safetensors where given."""
    net = timm.create_model(ARCHITECTURE, num_classes=labels)
    if weights:
        saved = {name: value.float() for name, value in load_file(weights).items()}
        left = net.load_state_dict(saved, strict=False)
        assert not left.unexpected_keys, left
    return net.to(memory_format=torch.channels_last)


def export(net, path):
    """Save as float16 under timm's names, without the counters that only training needs."""
    state = {k: v.half().contiguous() for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    save_file(state, path, metadata={"format": "pt"})


@torch.no_grad()
def estimate_statistics(net, batches):
    """Batch norm statistics afresh, as the plain average over `batches` of normalized pictures."""
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    kept = [m.momentum for m in norms]
    for m in norms:
        m.reset_running_stats()
        m.momentum = None
    net.train()
    for x in batches:
        net(x)
    for m, momentum in zip(norms, kept):
        m.momentum = momentum
    net.eval()


class Front(nn.Module):
    """The stem and the first stages of a network with their weights fixed, in bfloat16.

    They hold a third of the arithmetic but two thirds of the memory traffic of a training step, and what they do
    (edges, textures) changes least. As nothing is learnt here, it can run ahead, in another thread.
    """

    def __init__(self, net, stages):
        super().__init__()
        parts = nn.Sequential(net.conv_stem, net.bn1, *net.blocks[:stages])
        parts.requires_grad_(False)
        self.parts = copy.deepcopy(parts).eval().bfloat16()

    @torch.no_grad()
    def forward(self, x):
        return self.parts(x.bfloat16())


class Rest(nn.Module):
    """The trained part of a network, from the stage behind the front to the classifier."""

    def __init__(self, net, stages):
        super().__init__()
        self.stages = nn.Sequential(*net.blocks[stages:])
        self.head = nn.Sequential(net.conv_head, net.bn2)
        self.classifier = net.classifier

    def forward(self, x):
        return self.classifier(self.head(self.stages(x)).mean((2, 3)))


def strided_convolutions_in_float32(net):
    """Take the convolutions with stride 2 out of bfloat16 autocasting.

    oneDNN's bfloat16 gradient of a depthwise convolution with stride 2 takes eight times as long as the
    float32 one, more than all the rest of the step together.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            plain = module.forward

            def forward(x, plain=plain):
                with torch.autocast("cpu", enabled=False):
                    return plain(x.float()).bfloat16()

            module.forward = forward


class Average:
    """An exponential average of all weights and statistics, which is what gets tested and saved."""

    def __init__(self, net, decay):
        self.decay, self.steps = decay, 0
        self.state = {k: v.clone() for k, v in net.state_dict().items()}

    @torch.no_grad()
    def update(self, net):
        """Move towards the network, faster in the beginning."""
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, value in net.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1 - keep)
            else:
                self.state[name].copy_(value)
