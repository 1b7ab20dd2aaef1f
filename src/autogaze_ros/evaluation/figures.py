"""Figures of a study, and videos of its settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from autogaze_ros.errors import needs
from autogaze_ros.evaluation import coverage
from autogaze_ros.evaluation.baselines import Greedy
from autogaze_ros.evaluation.grid import Setting
from autogaze_ros.evaluation.records import Record
from autogaze_ros.evaluation.report import tokens_along
from autogaze_ros.evaluation.table import Row, Table, by_setting
from autogaze_ros.io.atomic import atomic_write

with needs("matplotlib", "drawing figures"):
    from matplotlib import colormaps
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, ScalarFormatter

_WIDTH, _HEIGHT = 6.4, 4.2  # inches of a panel


def write_figure(folder: Path, table: Table, records: Sequence[Record], groups: Sequence[str]) -> None:
    """Write study.png and study.svg; raises OSError.

    groups: names of the groups of classes to show the coverage of.
    """
    panels = list(_panels(table, records, groups))
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure((_WIDTH * columns, _HEIGHT * rows), layout="constrained")
    axes = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for draw, panel in zip(panels, axes, strict=False):
        draw(panel)
    for panel in axes[len(panels) :]:
        panel.axis("off")
    for suffix in ("png", "svg"):
        with atomic_write(folder / f"study.{suffix}") as aside:
            figure.savefig(aside, dpi=120, format=suffix)


def _panels(
    table: Table, records: Sequence[Record], groups: Sequence[str]
) -> Iterator[Callable[[Axes], None]]:
    """Yield the panels for which there are data."""
    settings = table.settings()
    measured = any(table.get(one, one.selector, "LPIPS") for one in settings)
    for name, title in (("gazing_ratio", "gazing ratio"), ("task_loss_requirement", "task loss requirement")):
        if measured and (swept := _swept(settings, name)):
            yield partial(_quality, table=table, settings=swept, name=name, title=title)
    if swept := _swept(settings, "chunk_size"):
        yield partial(_chunk_sizes, table=table, settings=swept)
    yield partial(_along, records=records)
    if measured and len({row.method for row in table.rows}) > 1:
        yield partial(_methods, table=table, settings=settings)
    if any(table.find(measure="objects", subject=group) for group in groups):
        yield partial(_coverage, table=table, settings=settings, groups=groups)


def _swept(settings: Sequence[Setting], name: str) -> list[Setting]:
    """Return the largest set of settings that differ in one parameter only, in its order."""
    sets: dict[tuple[Any, ...], list[Setting]] = {}
    for setting in settings:
        others = tuple(value for key, value in setting.as_dict().items() if key != name)
        sets.setdefault(others, []).append(setting)
    largest = max(sets.values(), key=len)
    found = [one for one in largest if np.isfinite(getattr(one, name))]
    return sorted(found, key=lambda one: float(getattr(one, name))) if len(found) > 1 else []


def _row(table: Table, setting: Setting, measure: str) -> Row | None:
    return table.get(setting, setting.selector, measure)


def _quality(axes: Axes, table: Table, settings: Sequence[Setting], name: str, title: str) -> None:
    """Draw LPIPS against a parameter; the share of the 265 tokens is written at each point."""
    rows = [row for one in settings if (row := _row(table, one, "LPIPS"))]
    x = [float(getattr(row, name)) for row in rows]
    y = np.array([row.value for row in rows])
    _with_intervals(axes, x, rows, "o-", "C0")
    for setting, place, value in zip(settings, x, y, strict=True):
        share = _row(table, setting, "share of 265, all scales")
        if share:
            axes.annotate(
                f"{share.value:.1%}", (place, value), textcoords="offset points", xytext=(6, 6), fontsize=8
            )
    axes.set(xlabel=title, ylabel="LPIPS (lower is better)", title=f"LPIPS by {title}; share of 265 tokens")
    axes.margins(x=0.12, y=0.15)


def _with_intervals(axes: Axes, x: Sequence[float], rows: Sequence[Row], style: str, color: str) -> None:
    y = np.array([row.value for row in rows])
    low, high = (np.array([getattr(row, name) for row in rows]) for name in ("low", "high"))
    axes.plot(x, y, style, color=color)
    if np.isfinite(low).all():
        axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)


def _chunk_sizes(axes: Axes, table: Table, settings: Sequence[Setting]) -> None:
    """Draw latency and LPIPS against the chunk size."""
    x = [one.chunk_size for one in settings]
    for stage, style in (("gaze", "o-"), ("reconstruct", "s--")):
        found = [_row(table, one, f"{stage} median (ms)") for one in settings]
        if all(found):
            axes.plot(x, [row.value for row in found if row], style, color="C1", label=f"{stage}, median")
    axes.set(xlabel="chunk size (frames)", ylabel="ms per frame", title="Latency and LPIPS by chunk size")
    axes.set_xticks(x)
    axes.set_ylim(bottom=0)
    lines, names = axes.get_legend_handles_labels()
    lpips = [row for one in settings if (row := _row(table, one, "LPIPS"))]
    if len(lpips) == len(x):
        right = axes.twinx()
        lines += right.plot(x, [row.value for row in lpips], "^-", color="C0")
        names.append("LPIPS (right)")
        right.set_ylabel("LPIPS")
    axes.legend(lines, names, fontsize=8)


def _along(axes: Axes, records: Sequence[Record]) -> None:
    """Draw the tokens of each frame of a context, a line for each setting."""
    found = by_setting(records)
    for color, (setting, members) in zip(_shades(len(found)), found.items(), strict=True):
        tokens = tokens_along(members, setting.selector)
        axes.plot(np.arange(len(tokens)), tokens, ".-", color=color, label=_short(setting), linewidth=1)
    axes.set(xlabel="frame of the context", ylabel="tokens", title="Tokens along the context")
    axes.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1.01, 1))


def _shades(count: int) -> Any:
    """Return colours that differ, in the order of the settings."""
    return colormaps["turbo"](np.linspace(0.05, 0.95, count))


def _methods(axes: Axes, table: Table, settings: Sequence[Setting]) -> None:
    """Draw LPIPS against the tokens of a frame, a line for each method; contexts of one length only."""
    longest = max(one.chunk_size for one in settings)
    settings = [one for one in settings if one.chunk_size == longest]
    names = list(dict.fromkeys(row.method for row in table.find(measure="LPIPS")))
    for number, name in enumerate(names):
        points = []
        for setting in settings:
            tokens, lpips = (table.get(setting, name, measure) for measure in ("tokens", "LPIPS"))
            if tokens and lpips:
                points.append((tokens.value, lpips.value))
        x, y = zip(*sorted(points), strict=True)
        bold = name == settings[0].selector
        style = ":" if name == Greedy.name else "-"
        axes.plot(
            x, y, style, marker="o" if bold else ".", linewidth=2.5 if bold else 1,
            color=f"C{number}", label=name.replace("_", " "),
        )  # fmt: skip
    axes.set(
        xlabel="tokens per frame", ylabel="LPIPS", title="LPIPS by tokens, at equal tokens", xscale="log"
    )
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(_ticks([float(x) for line in axes.get_lines() for x in np.ravel(line.get_xdata())]))
    axes.legend(fontsize=7)


def _coverage(axes: Axes, table: Table, settings: Sequence[Setting], groups: Sequence[str]) -> None:
    """Draw the share of objects touched in each group: bars of the methods at the cheapest setting."""
    where = {"level": coverage.LEVELS[0], "scope": coverage.SCOPES[1], "part": coverage.KINDS[0]}
    labelled = {row.setting for row in table.find(measure="objects", **where)}
    costs = {one: row.value for one in settings if one in labelled and (row := _row(table, one, "tokens"))}
    setting = min(costs, key=lambda one: costs[one])
    names = list(dict.fromkeys(row.method for row in table.find(setting=setting, measure="objects")))
    present = [
        group for group in groups if table.get(setting, setting.selector, "objects", subject=group, **where)
    ]
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        found = [table.get(setting, name, "objects", subject=group, **where) for group in present]
        x = np.arange(len(present)) + (number - (len(names) - 1) / 2) * width
        heights = [row.value if row else 0.0 for row in found]
        axes.bar(x, heights, width, color=f"C{number}", label=name.replace("_", " "))
    axes.set_xticks(np.arange(len(present)), present, fontsize=8)
    axes.set(
        ylim=(0, 1), ylabel="share of objects touched",
        title=f"Objects touched over the context by 7x7 cells and finer\n({costs[setting]:.0f} tokens)",
    )  # fmt: skip
    axes.legend(fontsize=6, ncols=2)


def _ticks(values: Sequence[float]) -> list[float]:
    """Return round numbers that span values on a logarithmic axis."""
    low, high = min(values), max(values)
    steps = [digit * 10.0**power for power in range(-1, 4) for digit in (1, 2, 5)]
    return [step for step in steps if low / 1.5 <= step <= high * 1.5]


def _short(setting: Setting) -> str:
    requirement = setting.task_loss_requirement
    text = f"ratio {setting.gazing_ratio:g}, requirement {requirement:.3g}"
    return text if setting.chunk_size == 16 else f"{text}, chunk {setting.chunk_size}"
