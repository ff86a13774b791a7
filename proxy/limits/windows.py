"""Budget windows as numbers that only grow: no job resets anything, a new number is a new window.

UTC: days begin at 00:00, weeks on Sunday, months on the 1st. Windows of N days are counted from the day on which who
has the budget was made, from 1 January 1970 where nobody knows that; their number is the day on which they begin.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_DAY = 86_400
_KIND = 1 << 40  # room for each kind of window: one of another kind is another window
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def window_id(window: str, now: float, since: int = 0) -> int:
    """The number of the window that `now` (Unix seconds) is in. `window`: daily, weekly, monthly, total or `<N>d`,
    which is counted from the day of `since` (Unix seconds)."""
    day = int(now // _DAY)
    if window == "total":
        return 0
    if window == "daily":
        return _KIND + day
    if window == "weekly":
        return 2 * _KIND + (day + 4) // 7  # 1 January 1970 was a Thursday
    if window == "monthly":
        date = _EPOCH + timedelta(days=day)
        return 3 * _KIND + date.year * 12 + date.month - 1
    days = int(window[:-1])
    return (3 + days) * _KIND + _begins(day, days, since)


def _begins(day: int, days: int, since: int) -> int:
    """The day on which a window of so many days began."""
    first = min(day, since // _DAY)
    return day - (day - first) % days


def ends(window: str, now: float, since: int = 0) -> float | None:
    """When that window ends, in Unix seconds; None: never."""
    day = int(now // _DAY)
    if window == "total":
        return None
    if window == "daily":
        return float((day + 1) * _DAY)
    if window == "weekly":
        return float((((day + 4) // 7 + 1) * 7 - 4) * _DAY)
    if window == "monthly":
        date = _EPOCH + timedelta(days=day)
        following = datetime(date.year + date.month // 12, date.month % 12 + 1, 1, tzinfo=UTC)
        return following.timestamp()
    days = int(window[:-1])
    return float((_begins(day, days, since) + days) * _DAY)
