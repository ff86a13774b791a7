"""Counters of one worker: plain integers, turned into Prometheus text only when somebody asks."""

from __future__ import annotations

from collections import defaultdict

from proxy.exchange import Exchange

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_MAX_SERIES = 2000

Labels = tuple[str, str, int]


class Metrics:
    """Requests by provider, dialect and status; their durations, tokens and attempts."""

    def __init__(self) -> None:
        self.requests: dict[Labels, int] = {}
        self.buckets = [0] * (len(_BUCKETS) + 1)
        self.seconds = 0.0
        self.tokens: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.attempts: dict[tuple[str, str], int] = {}
        self.in_flight = 0
        self.folded = 0

    def settle(self, x: Exchange, ended: float) -> None:
        """Counts one finished exchange."""
        provider = "none" if x.leaf is None else x.leaf.target.provider.name
        labels = (provider, x.dialect.value, x.status)
        requests = self.requests
        if labels in requests:
            requests[labels] += 1
        elif len(requests) < _MAX_SERIES:
            requests[labels] = 1
        else:
            self.folded += 1
        took = ended - x.started
        self.seconds += took
        at = 0
        for edge in _BUCKETS:
            if took <= edge:
                break
            at += 1
        self.buckets[at] += 1
        usage = x.usage
        if usage is not None:
            self.tokens[(provider, "input")] += usage.input
            self.tokens[(provider, "output")] += usage.output
        for attempt in x.attempts:
            key = (provider, attempt.kind.value if attempt.kind is not None else "ok")
            self.attempts[key] = self.attempts.get(key, 0) + 1

    def text(self, worker: str, extra: dict[str, float]) -> str:
        """The Prometheus text exposition (version 0.0.4) of this worker. `extra` are further gauges by name."""
        own = f'worker="{worker}"'
        lines = ["# HELP loopway_requests_total Requests answered.", "# TYPE loopway_requests_total counter"]
        for (provider, dialect, status), count in self.requests.items():
            lines.append(
                f'loopway_requests_total{{provider="{provider}",dialect="{dialect}",status="{status}",{own}}} {count}'
            )
        lines += ["# HELP loopway_request_seconds From head to last byte.", "# TYPE loopway_request_seconds histogram"]
        total = 0
        for edge, count in zip((*map(str, _BUCKETS), "+Inf"), self.buckets, strict=True):
            total += count
            lines.append(f'loopway_request_seconds_bucket{{le="{edge}",{own}}} {total}')
        lines.append(f"loopway_request_seconds_sum{{{own}}} {self.seconds:.6f}")
        lines.append(f"loopway_request_seconds_count{{{own}}} {total}")
        lines += ["# HELP loopway_tokens_total Tokens that providers counted.", "# TYPE loopway_tokens_total counter"]
        for (provider, direction), count in self.tokens.items():
            lines.append(f'loopway_tokens_total{{provider="{provider}",direction="{direction}",{own}}} {count}')
        lines += ["# HELP loopway_attempts_total Tries at targets.", "# TYPE loopway_attempts_total counter"]
        for (provider, outcome), count in self.attempts.items():
            lines.append(f'loopway_attempts_total{{provider="{provider}",outcome="{outcome}",{own}}} {count}')
        lines += ["# HELP loopway_in_flight Requests in flight.", "# TYPE loopway_in_flight gauge"]
        lines.append(f"loopway_in_flight{{{own}}} {self.in_flight}")
        for name, value in extra.items():
            lines += [f"# TYPE loopway_{name} gauge", f"loopway_{name}{{{own}}} {value}"]
        return "\n".join(lines) + "\n"
