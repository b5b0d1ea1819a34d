"""Which two casts are one: what the first loses, the second would have lost as well."""

from __future__ import annotations

from effc.compiler.ir import DataType

_MANTISSA = {DataType.BFLOAT16: 8, DataType.FLOAT16: 11, DataType.FLOAT: 24, DataType.DOUBLE: 53}
"""Bits of whole numbers that a float type holds exactly."""
_EXPONENT = {DataType.BFLOAT16: 8, DataType.FLOAT16: 5, DataType.FLOAT: 8, DataType.DOUBLE: 11}
_SIGNED = {DataType.INT8: 8, DataType.INT16: 16, DataType.INT32: 32, DataType.INT64: 64}
_UNSIGNED = {DataType.UINT8: 8, DataType.UINT16: 16, DataType.UINT32: 32, DataType.UINT64: 64}
_INTEGERS = _SIGNED | _UNSIGNED


def is_plain(kind: DataType) -> bool:
    """Whether `is_one` speaks of the type: booleans, integers of whole bytes, floats of two bytes or more."""
    return kind == DataType.BOOL or kind in _INTEGERS or kind in _MANTISSA


def is_one(first: DataType, between: DataType, last: DataType) -> bool:
    """Whether Cast(Cast(x, between), last) is Cast(x, last) for every x of the first type."""
    if between == last or first == DataType.BOOL:
        return True
    if last == DataType.BOOL and first in _INTEGERS and between in _MANTISSA:
        return True  # no integer but 0 is rounded to 0
    if first in _INTEGERS and between in _INTEGERS and last in _INTEGERS and _INTEGERS[between] >= _INTEGERS[last]:
        return True  # both keep the low bits
    wraps = between in _MANTISSA and first in _INTEGERS and last in _INTEGERS and not _holds(last, first)
    return _holds(between, first) and not wraps


def _holds(wide: DataType, narrow: DataType) -> bool:
    """Whether every value of one type is one of the other, too."""
    if wide == narrow:
        return True
    if narrow in _MANTISSA:
        return wide in _MANTISSA and _MANTISSA[wide] >= _MANTISSA[narrow] and _EXPONENT[wide] >= _EXPONENT[narrow]
    if narrow not in _INTEGERS:
        return False
    bits = _INTEGERS[narrow] - (narrow in _SIGNED)
    if wide in _MANTISSA:
        return bits <= _MANTISSA[wide] and bits < 1 << _EXPONENT[wide] - 1
    return (
        wide in _INTEGERS
        and bits <= _INTEGERS[wide] - (wide in _SIGNED)
        and not (narrow in _SIGNED and wide in _UNSIGNED)
    )
