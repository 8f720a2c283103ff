"""What the figures of a soak say: slopes with their errors, and whether each is what it is to be.

A slope is the one that all lives of the daemon have in common: within each life it is fitted by
least squares to means of pieces of it, and lives count by how much time they show. Two standard
errors are taken for what chance may do: a slope is too steep when it is beyond its limit by more,
and shown to be flat when it is within it by as much. Between them it is not known, and more hours
will tell."""

import dataclasses
import math
import statistics

MIB = 1 << 20
HOUR = 3_600.0
# Of each life: what it takes up at first is no leak.
WARM_SECONDS = 120.0
# Neighbouring samples are alike; means of so many pieces of a life are less so.
PIECES = 12
ERRORS = 2.0
RSS_LIMIT, P99_LIMIT = 1.0, 10.0


@dataclasses.dataclass
class Slope:
    """A second's rise, and its standard error; none where there is too little to tell."""

    rise: "float | None"
    error: "float | None"


@dataclasses.dataclass
class Figure:
    """`met`: none where it could not be shown either way."""

    name: str
    value: "float | None"
    error: "float | None"
    limit: float
    unit: str
    met: "bool | None"

    def line(self):
        word = {True: "met", False: "NOT MET", None: "not known yet"}[self.met]
        if self.value is None:
            return f"{self.name}: too little to tell, wanted at most {self.limit:g} {self.unit}"
        error = "" if self.error is None else f" ± {ERRORS * self.error:.3g}"
        return (f"{self.name}: {self.value:.3g}{error} {self.unit}, at most"
                f" {self.limit:g}: {word}")


def pieces(life):
    """(time, value) of a life that has warmed up, as means of its pieces."""
    life = sorted(life)
    kept = [sample for sample in life if sample[0] >= life[0][0] + WARM_SECONDS]
    if len(kept) < 2:
        return []
    count = min(PIECES, len(kept))
    found = []
    for piece in range(count):
        some = kept[len(kept) * piece // count : len(kept) * (piece + 1) // count]
        found.append(tuple(statistics.fmean(part) for part in zip(*some)))
    return found


def slope(lives):
    """Of lists of (seconds, value), one for each life of the daemon."""
    reduced = [found for found in (pieces(life) for life in lives if life) if len(found) > 1]
    return fit(reduced)


def fit(groups):
    """One rise for all groups, each with a height of its own."""
    centred = []
    for group in groups:
        time, value = (statistics.fmean(part) for part in zip(*group))
        centred += [(at - time, height - value) for at, height in group]
    spread = sum(at * at for at, _ in centred)
    freedom = len(centred) - len(groups) - 1
    if freedom < 1 or spread == 0:
        return Slope(None, None)
    rise = sum(at * height for at, height in centred) / spread
    left = sum((height - rise * at) ** 2 for at, height in centred)
    return Slope(rise, math.sqrt(left / freedom / spread))


def figure(name, found, scale, limit, unit):
    if found.rise is None:
        return Figure(name, None, None, limit, unit, None)
    value, error = found.rise * scale, found.error * scale
    met = None
    if value - ERRORS * error > limit:
        met = False
    elif value + ERRORS * error <= limit:
        met = True
    return Figure(name, value, error, limit, unit, met)


def memory(lives):
    """Of samples in bytes: what a life takes more and more of."""
    return figure("memory within a life", slope(lives), HOUR / MIB, RSS_LIMIT, "MiB/h")


def memory_between(lives, after=0.0):
    """What each life takes more of than the one before it; of lives that began after `after`."""
    means = []
    for life in lives:
        found = pieces(life) if life and life[0][0] >= after else []
        if found:
            half = found[len(found) // 2 :]
            means.append(tuple(statistics.fmean(part) for part in zip(*half)))
    return figure("memory from life to life", fit([means] if means else []), HOUR / MIB,
                  RSS_LIMIT, "MiB/h")


def descriptors(lives):
    """One that is lost for good within an hour is too many."""
    return figure("open descriptors", slope(lives), HOUR, 0.0, "per hour")


def latency(intervals):
    """Of (seconds, p99): by how much of itself it has risen over the whole time, in percent."""
    if len(intervals) < 3:
        return figure("drift of p99", Slope(None, None), 1, P99_LIMIT, "%")
    span = intervals[-1][0] - intervals[0][0]
    mean = statistics.fmean(value for _, value in intervals)
    return figure("drift of p99", fit([intervals]), 100 * span / mean, P99_LIMIT, "%")


def percentile(values, part):
    """The value that so much of all is not above."""
    values = sorted(values)
    return values[min(len(values) - 1, math.ceil(part * len(values)) - 1)]


def summary(report):
    """A line of what was done. Lives that were too short for the machine have no latency."""
    p99 = "none" if report["p99_ms"] is None else f"{report['p99_ms']:.2f} ms"
    return (f"{report['requests']:,} requests, {report['kills']} kills, "
            f"{report['users_compared']:,} users compared, p99 {p99}")
