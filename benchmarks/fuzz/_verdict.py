"""Judge one case: a result, an error of kups_relax, or an exception that escaped."""

import dataclasses
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import ase
import optax

import kups_relax
from kups_relax.errors import KupsRelaxError

KINDS = ("clear", "raw", "hang", "crash", "wrong")
# Exceptions that Python, NumPy and JAX raise for mistakes of code.
_RAW = re.compile(
    r"\b(KeyError|IndexError|TypeError|AttributeError|AssertionError|NameError|ValueError"
    r"|UnboundLocalError|ZeroDivisionError|OverflowError|RuntimeError|RecursionError|MemoryError"
    r"|StopIteration|LinAlgError|NotImplementedError|FloatingPointError|Unicode\w*Error"
    r"|ArgumentError|error|XlaRuntimeError|JaxRuntimeError)\b: ?"
)
# RDKit raises from C++, below the last frame of Python, which is ours; so do functions and classes
# that optimizers of others were built with and that take other arguments.
_OF_OTHERS = re.compile(r"RDKit|ETKDG|makes no steps of gradients of many structures")
_OURS = Path(kups_relax.__file__).parent
_ASE, _OPTAX = Path(ase.__file__).parent, Path(optax.__file__).parent
_BENCHMARKS = Path(__file__).parents[1]
_SHOWN = 600


class WrongError(Exception):
    """A result that is not the right one; the message says what was got and expected."""


class UserError(Exception):
    """Raised by what stands for code of the user's own, where it must reach the user as it is."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """What became of one case.

    Attributes:
        kind: One of `KINDS`.
        text: What was raised, or is wrong.
        warned: Warnings that code of kups_relax caused, other than its own kinds.
    """

    kind: str
    text: str = ""
    warned: tuple[str, ...] = ()


def judge(call: Callable[[], Any]) -> Finding:
    """Make a call and say what kind of end it came to.

    Args:
        call: Returns the reasons of failed entries as a list of text, or anything else. May be
            called twice. Raises `WrongError` for a wrong result.

    Returns:
        "clear" for results and errors of kups_relax; "raw" for other exceptions, and for messages
        that quote an exception which code of kups_relax raised; "wrong" for `WrongError`.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = _judged(call)
    warned = {f"{Path(w.filename).name}:{w.lineno}: {w.message}"[:200] for w in caught if _odd(w)}
    return dataclasses.replace(found, warned=tuple(sorted(warned)))


def _judged(call: Callable[[], Any]) -> Finding:
    try:
        got = call()
    except WrongError as error:
        return Finding("wrong", str(error)[:_SHOWN])
    except UserError as error:
        return Finding("clear", repr(error))
    except KupsRelaxError as error:
        got = [str(error)]
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # that is what is looked for
        return Finding("raw", _told(error))
    reasons = [r for r in got if isinstance(r, str)] if isinstance(got, list) else []
    for reason in reasons:
        if not reason.strip():
            return Finding("raw", "a message is empty")
        if _RAW.search(reason) and not _OF_OTHERS.search(reason):
            where = _raised_by_us(call, reason)
            if where is not None:
                return Finding("raw", f"{where}: {reason}"[:_SHOWN])
    return Finding("clear", reasons[0][:_SHOWN] if reasons else "")


def _odd(warning: warnings.WarningMessage) -> bool:
    ours = Path(warning.filename).is_relative_to(_OURS)
    return ours and not warning.category.__module__.startswith("kups_relax")


def _told(error: BaseException) -> str:
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:
        text = type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    where = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames))
    return f"{text[:_SHOWN]} @ {where}"


def _raised_by_us(call: Callable[[], Any], reason: str) -> str | None:
    """Return where kups_relax raised the exception that a message quotes; None: others did.

    The call is repeated under a tracer: an exception belongs to the innermost of our own files, of
    ASE's, of optax's and of the benchmarks' (user code) on the stack where it was raised.
    """
    ours: list[tuple[str, str]] = []
    spoken = " ".join(reason.split())
    seen: list[BaseException] = []

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        frame.f_trace_lines = False
        if event == "exception" and not any(arg[1] is one for one in seen):
            seen.append(arg[1])
            del seen[:-20]
            owner = next(_owners(frame), None)
            if owner is not None and Path(owner.f_code.co_filename).is_relative_to(_OURS):
                place = f"{Path(owner.f_code.co_filename).name}:{owner.f_lineno}"
                text = " ".join(str(arg[1]).split())
                if text[:60] in spoken:
                    ours.append((arg[0].__name__, place))
        return trace

    threading.settrace(trace)
    sys.settrace(trace)
    try:
        call()
    except BaseException:
        pass
    finally:
        sys.settrace(None)
        threading.settrace(None)  # pyright: ignore[reportArgumentType]
    quoted = set(_RAW.findall(reason))
    return next((place for name, place in ours if name in quoted), None)


def _owners(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        # A file of the user's own lies in the working folder.
        if any(
            path.is_relative_to(root) for root in (_OURS, _ASE, _OPTAX, _BENCHMARKS, Path.cwd())
        ):
            yield frame
        frame = frame.f_back
