"""How an error reaches the user: one block on stderr, or with `--json` an object on stdout."""

from __future__ import annotations

import sys
import traceback

from effc.core.encode import to_json
from effc.core.errors import BackendFailed, EffcError, UnsupportedOps, unforeseen

INTERRUPTED = 130


def complain(error: EffcError, *, as_json: bool, verbose: bool) -> int:
    """Print a reported error and return its exit code."""
    if verbose:
        traceback.print_exception(error)
        print(error.log if isinstance(error, BackendFailed) else "", end="", file=sys.stderr)
    if as_json:
        sys.stdout.write(to_json({"error": describe(error)}))
    else:
        print(f"error ({error.kind}): {error}", file=sys.stderr)
    return error.exit_code


def describe(error: EffcError) -> dict[str, object]:
    """The error as plain data; unsupported nodes are listed each."""
    told: dict[str, object] = {"kind": error.kind, "exit_code": error.exit_code}
    told |= {"what": error.what, "where": error.where, "hint": error.hint}
    return told | ({"refusals": error.refusals} if isinstance(error, UnsupportedOps) else {})


def crashed(error: Exception, *, as_json: bool, verbose: bool) -> int:
    """Print what nobody foresaw in one line and where its traceback lies (with -v the traceback itself); 1."""
    return complain(unforeseen(error), as_json=as_json, verbose=verbose)


def interrupted(*, as_json: bool) -> int:
    """Say that the user stopped it; 130."""
    if as_json:
        sys.stdout.write(to_json({"error": {"kind": "interrupted", "exit_code": INTERRUPTED}}))
    else:
        print("interrupted", file=sys.stderr)
    return INTERRUPTED
