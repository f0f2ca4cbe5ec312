"""A night of messy studies: is each one either in the store, or refused for the right reason, none twice and none lost?

    python -m benchmarks.night [--studies 300] [--seed 1] [--mess real] [--workers 2] [--folder DIR]

Simulates a messy archive, preprocesses it, and holds every study against what `truth/mess.parquet` says must happen to
it: stored or refused, with which reason, message and flag. Exit status 1 if any study differs.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from preprocess.pieces import read_pieces
from preprocess.pipeline import preprocess_archive
from preprocess.simulate.archive import simulate_archive
from preprocess.simulate.version import SIMULATOR_VERSION, simulator_digest
from preprocess.store import Store


def what_became(store: Store) -> dict[str, dict[str, Any]]:
    """Study to outcome, reason, message, flags and the reasons of series that were left out."""
    found: dict[str, dict[str, Any]] = {}
    for piece in read_pieces(store.path / "studies"):
        left_out = [str(row["reason"]) for row in piece.series if not row["chosen"]]
        found[piece.study_id] = {
            "outcome": "stored" if piece.status == "done" else "refused",
            "reason": piece.reason,
            "message": piece.message or "",
            "flag": "",
            "left_out": "; ".join(left_out),
        }
    for study_id in store.study_ids():
        with store.open_study(study_id) as study:
            flags = [flag for volume in study.volumes for flag in study.volume_attributes(volume)["flags"]]
        found[study_id]["flag"] = "; ".join(flags)
    return found


def differences(expected: pd.DataFrame, found: dict[str, dict[str, Any]], store: Store) -> list[str]:
    """Return one line for each study that did not become what it must, was lost, or stands in two places."""
    lines = []
    for row in expected.itertuples():
        study = str(row.key)
        if study not in found:
            lines.append(f"{study} ({row.case}): lost")
            continue
        became = found[study]
        wrong = [name for name in ("outcome", "reason") if _text(getattr(row, name)) != _text(became[name])]
        wrong += [name for name in ("message", "flag", "left_out") if _text(getattr(row, name)) not in became[name]]
        lines += [f"{study} ({row.case}): {name} is {became[name]!r}, not {getattr(row, name)!r}" for name in wrong]
    lines += [f"{study}: nobody knows it" for study in sorted(set(found) - set(expected["key"]))]
    failed = Counter(str(entry["study"]) for entry in store.failures())
    stored = set(store.study_ids())
    lines += [f"{study}: named {count} times in failures.jsonl" for study, count in failed.items() if count > 1]
    lines += [f"{study}: both in the store and in failures.jsonl" for study in sorted(stored & set(failed))]
    lines += [
        f"{study}: neither in the store nor in failures.jsonl" for study in sorted(set(found) - stored - set(failed))
    ]
    return lines


def _text(value: Any) -> str:
    return "" if pd.isna(value) else str(value)


def run_night(folder: Path, *, studies: int, seed: int, mess: str, workers: int) -> int:
    """Simulate, preprocess and compare in a folder; print what happened; the exit status."""
    simulated = folder / "simulated"
    simulate_archive(simulated, studies=studies, seed=seed, mess=mess, workers=workers)
    started = time.perf_counter()
    summary = preprocess_archive(
        simulated / "archive",
        folder / "store",
        masks=simulated / "masks",
        reports=simulated / "archive" / "reports.csv",
        study_id="keep",
        workers=workers,
    )
    seconds = time.perf_counter() - started
    expected = pd.read_parquet(simulated / "truth" / "mess.parquet")
    store = Store(folder / "store")
    found = what_became(store)
    print(f"simulator {SIMULATOR_VERSION} ({simulator_digest()}), mess={mess}, {studies} studies, seed {seed}")
    print(f"{summary.done} stored, {summary.failed} refused: {json.dumps(dict(summary.reasons))}")
    print(f"{seconds:.0f} s with {workers} workers, {3600 * studies / seconds:.0f} studies an hour")
    table = expected.assign(became=[found.get(key, {}).get("outcome", "lost") for key in expected["key"]])
    counts = table.fillna({"case": "clean"}).groupby(["case", "became"]).size()
    for (case, became), count in counts.items():
        print(f"  {case:<26}{became:<10}{count:>5}")
    lines = differences(expected, found, store)
    for line in lines:
        print(line)
    print(f"{len(lines)} studies differ from what must happen" if lines else "every study became what it must")
    return 1 if lines else 0


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mess", default="real")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    given = {"studies": options.studies, "seed": options.seed, "mess": options.mess, "workers": options.workers}
    if options.folder is not None:
        return run_night(options.folder, **given)
    with tempfile.TemporaryDirectory() as folder:
        return run_night(Path(folder), **given)


if __name__ == "__main__":
    sys.exit(main())
