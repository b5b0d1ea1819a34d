"""What the library's last errors mean, in our words, with what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from effc.core.errors import BackendFailed

MEMORY = "it ran out of memory"
MEMORY_HINT = "free memory, give the process more, or build with a smaller --workspace or --shape-range"
_TOLD = 3


@dataclass(frozen=True)
class Complaint:
    """A way in which builds fail.

    Attributes:
        pattern: found in the library's message; its groups fill `what` and `hint`.
    """

    pattern: str
    what: str
    hint: str


_COMPLAINTS = (
    Complaint(
        r"(?i)out_?\s?of_?\s?memory|bad_alloc|MemoryAllocation|CHECK\(p\) failed|Resource temporarily unavailable",
        MEMORY,
        MEMORY_HINT,
    ),
    Complaint(
        r"workspace (?:limit|memory)|insufficient workspace",
        "no kernel fits into the workspace",
        "allow more with --workspace, or leave it out: the default is the GPU's whole memory",
    ),
    Complaint(
        r"(\S+?): tensor volume exceeds (\d+), dimensions are \[([\d,]+)\]",
        "tensor {0!r} of dims {2} would have more than {1} values",
        "build with a smaller --shape-range or --shape",
    ),
    Complaint(
        r"k(MIN|OPT|MAX) values for profile (\d+) violate shape constraints: (.*?)(?: Condition|\. In |$)",
        "the model does not compute with the {0} dims of profile {1}: {2}",
        "other dims with --shape-range, or a model that is exported with its first dim dynamic",
    ),
    Complaint(
        r"target\(s\) ([\w, ]+), because the model contains HW-specific datatypes: (\w+)",
        "{0} cannot compute in {1}",
        "leave these GPUs out of the target, or choose another precision",
    ),
    Complaint(
        r"Cannot compile operation '(.*?)' for (.*?): (.*?) is not supported",
        "{1} has no {2}, which node {0!r} needs",
        "leave this GPU out of the target, or build fp16",
    ),
    Complaint(
        r"Unable to load library: (libnvinfer_lean\S*?):",
        "version-compatible engines need the lean runtime, and {0} is not there",
        "pip install tensorrt-lean, of the version of tensorrt",
    ),
    Complaint(r"BuildCanceled", "the build was cancelled", ""),
    Complaint(
        r"cudaError (?:35|100)\b|cudaErrorInsufficientDriver|cudaErrorNoDevice|no CUDA-capable device",
        "it finds no GPU with a driver that is new enough",
        "`effc doctor` tells what this machine lacks; --defer seals a package that another machine finishes",
    ),
)


def failure(stage: str, errors: Iterable[str]) -> BackendFailed:
    """The error that a build's log amounts to: the first known complaint of the table, else the last lines."""
    messages = list(dict.fromkeys(errors))
    log = "\n".join(messages)
    for complaint in _COMPLAINTS:
        if found := re.search(complaint.pattern, log):
            what = complaint.what.format(*found.groups())
            return BackendFailed(f"no engine was built: {what}", stage=stage, log=log, hint=complaint.hint)
    last = "; ".join(messages[-_TOLD:]) or "the library does not say why"
    return BackendFailed(f"no engine was built: {last}", stage=stage, log=log, hint=_SMALLER)


_SMALLER = "`effc check` lists what the target takes; --keep-float and another precision narrow it down"
