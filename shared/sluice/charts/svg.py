"""Draws charts as SVG; the only importer of matplotlib.

Texts are text elements of the SVG, so it is small, searchable, and shows every script that the viewer
has a font for. Only `INK`, `SOFT`, `LINE` and `PAPER` depend on the background: a page can replace them.
"""

from __future__ import annotations

import functools
import math
import re
import textwrap
import threading
import warnings
from collections.abc import Mapping
from datetime import datetime
from io import StringIO
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from sluice.charts.chart import Caption, Cells, Chart, Picture
from sluice.escaping import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, LINE, PAPER = "#1c2431", "#5b6677", "#dfe4eb", "#fffffe"
COLOURS = (
    "#3f7fd0", "#e0803a", "#2f9e78", "#c2528f", "#8668d6", "#c39b1f", "#3fa9c4", "#a0694f",
)  # fmt: skip
WIDE_IN, NARROW_IN = 9.0, 4.2
NOTHING = "Nothing to draw: no row matches these parameters"

_FONTS = ["DejaVu Sans", "Verdana", "Noto Sans", "sans-serif"]
_SETTINGS: Mapping[str, object] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar in a title is a dollar
    "font.family": "sans-serif",
    "font.sans-serif": _FONTS,
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": LINE,
    "axes.facecolor": PAPER,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": PAPER,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "legend.frameon": False,
}
_LINE_IN = 0.19
# Matplotlib's caches of fonts and texts are not thread-safe.
_lock = threading.Lock()


def draw(picture: Picture, width_in: float = WIDE_IN, *, has_caption: bool = True) -> str:
    """Return a picture as the text of an SVG file.

    Args:
        picture: what to draw.
        width_in: width in inches; the height follows from it.
        has_caption: whether title and notes are part of the picture.
    """
    with _lock, warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # about a glyph that our font lacks; the viewer's may have it
        _configure()
        caption = picture.caption if has_caption else Caption("", "")
        figure = _figure(width_in, _height_in(picture, width_in), caption)
        axes = figure.subplots()
        _fill(figure, axes, picture, width_in)
        return _svg(figure, f"{width_in}", picture.caption)


@functools.cache
def _configure() -> None:
    import matplotlib as mpl  # noqa: PLC0415  # 0.7 s, paid where first used

    mpl.rcParams.update(_SETTINGS)


def _figure(width_in: float, height_in: float, caption: Caption) -> Figure:
    """Return a figure with its caption; the rest of its area is for the axes."""
    from matplotlib.figure import Figure  # noqa: PLC0415  # paid where first used
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415

    top = [(line, INK, 13.0, "bold", 0.27) for line in _wrapped(caption.title, width_in * 8.2)]
    top += [
        (line, SOFT, 9.5, "normal", _LINE_IN) for line in _wrapped(caption.subtitle, width_in * 12)
    ]
    notes = [line for each in caption.notes for line in _wrapped(each, width_in * 12)]
    above = sum(each[4] for each in top) + (0.18 if top else 0)
    below = len(notes) * _LINE_IN + (0.08 if notes else 0)
    height_in += above + below
    figure = Figure(figsize=(width_in, height_in))
    at = height_in - 0.1
    for text, colour, size, weight, line_in in top:
        figure.text(
            0.1 / width_in, at / height_in, text, color=colour, size=size, weight=weight, va="top"
        )
        at -= line_in
    for number, text in enumerate(reversed(notes)):
        figure.text(
            0.1 / width_in, (0.07 + number * _LINE_IN) / height_in, text, color=SOFT, size=8.5
        )
    rect = (0, below / height_in, 1, 1 - (above + below) / height_in)
    figure.set_layout_engine(ConstrainedLayoutEngine(rect=rect, w_pad=0.1, h_pad=0.08))
    return figure


def _wrapped(text: str, characters: float) -> list[str]:
    return textwrap.wrap(text, int(characters)) if text else []


def _height_in(picture: Picture, width_in: float) -> float:
    if isinstance(picture, Cells):
        return _map_height_in(picture, width_in)
    if picture.series and _is_horizontal(picture, width_in):
        return 0.9 + 0.27 * len(picture.places)
    return min(4.2, width_in * 0.62) + (0.3 if len(picture.series) > 1 else 0)


def _fill(figure: Figure, axes: Axes, picture: Picture, width_in: float) -> None:
    if isinstance(picture, Cells):
        if picture.points:
            _map(figure, axes, picture, width_in)
            return
    elif picture.series:
        _chart(axes, picture, width_in)
        return
    axes.set_axis_off()
    axes.text(
        0.5, 0.5, "\n".join(_wrapped(NOTHING, width_in * 9)), color=SOFT, ha="center", va="center"
    )


def _svg(figure: Figure, salt: str, caption: Caption) -> str:
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415

    mpl.rcParams["svg.hashsalt"] = salt  # the same picture gives the same bytes
    out = StringIO()
    FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None, "Creator": "Sluice"})
    text = re.sub(r"<metadata>.*?</metadata>", "", out.getvalue(), flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    named = f'<svg role="img" aria-label="{_escaped(caption.title)}" '
    text = re.sub(r"<!DOCTYPE.*?>\s*", "", text, flags=re.DOTALL).replace("<svg ", named, 1)
    return printable(text)


def _escaped(text: str) -> str:
    from xml.sax.saxutils import escape  # noqa: PLC0415

    return escape(text, {'"': "&quot;"})


# Bars and lines


def _chart(axes: Axes, chart: Chart, width_in: float) -> None:
    if chart.kind == "line":
        _lines(axes, chart, width_in)
    elif _is_horizontal(chart, width_in):
        _horizontal_bars(axes, chart, width_in)
    else:
        _vertical_bars(axes, chart, width_in)
    if len(chart.series) > 1:
        columns = max(1, int(width_in * 10 / (max(len(_label(s.name)) for s in chart.series) + 6)))
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.01, 1), ncols=min(columns, len(chart.series)),
            handlelength=1, handleheight=1, columnspacing=1.4, borderpad=0.2,
        )  # fmt: skip


def _is_horizontal(chart: Chart, width_in: float) -> bool:
    """Whether the bars are horizontal, because their names need a line each."""
    if chart.kind != "bar" or not chart.is_named:
        return False
    letters = sum(max(4, len(_label(each)) + 2) for each in chart.places)
    return letters > width_in * 9


def _horizontal_bars(axes: Axes, chart: Chart, width_in: float) -> None:
    rows = range(len(chart.places))
    ends = _stack(
        chart,
        lambda at, base, value, colour, name: axes.barh(
            at, value, left=base, height=0.72, color=colour, label=name
        ),
    )
    axes.set_yticks(list(rows), [_label(each, int(width_in * 5)) for each in chart.places])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(len(chart.places) - 0.4, -0.6)
    axes.margins(x=0.12)
    _name_values(axes, chart, ends, is_horizontal=True)
    axes.set_xlabel(chart.value_label, loc="left")
    axes.xaxis.set_major_formatter(_amount_of_tick)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_visible(False)
    _whole_ticks(axes.xaxis, chart, most=max(3, int(width_in * 0.8)))


def _vertical_bars(axes: Axes, chart: Chart, width_in: float) -> None:
    at = _numbers(chart.places)
    width = 0.72 * min((b - a for a, b in pairwise(at)), default=1)
    ends = _stack(
        chart,
        lambda at_, base, value, colour, name: axes.bar(
            at_, value, bottom=base, width=width, color=colour, label=name
        ),
        at,
    )
    if chart.is_named:
        axes.set_xticks(at, [_label(each) for each in chart.places])
        axes.tick_params(axis="x", length=0, labelcolor=INK)
        room = max(0.6, (5 - len(at)) / 2)  # a single bar does not fill the width
        axes.set_xlim(-room, len(at) - 1 + room)
    else:
        _scale(axes, chart, width_in)
        axes.set_xlim(at[0] - max(width, 0.3), at[-1] + max(width, 0.3))
    axes.margins(y=0.08)
    if len(at) <= width_in * 1.6:
        _name_values(axes, chart, ends, is_horizontal=False, at=at)
    _frame(axes, chart)


def _stack(chart: Chart, bar: Any, at: list[float] | None = None) -> list[float]:
    """Stack the bars of each series on those of the previous one; return where they end."""
    at = at or [float(number) for number in range(len(chart.places))]
    above, below = [0.0] * len(at), [0.0] * len(at)
    for number, series in enumerate(chart.series):
        values = [value or 0.0 for value in series.values]
        bases = [above[i] if value >= 0 else below[i] for i, value in enumerate(values)]
        bar(at, bases, values, COLOURS[number % len(COLOURS)], _label(series.name))
        above = [a + max(value, 0) for a, value in zip(above, values, strict=True)]
        below = [b + min(value, 0) for b, value in zip(below, values, strict=True)]
    return [a if a > 0 else b for a, b in zip(above, below, strict=True)]


def _name_values(
    axes: Axes,
    chart: Chart,
    ends: list[float],
    *,
    is_horizontal: bool,
    at: list[float] | None = None,
) -> None:
    for number, (end, where) in enumerate(zip(ends, at or range(len(ends)), strict=True)):
        total = sum(series.values[number] or 0 for series in chart.series)
        axes.annotate(
            _amount(total),
            (end, where) if is_horizontal else (where, end),
            xytext=(4, 0) if is_horizontal else (0, 3),
            textcoords="offset points",
            va="center" if is_horizontal else "bottom",
            ha="left" if is_horizontal else "center",
            color=SOFT,
            size=8.5,
        )


def _lines(axes: Axes, chart: Chart, width_in: float) -> None:
    at = _numbers(chart.places)
    marker = "o" if len(at) <= width_in * 8 else None
    for number, series in enumerate(chart.series):
        known = [(x, y) for x, y in zip(at, series.values, strict=True) if y is not None]
        axes.plot(
            *zip(*known, strict=True),
            color=COLOURS[number % len(COLOURS)],
            label=_label(series.name),
            linewidth=1.8,
            marker=marker if len(known) > 1 else "o",  # a single point has no line
            markersize=4,
        )
    if chart.is_named:
        step = math.ceil(len(at) / (width_in * 1.1))
        axes.set_xticks(at[::step], [_label(each, 12) for each in chart.places[::step]])
    else:
        _scale(axes, chart, width_in)
    if min(_values(chart), default=0) >= 0:
        axes.set_ylim(0, max(_values(chart), default=1) * 1.08 or 1)
    _frame(axes, chart)


def _frame(axes: Axes, chart: Chart) -> None:
    axes.set_ylabel(chart.value_label)
    axes.set_xlabel(chart.place_label)
    axes.yaxis.set_major_formatter(_amount_of_tick)
    axes.grid(axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    _whole_ticks(axes.yaxis, chart)


def _scale(axes: Axes, chart: Chart, width_in: float) -> None:
    """Set the ticks of an axis of numbers or times."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    most = max(3, int(width_in * 1.1))
    if isinstance(chart.places[0], datetime):
        days = [each.date() for each in chart.places if isinstance(each, datetime)]
        if len(days) <= most:
            axes.set_xticks(
                _numbers(chart.places), [f"{day.day} {day:%b}\n{day.year}" for day in days]
            )
            return
        locator = AutoDateLocator(minticks=3, maxticks=most)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        return
    is_whole = all(float(each).is_integer() for each in chart.places)  # type: ignore[arg-type]
    axes.xaxis.set_major_locator(MaxNLocator(most, integer=is_whole))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.10g}")  # a year has no comma


def _whole_ticks(axis: Any, chart: Chart, most: int = 6) -> None:
    """Keep ticks of small counts at whole numbers."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    is_whole = all(float(value).is_integer() for value in _values(chart))
    axis.set_major_locator(MaxNLocator(most, integer=is_whole, min_n_ticks=1))


def _values(chart: Chart) -> list[float]:
    return [value for each in chart.series for value in each.values if value is not None]


def _numbers(places: tuple[Any, ...]) -> list[float]:
    """Return the position of each place on the axis."""
    if isinstance(places[0], datetime):
        from matplotlib.dates import date2num  # noqa: PLC0415

        return [float(date2num(each)) for each in places]
    if isinstance(places[0], float):
        return list(places)
    return [float(number) for number in range(len(places))]


def _label(place: object, most: int = 28) -> str:
    text = " ".join(str(place).split())
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def _amount(value: float, _: object = None) -> str:
    """Return a number for readers: 1,234 or 1.2 M."""
    for size, letter in ((1e9, "G"), (1e6, "M")):
        if abs(value) >= size:
            return f"{value / size:,.4g} {letter}"
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"


def _amount_of_tick(value: float, _: object) -> str:
    return _amount(value)


# Maps


def _map(figure: Figure, axes: Axes, cells: Cells, width_in: float) -> None:
    from matplotlib import colormaps  # noqa: PLC0415
    from matplotlib.collections import PatchCollection  # noqa: PLC0415
    from matplotlib.patches import Rectangle  # noqa: PLC0415

    west, south, east, north = _bounds(cells)
    least = (east - west) / (width_in * 16)  # otherwise it would be invisible
    wide = max(cells.size[0], least)
    high = max(cells.size[1], least / _stretch((south + north) / 2))
    patches = [Rectangle((x - wide / 2, y - high / 2), wide, high) for x, y, _ in cells.points]
    drawn = PatchCollection(
        patches,
        cmap=colormaps["viridis_r"].resampled(48),
        linewidths=0.3 if wide > least else 0,
        edgecolors=PAPER,
    )
    values = [value for _, _, value in cells.points]
    drawn.set_array(values)
    drawn.set_norm(_norm(values))
    axes.add_collection(drawn)
    axes.set_xlim(west, east)
    axes.set_ylim(south, north)
    axes.set_aspect(_stretch((south + north) / 2))
    for axis, halves in ((axes.xaxis, "EW"), (axes.yaxis, "NS")):
        axis.set_major_formatter(functools.partial(_degrees, halves=halves))
    axes.locator_params(axis="x", nbins=int(width_in * 0.6))
    axes.locator_params(axis="y", nbins=5)
    axes.grid(visible=True)
    bar = figure.colorbar(drawn, ax=axes, pad=0.02, fraction=0.05, format=_amount_of_tick)
    bar.set_label(cells.value_label, color=SOFT)
    bar.outline.set_visible(False)
    # The layout sizes the margin for the ticks it finds; the fixed aspect then moves the axes, and the
    # ticks with it. A second pass starts from there, and the padding takes what still differs.
    layout: Any = figure.get_layout_engine()
    layout.set(w_pad=0.25)
    layout.execute(figure)


def _bounds(cells: Cells) -> tuple[float, float, float, float]:
    """Return west, south, east and north of a map, with some room around its cells."""
    xs, ys = [x for x, _, _ in cells.points], [y for _, y, _ in cells.points]
    stretch = _stretch((min(ys) + max(ys)) / 2)
    room = max(max(xs) - min(xs), (max(ys) - min(ys)) * stretch, 4 * max(cells.size)) * 0.06
    x_room = room + cells.size[0] / 2
    y_room = room / stretch + cells.size[1] / 2
    return min(xs) - x_room, min(ys) - y_room, max(xs) + x_room, max(ys) + y_room


def _stretch(latitude: float) -> float:
    """Return how much longer a degree of latitude is than one of longitude."""
    return 1 / max(math.cos(math.radians(min(abs(latitude), 85))), 0.05)


def _map_height_in(cells: Cells, width_in: float) -> float:
    if not cells.points:
        return 3.0
    west, south, east, north = _bounds(cells)
    ratio = (north - south) * _stretch((south + north) / 2) / (east - west)
    most = width_in * (0.8 if width_in > NARROW_IN else 1.1)
    return min(max((width_in - 1.9) * ratio, 2.2), most) + 0.5


def _norm(values: list[float]) -> Any:
    """Return how values map to colours: by logarithm if they differ a hundredfold."""
    from matplotlib.colors import LogNorm, Normalize  # noqa: PLC0415

    low, high = min(values), max(values)
    if low > 0 and high / low >= 100:
        return LogNorm(low, high)
    return Normalize(min(low, 0), high or 1)


def _degrees(value: float, _: object, halves: str) -> str:
    if round(value, 9) == 0:
        return "0°"
    return f"{abs(value):.10g}° {halves[0] if value > 0 else halves[1]}"
