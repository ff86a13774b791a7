"""The report: Markdown tables, and a comparison with an earlier run."""

from __future__ import annotations

from collections.abc import Iterable

from loadtests.results import Results, Row
from loadtests.scenarios import COLUMNS, Scenario

_NOISY_FOREIGN = 0.05
_NOISY_STEAL = 0.01
_STARVED = 0.9


def table(header: Iterable[str], rows: Iterable[Iterable[str]], words: int = 1) -> str:
    """A Markdown table, padded so that it reads as plain text too; the first `words` columns are words, not figures."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]

    def render(cells: list[str]) -> str:
        padded = [
            cell.ljust(width) if at < words else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = (
        "|"
        + "|".join("-" * (width + 2) if at < words else "-" * (width + 1) + ":" for at, width in enumerate(widths))
        + "|"
    )
    return "\n".join([render(lines[0]), rule, *map(render, lines[1:])])


def shown(column: str, value: float | None) -> str:
    """A figure as the tables print it."""
    return "–" if value is None else COLUMNS[column][1].format(value)


def against(scenario: Scenario, row: Row, reference: Row) -> str:
    """The first figure beside the reference's: as a multiple of it, or as what was added."""
    value, base = row.median(scenario.primary), reference.median(scenario.primary)
    if row is reference or value is None or not base:
        return "–"
    if scenario.compare == "added":
        return f"{value - base:+.2f}"
    ratio = value / base
    return f"{ratio:.2f} ×" if ratio >= 0.1 else f"1/{1 / ratio:.0f}"


def _span(column: str, row: Row) -> str:
    values = row.values(column)
    return f"{shown(column, min(values))}–{shown(column, max(values))}" if len(values) > 1 else "–"


def scenario_report(scenario: Scenario, rows: dict[str, Row]) -> str:
    """The table of one scenario with its remarks."""
    references = [name for name in ("direct", "nginx", "portkey") if name in rows] or list(rows)[:1]
    sign = "+" if scenario.compare == "added" else "÷"
    header = ["target", *(scenario.heading(column) for column in scenario.columns)]
    header.insert(2, "min–max")
    header += [f"{sign} {name}" for name in references]
    lines, remarks = [], []
    for name, row in rows.items():
        cells = [shown(column, row.median(column)) for column in scenario.columns]
        cells.insert(1, _span(scenario.primary, row))
        lines.append([name, *cells, *(against(scenario, row, rows[other]) for other in references)])
        remarks += [f"- {name}: {remark}" for remark in _remarks(scenario, row)]
    count = max((len(row.rounds) for row in rows.values()), default=0)
    of = f"median of {count} rounds" if count > 1 else "one round"
    title = f"## {scenario.name}\n\n{scenario.about[0].upper()}{scenario.about[1:]} ({of}).\n"
    return "\n".join([title, table(header, lines), *([""] if remarks else []), *remarks])


def _remarks(scenario: Scenario, row: Row) -> Iterable[str]:
    if trouble := row.trouble():
        yield trouble
    load, busy = row.median("load_busy"), row.median("busy")
    if not scenario.rate and not scenario.gap_ms and load and busy and load > _STARVED > busy:
        yield "the load's core was full before the gateway's: the rate is the rig's limit here, read the CPU"
    if (foreign := row.median("foreign")) and foreign > _NOISY_FOREIGN:
        yield f"other processes kept {foreign:.2f} cores busy meanwhile: measure again on a quiet machine"
    if (steal := row.median("steal")) and steal > _NOISY_STEAL:
        yield f"the host withheld {steal:.1%} of a core"


def summary(results: Results, scenarios: dict[str, Scenario]) -> str:
    """One line a scenario, one column a target: the first figure."""
    names = list(dict.fromkeys(name for rows in results.scenarios.values() for name in rows))
    lines = []
    for key, rows in results.scenarios.items():
        scenario = scenarios[key]
        values = [
            shown(scenario.primary, rows[name].median(scenario.primary)) if name in rows else "" for name in names
        ]
        lines.append([key, scenario.heading(scenario.primary), *values])
    return table(["scenario", "figure", *names], lines, words=2)


def circumstances_line(results: Results) -> str:
    """How the run was made, in one sentence."""
    made = results.made
    build = "optimised build" if made["optimised_build"] else "PLAIN BUILD, about a tenth slower than an optimised one"
    commit = f"{made['commit'] or 'no commit'}{' with changes' if made['modified'] else ''}"
    return (
        f"{commit}; Python {made['python']} ({build}); {made['system']}, {made['cores']} × {made['processor']}; "
        f"{made['layout']}."
    )


def full(results: Results, scenarios: dict[str, Scenario]) -> str:
    """The whole report."""
    parts = ["# Load tests", circumstances_line(results), summary(results, scenarios)]
    parts += [scenario_report(scenarios[name], rows) for name, rows in results.scenarios.items()]
    return "\n\n".join(parts)


def comparison(now: Results, before: Results, scenarios: dict[str, Scenario]) -> str:
    """Each first figure beside an earlier run's.

    The last column divides both by the reference target of their own run first, which takes out what the machine
    itself changed in between.
    """
    lines = []
    for key, rows in now.scenarios.items():
        old_rows = before.scenarios.get(key, {})
        scenario = scenarios[key]
        reference = next(iter(rows), "")
        for name, row in rows.items():
            value, old = row.median(scenario.primary), old_rows.get(name, Row()).median(scenario.primary)
            if value is None or old is None:
                continue
            base = rows[reference].median(scenario.primary)
            old_base = old_rows.get(reference, Row()).median(scenario.primary)
            ratio = value / old if old else None
            drift = base / old_base if base and old_base else None
            settled = f"{ratio / drift:.2f}" if ratio and drift and name != reference else "–"
            figures = (shown(scenario.primary, old), shown(scenario.primary, value), f"{ratio:.2f}" if ratio else "–")
            lines.append([key, name, scenario.heading(scenario.primary), *figures, settled])
    header = [
        "scenario",
        "target",
        "figure",
        before.made.get("commit") or "before",
        "now",
        "now ÷ before",
        "relative to reference",
    ]
    return f"## Compared with {before.made.get('commit') or 'an earlier run'}\n\n{table(header, lines, words=3)}"
