"""The page about a store: whole, quiet, with the store's own numbers, whatever is in it."""

import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from importlib.resources import files

import numpy as np
import pytest

import kups_relax as kr
from helpers import argon, argon_clusters
from kups_relax.errors import StoreError
from kups_relax.report import page, write_report
from kups_relax.report._charts import MOST_POINTS
from made_stores import STATUSES, made_record, made_records, made_store

VOID = {"meta", "br"}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")


class Page(HTMLParser):
    """Reads a page, and insists that every element is closed where it should be."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.attributes, self.kinds = [], [], [], Counter()
        self.texts, self.inside = Counter(), {}
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.kinds[tag] += 1
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.kinds[tag] += 1
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts[data.strip()] += 1
            self.inside.setdefault(self.open[-1], []).append(data.strip())


def checked(text):
    """Parse a page, and check what holds for every one."""
    got = Page(text)
    assert len(got.ids) == len(set(got.ids))
    for name, value in got.attributes:
        assert name not in ("src", "href", "srcset", "onclick", "onload"), (name, value)
        if name == "aria-labelledby":
            assert set(value.split()) <= set(got.ids)
    for word in ("http", "<script", "url(", "@import"):
        assert word not in text
    numbers = [value for name, value in got.attributes if name in ("d", "x", "y", "cx", "cy")]
    for value in numbers:
        assert "nan" not in value
        assert "inf" not in value
    assert got.kinds["h1"] == got.kinds["main"] == 1
    return got


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    rng = np.random.default_rng(1)
    records = made_records(60, bad=0.2)
    records[20] = made_record(20, rng, n_frames=8)
    records[21] = made_record(21, rng, n_frames=5, status="max_steps", reason="Too slow.")
    return made_store(tmp_path_factory.mktemp("page") / "run.h5", records)


def test_the_numbers_are_those_of_the_store(store):
    got = checked(page(store))
    assert got.inside["h1"] == ["run.h5"]
    assert got.inside["b"][0] == "60"
    words = {
        "converged": "converged",
        "max_steps": "out of steps",
        "non_finite": "not finite",
        "failed": "failed",
        "exploded": "exploded",
    }
    for status, count in store.counts.items():
        assert got.texts[f"{words[status]} · {count / 60:.1%}"] == 1
    slowest = int(np.argmax(store.n_steps))
    assert store.ids[slowest] in got.inside["th"]
    assert f"{store.n_steps[slowest]:,}" in got.inside["td"]
    assert f"{store.energy[slowest]:.6f}".replace("-", "\N{MINUS SIGN}") in got.inside["td"]
    for text in ("epsilon 0.0104", "memory_size 20", "kups-relax", "0.1", "60, complete"):
        assert text in got.inside["dd"] + got.inside["dt"]
    bars = [int(t.split(": ")[1]) for t in got.inside["title"] if t.split(": ")[-1].isdigit()]
    finite = np.isfinite(store.energy).sum()
    # Steps, sizes, forces and energies: every structure is in a bar, or counted below.
    assert sum(bars) == 60 + 60 + finite + finite - _beyond(got)
    assert got.texts[f"{60 - finite} without a value"] + _beyond(got) >= 1


def _beyond(got):
    return sum(int(t.split(" beyond")[0].split()[-1]) for t in got.texts if "beyond the axis" in t)


def test_every_point_and_curve_is_named(store):
    got = checked(page(store))
    assert got.kinds["circle"] == 60
    i = 5
    name = f"{store.ids[i]}: {store.n_atoms[i]} atoms, {store.n_steps[i]} steps, {store.status[i]}"
    assert name in got.inside["title"]
    for label, status in (("made-20", "converged"), ("made-21", "max_steps")):
        assert got.inside["title"].count(f"{label}: {status}") == 2


def test_what_did_not_converge_is_grouped_by_reason(store):
    got = checked(page(store))
    bad = int((~store.converged).sum())
    assert str(bad) in got.inside["span"]
    assert sum(int(b) for b in got.inside["b"][-got.kinds["details"] :]) == bad
    # One for each status, whatever names, formulas and numbers their reasons have.
    assert got.inside["summary"].count("atoms … and … are … Angstrom apart.") == 4
    assert "Too slow." in got.inside["summary"]
    for i in (~store.converged).nonzero()[0]:
        assert store.ids[i] in got.inside["th"]
        assert store.reason[i] in got.inside["td"]


def test_text_of_the_data_stays_text(tmp_path):
    rng = np.random.default_rng(2)
    evil = "<script>alert(1)</script>\"'&amp;\x1b\x01"
    records = [
        made_record(0, rng, label=evil, status="failed", reason=f"<b>{evil}</b>"),
        made_record(1, rng, label=evil + "2", n_frames=3),
    ]
    text = page(made_store(tmp_path / "<i>run.h5", records))
    got = checked(text)
    assert got.kinds["script"] == got.kinds["i"] - 2 == 0
    assert evil.replace("\x1b\x01", r"\x1b\x01") in got.inside["th"]
    assert got.inside["h1"] == ["<i>run.h5"]
    assert "\x1b" not in text


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_structures(n, tmp_path):
    rng = np.random.default_rng(3)
    for name, options in (("good", {}), ("bad", {"status": "failed"}), ("kept", {"n_frames": 1})):
        records = [made_record(i, rng, **options) for i in range(n)]
        got = checked(page(made_store(tmp_path / f"{name}.h5", records)))
        assert got.inside["b"][0] == str(n)
        assert got.kinds["circle"] == n
        assert got.kinds["details"] == (n > 0 and name == "bad")
    assert "no data" in page(made_store(tmp_path / "none.h5", []))


def test_a_run_that_goes_on_says_so(tmp_path):
    text = page(made_store(tmp_path / "run.h5", made_records(3), complete=False))
    assert "the run goes on, or was stopped" in text
    assert "3, complete" not in text


def test_thousands_are_drawn_as_bins_and_listed_in_part(tmp_path):
    rng = np.random.default_rng(4)
    n = 3000
    records = [
        made_record(i, rng, status="failed", reason=f"Reason {'x' * (i % 40)}") if i % 3 == 0
        else made_record(i, rng)
        for i in range(n)
    ]  # fmt: skip
    text = page(made_store(tmp_path / "run.h5", records))
    got = checked(text)
    assert n > MOST_POINTS
    assert got.kinds["circle"] == 0
    assert len(text) < 300_000
    assert got.kinds["tr"] < 400
    assert got.kinds["details"] == 30
    listed = sum(int(b) for b in got.inside["b"][-30:])
    assert f"and {1000 - listed} more, for other reasons" in got.texts


def test_hostile_numbers_are_drawn_or_counted(tmp_path):
    rng = np.random.default_rng(5)
    records = made_records(12, bad=0)
    for record, energy, fmax in zip(
        records,
        (1e300, -1e300, np.inf, np.nan, 0.0, 5e-324),
        (1e308, 5e-324, np.inf, np.nan, 0.0, 1.0),
        strict=False,
    ):
        object.__setattr__(record, "energy", energy)
        object.__setattr__(record, "fmax", fmax)
    records.append(made_record(12, rng, n_frames=1))
    got = checked(page(made_store(tmp_path / "run.h5", records)))
    assert got.texts["2 without a value, 1 exactly 0, 2 beyond the axis"] == 1
    assert got.texts["2 without a value, 2 beyond the axis"] == 1


def test_what_converged_is_drawn_below_the_threshold(tmp_path):
    records = made_records(200, bad=0)
    object.__setattr__(records[0], "fmax", float(np.nextafter(0.01, 0)))
    object.__setattr__(records[1], "fmax", 3.0)
    got = checked(page(made_store(tmp_path / "run.h5", records)))
    spans = [t for t in got.inside["title"] if " to 0.01: " in t]
    assert len(spans) == 1
    assert sum(t.startswith("0.01 to ") for t in got.inside["title"]) == 0


def test_a_page_of_a_real_run(tmp_path):
    structures = argon_clusters([3, 5, 8])
    store = kr.relax(structures, argon(), output=tmp_path / "run.h5", trajectory=2)
    path = tmp_path / "out.html"
    write_report(store, path)
    got = checked(path.read_text("utf-8"))
    assert got.inside["b"][:2] == ["3", "3"]
    write_report(store, path)
    path.write_text("mine")
    with pytest.raises(StoreError, match="exists"):
        write_report(store, path)
    with pytest.raises(StoreError, match="there is no directory"):
        write_report(store, tmp_path / "no" / "out.html")


def test_text_stands_out_in_light_and_in_dark():
    css = files("kups_relax.report").joinpath("style.css").read_text("utf-8")
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        colours = dict(re.findall(r"--(\w+): (#\w{6});", block))
        for text in ("text", "quiet", *STATUSES):
            for ground in ("page", "card"):
                assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)


def contrast(one, other):
    """Ratio of luminances, as WCAG 2 has it."""
    shares = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in (one, other)]) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(linear @ (0.2126, 0.7152, 0.0722))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, to lay the page out")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_lays_it_out_without_complaint(width, store, tmp_path):
    write_report(store, tmp_path / "run.html")
    # A frame has the width of a phone; windows of headless browsers have a minimum.
    (tmp_path / "frame.html").write_text(
        f'<iframe id="f" src="run.html" style="border:0; width:{width}px; height:800px"></iframe>'
        "<script>f.onload = () => { const page = f.contentDocument.documentElement;"
        "document.title = `${f.contentWindow.innerWidth} wide, "
        "${page.scrollWidth - page.clientWidth} too much`; };</script>"
    )
    done = subprocess.run(
        [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--allow-file-access-from-files", "--enable-logging=stderr", "--v=0",
            f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000", "--dump-dom",
            (tmp_path / "frame.html").as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert f"<title>{width} wide, 0 too much</title>" in done.stdout
    assert "CONSOLE" not in done.stderr
