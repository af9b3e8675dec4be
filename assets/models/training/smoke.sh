#!/bin/sh
# Every step of README.md on a few examples: that the scripts run end to end, not that the models are any good.
#
#     DATA=/path/to/data MINILM=/path/to/minilm PYTHON=/path/to/venv/bin/python sh smoke.sh
#
# Takes about three minutes on two cores. Everything it writes goes into a temporary folder.
set -eu
cd "$(dirname "$0")"
: "${DATA:?the folder with sst2, tiny-imagenet and captions}"
: "${MINILM:?the folder of all-MiniLM-L6-v2}"
python=${PYTHON:-python3}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
export PYTHONDONTWRITEBYTECODE=1

say() { printf '== %s\n' "$*"; }

if [ -n "${KERAS_H5:-}" ]; then
    say "the Keras backbone"
    $python keras_backbone.py --h5 "$KERAS_H5" --out "$out/start/model.safetensors"
fi

say "image model: train, interrupted and resumed"
image="--data $DATA/tiny-imagenet --init ../mobilenetv2-mini/model.safetensors --out $out/image --limit 404 --batch 32 --size 64 --last-size 96"
$python train_image.py $image --minutes 0.1
$python train_image.py $image --minutes 0.2 --resume
$python pack_image.py --data "$DATA/tiny-imagenet" --weights "$out/image/model.safetensors" --size 96 --out "$out/mobilenetv2-mini"
$python golden.py image --model "$out/mobilenetv2-mini" > /dev/null
$python evaluate.py image --model "$out/mobilenetv2-mini" --data "$DATA/tiny-imagenet" --limit 404

say "text model: from MiniLM, then on with a teacher and everyday sentences"
$python train_text.py --data "$DATA/sst2" --minilm "$MINILM" --limit 256 --epochs 1 --out "$out/text"
$python train_text.py --data "$DATA/sst2" --init "$out/text" --teacher "$out/text" --words --average 0.9 --limit 64 \
    --everyday 64 --epochs 1 --out "$out/text2"
$python golden.py text --model "$out/text2" > /dev/null
$python evaluate.py text --model "$out/text2" --data "$DATA/sst2"

say "clip: text tower, then the picture side"
$python train_clip_text.py --captions "$DATA/captions" --labels "$DATA/tiny-imagenet/labels.json" --minilm "$MINILM" \
    --limit 512 --epochs 1 --out "$out/clip-text"
$python fit_clip_pictures.py --data "$DATA/tiny-imagenet" --image "$out/mobilenetv2-mini" --text "$out/clip-text" \
    --per-label 2 --steps 50 --out "$out/clip-mini"
$python golden.py clip --model "$out/clip-mini" --image "$out/mobilenetv2-mini" > /dev/null
$python evaluate.py clip --model "$out/clip-mini" --image "$out/mobilenetv2-mini" --data "$DATA/tiny-imagenet" --limit 404

say "all steps ran"
