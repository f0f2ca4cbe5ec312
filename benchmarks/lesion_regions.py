"""The share of each drawn lesion that lies in its anatomy's region, finding by finding, with masks that fail.

    python -m benchmarks.lesion_regions [--studies 240] [--seed 0] [--site A] [--simulated DIR]

Simulates an archive (or takes one that `ctvlp simulate` made), preprocesses it with the masks that methods get, and
looks up the true voxels of the lesions in the stored crops. A lesion whose anatomy the masks lack counts as 0.
Exit status 1 if the median of any finding is below 0.9, or it was never drawn.
"""

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from preprocess.crops import Crop
from preprocess.geometry import index_from_lps, lps_from_index
from preprocess.pipeline import preprocess_archive
from preprocess.simulate.archive import simulate_archive
from preprocess.simulate.truth import read_voxels
from preprocess.store import Store
from preprocess.vocabulary_files import load_vocabulary

WANTED = 0.9


def share_in_region(crop: Crop, points: npt.NDArray[np.float64]) -> float:
    """Return the share of LPS points (n, 3) that fall into voxels of the crop's region."""
    if crop.mask is None or crop.affine is None:
        return 0.0
    index = np.floor(index_from_lps(crop.affine, points) + 0.5).astype(np.int64)
    inside = ((index >= 0) & (index < crop.mask.shape)).all(axis=1)
    z, y, x = index[inside].T
    return float((crop.mask[z, y, x] > 0).sum() / len(points))


def measure(simulated: Path, store: Store) -> Iterator[tuple[str, float]]:
    """Yield (finding, share in the region) of every lesion of every study in the store."""
    vocabulary = load_vocabulary("ct54")
    manifest = store.manifest()
    primary = manifest[manifest["primary"]].set_index(["study_id", "anatomy"])["volume"].to_dict()
    for study_id in store.study_ids():
        lesions, shape, affine = read_voxels(simulated / "truth" / "lesions" / f"{study_id}.npz")
        with store.open_study(study_id) as study:
            for finding, voxels in lesions.items():
                anatomy = vocabulary.finding(finding).anatomy
                volume = primary.get((study_id, anatomy))
                if volume is None or anatomy is None:
                    yield finding, 0.0
                    continue
                points = lps_from_index(affine, np.stack(np.unravel_index(voxels, shape), axis=1))
                yield finding, share_in_region(study.crop(volume, anatomy), points)


def report(shares: dict[str, list[float]]) -> bool:
    """Print the table; return whether every finding reaches what is wanted."""
    print(f"{'finding':38s} {'studies':>7s} {'median':>7s} {'10 %':>6s} {'missed':>7s}")
    good = True
    for finding in (finding.id for finding in load_vocabulary("ct54").findings):
        values = np.array(shares.get(finding, []))
        median = float(np.median(values)) if len(values) else float("nan")
        enough = median >= WANTED
        good &= enough
        low = np.quantile(values, 0.1) if len(values) else float("nan")
        missed = int((values == 0).sum())
        print(f"{finding:38s} {len(values):7d} {median:7.3f} {low:6.2f} {missed:7d}{'' if enough else '   <--'}")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--site", choices=("A", "B"), default="A")
    parser.add_argument("--simulated", type=Path, help="folder that `ctvlp simulate` filled; else one is simulated")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        simulated = arguments.simulated or Path(folder) / "simulated"
        if arguments.simulated is None:
            simulate_archive(simulated, studies=arguments.studies, seed=arguments.seed, site=arguments.site)
        out = Path(folder) / "store"
        summary = preprocess_archive(simulated / "archive", out, masks=simulated / "masks", study_id="keep")
        shares: dict[str, list[float]] = defaultdict(list)
        for finding, share in measure(simulated, Store(out)):
            shares[finding].append(share)
        made = json.loads((simulated / "truth" / "simulation.json").read_text())
    print(f"simulator {made['version']} ({made['digest']}), {made['options']}")
    print(f"{summary.done} studies, {summary.failed} failed")
    good = report(shares)
    print(f"median share in the region at least {WANTED} for every finding: {'yes' if good else 'NO'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
