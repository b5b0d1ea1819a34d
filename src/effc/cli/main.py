"""`effc`: read the arguments, call one verb, print its report, return its exit code."""

from __future__ import annotations

import argparse
import atexit
import gc
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from effc.cli import arguments
from effc.cli.complain import complain, crashed, interrupted
from effc.core import ahead
from effc.core.errors import EffcError

_READING = ("build", "check", "quantize", "simplify")
"""Verbs that read a model, for which the frontend needs a child."""
_FRONTEND = ("effc.compiler.upgrade",)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 done, 1 to 6 as the errors say, 130 interrupted."""
    if argv is None:  # a process of its own: told to end, it sweeps as when interrupted
        signal.signal(signal.SIGTERM, _terminated)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it is ignored behind a shell's `&`
            signal.signal(signal.SIGINT, _interrupted)
        atexit.register(gc.freeze)  # the system takes back all memory at once, Python piece by piece
    words = list(sys.argv[1:] if argv is None else argv)
    as_json, verbose = "--json" in words, bool({"-v", "--verbose"} & set(words))
    try:
        args = arguments.parse(words)
        with quiet(verbose=args.verbose):
            return _perform(args)
    except EffcError as error:
        return complain(error, as_json=as_json, verbose=verbose)
    except KeyboardInterrupt:
        return interrupted(as_json=as_json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has left: nothing more to say
        return 0
    except Exception as error:
        return crashed(error, as_json=as_json, verbose=verbose)


class _Interrupted(KeyboardInterrupt):
    """As KeyboardInterrupt, but Python kills itself at its end where one of these came in the midst of `exec`."""


def _interrupted(number: int, frame: object) -> NoReturn:
    del number, frame
    raise _Interrupted


def _terminated(number: int, frame: object) -> NoReturn:
    """Leave by way of every `finally`, with the code that shells give to a process ended so."""
    del frame
    sys.exit(128 + number)


def _perform(args: argparse.Namespace) -> int:
    with ahead.started(_FRONTEND if args.verb in _READING else ()):
        from effc.cli import commands  # everything heavy hangs on this import
        from effc.cli.progress import progress
        from effc.core.encode import to_json

        with progress(wanted=not args.json) as shown:
            outcome = commands.COMMANDS[args.verb](args, shown)
    if args.json:
        sys.stdout.write(to_json(outcome.report))
    else:
        outcome.show()
    sys.stdout.flush()
    return outcome.exit_code


@contextmanager
def quiet(*, verbose: bool) -> Iterator[None]:
    """Hold back what libraries log and warn, unless verbose."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        if not verbose:
            warnings.simplefilter("ignore")
            logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(before)


if __name__ == "__main__":
    sys.exit(main())
