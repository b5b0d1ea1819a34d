"""Labelled images drawn with Pillow alone: text pages in four orientations, text lines in two.

Sample i of a split depends on the split and i only, so a larger set begins with the smaller one.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

SHORT_SIDE, CROP = 256, 224
LINE_HEIGHT, LINE_WIDTH = 48, 192
PAGE_SIZES = ((420, 594), (594, 420), (500, 500))
SPACINGS = (1.25, 1.4, 1.4, 2.2)
_TEXT = """
the of and to in that was his with for had you not her which have from this him but all she they were
my one there been their we would when who more will out then them some what could time man upon about
into like little now made before other great very should such after said good over only most any day
way down long see come even well back where must first never being here own without through two while
again place might still every right house world old people three water under hand much because between
nothing another moment against almost morning evening river mountain window garden letter answer question
number paper summer winter silver yellow quiet heavy simple certain perhaps together remember believe
bridge engine machine signal measure library harbour station village country journey weather history
language picture music voice silence shadow distance direction surface material structure pattern figure
"""
WORDS = tuple(_TEXT.split())


@lru_cache(maxsize=64)
def _font(size: int) -> Font:
    """Pillow's embedded TrueType face."""
    return ImageFont.load_default(size)


def page(rng: random.Random, quarter_turns: int) -> Pixels:
    """A page of text turned clockwise by `quarter_turns` * 90 degrees.

    Returns grey [224, 224]: the short side scaled to 256, the centre cut out.
    """
    upright = _page_upright(rng)
    turned = upright.rotate(-90 * quarter_turns, expand=True)
    scale = SHORT_SIDE / min(turned.size)
    width, height = (round(side * scale) for side in turned.size)
    small = turned.resize((width, height), Image.Resampling.LANCZOS)
    left, top = (width - CROP) // 2, (height - CROP) // 2
    return np.asarray(small.crop((left, top, left + CROP, top + CROP)))


def _page_upright(rng: random.Random) -> Image.Image:
    width, height = rng.choice(PAGE_SIZES)
    image = Image.new("L", (width, height), rng.randint(225, 255))
    pen, size = ImageDraw.Draw(image), rng.randint(14, 24)
    margin, row = rng.randint(10, 40), rng.randint(10, 40)
    while row < height - 30:
        text = _text(rng, _font(size), width - 2 * margin)
        pen.text((margin, row), text, font=_font(size), fill=rng.randint(0, 60))
        row += int(size * rng.choice(SPACINGS))
    return image


def _text(rng: random.Random, font: Font, width: int) -> str:
    """Words that fill `width` pixels; the last line of a paragraph, one in seven, about half of it."""
    room = width * (0.5 if rng.random() < 0.15 else 1.0)
    words = [rng.choice(WORDS).capitalize()]
    while font.getlength(" ".join(words)) < room:
        words.append(rng.choice(WORDS) + rng.choice(("", "", "", "", ",", ".")))
    return " ".join(words[:-1])


def line(rng: random.Random, half_turns: int) -> Pixels:
    """A line of text turned by `half_turns` * 180 degrees: RGB [48, 192, 3], padded with mid-grey on the right."""
    ink, ground = _colours(rng)
    text = " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 2)))
    font, margin = _font(rng.randint(24, 40)), rng.randint(3, 9)
    left, top, right, bottom = font.getbbox(text)
    image = Image.new("RGB", (int(right - left) + 2 * margin, int(bottom - top) + 2 * margin), ground)
    ImageDraw.Draw(image).text((margin - left, margin - top), text, font=font, fill=ink)
    turned = image.rotate(180 * half_turns)
    width = min(LINE_WIDTH, max(16, round(turned.width * LINE_HEIGHT / turned.height)))
    canvas = np.full((LINE_HEIGHT, LINE_WIDTH, 3), 127, np.uint8)
    canvas[:, :width] = np.asarray(turned.resize((width, LINE_HEIGHT), Image.Resampling.BILINEAR))
    return canvas


def _colours(rng: random.Random) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ink and ground: dark on light, one time in three light on dark."""
    dark = tuple(rng.randint(0, 90) for _ in range(3))
    light = tuple(rng.randint(150, 255) for _ in range(3))
    return (light, dark) if rng.random() < 0.3 else (dark, light)


@dataclass(frozen=True)
class Drawing:
    """How one data set is drawn: `draw(rng, label)` for labels 0 .. classes-1 in turn."""

    draw: Callable[[random.Random, int], Pixels]
    classes: int


DRAWINGS = {"page_orientation": Drawing(page, 4), "text_direction": Drawing(line, 2)}


def render(dataset: str, split: str, count: int) -> tuple[Pixels, NDArray[np.int64]]:
    """`count` images [count, height, width(, 3)] of `dataset` and their labels [count]."""
    drawing = DRAWINGS[dataset]
    labels = [index % drawing.classes for index in range(count)]
    images = [drawing.draw(random.Random(f"{dataset}/{split}/{i}"), label) for i, label in enumerate(labels)]
    return np.stack(images), np.array(labels, np.int64)
