"""Charts as SVG text: histograms, clouds of points, lines. Drawn for 400 pixels of width."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from kups_relax.report import _html as html

WIDTH, HEIGHT = 400, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 12, 12, 40
# Beyond as many points, a cloud is drawn as cells.
MOST_POINTS = 500
_BINS = 32
_CELLS = (44, 22)
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclasses.dataclass(frozen=True)
class Axis:
    """Where values go along one side of a chart.

    Attributes:
        label: What the values are, with their unit.
        low: Least value that is shown; greater than 0 where the axis is logarithmic.
        high: Greatest one; greater than `low`.
        log: Whether it is logarithmic.
        whole: Whether the values are whole numbers.
    """

    label: str
    low: float
    high: float
    log: bool = False
    whole: bool = False

    @classmethod
    def of(
        cls, label: str, values: np.ndarray, *, log: bool = False, whole: bool = False
    ) -> "Axis":
        """Span finite values; for a logarithmic axis, positive ones."""
        if log:
            values = values[values > 0]
        low, high = (float(values.min()), float(values.max())) if len(values) else (1.0, 1.0)
        if log:
            low, high = 10 ** (math.log10(low) - 0.1), 10 ** (math.log10(high) + 0.1)
            if high < 10 * low:
                low, high = low / math.sqrt(10), high * math.sqrt(10)
        elif high <= low:
            pad = 1.0 if whole else max(abs(low) * 1e-3, 1e-6)
            low, high = low - pad, high + pad
        return cls(label, low, high, log, whole)

    def share(self, values: np.ndarray) -> np.ndarray:
        """Where values are between `low`, 0, and `high`, 1."""
        if self.log:
            return np.log(np.asarray(values) / self.low) / math.log(self.high / self.low)
        return (np.asarray(values) - self.low) / (self.high - self.low)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values on the axis."""
        if self.log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            every = max(1, math.ceil((last - first + 1) / (most + 1)))
            return [10.0**k for k in range(first, last + 1, every)]
        step = self._step(most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [k * step for k in range(first, last + 1)]

    def _step(self, most: int = 5) -> float:
        rough = (self.high - self.low) / most
        power = 10 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
        return max(step, 1.0) if self.whole else step

    def text(self, value: float) -> str:
        """Write a tick."""
        if self.log:
            if self.low > 1e-3 and self.high < 1e4:
                return f"{value:g}"
            power = round(math.log10(value))
            return "10" + str(power).translate(_SUPERSCRIPTS) if power else "1"
        digits = max(0, -math.floor(math.log10(self._step()) + 1e-9))
        text = f"{value:,.{digits}f}" if digits < 8 else f"{value:.10g}"
        return text.replace("-", "\N{MINUS SIGN}")


def _x(axis: Axis, values: np.ndarray) -> np.ndarray:
    return _LEFT + axis.share(values) * (WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, values: np.ndarray) -> np.ndarray:
    return HEIGHT - _BOTTOM - axis.share(values) * (HEIGHT - _TOP - _BOTTOM)


def _svg(name: str, title: str, describe: str, x: Axis, y: Axis, marks: Iterable[str]) -> str:
    """Put marks between axes."""
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc">',
        f'<title id="{name}-title">{html.text(title)}</title>',
        f'<desc id="{name}-desc">{html.text(describe)}</desc>',
    ]
    for tick in y.ticks(4):
        at = _number(_y(y, np.array(tick)))
        parts.append(f'<path class="grid" d="M{_LEFT} {at}H{right}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at}" dy=".32em" class="y">{y.text(tick)}</text>')
    for tick in x.ticks():
        at = _number(_x(x, np.array(tick)))
        parts.append(f'<path class="tick" d="M{at} {bottom}v4"/>')
        parts.append(f'<text x="{at}" y="{bottom + 16}" class="x">{x.text(tick)}</text>')
    parts.append(f'<path class="axis" d="M{_LEFT} {bottom}H{right}"/>')
    middle = (_LEFT + right) / 2
    parts.append(f'<text x="{middle:g}" y="{HEIGHT - 6}" class="label">{html.text(x.label)}</text>')
    return "\n".join([*parts, *marks, "</svg>"])


def histogram(
    name: str,
    title: str,
    label: str,
    values: np.ndarray,
    *,
    log: bool = False,
    marker: tuple[float, str] | None = None,
) -> tuple[str, str]:
    """Count values in bins.

    Args:
        name: Of the chart in the page.
        title: Of the chart.
        label: What the values are, with their unit.
        values: (n,) whole or floating numbers.
        log: Whether their logarithms are binned.
        marker: A value that is drawn as a line, and what it is.

    Returns:
        The SVG, and a note about values that it does not show, or "".
    """
    shown, notes = _showable(values, log)
    whole = values.dtype.kind in "iu"
    if not log and not whole and len(shown):
        shown, beyond = _without_tails(shown)
        notes += [f"{beyond:,} beyond the axis"] * (beyond > 0)
    if not len(shown):
        return _nothing(title), ", ".join(notes)
    span = shown if marker is None else np.append(shown, marker[0])
    axis = Axis.of(label, span, log=log, whole=whole)
    if whole:
        width = max(1, math.ceil((int(shown.max()) - int(shown.min()) + 1) / _BINS))
        edges = np.arange(int(shown.min()), int(shown.max()) + width + 1, width) - 0.5
        axis = dataclasses.replace(axis, low=float(edges[0]), high=float(edges[-1]))
    elif log:
        edges = _geometric(axis, None if marker is None else marker[0])
        axis = dataclasses.replace(axis, low=float(edges[0]), high=float(edges[-1]))
    else:
        edges = np.linspace(axis.low, axis.high, _BINS + 1)
    counts, edges = np.histogram(shown, edges)
    y = Axis("structures", 0.0, float(counts.max()) * 1.05, whole=True)
    marks = []
    left, top = _x(axis, edges), _y(y, counts)
    for i in counts.nonzero()[0].tolist():
        at, width = _number(left[i] + 0.5), _number(left[i + 1] - left[i] - 1)
        height = _number(HEIGHT - _BOTTOM - top[i])
        span = _span(edges[i], edges[i + 1], whole)
        marks.append(
            f'<rect class="bar" x="{at}" y="{_number(top[i])}" width="{width}" height="{height}">'
            f"<title>{span}: {counts[i]:,}</title></rect>"
        )
    if marker is not None:
        at = _number(_x(axis, np.array(marker[0])))
        kind = "note end" if float(at) > WIDTH / 2 else "note"
        marks.append(f'<path class="marker" d="M{at} {_TOP}V{HEIGHT - _BOTTOM}"/>')
        marks.append(f'<text x="{at}" y="{_TOP - 2}" class="{kind}">{html.text(marker[1])}</text>')
    least, most = float(shown.min()), float(shown.max())
    describe = (
        f"{len(shown)} structures, from {least:.6g} to {most:.6g}, median {np.median(shown):.6g}."
    )
    return _svg(name, title, describe, axis, y, marks), ", ".join(notes)


def cloud(
    name: str,
    title: str,
    labels: tuple[str, str],
    values: tuple[np.ndarray, np.ndarray],
    classes: Sequence[str],
    names: Sequence[str],
) -> str:
    """Draw a point for each structure; many of them as cells, darker where there are more.

    Args:
        name: Of the chart in the page.
        title: Of the chart.
        labels: Of both axes, with units.
        values: (n,) whole numbers, along both axes.
        classes: CSS class of each point.
        names: What each point is.
    """
    if not len(names):
        return _nothing(title)
    x, y = (Axis.of(s, v, whole=True) for s, v in zip(labels, values, strict=True))
    y = dataclasses.replace(y, low=min(0.0, y.low))
    marks = []
    if len(names) > MOST_POINTS:
        nx = min(_CELLS[0], int(x.high - x.low) + 1)
        x = dataclasses.replace(x, low=x.low - 0.5, high=x.high + 0.5)
        counts, xs, ys = np.histogram2d(
            *values, (nx, _CELLS[1]), ((x.low, x.high), (y.low, y.high))
        )
        left, top, most = _x(x, xs), _y(y, ys), np.log1p(counts.max())
        for i, j in zip(*counts.nonzero(), strict=True):
            tone = 1 + int(8 * np.log1p(counts[i, j]) / most)
            width, height = _number(left[i + 1] - left[i]), _number(top[j] - top[j + 1])
            marks.append(
                f'<rect class="cell t{tone}" x="{_number(left[i])}" y="{_number(top[j + 1])}" '
                f'width="{width}" height="{height}"><title>{int(counts[i, j]):,}</title></rect>'
            )
    else:
        points = zip(_x(x, values[0]), _y(y, values[1]), classes, names, strict=True)
        marks += [
            f'<circle class="{kind}" cx="{_number(px)}" cy="{_number(py)}" r="2.6">'
            f"<title>{html.text(text)}</title></circle>"
            for px, py, kind, text in points
        ]
    marks.append(f'<text x="{_LEFT}" y="{_TOP - 2}" class="note">{html.text(y.label)}</text>')
    describe = f"{len(names)} structures: {y.label} against {x.label}."
    return _svg(name, title, describe, x, y, marks)


def lines(
    name: str,
    title: str,
    labels: tuple[str, str],
    curves: Sequence[tuple[np.ndarray, np.ndarray]],
    classes: Sequence[str],
    names: Sequence[str],
    *,
    log: bool = True,
    marker: float | None = None,
) -> str:
    """Draw curves.

    Args:
        name: Of the chart in the page.
        title: Of the chart.
        labels: Of both axes, with units.
        curves: Places and heights of each.
        classes: CSS class of each.
        names: What each is.
        log: Whether the vertical axis is logarithmic; what is not positive is left out.
        marker: A height that is drawn as a line.
    """
    kept = []
    for xs, ys in curves:
        inside = _bearable(ys, log)
        kept.append((xs[inside], ys[inside]))
    if not any(len(xs) for xs, _ in kept):
        return _nothing(title)
    heights = np.concatenate([ys for _, ys in kept] + [np.array([marker] if marker else [])])
    x = Axis.of(labels[0], np.concatenate([xs for xs, _ in curves]))
    y = Axis.of(labels[1], heights if log else np.append(heights, 0.0), log=log)
    marks = []
    if marker is not None:
        at = _number(_y(y, np.array(marker)))
        marks.append(f'<path class="marker" d="M{_LEFT} {at}H{WIDTH - _RIGHT}"/>')
    for (xs, ys), kind, text in zip(kept, classes, names, strict=True):
        points = [f"{_number(a)} {_number(b)}" for a, b in zip(_x(x, xs), _y(y, ys), strict=True)]
        if points:
            path = "M" + "L".join(points) + ("h.01" if len(points) == 1 else "")
            marks.append(
                f'<path class="line {kind}" d="{path}"><title>{html.text(text)}</title></path>'
            )
    describe = f"{len(curves)} structures: {y.label} against {x.label}."
    marks.append(f'<text x="{_LEFT}" y="{_TOP - 2}" class="note">{html.text(y.label)}</text>')
    return _svg(name, title, describe, x, y, marks)


def thinned(n: int, most: int) -> np.ndarray:
    """At most so many of n places, the first and the last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


def _showable(values: np.ndarray, log: bool) -> tuple[np.ndarray, list[str]]:
    """Values that an axis can bear, and how many it cannot."""
    finite, shown = np.isfinite(values), values[_bearable(values, log)]
    n_zero = int((values == 0).sum()) if log else 0
    beyond = int(finite.sum()) - len(shown) - n_zero
    counts = {"without a value": (~finite).sum(), "exactly 0": n_zero, "beyond the axis": beyond}
    return shown, [f"{count:,} {what}" for what, count in counts.items() if count]


def _bearable(values: np.ndarray, log: bool) -> np.ndarray:
    """Where values can be drawn: the largest floats overflow on the way."""
    if log:
        return (values > 1e-30) & (values < 1e30)
    return np.abs(values) < 1e100


def _without_tails(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Leave out what would press all others into one bin."""
    low, high = np.quantile(values, (0.01, 0.99))
    room = 1.5 * (high - low)
    inside = (values >= low - room) & (values <= high + room)
    return values[inside], int((~inside).sum())


def _geometric(axis: Axis, through: float | None) -> np.ndarray:
    """Edges of bins, one of them at a value: what is below it shows below it."""
    width = math.log(axis.high / axis.low) / (_BINS - 1)
    start = axis.low if through is None else through
    first = math.floor(math.log(axis.low / start) / width)
    edges = start * np.exp(width * np.arange(first, first + _BINS + 1))
    if through is not None:
        # Rounded, it would part them elsewhere.
        edges[-first] = through
    return edges


def _span(low: float, high: float, whole: bool) -> str:
    if not whole:
        return f"{low:.4g} to {high:.4g}"
    first, last = math.ceil(low), math.floor(high)
    return f"{first}" if first == last else f"{first} to {last}"


def _number(value: Any) -> str:
    return f"{float(value):.1f}".removesuffix(".0")


def _nothing(title: str) -> str:
    return f'<p class="nothing" role="img" aria-label="{html.text(title)}: no data">no data</p>'
