"""Charts as places in percent of their frame: templates only put them there."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ctvlp.figures import curve_path, round_ticks, share
from ctvlp.metrics import Estimate
from ctvlp.page.content import Curve
from ctvlp.page.content_archive import Shares
from ctvlp.page.content_inspection import Histogram, Spread


def histogram_chart(entry: Histogram) -> dict[str, Any]:
    """Bars of a histogram; the summary says in words what they show."""
    extent, most = (entry.edges[0], entry.edges[-1]), max(entry.counts)
    places = [share(edge, extent) for edge in entry.edges]
    bars = [
        {
            "x": round(x, 2),
            "width": round(0.92 * (end - x), 2),
            "height": round(100 * count / most, 2),
            "said": f"{low:g} to {high:g}: {count:,}",
        }
        for x, end, low, high, count in zip(
            places, places[1:], entry.edges, entry.edges[1:], entry.counts, strict=False
        )
    ]
    peak = int(np.argmax(entry.counts))
    often = f"{entry.edges[peak]:g} to {entry.edges[peak + 1]:g}"
    low, high = entry.extremes
    said = [f"from {low:.4g} to {high:.4g}", f"most often {often}"]
    below, above = entry.beyond
    said += [f"{below:,} below the first class"] if below else []
    said += [f"{above:,} above the last class"] if above else []
    said += [f"unknown in {entry.unknown:,}"] if entry.unknown else []
    return {"name": entry.name, "bars": bars, "most": most, "ticks": axis_ticks(extent, 5), "summary": "; ".join(said)}


def spread_rows(spreads: Sequence[Spread]) -> dict[str, Any]:
    """Volumes by anatomy on one logarithmic axis: whiskers from 5 to 95 %, the middle half, the median."""
    known = [value for spread in spreads for value in spread.percentiles_ml if value > 0]
    if not known:
        return {"ticks": [], "rows": [{"spread": spread, "box": None} for spread in spreads]}
    axis = (float(np.floor(np.log10(min(known)))), float(np.ceil(np.log10(max(known)))))
    axis = axis if axis[1] > axis[0] else (axis[0], axis[0] + 1)
    powers = np.arange(axis[0], axis[1] + 1)
    ticks = [{"place": round(share(power, axis), 2), "text": f"{10**power:g}"} for power in powers.tolist()]
    rows: list[dict[str, Any]] = []
    for spread in spreads:
        places = [round(share(np.log10(max(value, min(known))), axis), 2) for value in spread.percentiles_ml]
        rows.append({"spread": spread, "box": dict(zip(("p5", "p25", "p50", "p75", "p95"), places, strict=True))})
    return {"ticks": ticks, "rows": rows}


def share_bars(entry: Shares) -> dict[str, Any]:
    """Bars of how volumes divide."""
    total = max(1, sum(volumes for _, volumes, _ in entry.rows) + entry.others[1])
    rows = [
        {"title": value, "volumes": volumes, "studies": studies, "share": round(100 * volumes / total, 2)}
        for value, volumes, studies in entry.rows
    ]
    return {"name": entry.name, "rows": rows, "others": entry.others}


def coverage_rows(coverage: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    """Bars of how often each anatomy is complete, cut or absent."""
    rows = []
    for anatomy, counts in coverage.items():
        total = max(1, sum(counts.values()))
        row: dict[str, Any] = {"title": anatomy.replace("_", " ")}
        for extent in ("complete", "truncated", "absent"):
            row[extent] = counts.get(extent, 0)
            row[f"{extent}_share"] = round(100 * row[extent] / total, 2)
        rows.append(row)
    return rows


def place_estimate(estimate: Estimate, axis: tuple[float, float], marks: Iterable[float] = ()) -> dict[str, Any]:
    """Places of an estimate, its interval and further marks on an axis."""

    def place(value: float) -> float | None:
        return round(share(value, axis), 2) if np.isfinite(value) else None

    return {
        "value": place(estimate.value),
        "low": place(estimate.low),
        "high": place(estimate.high),
        "half": place(0.5),
        "marks": [place(mark) for mark in marks if np.isfinite(mark)],
    }


def curve_chart(curve: Curve) -> dict[str, Any]:
    """A training curve with its axes."""
    points = [point for line in curve.lines.values() for point in line if np.isfinite(point[1])]
    x_range = (min(x for x, _ in points), max(x for x, _ in points))
    low, high = curve.y_range or (min(y for _, y in points), max(y for _, y in points))
    if curve.y_range is None:
        low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)
    lines = [
        {"name": name, "path": curve_path([x for x, _ in line], [y for _, y in line], x_range, (low, high))}
        for name, line in curve.lines.items()
    ]
    last = "; ".join(f"{name} ends at {line[-1][1]:.3g}" for name, line in curve.lines.items() if line)
    return {
        "name": curve.name,
        "x_name": curve.x_name,
        "lines": lines,
        "summary": f"{curve.name} by {curve.x_name}: {last}",
        "x_ticks": axis_ticks(x_range, 6),
        "y_ticks": axis_ticks((low, high), 5),
    }


def axis_ticks(extent: tuple[float, float], count: int) -> list[dict[str, Any]]:
    """Round numbers on an axis."""
    return [{"place": round(share(tick, extent), 2), "text": f"{tick:g}"} for tick in round_ticks(*extent, count)]
