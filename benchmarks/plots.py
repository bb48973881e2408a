"""Draws the pictures of `docs/scale.md` and writes its tables, from `docs/scale/*.json`.

Run `python benchmarks/plots.py` after the benchmarks; the pictures are SVG files in the same folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt  # after the choice of the backend

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

FOLDER = Path(__file__).parents[1] / "docs" / "scale"
LINES = {"weekly average": "#1b6ca8", "groups": "#c8553d", "other": "#4f772d"}
#: Minimum ratio between the heights of two labels.
LABEL_STEP = 1.17
STYLE = {
    "svg.hashsalt": "sluice",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
}


def main() -> None:
    runs = sorted(
        (json.loads(path.read_text()) for path in FOLDER.glob("rows-*.json")),
        key=lambda run: int(run["rows"]),
    )
    write_tables(runs)
    mpl.rcParams.update(STYLE)
    draw("questions", lambda axes: questions(axes, runs), (8, 5))
    draw("course", lambda axes: course(axes, runs[-1]), (8, 3.2))
    draw("bytes", lambda axes: size(axes, runs[-1]), (8, 2.6))
    for name, title in (
        ("peers", "The same trips into the same PostgreSQL"),
        ("shapes", "Other shapes"),
    ):
        path = FOLDER / f"{name}.json"
        if path.exists():
            found = json.loads(path.read_text())
            draw(name, lambda axes, found=found, title=title: bars(axes, found, title), (8, 3.2))


def write_tables(runs: list[dict[str, Any]]) -> None:
    """Replace the tables between the marks of the page."""
    page = FOLDER.parent / "scale.md"
    text = page.read_text()
    for name, table in (("load", load_table(runs)), ("questions", question_table(runs))):
        begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
        head, _, rest = text.partition(begin)
        text = f"{head}{begin}\n{table}{end}{rest.partition(end)[2]}"
    page.write_text(text)


def load_table(runs: list[dict[str, Any]]) -> str:
    shown: dict[str, Callable[[dict[str, Any]], str]] = {
        "loaded in": lambda run: f"{run['load_s']:.1f} s",
        "rows/s": lambda run: f"{run['load_rows_s']:,.0f}",
        r"multiple of `\copy`": lambda run: f"{run['load_to_copy']:.2f}",
        "last tenth to the first": lambda run: (
            f"{run['tenths_rows_s'][-1] / run['tenths_rows_s'][0]:.2f}"
        ),
        "rejected": lambda run: f"{run['account']['rejected']:,}",
        "account balances": lambda run: "yes" if run["account"]["balanced"] else "**no**",
        "function with most memory": lambda run: "{} {:.0f} MiB".format(
            *max(run["resident_mib"].items(), key=lambda each: each[1])
        ),
        "compaction after `done`": lambda run: f"{run['compaction_s']:.0f} s",
        "bytes per row": lambda run: f"{sum(run['bytes_per_row'].values()):.0f}",
        "wrong boxes": lambda run: f"{run['wrong_boxes']}",
        "10,000 more rows, done in": lambda run: f"{run['little_s']:.2f} s",
        "all undone in": lambda run: f"{run['undo_s']:.2f} s",
    }
    rows = [[name, *map(cell, runs)] for name, cell in shown.items()]
    return markdown(["", *(f"{run['rows']:,} rows" for run in runs)], rows)


def question_table(runs: list[dict[str, Any]]) -> str:
    heads = [
        "95th percentile, ms",
        *(f"{run['rows']:,}" for run in runs),
        "while loading",
        "growth",
    ]
    rows = []
    for name in runs[-1]["questions_idle"]:
        p95 = [run["questions_idle"][name]["p95_ms"] for run in runs]
        busy = runs[-1]["questions_while loading"][name]["p95_ms"]
        rows.append(
            [name, *(f"{each:.0f}" for each in p95), f"{busy:.0f}", f"{p95[-1] / p95[0]:.1f} x"]
        )
    return markdown(heads, rows)


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def draw(name: str, fill: Callable[[Axes], None], inches: tuple[float, float]) -> None:
    figure, axes = plt.subplots(figsize=inches, layout="constrained")
    fill(axes)
    figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)


def questions(axes: Axes, runs: list[dict[str, Any]]) -> None:
    """The latency of each kind of query over the number of rows."""
    rows = [run["rows"] for run in runs]
    ends = {name: each["p95_ms"] for name, each in runs[-1]["questions_idle"].items()}
    height = 0.0
    for name in sorted(ends, key=lambda each: ends[each]):
        height = max(ends[name], height * LABEL_STEP)
        p95 = [run["questions_idle"][name]["p95_ms"] for run in runs]
        kind = next((each for each in LINES if name.startswith(each)), "other")
        axes.plot(rows, p95, marker="o", color=LINES[kind], linewidth=1)
        axes.annotate(name, (rows[-1], p95[-1]), (rows[-1] * 1.2, height), fontsize=7, va="center")
    axes.set(
        xscale="log", yscale="log", xlabel="rows", ylabel="95th percentile, ms", ylim=(1, None)
    )
    axes.set_xlim(rows[0] / 1.5, rows[-1] * 12)
    axes.set_title("Latency of a query over HTTP, without a cache")


def course(axes: Axes, run: dict[str, Any]) -> None:
    """The rate of each tenth of a load."""
    tenths = [rate / 1000 for rate in run["tenths_rows_s"]]
    axes.bar(range(1, 11), tenths, color=LINES["weekly average"])
    axes.set(xlabel="tenth of the rows", ylabel="thousand rows/s", xticks=range(1, 11))
    axes.set_title(f"Loading {run['rows']:,} rows")


def size(axes: Axes, run: dict[str, Any]) -> None:
    """The bytes of a row in each table."""
    shown = {name: each for name, each in run["bytes_per_row"].items() if each >= 0.05}
    axes.barh(list(shown), list(shown.values()), color=LINES["other"])
    for place, each in enumerate(shown.values()):
        axes.annotate(f"{each:.1f}", (each, place), xytext=(4, -3), textcoords="offset points")
    axes.set(xlabel="bytes per row, including indexes")
    axes.set_title(f"{sum(run['bytes_per_row'].values()):.0f} bytes per row in total")


def bars(axes: Axes, found: Any, title: str) -> None:
    if isinstance(found, dict):
        values, label = {name: rate / 1000 for name, rate in found.items()}, "thousand rows/s"
    else:
        values = {each["name"]: each["to_copy"] for each in found}
        label = "rate as a multiple of \\copy"
    ordered = dict(sorted(values.items(), key=lambda each: each[1]))
    axes.barh(list(ordered), list(ordered.values()), color=LINES["weekly average"])
    for place, each in enumerate(ordered.values()):
        axes.annotate(f"{each:.3g}", (each, place), xytext=(4, -3), textcoords="offset points")
    axes.set(xlabel=label)
    axes.set_title(title)


if __name__ == "__main__":
    main()
