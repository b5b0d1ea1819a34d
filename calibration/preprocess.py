"""Preprocess: an image file to the array that a model takes."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effc.core.errors import BadInput

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_HINT = "for example resize=256,crop=224,layout=NCHW,color=RGB,mean=0.485/0.456/0.406,std=0.229/0.224/0.225,scale=255"
_CHOICES = {
    "layout": ("NCHW", "NHWC"),
    "color": ("RGB", "BGR", "L"),
    "filter": ("bilinear", "bicubic", "nearest", "lanczos"),
}


@dataclass(frozen=True)
class Preprocess:
    """resize, centre crop, colour order, (pixel / scale - mean) / std, layout.

    Attributes:
        resize: one number scales the shorter side to it, two (height, width) ignore the aspect ratio; empty keeps.
        crop: height and width of the centre crop (one number for both); empty keeps.
        layout: "NCHW" or "NHWC".
        color: "RGB", "BGR" or "L" (one grey channel).
        mean, std: one number or one for each channel.
        filter: interpolation of the resize.
    """

    resize: tuple[int, ...] = ()
    crop: tuple[int, ...] = ()
    layout: str = "NCHW"
    color: str = "RGB"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    scale: float = 255.0
    filter: str = "bilinear"

    def __post_init__(self) -> None:
        channels = 1 if self.color == "L" else 3
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (1, channels):
                raise _bad(f"{name} has {len(getattr(self, name))} numbers for {channels} channel(s)")
        if 0.0 in self.std or self.scale == 0.0:
            raise _bad("std and scale must not be 0")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise _bad(f"{name} is {getattr(self, name)!r}, not one of {', '.join(choices)}")

    @classmethod
    def parse(cls, text: str) -> Preprocess:
        """Read `key=value,key=value`; several numbers are separated by `/`, `x` or commas."""
        table: dict[str, str] = {}
        key = ""
        for part in filter(None, (p.strip() for p in text.split(","))):
            name, equals, value = part.partition("=")
            if equals:
                key = name.strip()
                table[key] = value.strip()
            elif key:
                table[key] += "/" + part
            else:
                raise _bad(f"{part!r} is not key=value")
        return cls.of({k: v if k in _CHOICES else _numbers(k, v) for k, v in table.items()})

    @classmethod
    def load(cls, path: Path) -> Preprocess:
        """Read a TOML file with the same keys."""
        try:
            return cls.of(tomllib.loads(path.read_text()))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadInput(f"it is not TOML ({error})", where=str(path)) from error

    @classmethod
    def of(cls, table: dict[str, Any]) -> Preprocess:
        """From keys and values. Raises BadInput for an unknown key or a wrong value."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(table) - known):
            raise _bad(f"{unknown[0]!r} is not a known key; there are {', '.join(sorted(known))}")
        return cls(**{key: _value(key, value) for key, value in table.items()})

    @property
    def mode(self) -> str:
        """Pillow's mode of the images that `array` takes."""
        return "L" if self.color == "L" else "RGB"

    def __call__(self, path: Path) -> NDArray[np.float32]:
        """The image as float32 [C, H, W] or [H, W, C]. Raises BadInput when it cannot be read."""
        from PIL import Image

        try:
            with Image.open(path) as opened:
                image = opened.convert(self.mode)
        except (OSError, ValueError) as error:
            raise BadInput(f"the image cannot be read ({error})", where=str(path)) from error
        return self.array(image, str(path))

    def array(self, image: Any, where: str = "") -> NDArray[np.float32]:
        """A Pillow image in this colour mode as float32 [C, H, W] or [H, W, C]; `where` names it in errors."""
        pixels = np.asarray(self._crop(self._resize(image), where), np.float32)
        pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
        pixels = pixels[:, :, ::-1] if self.color == "BGR" else pixels
        mean, std = (np.asarray(numbers, np.float32) for numbers in (self.mean, self.std))
        scaled = (pixels / np.float32(self.scale) - mean) / std
        return np.ascontiguousarray(scaled.transpose(2, 0, 1) if self.layout == "NCHW" else scaled, np.float32)

    def _resize(self, image: Any) -> Any:
        from PIL import Image

        if not self.resize:
            return image
        width, height = image.size
        if len(self.resize) == 1:
            ratio = self.resize[0] / min(width, height)
            size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
        else:
            size = (self.resize[1], self.resize[0])
        return image.resize(size, Image.Resampling[self.filter.upper()])

    def _crop(self, image: Any, where: str) -> Any:
        if not self.crop:
            return image
        height, width = self.crop[0], self.crop[-1]
        left, top = (image.width - width) // 2, (image.height - height) // 2
        if left < 0 or top < 0:
            raise BadInput(f"a crop of {height}x{width} is larger than the image", where=where, hint="resize first")
        return image.crop((left, top, left + width, top + height))


def _numbers(key: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.replace("x", "/").split("/"))
    except ValueError:
        raise _bad(f"{key}={text} is not a number or several") from None


def _value(key: str, value: Any) -> Any:
    """The value in the field's type."""
    if key in _CHOICES:
        return str(value)
    numbers = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not numbers or not all(isinstance(n, int | float) for n in numbers):
        raise _bad(f"{key} must be a number or several")
    if key in ("resize", "crop"):
        if any(n <= 0 or n != int(n) for n in numbers) or len(numbers) > 2:
            raise _bad(f"{key} must be one or two positive integers")
        return tuple(int(n) for n in numbers)
    return float(numbers[0]) if key == "scale" else tuple(float(n) for n in numbers)


def _bad(what: str) -> BadInput:
    return BadInput(what, where="preprocess", hint=_HINT)
