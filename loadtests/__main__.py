"""`python -m loadtests`: measure, print the report, keep it."""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import replace
from pathlib import Path

from loadtests import plots, report
from loadtests.results import Results
from loadtests.runner import Options, Run, rig, say
from loadtests.scenarios import Scenario, load_scenarios
from loadtests.targets import HERE, TARGETS

_BASELINES = HERE / "baselines"
_TARGETS = ("direct", "loopway", "nginx", "portkey", "litellm")
_SHORT_TARGETS = _TARGETS[:3]
_SHORT = Options(rounds=0, seconds=0.0, warmup=0.5)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests",
        description="Measure what the gateway costs, beside a floor and peers. See loadtests/README.md.",
        epilog="example: python -m loadtests --scenario chat,paced --target direct,loopway,nginx --rounds 5 --out out",
    )
    parser.add_argument("--short", action="store_true", help="the short form, about a minute")
    parser.add_argument("--scenario", default="", metavar="NAME,…", help="default: all")
    parser.add_argument("--target", default="", metavar="NAME,…", help=f"default: {','.join(_TARGETS)}")
    parser.add_argument("--rounds", type=int, default=None, help="default: 5")
    parser.add_argument("--seconds", type=float, default=None, help="of a measured window, default: 3")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep every round as JSON")
    parser.add_argument("--out", type=Path, metavar="DIR", help="report.md, results.json and a picture a scenario")
    parser.add_argument("--png", action="store_true", help="pictures as PNG, not SVG")
    parser.add_argument(
        "--save-baseline", action="store_true", help="keep the run as loadtests/baselines/<commit>.json"
    )
    parser.add_argument("--compare", metavar="BASELINE", help="a commit kept there, or a file of --json")
    parser.add_argument("--list", action="store_true", help="scenarios and targets, and what is missing here")
    return parser.parse_args()


def _list(scenarios: dict[str, Scenario]) -> None:
    rows = [[name, "yes" if entry.short else "", entry.about] for name, entry in scenarios.items()]
    print(report.table(["scenario", "short", "about"], rows, words=3))
    print()
    print(
        report.table(["target", "here"], [[name, entry.missing() or "yes"] for name, entry in TARGETS.items()], words=2)
    )


def _chosen(wanted: str, known: dict[str, object], what: str) -> list[str]:
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"unknown {what}: {', '.join(unknown)} (there are: {', '.join(known)})")
    return names


def _targets(wanted: str, short: bool) -> list[str]:
    names = _chosen(wanted, dict(TARGETS), "target") or list(_SHORT_TARGETS if short else _TARGETS)
    for name in names:
        if missing := TARGETS[name].missing():
            say(f"skipped: {name}: {missing}")
    return [name for name in names if not TARGETS[name].missing()]


def _scenarios(wanted: str, known: dict[str, Scenario], short: bool) -> list[Scenario]:
    names = _chosen(wanted, dict(known), "scenario")
    if short:
        return [known[name].shortened() for name in names or known if known[name].short]
    return [known[name] for name in names or known]


def _baseline(name: str) -> Results:
    path = Path(name)
    if not path.exists():
        path = _BASELINES / f"{name}.json"
    try:
        return Results.load(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        kept = ", ".join(sorted(entry.stem for entry in _BASELINES.glob("*.json"))) or "none"
        sys.exit(f"no baseline {name}: {error} (kept: {kept})")


def _keep(results: Results, text: str, known: dict[str, Scenario], arguments: argparse.Namespace) -> None:
    if arguments.json:
        results.save(arguments.json)
    if arguments.save_baseline:
        path = _BASELINES / f"{results.made['commit'] or 'uncommitted'}.json"
        results.save(path)
        say(f"kept as {path.relative_to(HERE.parent)}")
    if not arguments.out:
        return
    results.save(arguments.out / "results.json")
    (arguments.out / "report.md").write_text(text + "\n")
    try:
        pictures = plots.draw(results, known, arguments.out, "png" if arguments.png else "svg")
    except ImportError:
        say("no pictures: matplotlib is not installed (pip install 'loopway[bench]')")
    else:
        say(f"{len(pictures)} pictures in {arguments.out}")


def main() -> int:
    """Run what the command line asks for; 1 when a target has no clean round in some scenario."""
    arguments = _arguments()
    known = load_scenarios()
    if arguments.list:
        _list(known)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    scenarios = _scenarios(arguments.scenario, known, arguments.short)
    before = _baseline(arguments.compare) if arguments.compare else None
    options = _SHORT if arguments.short else Options()
    if arguments.rounds is not None:
        options = replace(options, rounds=arguments.rounds)
    if arguments.seconds is not None:
        options = replace(options, seconds=arguments.seconds)
    with rig() as bench:
        say(f"cores: {bench.layout}")
        results = Run(bench, options).play(scenarios, _targets(arguments.target, arguments.short))
    text = report.full(results, known)
    if before is not None:
        text += "\n\n" + report.comparison(results, before, known)
    print(text)
    _keep(results, text, known, arguments)
    return int(any(not row.clean for rows in results.scenarios.values() for row in rows.values()))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
