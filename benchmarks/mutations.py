"""How many small faults in `src` the tests notice, and which tier of them does.

Constants, signs and branches of `src/kups_relax` are changed one at a time, in a copy of the tree.
First a run of `make test` says which files pass through which of these places; then each fault
meets the tests of these files, those of `make test` first, until one fails.

Takes an hour or two: a minute for a fault that is noticed, and some for one that is not.
"""

import ast
import collections
import os
import queue
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SEED, N = 20261128, 50
# Faults that are looked at beside each other.
N_TREES = 2
# Nobody promises to notice another wording, or another way to draw a page; and adapters are tested
# where the packages that they adapt are installed.
LEFT_OUT = ("report/", "cli/", "__init__", "errors.py", "_mlip", "_nequix", "_torch_sim")
COPIED = (
    "src",
    "tests",
    "docs",
    "examples",
    "benchmarks",
    "pyproject.toml",
    "README.md",
    "Makefile",
)
# Sessions of `make test`, and what `make test-all` adds.
TEST = (
    ("-m", "not extended", "--quickly-compiled"),
    ("-m", "exact and not extended"),
)
TIERS = {"make test": TEST, "make test-all": (("-m", "extended"),)}
SIGNS = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*"}

# Of every interpreter of the first run: says which test passes by a place.
PROBE = """
import builtins
import os

def _probe(place, value, _seen=set()):
    test = os.environ.get("PYTEST_CURRENT_TEST", "").split("::")[0]
    if (place, test) not in _seen:
        _seen.add((place, test))
        with open(os.environ["PROBES"], "a") as file:
            file.write(f"{place} {test}\\n")
    return value

builtins._probe = _probe
"""


def main() -> dict[str, Any]:
    """Draw faults, find the tests that pass by, and count which are noticed."""
    faults = draw(N, SEED)
    with tempfile.TemporaryDirectory() as folder:
        trees = [Path(folder, f"tree {k}") for k in range(N_TREES)]
        passing = _passing(trees[0], faults)
        for tree in trees[1:]:
            _copy(tree)
        free: queue.Queue[Path] = queue.Queue()
        for tree in trees:
            free.put(tree)

        def look(number: int) -> dict[str, Any]:
            tree = free.get()
            try:
                row = _notice(tree, faults[number], passing[number])
            finally:
                free.put(tree)
            row = {"fault": faults[number]["what"], **row}
            print(f"   {number} {row}", flush=True)
            return row

        with ThreadPoolExecutor(N_TREES) as pool:
            rows = list(pool.map(look, range(len(faults))))
    counts = collections.Counter(row["noticed by"] for row in rows)
    return {"seed": SEED, "faults": len(rows), "noticed by": dict(counts), "each": rows}


def draw(n: int, seed: int) -> list[dict[str, Any]]:
    """Choose so many faults, as many of each kind, from all that could be made."""
    kinds: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for path in sorted((ROOT / "src/kups_relax").rglob("*.py")):
        name = str(path.relative_to(ROOT / "src/kups_relax"))
        if not any(part in name for part in LEFT_OUT):
            for kind, node, new in _faults(ast.parse(path.read_text())):
                text = ast.get_source_segment(path.read_text(), node)
                what = f"{name}:{node.lineno}: {kind}: {text} -> {new}"
                kinds[kind].append({"path": path, "node": node, "new": new, "what": what})
    chosen: list[dict[str, Any]] = []
    randomly = random.Random(seed)
    taken: set[tuple[Path, int]] = set()
    for k, kind in enumerate(sorted(kinds)):
        last = len(chosen) + (n - len(chosen)) // (len(kinds) - k)
        for fault in randomly.sample(kinds[kind], len(kinds[kind])):
            node = fault["node"]
            lines = {(fault["path"], line) for line in range(node.lineno, node.end_lineno + 1)}
            if len(chosen) < last and not lines & taken:
                chosen.append(fault)
                taken |= lines
    return chosen


def _faults(tree: ast.Module) -> Any:
    """Yield (kind, node, what is to stand there), in bodies of functions alone."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in (n for statement in function.body for n in ast.walk(statement)):
            if isinstance(node, ast.Constant) and type(node.value) in (int, float):
                yield "constant", node, "1" if node.value == 0 else f"({node.value!r} * 2)"
            elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
                if not isinstance(node.operand, ast.Constant):
                    yield "sign", node, f"({ast.unparse(node.operand)})"
            elif isinstance(node, ast.BinOp) and type(node.op) in SIGNS:
                left, right = ast.unparse(node.left), ast.unparse(node.right)
                if "'" not in left + right and '"' not in left + right:
                    yield "sign", node, f"(({left}) {SIGNS[type(node.op)]} ({right}))"
            elif isinstance(node, ast.If | ast.IfExp):
                yield "branch", node.test, "False"


def _replaced(source: str, node: Any, text: str) -> str:
    lines = source.encode().splitlines(keepends=True)
    first, last = lines[node.lineno - 1], lines[node.end_lineno - 1]
    head, tail = first[: node.col_offset], last[node.end_col_offset :]
    lines[node.lineno - 1 : node.end_lineno] = [head + text.encode() + tail]
    return b"".join(lines).decode()


def _copy(tree: Path) -> None:
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, dirs_exist_ok=True)
        else:
            tree.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, tree / name)


def _passing(tree: Path, faults: list[dict[str, Any]]) -> list[list[str]]:
    """Run all tests with a probe at each place; return the files that pass by it."""
    _copy(tree)
    by_path: dict[Path, list[int]] = collections.defaultdict(list)
    for number, fault in enumerate(faults):
        by_path[fault["path"]].append(number)
    for path, numbers in by_path.items():
        source = path.read_text()
        # From the end, so that places before stay where they are.
        for number in sorted(numbers, key=lambda k: -faults[k]["node"].lineno):
            node = faults[number]["node"]
            text = ast.get_source_segment(source, node)
            source = _replaced(source, node, f"_probe({number}, {text})")
        (tree / path.relative_to(ROOT)).write_text(source)
    (tree / "src/sitecustomize.py").write_text(PROBE)
    probes = tree / "probes.txt"
    probes.touch()
    workers = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
    failed = _pytest(tree, [], TEST, *workers, extra={"PROBES": str(probes)})
    if failed:
        raise RuntimeError(f"without a fault, {failed} fails")
    found: list[set[str]] = [set() for _ in faults]
    for line in probes.read_text().splitlines():
        number, _, file = line.partition(" ")
        if (tree / file).is_file():
            found[int(number)].add(file)
    (tree / "src/sitecustomize.py").unlink()
    for path in by_path:
        shutil.copy(path, tree / path.relative_to(ROOT))
    return [sorted(files) for files in found]


def _notice(tree: Path, fault: dict[str, Any], files: list[str]) -> dict[str, Any]:
    """Make a fault, and say who notices it."""
    target = tree / fault["path"].relative_to(ROOT)
    target.write_text(_replaced(fault["path"].read_text(), fault["node"], fault["new"]))
    began = time.perf_counter()
    by, first = "nobody", ""
    if not files:
        by = "nobody: no test passes by"
    for tier, sessions in TIERS.items():
        if files and by == "nobody":
            # The cheapest files first.
            first = _pytest(tree, files, sessions, "-x", "--stop-after=900")
            by = tier if first else by
    shutil.copy(fault["path"], target)
    seconds = round(time.perf_counter() - began)
    return {"noticed by": by, "test": first, "files": len(files), "seconds": seconds}


def _pytest(tree: Path, files: list[str], sessions: Any, *options: str, extra: Any = None) -> str:
    """Run tests of the copy; return the first that failed, or nothing."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), **(extra or {})}
    # Programs that a fault does not change are loaded.
    kept = ("-o", f"cache_dir={ROOT / '.pytest_cache'}")
    for session in sessions:
        command = [sys.executable, "-m", "pytest", "-q", *kept, *options, *session, *files]
        try:
            done = subprocess.run(
                command, cwd=tree, env=environment, capture_output=True, text=True, timeout=900
            )
        except subprocess.TimeoutExpired:
            return "ran out of time"
        if done.returncode not in (0, 5):  # 5: no tests are left
            failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
            return failed[0] if failed else f"pytest ended with {done.returncode}"
    return ""
