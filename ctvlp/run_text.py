"""A run in words, for the terminal: what it is expected to take, and how far it is."""

from collections.abc import Mapping

from preprocess.forecast import Forecast
from preprocess.status import Status

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def format_forecast(forecast: Forecast) -> str:
    """What a run is expected to take, on several lines."""
    lines = [
        f"{forecast.patients} patients, {forecast.studies} studies, {forecast.series} series",
        f"{forecast.files} files of {_size(forecast.bytes)}, {forecast.other_files} other files",
    ]
    if forecast.unreadable:
        lines.append(f"{forecast.unreadable} files or folders cannot be read; they count as missing")
    lines += [
        f"{forecast.to_do} studies to do; of {forecast.sampled} sampled, {forecast.usable} have a volume",
        *_reasons(forecast.refused, "series refused"),
        f"reads {_size(forecast.read_bytes)}{_rate(forecast.read_rate)}",
    ]
    if forecast.trials:
        failed = sum(forecast.trial_failures.values())
        lines.append(f"{forecast.trials} studies tried, {failed} failed")
        lines += _reasons(forecast.trial_failures, "failed")
    if forecast.written_bytes is not None:
        lines.append(f"writes {_size(forecast.written_bytes)}")
    if forecast.hours is not None and forecast.hours_range is not None:
        low, high = forecast.hours_range
        lines.append(
            f"takes {_hours(forecast.hours)} with {forecast.workers} at a time "
            f"({_hours(low)} to {_hours(high)} by the quickest and the slowest tried)"
        )
    return "\n".join(lines)


def format_status(status: Status) -> str:
    """How far a store is, on several lines."""
    of = "" if status.total is None else f" of {status.total} studies"
    lines = [f"{status.done} done, {status.failed} failed{of}", *_reasons(status.reasons, "failed")]
    if status.rate is not None:
        lines.append(f"{status.rate:.0f} studies an hour")
    elif status.idle_seconds is not None:
        lines.append(f"nothing was recorded for {_hours(status.idle_seconds / 3600)}")
    if status.hours_left is not None:
        lines.append(f"{_hours(status.hours_left)} left" if status.hours_left else "every study has an outcome")
    return "\n".join(lines)


def _reasons(counts: Mapping[str, int], what: str) -> list[str]:
    return [f"  {what}: {reason}: {count}" for reason, count in counts.items()]


def _size(count: float) -> str:
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return f"{count:.0f} {_UNITS[unit]}" if unit == 0 else f"{count:.1f} {_UNITS[unit]}"


def _rate(bytes_a_second: float | None) -> str:
    return "" if bytes_a_second is None else f", at {_size(bytes_a_second)} a second when tried alone"


def _hours(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{hours * 60:.1f} min" if hours >= 1 / 60 else f"{hours * 3600:.0f} s"
