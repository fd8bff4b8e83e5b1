"""The page: what is told, and in which order."""

import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from kups_relax import io, store
from kups_relax._files import why_not_written, write_atomically
from kups_relax.errors import StoreError
from kups_relax.report import _charts as charts
from kups_relax.report import _html as html
from kups_relax.report import _tables as tables

# How much of a large store is drawn.
_CURVES = 24
_FRAMES = 120

_GENERATOR = '<meta name="generator" content="kups_relax">'


def write_report(
    results: store.Store, path: str | os.PathLike[str], *, overwrite: bool = False
) -> None:
    """Write one HTML page about a store; all that it needs is in it.

    Args:
        results: All of a store, or a part of it.
        path: Where to write. An older report is replaced.
        overwrite: Whether something else may be replaced.

    Raises:
        StoreError: The store cannot be read, or the page cannot be written.

    Example:
        >>> import tempfile, pathlib, ase, kups_relax as kr
        >>> from kups_relax.report import write_report
        >>> pair = ase.Atoms("Ar2", [[0, 0, 0], [0, 0, 3.6]])
        >>> argon = kr.potentials.LennardJones(0.0104, 3.4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     folder = pathlib.Path(folder)
        ...     run = kr.relax(pair, argon, output=folder / "run.h5")
        ...     write_report(run, folder / "run.html")
        ...     (folder / "run.html").read_text()[:15]
        '<!DOCTYPE html>'
    """
    path = Path(path)
    io.check_place(path, overwrite=overwrite or _is_report(path))
    text = page(results).encode()

    def fill(new: Path) -> None:
        new.write_bytes(text)

    try:
        write_atomically(path, fill)
    except OSError as error:
        raise StoreError(f"{str(path)!r} cannot be written: {why_not_written(error)}.") from error


def page(results: store.Store) -> str:
    """Return the page as text. See `write_report`."""
    facts = store.summary(results)
    title = f"{results.path.name}: relaxation report"
    css = files("kups_relax.report").joinpath("style.css").read_text("utf-8")
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            _GENERATOR,
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{html.text(title)}</title>",
            f"<style>\n{css}</style>",
            "</head>",
            "<body>",
            *_head(results, facts),
            "<main>",
            *_distributions(results),
            *_convergence(results, facts["with_trajectory"]),
            *tables.failures(results),
            *tables.slowest(results),
            *tables.run(facts),
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _head(results: store.Store, facts: Mapping[str, Any]) -> list[str]:
    n, counts = len(results), facts["counts"]
    state = "complete" if facts["complete"] else "the run goes on, or was stopped"
    when = ""
    if n:
        seconds = facts["last_finished"] - facts["first_finished"]
        last, took = html.when(facts["last_finished"]), html.duration(seconds)
        when = f" · last finished {last}, {took} after the first"
    potential = facts["options"].get("potential", {})
    name = potential.get("name", "") if isinstance(potential, Mapping) else str(potential)
    tiles = [f"<li><b>{n:,}</b><span>structure{'s' * (n != 1)}</span></li>"]
    bar = []
    for status in html.known(counts):
        share = counts[status] / n
        tiles.append(
            f'<li class="{status}"><b>{counts[status]:,}</b>'
            f"<span>{html.STATUSES[status]} · {html.percent(share)}</span></li>"
        )
        bar.append(f'<i class="{status}" style="flex-grow:{counts[status]}"></i>')
    return [
        "<header>",
        f"<h1>{html.text(results.path.name)}</h1>",
        f"<p>{html.text(name)} · {state}{when}</p>",
        f'<ul class="counts">{"".join(tiles)}</ul>',
        f'<div class="shares" aria-hidden="true">{"".join(bar)}</div>',
        "</header>",
    ]


def _distributions(results: store.Store) -> list[str]:
    threshold = results.options.get("fmax")
    marker = (float(threshold), f"fmax {threshold:g}") if threshold else None
    with np.errstate(divide="ignore", invalid="ignore"):
        per_atom = results.energy / results.n_atoms
    labels = [f"{i}: {n} atoms, {k} steps, {s}" for i, n, k, s in _few(results)]
    steps = charts.cloud(
        "scatter",
        "Steps and atoms",
        ("atoms", "steps"),
        (results.n_atoms, results.n_steps),
        results.status.tolist() if labels else [],
        labels or [""] * len(results),
    )
    cards = [
        _histogram("steps", "Steps", "steps", results.n_steps),
        _histogram("fmax", "Longest force", "eV/Å", results.fmax, log=True, marker=marker),
        _histogram("energy", "Energy per atom", "eV/atom", per_atom),
        html.card("Steps and atoms", steps, _shades(results)),
        _histogram("atoms", "Sizes", "atoms", results.n_atoms),
        html.card("Finished structures", _finished(results)),
    ]
    return [
        "<section>",
        "<h2>Distributions</h2>",
        '<div class="cards">',
        *cards,
        "</div>",
        "</section>",
    ]


def _few(results: store.Store) -> Iterable[tuple[str, int, int, str]]:
    """What points of a cloud are, where it is drawn as points."""
    if len(results) > charts.MOST_POINTS:
        return []
    columns = (results.ids, results.n_atoms, results.n_steps, results.status)
    return zip(*columns, strict=True)


def _shades(results: store.Store) -> str:
    if len(results) > charts.MOST_POINTS:
        return "stronger: more structures"
    return "".join(html.key(status) for status in html.known(results.counts))


def _histogram(name: str, title: str, label: str, values: np.ndarray, **options: Any) -> str:
    svg, note = charts.histogram(name, title, label, values, **options)
    return html.card(title, svg, html.text(note))


def _finished(results: store.Store) -> str:
    if not len(results):
        return charts.lines("finished", "Finished structures", ("", ""), [], [], [])
    order = np.sort(results.finished)
    places = charts.thinned(len(order), _FRAMES)
    seconds = order[places] - order[0]
    size, unit = next(
        (size, unit)
        for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))
        if seconds[-1] > 2 * size or size == 1
    )
    # From the first on: when the run began is not known.
    curve = (seconds / size, places + 1.0)
    return charts.lines(
        "finished",
        "Finished structures",
        (f"{unit} since the first was finished", "structures"),
        [curve],
        ["all"],
        [f"{len(order)} structures"],
        log=False,
    )


def _convergence(results: store.Store, ids: Sequence[str]) -> list[str]:
    """Curves of the structures that took the most steps, among those with a trajectory."""
    if not ids:
        return []
    kept = set(ids)
    places = np.array([i for i, label in enumerate(results.ids) if label in kept])
    places = places[np.argsort(-results.n_steps[places], kind="stable")][:_CURVES]
    forces, energies, kinds, names, rows = [], [], [], [], []
    for place in places.tolist():
        curve = results.convergence(place)
        n_frames = len(curve["step"])
        some = charts.thinned(n_frames, _FRAMES)
        step, energy = curve["step"][some], curve["energy"][some]
        forces.append((step, curve["fmax"][some]))
        with np.errstate(invalid="ignore"):
            above = (energy - np.nanmin(curve["energy"])) / max(1, int(results.n_atoms[place]))
        energies.append((step, above))
        kinds.append(str(results.status[place]))
        names.append(f"{results.ids[place]}: {results.status[place]}")
        rows.append(
            [html.name(results, place), html.status(results, place), f"{results.n_steps[place]:,}"]
        )
    shown = (
        f"the {len(places)} with the most steps of {len(ids):,}" if len(ids) > len(places) else ""
    )
    fmax = results.options.get("fmax")
    return [
        "<section>",
        "<h2>Convergence</h2>",
        '<div class="cards">',
        html.card(
            "Longest force",
            charts.lines(
                "force-curves",
                "Longest force",
                ("steps", "eV/Å"),
                forces,
                kinds,
                names,
                marker=fmax,
            ),
            shown,
        ),
        html.card(
            "Energy above the lowest",
            charts.lines(
                "energy-curves",
                "Energy above the lowest",
                ("steps", "eV/atom"),
                energies,
                kinds,
                names,
            ),
            shown,
        ),
        html.card("Drawn", html.table("Drawn structures", ("structure", "status", "#steps"), rows)),
        "</div>",
        "</section>",
    ]


def _above_lowest(energies: np.ndarray) -> np.ndarray:
    finite = energies[np.isfinite(energies)]
    return energies - (finite.min() if len(finite) else np.nan)


def _is_report(path: Path) -> bool:
    if not path.is_file():
        # To open a pipe would wait for its other end.
        return False
    try:
        with path.open("rb") as file:
            return _GENERATOR.encode() in file.read(1000)
    except OSError:
        return False
