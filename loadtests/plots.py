"""One picture a scenario, drawn with matplotlib where it is installed (the `bench` extra)."""

from __future__ import annotations

from pathlib import Path

from loadtests.results import Results, Row
from loadtests.scenarios import Scenario

_MARKS = ("p50", "p90", "p99", "p999", "max")
_CURVES = {
    "latency_ms": "time to the whole answer",
    "ttfc_ms": "time to the first chunk",
    "gap_ms": "gap between chunks",
}
_ACCENT, _PLAIN = "#c2410c", "#64748b"


def draw(results: Results, scenarios: dict[str, Scenario], folder: Path, kind: str = "svg") -> list[Path]:
    """Write `<scenario>.<kind>` into `folder`; returns the paths. Raises ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    return [
        path
        for name, rows in results.scenarios.items()
        if (path := _picture(scenarios[name], rows, folder / f"{name}.{kind}")) is not None
    ]


def _picture(scenario: Scenario, rows: dict[str, Row], path: Path) -> Path | None:
    from matplotlib import pyplot

    measured = {name: row for name, row in rows.items() if row.values(scenario.primary)}
    if not measured:
        return None
    curve = _curve(scenario, measured)
    figure, axes = pyplot.subplots(1, 2 if curve else 1, figsize=(10 if curve else 6, 3.6), squeeze=False)
    try:
        _bars(axes[0][0], scenario, measured)
        if curve:
            _quantiles(axes[0][1], curve, measured)
        figure.suptitle(f"{scenario.name}: {scenario.about}", fontsize=10)
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    finally:
        pyplot.close(figure)
    return path


def _curve(scenario: Scenario, rows: dict[str, Row]) -> str:
    preferred = ("ttfc_ms", "gap_ms", "latency_ms") if scenario.stream else ("latency_ms",)
    if not scenario.rate and not scenario.gap_ms and scenario.stream:
        return ""  # gaps of a stream at full speed say nothing
    return next(
        (
            kind
            for kind in preferred
            if kind[:-3] in scenario.primary or all(row.clean[0].curves.get(kind) for row in rows.values())
        ),
        "",
    )


def _bars(axes, scenario: Scenario, rows: dict[str, Row]) -> None:  # type: ignore[no-untyped-def]
    names = list(rows)[::-1]
    medians = [rows[name].median(scenario.primary) or 0.0 for name in names]
    spans = [rows[name].values(scenario.primary) for name in names]
    whiskers = [
        [middle - min(span) for middle, span in zip(medians, spans, strict=True)],
        [max(span) - middle for middle, span in zip(medians, spans, strict=True)],
    ]
    colours = [_ACCENT if name.startswith("loopway") else _PLAIN for name in names]
    axes.barh(names, medians, xerr=whiskers, color=colours, ecolor="black", capsize=3, height=0.6)
    for at, middle in enumerate(medians):
        axes.annotate(f" {middle:.3g}", (middle, at), va="bottom", fontsize=8)
    axes.set_xlabel(f"{scenario.heading(scenario.primary)} (median, min–max)")
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)


def _quantiles(axes, kind: str, rows: dict[str, Row]) -> None:  # type: ignore[no-untyped-def]
    for name, row in rows.items():
        rounds = [entry.curves[kind] for entry in row.clean if entry.curves.get(kind)]
        middle = [sorted(entry[mark] for entry in rounds)[len(rounds) // 2] for mark in _MARKS] if rounds else []
        axes.plot(_MARKS[: len(middle)], middle, marker="o", label=name, color=_ACCENT if name == "loopway" else None)
    axes.set_yscale("log")
    axes.set_ylabel("ms")
    axes.set_title(_CURVES[kind], fontsize=9)
    axes.legend(fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
