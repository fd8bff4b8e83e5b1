"""What README.md and docs/ say to type is typed, in order, in a folder with small inputs.

A block that cannot be run here says why in an HTML comment on the line before it:
`<!-- not run: why -->`; one that needs another package, `<!-- needs: package -->`. What a block
says that a `print` prints is compared.
"""

import contextlib
import dataclasses
import doctest
import importlib
import io
import os
import pathlib
import re
import shlex
import subprocess
import sys

import ase.io
import pytest
from ase.build import bulk

from helpers import argon_clusters
from kups_relax import cli
from support.crossing import first

ROOT = pathlib.Path(__file__).parent.parent
PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"(?:<!-- ([^\n]*) -->\n)?^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Lines that are commands, whatever their block is called.
COMMAND = re.compile(r"^(kups-relax|make|pip|python|>>>|import|from) ", re.MULTILINE)
SAID = re.compile(r"^print\(.*\)  # (.*)$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    note: str
    language: str
    text: str

    @property
    def needs(self) -> str | None:
        """The package that it needs."""
        return self.note.removeprefix("needs: ") if self.note.startswith("needs: ") else None


def blocks(page):
    text = (ROOT / page).read_text()
    for found in FENCE.finditer(text):
        note, language, code = found.groups()
        line = text.count("\n", 0, found.start(3))
        yield Block(page, line, note or "", language, code)


def make_inputs():
    """Write what the pages call files of the reader's own."""
    pathlib.Path("molecules.smi").write_text("CCO ethanol\nCC(C)=O acetone\n")
    ase.io.write("clusters.extxyz", argon_clusters([3, 5]))
    copper = bulk("Cu", cubic=True)
    alloy = copper.copy()
    alloy.numbers[0] = 79
    alloy.set_cell(alloy.cell * 1.02, scale_atoms=True)
    ase.io.write("Cu3Au.cif", alloy)
    copper.rattle(0.05, seed=1)
    ase.io.write("POSCAR", copper)
    crystals = [bulk("Cu", cubic=True), bulk("Ni", cubic=True)]
    for name, crystal in zip(("mp-30", "mp-23"), crystals, strict=True):
        crystal.rattle(0.05, seed=2)
        crystal.info["id"] = name
    ase.io.write("all.extxyz", crystals)


def run_python(block, names):
    """Run a block, and compare what it prints with what it says."""
    said = SAID.findall(block.text)
    # Where it stands in the page is where the traceback points.
    code = compile("\n" * block.line + block.text, block.page, "exec")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, names)
        for name in [n for n in names if n.startswith("test_")]:
            names.pop(name)()
    printed = out.getvalue()
    if said:
        want = "\n".join(said) + "\n"
        same = doctest.OutputChecker().check_output(want, printed, doctest.ELLIPSIS)
        assert same, f"{block.page}, line {block.line}: says {want!r} and prints {printed!r}"


def run_shell(block, monkeypatch):
    """Run a block line by line; `kups-relax` in this process."""
    for line in block.text.splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] != "kups-relax":
            subprocess.run(["bash", "-c", line], check=True, capture_output=True)
            continue
        paths = [sorted(map(str, pathlib.Path().glob(w))) if "*" in w else [w] for w in words]
        # The command ends its process so.
        monkeypatch.setattr(os, "_exit", sys.exit)
        monkeypatch.setattr(sys, "argv", [word for path in paths for word in path])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert stopped.value.code in (0, None), f"{block.page}, line {block.line}: {line}"


@pytest.mark.parametrize("page", first([page for page in PAGES if list(blocks(page))]))
def test_a_page_does_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_inputs()
    names = {"__name__": "documentation"}
    for block in blocks(page):
        if block.note.startswith("not run: "):
            continue
        if block.needs:
            try:
                importlib.import_module(block.needs)
            except ImportError:
                continue
        if block.language == "python":
            run_python(block, names)
        elif block.language == "shell":
            run_shell(block, monkeypatch)


def test_every_block_is_run_or_says_why_not():
    found = [block for page in PAGES for block in blocks(page)]
    assert len([b for b in found if b.language == "python"]) >= 8
    for block in found:
        where = f"{block.page}, line {block.line}"
        assert block.language in ("python", "shell", "text", ""), f"{where}: of no known language"
        if block.language in ("text", ""):
            assert not COMMAND.search(block.text), f"{where}: looks like code, and is not run"
        if block.note and not block.needs:
            assert re.fullmatch(r"not run: .{10,}", block.note), f"{where}: {block.note!r}"


def test_a_page_that_lies_is_noticed():
    def block(text):
        return Block("page.md", 3, "", "python", text)

    run_python(block("print(1 + 1)  # 2\nprint('x y')  # x ...\n"), {})
    with pytest.raises(AssertionError, match=r"page.md, line 3: says '3\\n' and prints '2\\n'"):
        run_python(block("print(1 + 1)  # 3\n"), {})
    with pytest.raises(NameError):
        run_python(block("undefined\n"), {})
    fences = "<!-- not run: it is long -->\n```python\nx\n```\n\n```\ny\n```\n"
    assert [found.groups() for found in FENCE.finditer(fences)] == [
        ("not run: it is long", "python", "x\n"),
        (None, "", "y\n"),
    ]
