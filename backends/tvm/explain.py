"""What a library's kernels are, from `kernels.json`; a library has no times of its own."""

from __future__ import annotations

from effc.backends.base import Feeds
from effc.backends.explanation import Explanation, LayerRow, Reformat, shares
from effc.backends.tvm.described import Called, Described
from effc.core.artifact import Artifact

_LAYOUT = "transform"
"""The kernel that copies a tensor between rows and channel blocks."""


def explain(artifact: Artifact, feeds: Feeds | None) -> Explanation:
    """The kernels in the order in which they run, with the nodes that they do."""
    del feeds
    calls = Described.read(artifact.folder).kernels
    layers = tuple(_layer(call) for call in calls if not _moves(call))
    reformats = tuple(Reformat(c.kernel, *_LAYOUTS, None) for c in calls if _moves(c))
    basis = "the library's own list of kernels; it tells no times"
    return Explanation(basis, layers, reformats, shares=shares(layers, reformats))


_LAYOUTS = ("rows", "channel blocks, or back")


def _moves(call: Called) -> bool:
    return not call.nodes and call.kernel.startswith(_LAYOUT)


def _layer(call: Called) -> LayerRow:
    note = "" if call.scheduled else "it has no schedule of ours"
    return LayerRow(call.kernel, call.op or call.kernel, call.precision or "float32", call.nodes, note=note)
