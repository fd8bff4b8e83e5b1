"""Stores, damaged byte by byte or made hostile with h5py, and all that can be asked of them."""

import functools
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.fuzz._bytes import damage
from benchmarks.fuzz._hostile import FORGERIES, OUTSIDE, make_hostile, write_canaries
from benchmarks.fuzz._judge import Want, judge, make_store, use


def prepare() -> None:
    """Write a store as it should be, and files that no store may reach."""
    _valid()
    write_canaries(Path(OUTSIDE))


def case(seed: int, index: int) -> tuple[str, Callable[[], Any]]:
    """Make one case: what is done to the store, and a call that uses it."""
    path, want = _valid()
    # What is done to it must be known for the description, so it is done here.
    target = Path(f"damaged-{index}.h5").absolute()

    def make() -> str:
        shutil.copyfile(path, target)
        draw = random.Random(f"stores {seed} {index}")
        return damage(target, draw) if index % 2 else make_hostile(target, draw)

    def call() -> list[str]:
        done = make()
        forged = not index % 2 and any(part.split()[0] in FORGERIES for part in done.split("; "))
        try:
            return use(target, want) if forged else judge(target, want)
        finally:
            target.unlink(missing_ok=True)

    text = make()
    target.unlink()
    return text, call


@functools.cache
def _valid() -> tuple[Path, Want]:
    return make_store(Path("valid.h5").absolute())
