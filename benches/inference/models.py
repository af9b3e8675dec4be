#!/usr/bin/env python3
"""Write the networks that are compared: full-size shapes, seeded random weights, as safetensors and as ONNX.

    python models.py FOLDER

Speed does not depend on what the weights are. Each network gets FOLDER/NETWORK/model.safetensors with a config.json,
FOLDER/NETWORK.onnx, and FOLDER/NETWORK-int8.onnx by ONNX Runtime's dynamic quantisation of the matrix products (what it
offers for convolutions is for x86 slower than fp32, so MobileNetV2 has none). What is there already is kept.
"""

import sys
from pathlib import Path

import timm
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, DistilBertConfig, DistilBertForSequenceClassification

NETWORKS = ["distilbert", "mobilenet", "clip-text", "clip-image"]


class Logits(torch.nn.Module):
    """DistilBERT, its output a plain tensor."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


class Text(torch.nn.Module):
    """CLIP's text tower with its projection."""

    def __init__(self, clip):
        super().__init__()
        self.tower, self.projection = clip.text_model, clip.text_projection

    def forward(self, input_ids):
        return self.projection(self.tower(input_ids=input_ids).pooler_output)


class Picture(torch.nn.Module):
    """CLIP's vision transformer with its projection."""

    def __init__(self, clip):
        super().__init__()
        self.tower, self.projection = clip.vision_model, clip.visual_projection

    def forward(self, pixel_values):
        return self.projection(self.tower(pixel_values=pixel_values).pooler_output)


def shaken(module):
    """Biases and statistics that are not all zero or one, so that nothing can be left out."""
    for name, tensor in list(module.named_parameters()) + list(module.named_buffers()):
        if name.endswith("running_var"):
            tensor.data.uniform_(0.5, 1.5)
        elif name.endswith(("bias", "running_mean")):
            tensor.data.normal_(0, 0.1)
    return module.eval()


def network(name):
    """The module and its configuration, the same ones each time."""
    torch.manual_seed(7)
    if name == "distilbert":
        model = shaken(DistilBertForSequenceClassification(DistilBertConfig()))
        return Logits(model), model, model.config
    if name == "mobilenet":
        model = shaken(timm.create_model("mobilenetv2_100"))
        return model, model, None
    clip = shaken(CLIPModel(CLIPConfig(text_config={"eos_token_id": 49407})))
    return (Text if name == "clip-text" else Picture)(clip), clip, clip.config


def example(name):
    """Inputs to export with."""
    if name in ("mobilenet", "clip-image"):
        return {"pixel_values": torch.randn(2, 3, 224, 224)}
    ids = torch.randint(1000, 30000, (2, 12))
    ids[:, -1] = 49407 if name == "clip-text" else ids[:, -1]
    return {"input_ids": ids} | ({"attention_mask": torch.ones_like(ids)} if name == "distilbert" else {})


def write(folder, name):
    """Write one network."""
    module, whole, config = network(name)
    (folder / name).mkdir(parents=True, exist_ok=True)
    tensors = {key: value.contiguous() for key, value in whole.state_dict().items() if "position_ids" not in key}
    if config is not None:
        (folder / name / "config.json").write_text(config.to_json_string(use_diff=False))
    inputs = example(name)
    axes = {key: {0: "batch"} | ({1: "tokens"} if value.dim() == 2 else {}) for key, value in inputs.items()}
    onnx = folder / f"{name}.onnx"
    with torch.no_grad():
        torch.onnx.export(module, tuple(inputs.values()), str(onnx), input_names=list(inputs), output_names=["output"],
                          dynamic_axes=axes | {"output": {0: "batch"}}, opset_version=17, dynamo=False)
    if name != "mobilenet":
        quantize_dynamic(onnx, folder / f"{name}-int8.onnx", weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"])
    # Last, because it is what says that the network is complete.
    save_file(tensors, folder / name / "model.safetensors")


if __name__ == "__main__":
    root = Path(sys.argv[1])
    for name in NETWORKS:
        if not (root / name / "model.safetensors").exists():
            print(f"writing {root / name}", file=sys.stderr)
            write(root, name)
