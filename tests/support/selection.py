"""Which tests run, and in which order.

Workers get whole files, the dearest first (budgets.toml), so that they end together and tests that
need one program find it in their process. Within files, pytest-randomly shuffles.

`--quickly-compiled` leaves out tests with the mark `exact` (programs.py).
`--check=SECONDS` runs what so many processor seconds allow: tests of files that git calls changed,
then tests of the rooms of changed sources, then the cheapest. `--stop-after=SECONDS` of a clock
skips what has not begun by then; the cheapest begin, so that most of what can fail does so early.
"""

import subprocess
import time
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import pytest

from support.costs import budget

SOURCE = "src/kups_relax/"

_BEGAN = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("selection")
    group.addoption(
        "--check", type=float, metavar="SECONDS", help="what changed, then the cheapest"
    )
    group.addoption("--stop-after", type=float, metavar="SECONDS", help="skip what is left then")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_BEGAN] = time.monotonic()


def pytest_runtest_setup(item: pytest.Item) -> None:
    seconds = item.config.getoption("--stop-after")
    if seconds is not None and time.monotonic() > item.config.stash[_BEGAN] + seconds:
        pytest.skip(f"--stop-after={seconds:g}: the time is over")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out: set[pytest.Item] = set()
    if config.getoption("--quickly-compiled"):
        left_out |= {item for item in items if item.get_closest_marker("exact")}
    seconds = config.getoption("--check")
    if seconds is not None:
        # A file in which few tests are left after -m is cheaper than its budget says; never dearer.
        wanted = set(choose({file_of(item) for item in items}, changed(config), seconds))
        left_out |= {item for item in items if file_of(item) not in wanted}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
    sign = -1 if config.getoption("--stop-after") is None else 1
    items.sort(key=lambda item: sign * budget(file_of(item))["seconds"])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    seed = config.getoption("randomly_seed", None)
    if seed is not None:
        terminalreporter.line(f"the order of these tests: --randomly-seed={seed}")


def file_of(item: pytest.Item) -> str:
    """Return the path of a test's file, from the root."""
    return item.nodeid.split("::")[0]


def changed(config: pytest.Config) -> list[str]:
    """Return the files that differ from the last commit, or else from the one before it."""

    def git(*words: str) -> list[str]:
        done = subprocess.run(
            ["git", *words], cwd=config.rootpath, capture_output=True, text=True, check=False
        )
        return done.stdout.splitlines() if done.returncode == 0 else []

    files = git("diff", "--name-only", "HEAD")
    files += git("ls-files", "--others", "--exclude-standard")
    return files or git("diff", "--name-only", "HEAD~1")


def choose(files: set[str], changes: list[str], seconds: float) -> list[str]:
    """Return the test files to run, the most urgent first.

    Args:
        files: All that there are.
        changes: Paths of what changed, tests or not.
        seconds: Of a processor, that all of them may take. One that changed runs in any case.
    """
    chosen = [file for file in changes if file in files]
    left = seconds - sum(budget(file)["seconds"] for file in chosen)
    for file in (*_near(files, changes), *sorted(files, key=lambda f: budget(f)["seconds"])):
        cost = budget(file)["seconds"]
        if file not in chosen and cost <= left:
            chosen.append(file)
            left -= cost
    return chosen


def _near(files: set[str], changes: list[str]) -> Iterator[str]:
    """Yield the files of the same subject as a changed source, then those of its room."""
    sources = [PurePosixPath(c[len(SOURCE) :]) for c in changes if c.startswith(SOURCE)]
    cheap = sorted(files, key=lambda f: budget(f)["seconds"])
    for path in sources:
        subject = f"test_{path.stem.lstrip('_')}.py"
        yield from (file for file in cheap if PurePosixPath(file).name == subject)
    for path in sources:
        room = {"ase": "ase_bridge"}.get(path.parts[0], path.parts[0])
        yield from (file for file in cheap if file.startswith(f"tests/{room}/"))
