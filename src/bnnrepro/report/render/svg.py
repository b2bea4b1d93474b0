"""Small line plots as inline SVG: colours by CSS class, so that they follow light and dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from bnnrepro.report.curves import Band
from bnnrepro.screen import printable

_WIDTH, _HEIGHT = 360, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 12, 30
_MAX_POINTS = 160  # enough for a phone's pixels


@dataclass(frozen=True)
class Curve:
    """A labelled band; ``style`` is the CSS class of its line."""

    label: str
    style: str
    band: Band


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.log:
            values = np.log10(np.maximum(values, 10.0**self.low / 10))
        return self.start + (values - self.low) / (self.high - self.low) * (self.end - self.start)


def plot(title: str, curves: Sequence[Curve], *, zoom: bool = False) -> str:
    """Return an SVG element: for each curve a line, and a band of one standard deviation.

    Values that span more than two decades get a logarithmic axis, which leaves out zeros.

    Args:
        title: description of the plot, also for screen readers; unique in a page.
        curves: at least one.
        zoom: leave out the lowest values of the first epochs, which would flatten the rest.
    """
    x = _Scale(*_span([curve.band.x for curve in curves]), _LEFT, _WIDTH - _RIGHT)
    y = _y_scale(curves, zoom)
    name = f"clip-{crc32(title.encode()):x}"  # the same page again, byte by byte
    label = escape(printable(title))
    parts = [
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">',
        f'<clipPath id="{name}"><rect x="{_LEFT}" y="{_TOP}" width="{_WIDTH - _LEFT - _RIGHT}" '
        f'height="{_HEIGHT - _TOP - _BOTTOM}"/></clipPath>',
        *_y_axis(y),
        *_x_axis(x),
        f'<g clip-path="url(#{name})">',
        *(_path(curve, x, y) for curve in curves),
        "</g></svg>",
    ]
    return "".join(parts)


def _span(arrays: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    low = min(float(array.min()) for array in arrays)
    high = max(float(array.max()) for array in arrays)
    if low == high:
        pad = abs(low) * 0.05 or 0.5
        return low - pad, high + pad
    return low, high


def _y_scale(curves: Sequence[Curve], zoom: bool) -> _Scale:
    means = np.concatenate([curve.band.mean for curve in curves])
    positive = means[means > 0]
    ends = _HEIGHT - _BOTTOM, _TOP
    if not zoom and (means >= 0).all() and positive.size and positive.max() > 100 * positive.min():
        low, high = math.log10(positive.min()), math.log10(positive.max())
        return _Scale(math.floor(low), math.ceil(high), *ends, log=True)
    bands = [curve.band for curve in curves]
    low, high = _span([band.low for band in bands] + [band.high for band in bands])
    if zoom and len(means) > 20:
        low = max(low, float(np.quantile(means, 0.05)))
        low, high = (low, high) if low < high else _span([means])
    margin = 0.04 * (high - low)
    return _Scale(low - margin, high + margin, *ends)


def _ticks(low: float, high: float, about: int = 4) -> list[float]:
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    return [step * k for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _y_axis(y: _Scale) -> list[str]:
    if y.log:
        step = max(1, math.ceil((y.high - y.low) / 5))
        marks = [(float(k), f"1e{k}") for k in range(int(y.low), int(y.high) + 1, step)]
    else:
        marks = [(value, f"{value:.6g}") for value in _ticks(y.low, y.high)]
    parts = []
    for value, label in marks:
        pixel = y.start + (value - y.low) / (y.high - y.low) * (y.end - y.start)
        parts.append(f'<path class="grid" d="M{_LEFT} {pixel:.1f}H{_WIDTH - _RIGHT}"/>')
        place = f'x="{_LEFT - 4}" y="{pixel + 3.5:.1f}"'
        parts.append(f'<text {place} text-anchor="end">{label}</text>')
    return parts


def _x_axis(x: _Scale) -> list[str]:
    bottom = _HEIGHT - _BOTTOM
    ticks = sorted({round(value) for value in _ticks(x.low, x.high)})
    parts = [f'<path class="axis" d="M{_LEFT} {bottom}H{_WIDTH - _RIGHT}"/>']
    for value in (tick for tick in ticks if x.low <= tick <= x.high):
        pixel = float(x(np.array([value]))[0])
        parts.append(f'<text x="{pixel:.1f}" y="{bottom + 13}" text-anchor="middle">{value}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 4}" text-anchor="middle">epoch</text>')
    return parts


def _path(curve: Curve, x: _Scale, y: _Scale) -> str:
    band = curve.band
    index = np.flatnonzero(band.mean > 0 if y.log else np.ones(len(band.x), dtype=bool))
    if not index.size:
        return ""
    if index.size > _MAX_POINTS:
        index = index[np.unique(np.linspace(0, index.size - 1, _MAX_POINTS).round().astype(int))]
    across = x(band.x[index])
    line = _points(across, y(band.mean[index]))
    title = f"<title>{escape(printable(curve.label))}</title>"
    if index.size == 1:
        place = f'cx="{across[0]:.1f}" cy="{y(band.mean[index])[0]:.1f}"'
        return f'<circle class="{curve.style}" {place} r="3">{title}</circle>'
    area = ""
    if band.std[index].any():
        edge = _points(across, y(band.high[index])) + "L"
        edge += _points(across[::-1], y(band.low[index])[::-1])

        area = f'<path class="band {curve.style}" d="M{edge}Z"/>'
    return f'{area}<path class="line {curve.style}" d="M{line}">{title}</path>'


def _points(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    return "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))
