"""Symbolic dims: expressions in the symbols of the inputs, as shape inference writes them. Imports no TVM."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


_NAME = re.compile(r"[A-Za-z_][\w.]*")
_FUNCTIONS = frozenset({"floor"})


def names(dim: str) -> frozenset[str]:
    """The symbols in an expression; the whole text where it is none."""
    if dim == "?":
        return frozenset((dim,))
    return frozenset(_NAME.findall(dim)) - _FUNCTIONS


def evaluate(dim: str, symbols: Mapping[str, Any]) -> Any:
    """The expression over what stands for its symbols. Raises KeyError where it is none, or has another symbol."""
    places = {name: f"_{i}" for i, name in enumerate(sorted(names(dim)))}
    text = _NAME.sub(lambda found: places.get(found[0], found[0]), dim)
    try:
        return _value(ast.parse(text, mode="eval").body, {place: symbols[name] for name, place in places.items()})
    except SyntaxError:
        raise KeyError(dim) from None


def _value(node: ast.expr, symbols: Mapping[str, Any]) -> Any:
    match node:
        case ast.Name(id=name):
            return symbols[name]
        case ast.Constant(value=int(number)):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, symbols)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left, symbols), _value(right, symbols))
        case ast.Call(func=ast.Name(id="floor"), args=[ast.BinOp(left=left, op=ast.Div(), right=right)]):
            return _value(left, symbols) // _value(right, symbols)
    raise KeyError(ast.unparse(node))
