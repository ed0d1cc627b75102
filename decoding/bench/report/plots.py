"""Draws a report's rows as SVG texts that a page can hold. Knows rows by their fields alone.

It uses matplotlib, which is optional (extra `bench`): a page with its vector pictures is some tens of kilobytes and
needs no script, where an interactive library would bring megabytes of its own.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

from decoding.installing import how_to_add

Row = Mapping[str, Any]

ADVICE = f"No plots: they need matplotlib ({how_to_add('matplotlib')})."
PERCENTILES = ("p50_ms", "p90_ms", "p95_ms", "p99_ms")
# Okabe and Ito's colours, which people who confuse red and green can tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#8C8C8C")


def draw(rows: Sequence[Row]) -> list[str]:
    """Return an SVG for each subject for which the rows have two points or more.

    Raises `ImportError` without matplotlib.
    """
    import matplotlib as mpl  # noqa: PLC0415 - optional
    from matplotlib.figure import Figure  # noqa: PLC0415 - optional

    pictures = []
    style: dict[Any, Any] = {"svg.fonttype": "none", "axes.spines.top": False, "axes.spines.right": False}
    for name, plot in PLOTS.items():
        chosen = [row for row in rows if _holds(row, name)]
        if not chosen:
            continue
        with mpl.rc_context({**style, "svg.hashsalt": name}):
            height = 1.2 + 0.32 * len(chosen) if plot is _speedups else 4
            figure = Figure(figsize=(8, height), layout="constrained")
            axes = figure.subplots()
            axes.set_prop_cycle(color=COLOURS * 2, linestyle=["-"] * len(COLOURS) + ["--"] * len(COLOURS))
            plot(axes, chosen)
            text = io.StringIO()
            figure.savefig(text, format="svg", metadata={"Date": None})
        pictures.append(text.getvalue()[text.getvalue().index("<svg") :])
    return pictures


def _holds(row: Row, name: str) -> bool:
    if name == "percentiles":
        return all(isinstance(row.get(field), int | float) for field in PERCENTILES)
    return bool(row.get(name))


def _speedups(axes: Axes, rows: Sequence[Row]) -> None:
    names = [str(row["method"]) for row in rows]
    bars = axes.barh(range(len(rows)), [row["speedup"] for row in rows], color=COLOURS[0])
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    axes.axvline(1, color="#888", linewidth=1)
    axes.set(title="Speed-up per method", xlabel="times plain decoding at its fastest width")


def _latencies(axes: Axes, rows: Sequence[Row]) -> None:
    labels = [field.removesuffix("_ms") for field in PERCENTILES]
    for row in rows:
        axes.plot(labels, [row[field] for field in PERCENTILES], marker="o", label=str(row["method"]))
    axes.set(title="Latency distribution", xlabel="percentile", ylabel="ms")
    axes.set_ylim(bottom=0)
    _name_lines(axes)


def _acceptance(axes: Axes, rows: Sequence[Row]) -> None:
    for row in rows:
        shares = row["accepted_by_position"]
        axes.plot(range(1, len(shares) + 1), [100 * share for share in shares], marker="o", label=str(row["method"]))
    axes.set_xticks(range(1, 1 + max(len(row["accepted_by_position"]) for row in rows)))
    axes.set(title="Acceptance by position", xlabel="position in the draft", ylabel="accepted, %", ylim=(0, 105))
    _name_lines(axes)


def _costs(axes: Axes, rows: Sequence[Row]) -> None:
    for row in rows:
        lengths, costs = zip(*row["ms_per_token_by_context"], strict=True)
        axes.plot(lengths, costs, marker="o", markersize=4, linewidth=1, label=str(row["method"]))
    axes.set(title="Cost against context length", xlabel="tokens of the prompt", ylabel="ms per decoded token")
    axes.set_ylim(bottom=0)
    _name_lines(axes)


def _completions(axes: Axes, rows: Sequence[Row]) -> None:
    for row in rows:
        lengths, costs = zip(*row["ms_by_completion_length"], strict=True)
        axes.plot(lengths, costs, marker="o", markersize=4, linewidth=1, label=str(row["method"]))
    axes.set(
        title="Cost against completion length", xlabel="tokens of the answer", ylabel="ms from request to last token"
    )
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    _name_lines(axes)


def _name_lines(axes: Axes) -> None:
    axes.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))


PLOTS: Mapping[str, Callable[[Axes, Sequence[Row]], None]] = {
    "speedup": _speedups,
    "percentiles": _latencies,
    "accepted_by_position": _acceptance,
    "ms_per_token_by_context": _costs,
    "ms_by_completion_length": _completions,
}
