#!/usr/bin/env python3
"""Make the sample pictures from their sources, with `index.json` and `LICENSES.md` beside them.

    python make_samples.py --scikit-image DIR --stamps DIR [--out DIR]

`--scikit-image` is the folder `skimage/data` of the scikit-image 0.16.2 wheel (PyPI); `--stamps` is
`usr/share/tuxpaint/stamps` of Debian's `tuxpaint-stamps-default` 2022.06.04-1 (`dpkg -x`). Needs Pillow
and NumPy. The stamps are photographs cut out of their surroundings: they are put back before a plain,
softly lit backdrop, with a shadow, so that they have no transparency and an ordinary shape.

The table `SAMPLES` is the only place where a picture, its labels, its caption and its licence are written.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

CC0 = "CC0 1.0"
PD = "public domain"
GPL = "GPL-2.0-or-later"
BY_SA = "CC BY-SA 2.5"

CHILDSPLAY = "Childsplay, Stas Zytkiewicz; cut out by Pere Pujal i Carabantes"
PUJAL = "Pere Pujal i Carabantes"

# Backdrops: colour at the top, colour at the bottom.
BACKDROPS = {
    "cloth": ((238, 228, 210), (196, 178, 150)),
    "paper": ((248, 248, 246), (228, 228, 226)),
    "stone": ((170, 174, 178), (120, 120, 118)),
    "meadow": ((176, 200, 214), (110, 132, 78)),
    "leaves": ((96, 128, 70), (60, 86, 44)),
    "sand": ((200, 216, 228), (206, 184, 140)),
    "snow": ((186, 206, 224), (232, 238, 244)),
    "sky": ((150, 190, 220), (90, 130, 170)),
}


@dataclass(frozen=True)
class Sample:
    """One picture: where it comes from, what it shows and under which terms it may be passed on."""

    file: str
    caption: str
    labels: tuple[str, ...]
    source: str  # "skimage:NAME" or "stamp:PATH without .png"
    author: str
    licence: str
    backdrop: str = ""
    size: tuple[int, int] = (400, 320)
    crop: tuple[int, int, int, int] | None = None  # left, top, right, bottom in the source
    quality: int = 85


SAMPLES = [
    Sample("cat.jpg", "a photo of a cat", ("Egyptian cat", "tabby", "Persian cat"), "skimage:chelsea.png",
           "Stéfan van der Walt", CC0, size=(451, 300)),
    Sample("coffee.webp", "a photo of a cup of espresso", ("espresso",), "skimage:coffee.png",
           "Rachel Michetti, Pikolo Espresso Bar", CC0, size=(480, 320)),
    Sample("rocket.jpg", "a photo of a rocket at night", ("projectile",), "skimage:rocket.jpg",
           "SpaceX", PD, size=(480, 320)),
    Sample("lemon.jpg", "a photo of a lemon", ("lemon",), "stamp:food/fruit/lemon",
           "Chris Goerner", GPL, "cloth", (320, 320)),
    Sample("orange.jpg", "a photo of an orange", ("orange",), "stamp:food/fruit/orange_seville",
           "contributors to Tux Paint", GPL, "stone"),
    Sample("jug.webp", "a photo of a water jug", ("water jug",), "stamp:household/dishes/pitcher_small",
           "Jen and Ed Collins", GPL, "cloth", (320, 320)),
    Sample("binoculars.png", "a photo of binoculars", ("binoculars",), "stamp:hobbies/binoculars",
           "contributors to Tux Paint", GPL, "paper", (240, 180)),
    Sample("syringe.jpg", "a photo of a syringe", ("syringe",), "stamp:medical/syringe",
           "US Drug Enforcement Administration", PD, "stone"),
    Sample("candle.jpg", "a photo of a burning candle", ("candle",), "stamp:seasonal/candle",
           "contributors to Tux Paint", GPL, "stone", (320, 400)),
    Sample("teddy.jpg", "a photo of a teddy bear", ("teddy",), "stamp:animals/mammals/bears/toys/edward_bear",
           "Jim Trice", GPL, "cloth", (320, 400)),
    Sample("mushroom.jpg", "a photo of a mushroom", ("mushroom",), "stamp:plants/mushrooms/cep-1",
           PUJAL, GPL, "leaves", (320, 320)),
    Sample("slug.jpg", "a photo of a slug", ("slug",), "stamp:animals/insects/Brown_slug",
           "Guttorm Flatabø", BY_SA, "leaves"),
    Sample("mantis.jpg", "a photo of a praying mantis", ("mantis",), "stamp:animals/insects/mantis",
           PUJAL, GPL, "meadow"),
    Sample("grasshopper.jpg", "a photo of a grasshopper", ("grasshopper",), "stamp:animals/insects/grasshopper",
           CHILDSPLAY, GPL, "sand"),
    Sample("frog.jpg", "a photo of a frog", ("bullfrog", "tailed frog"), "stamp:animals/amphibians/frog",
           CHILDSPLAY, GPL, "meadow"),
    Sample("penguin.jpg", "a photo of a penguin", ("king penguin",), "stamp:animals/birds/penguin",
           CHILDSPLAY, GPL, "snow", (320, 400)),
    Sample("goose.jpg", "a photo of a goose", ("goose",), "stamp:animals/birds/gander",
           CHILDSPLAY, GPL, "sky", (320, 400)),
    Sample("camel.jpg", "a photo of a camel in the desert", ("Arabian camel",), "stamp:animals/mammals/camel/dromedary",
           CHILDSPLAY, GPL, "sand"),
    Sample("bear.jpg", "a photo of a brown bear", ("brown bear",), "stamp:animals/mammals/bears/european-bear",
           PUJAL, GPL, "snow"),
    Sample("pig.jpg", "a photo of a pig", ("hog",), "stamp:animals/mammals/pig",
           CHILDSPLAY, GPL, "meadow"),
    Sample("bison.jpg", "a photo of a bison", ("bison",), "stamp:animals/mammals/bovines/bison",
           CHILDSPLAY, GPL, "sand"),
    Sample("elephant.jpg", "a photo of an elephant", ("African elephant",), "stamp:animals/mammals/elephant",
           CHILDSPLAY, GPL, "sand"),
    Sample("gorilla.jpg", "a photo of a gorilla", ("gorilla",), "stamp:animals/mammals/apes/gorilla",
           CHILDSPLAY, GPL, "leaves", (320, 400)),
    Sample("koala.jpg", "a photo of a koala", ("koala",), "stamp:animals/marsupials/koala",
           CHILDSPLAY, GPL, "snow", (320, 400)),
]

SOURCES = {
    "skimage": "scikit-image 0.16.2 (`skimage/data/{}`; terms in the docstring of the function that loads it)",
    "stamp": "Tux Paint stamps 2022.06.04 (`stamps/{}.png`; Debian package `tuxpaint-stamps-default`)",
}


def backdrop(size, name):
    """A vertical, smooth change between the two colours of a backdrop."""
    top, bottom = (np.array(c, float) for c in BACKDROPS[name])
    t = np.linspace(0, 1, size[1])[:, None, None]
    t = t * t * (3 - 2 * t)
    rows = np.broadcast_to(top * (1 - t) + bottom * t, (size[1], size[0], 3))
    return Image.fromarray(rows.round().astype(np.uint8)).convert("RGBA")


def stand(stamp, size, name):
    """Put a cut-out before a backdrop, inside the middle square, so that a centre crop keeps all of it."""
    box = stamp.getchannel("A").point(lambda a: 255 if a > 20 else 0).getbbox()
    stamp = stamp.crop(box)
    scale = 0.8 * min(size) / max(stamp.size)
    stamp = stamp.resize([round(side * scale) for side in stamp.size], Image.LANCZOS)
    place = [(whole - part) // 2 for whole, part in zip(size, stamp.size)]
    shade = Image.new("RGBA", size)
    shade.paste((0, 0, 0, 255), (place[0] + 4, place[1] + 6), stamp.getchannel("A").point(lambda a: round(a * 0.35)))
    picture = Image.alpha_composite(backdrop(size, name), shade.filter(ImageFilter.GaussianBlur(7)))
    front = Image.new("RGBA", size)
    front.paste(stamp, tuple(place))
    return Image.alpha_composite(picture, front).convert("RGB")


def build(sample, scikit_image, stamps):
    """The finished picture of a sample."""
    kind, path = sample.source.split(":", 1)
    if kind == "stamp":
        return stand(Image.open(stamps / f"{path}.png").convert("RGBA"), sample.size, sample.backdrop)
    picture = Image.open(scikit_image / path).convert("RGB")
    if sample.crop:
        picture = picture.crop(sample.crop)
    return picture.resize(sample.size, Image.LANCZOS)


def write(picture, path, quality):
    """Encode by the file's extension; nothing but pixels is kept from the source."""
    options = {"jpg": {"quality": quality, "optimize": True, "progressive": False},
               "webp": {"quality": quality, "method": 6}, "png": {"optimize": True}}
    picture.save(path, **options[path.suffix[1:]])


def licences():
    """The text of LICENSES.md."""
    lines = [
        "# Sample pictures",
        "",
        "Real photographs that the small models know, for trying aiq out and for its tests. `index.json` lists them with the",
        "labels that count as right and a caption; `make_samples.py` is how each was made from its source. aiq's own licence",
        "does not cover them: each keeps the terms below. The stamps are cut-outs set before a plain backdrop.",
        "",
        "| file | author | licence | source |",
        "| --- | --- | --- | --- |",
    ]
    for s in SAMPLES:
        kind, path = s.source.split(":", 1)
        lines.append(f"| `{s.file}` | {s.author} | {s.licence} | {SOURCES[kind].format(path)} |")
    lines += [
        "",
        "- **CC0 1.0**: <https://creativecommons.org/publicdomain/zero/1.0/>.",
        "- **public domain**: `rocket.jpg` was released by SpaceX; `syringe.jpg` is a work of the United States government.",
        "- **GPL-2.0-or-later**: the stamp collection as a whole is passed on under the GNU General Public License, version 2 or",
        "  later, copyright 2002-2022 by its contributors <https://www.gnu.org/licenses/old-licenses/gpl-2.0.html>. The authors",
        "  are those named in the collection's list of changes; its source is <https://sourceforge.net/projects/tuxpaint/>. Our",
        "  changes (backdrop, shadow, scale) are under the same licence. aiq carries the pictures as data, next to its program and not",
        "  derived from it: who passes on the binary passes on both, each under its own terms.",
        "- **CC BY-SA 2.5**: <https://creativecommons.org/licenses/by-sa/2.5/>, from Wikimedia Commons (`Brown_snail.jpg`); our",
        "  changes are under the same licence.",
        "",
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scikit-image", type=Path, required=True)
    parser.add_argument("--stamps", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    for sample in SAMPLES:
        picture = build(sample, options.scikit_image, options.stamps)
        write(picture, options.out / sample.file, sample.quality)
    index = [{"name": s.file.rsplit(".", 1)[0], "file": s.file, "labels": list(s.labels), "caption": s.caption} for s in SAMPLES]
    (options.out / "index.json").write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (options.out / "LICENSES.md").write_text(licences(), encoding="utf-8")


if __name__ == "__main__":
    main()
