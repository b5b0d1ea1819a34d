"""Names that not every TensorRT has, declared as the backend declares those that it uses: a check must find them."""

from __future__ import annotations

from typing import Protocol


class Member(Protocol):
    """A member of an enum."""


class BuilderFlag(Protocol):
    """FP16 went with weak typing."""

    TF32: Member
    FP16: Member


class IBuilderConfig(Protocol):
    """The calibrator went in 11."""

    int8_calibrator: object

    def set_flag(self, flags: Member, never: int) -> None:
        """No version takes these parameters."""


class OnnxParser(Protocol):
    """`supports_model` went in 11."""

    def supports_model(self, model: bytes) -> object:
        """Replaced by another."""

    def parse(self, model: bytes) -> bool:
        """It takes a path too, which may be left out."""


class Trt(Protocol):
    """The module."""

    Builder: object
    IInt8EntropyCalibrator2: object
    NeverThere: object
