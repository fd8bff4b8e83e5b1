"""How many small faults in `src` the tests notice, and which tier of them does.

Constants, signs and branches of `src/kups_relax` are changed one at a time, in a copy of the tree.
Each fault meets the tests of its room and those of the whole, as in `make test`; those that it
passes meet what `make test-all` adds. What other tests would notice is not counted.

Takes an hour: half a minute for a fault that is noticed, and ten for one that is not.
"""

import ast
import collections
import functools
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
# Faults that are looked at beside each other, and seconds for a session of tests.
N_TREES, MOST_SECONDS = 2, 400
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


def main() -> dict[str, Any]:
    """Draw faults, and count which are noticed by which tier."""
    faults = draw(N, SEED)
    with tempfile.TemporaryDirectory() as folder:
        trees = [Path(folder, f"tree {k}") for k in range(N_TREES)]
        for tree in trees:
            _copy(tree)
        free: queue.Queue[Path] = queue.Queue()
        for tree in trees:
            free.put(tree)

        rows = [{"fault": fault["what"], "noticed by": "nobody"} for fault in faults]

        def look(tier: str, number: int) -> None:
            tree = free.get()
            try:
                rows[number] |= _notice(tree, faults[number], tier)
            finally:
                free.put(tree)
            print(f"   {number} {rows[number]}", flush=True)

        for tier in TIERS:
            left = [k for k, row in enumerate(rows) if row["noticed by"] == "nobody"]
            with ThreadPoolExecutor(N_TREES) as pool:
                list(pool.map(functools.partial(look, tier), left))
    counts = collections.Counter(row["noticed by"] for row in rows)
    return {"seed": SEED, "faults": len(rows), "noticed by": dict(counts), "each": rows}


def draw(n: int, seed: int) -> list[dict[str, Any]]:
    """Choose so many faults, as many of each kind, from all that could be made."""
    kinds: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for path in sorted((ROOT / "src/kups_relax").rglob("*.py")):
        name = str(path.relative_to(ROOT / "src/kups_relax"))
        if not any(part in name for part in LEFT_OUT):
            source = path.read_text()
            for kind, node, new in _faults(ast.parse(source)):
                text = ast.get_source_segment(source, node)
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
    tree.mkdir()
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tree / name)


def _near(path: Path) -> list[str]:
    """Return the test files of a source's room, and those of the whole, from the root."""
    room = path.relative_to(ROOT / "src/kups_relax").parts[0]
    folder = ROOT / "tests" / {"ase": "ase_bridge"}.get(room, room)
    files = [*folder.rglob("test_*.py")] if folder.is_dir() else []
    files += [ROOT / "tests" / name for name in ("test_relax.py", "test_verify.py")]
    # The engine moves cells, and what the optimizers learn.
    if room in ("coordinates", "internals", "potentials"):
        files.append(ROOT / "tests/optimizers/test_model_hessian.py")
    own = ROOT / f"tests/test_{path.stem.lstrip('_')}.py"
    files += [own] if own.exists() else []
    return sorted({str(file.relative_to(ROOT)) for file in files})


def _notice(tree: Path, fault: dict[str, Any], tier: str) -> dict[str, Any]:
    """Make a fault, and say whether a tier notices it."""
    target = tree / fault["path"].relative_to(ROOT)
    target.write_text(_replaced(fault["path"].read_text(), fault["node"], fault["new"]))
    began = time.perf_counter()
    # The cheapest files first.
    options = ("-x", f"--stop-after={MOST_SECONDS}")
    failed = _pytest(tree, _near(fault["path"]), TIERS[tier], *options)
    shutil.copy(fault["path"], target)
    seconds = round(time.perf_counter() - began)
    return {"noticed by": tier if failed else "nobody", "test": failed, "seconds": seconds}


def _pytest(tree: Path, files: list[str], sessions: Any, *options: str) -> str:
    """Run tests of the copy; return the first that failed, or nothing."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src")}
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
