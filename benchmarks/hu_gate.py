"""How often does the HU gate refuse good volumes, and how often does it miss bad ones? Counted on simulated studies.

    python -m benchmarks.hu_gate [studies] [seed] [--data FOLDER]

Every study of both sites is drawn at low resolution, exposed as its protocol says, and shown to the gate as it is and
in the forms that scanners give it: padded, clipped, with metal, as a small field without air, as a slab; then with its
values made wrong. FOLDER holds `real_ct/` (by default, CTVLP_SHARED_DATA): small fields are cut from it too. Prints
refusals and volumes, form by form. Exit status 1 where more than 0.1 % of the good ones are refused, or 1 % of the bad
ones pass.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from preprocess.quality import implausible_hu
from preprocess.readers_nifti import read_nifti
from preprocess.simulate.delivery import StudyJob
from preprocess.simulate.identity import draw_identities, stream
from preprocess.simulate.raster import colour, draw
from preprocess.simulate.scanner import expose, sample_protocol
from preprocess.simulate.site import load_site
from preprocess.simulate.study import draft_study
from preprocess.simulate.version import SIMULATOR_VERSION, simulator_digest

Hu = npt.NDArray[np.int16]
Form = Callable[[Hu, np.random.Generator], npt.NDArray[np.generic]]

FALSE_REFUSALS = 0.001
MISSED = 0.01
REAL_FIELDS = 2000


def as_it_is(hu: Hu, _: np.random.Generator) -> Hu:
    """Nothing is changed."""
    return hu


def padded(value: int) -> Form:
    """Corners outside the reconstruction circle hold a value that is no HU."""

    def form(hu: Hu, _: np.random.Generator) -> Hu:
        y, x = (np.linspace(-1, 1, size) for size in hu.shape[1:])
        hu = hu.copy()
        hu[:, y[:, None] ** 2 + x[None] ** 2 > 1] = value
        return hu

    return form


def clipped(hu: Hu, _: np.random.Generator) -> Hu:
    """Strong contrast and metal, clipped to 12 bits."""
    return np.clip(hu.astype(np.int32) * 3, -1024, 3071).astype(np.int16)


def with_metal(hu: Hu, rng: np.random.Generator) -> Hu:
    """A block of metal somewhere, with a dark streak beside it."""
    hu = hu.copy()
    z, y, x = (int(rng.integers(size // 4, size * 3 // 4)) for size in hu.shape)
    hu[z : z + 6, y : y + 3, x : x + 4] = 30000
    hu[z : z + 6, y, x + 4 : x + 12] = -1000
    return hu


def small_field(hu: Hu, rng: np.random.Generator) -> Hu:
    """A box from the middle of the body, as for a spine or a heart: little or no air."""
    size = [max(3, int(n * rng.uniform(0.15, 0.4))) for n in hu.shape]
    start = [int(n * rng.uniform(0.3, 0.7)) - length // 2 for n, length in zip(hu.shape, size, strict=True)]
    box = tuple(slice(max(low, 0), max(low, 0) + length) for low, length in zip(start, size, strict=True))
    return hu[box]


def slab(hu: Hu, rng: np.random.Generator) -> Hu:
    """A few slices."""
    first = int(rng.integers(0, len(hu) - 4))
    return hu[first : first + 4]


GOOD: dict[str, Form] = {
    "as it is": as_it_is,
    "padding -2000": padded(-2000),
    "padding -3024": padded(-3024),
    "12 bits": clipped,
    "metal": with_metal,
    "small field": small_field,
    "slab": slab,
}
BAD: dict[str, Form] = {
    "intercept lost": lambda hu, _: hu.astype(np.int32) + 1024,
    "intercept lost, padded": lambda hu, rng: padded(-2000)((hu + 1024).astype(np.int16), rng),
    "intercept twice": lambda hu, _: hu.astype(np.int32) - 1024,
    "0 to 1": lambda hu, _: (hu.astype(np.float64) + 1024) / 4095,
    "0 to 255": lambda hu, _: np.clip((hu.astype(np.float64) + 160) / 400, 0, 1) * 255,
    "constant": lambda hu, _: np.zeros_like(hu),
}


def simulated(studies: int, seed: int) -> Iterator[tuple[Hu, np.random.Generator]]:
    """Every series of studies of both sites at low resolution, and a source of chance."""
    for name in ("A", "B"):
        site = replace(load_site(name), in_plane_mm=(9.0, 10.0), slice_mm=(11.0, 13.0))
        for identity in draw_identities(studies // 2, seed, site):
            place = (identity.patient, identity.visit)
            body = draft_study(StudyJob(identity, seed, name, "default", Path())).body
            protocol = sample_protocol(stream(seed, name, "gate", *place), site, body)
            drawing = draw(body, protocol.grid, stream(seed, name, "texture", *place))
            rng = stream(seed, name, "form", *place)
            for series in protocol.series:
                hu, _ = expose(colour(drawing, series.phase).hu.copy(), series, protocol, rng)
                yield hu, rng


def real_fields(folder: Path, seed: int) -> Iterator[tuple[Hu, np.random.Generator]]:
    """Boxes of 40 to 160 mm from the middle of a real CT."""
    hu, rng = read_nifti(folder / "real_ct" / "ct.nii.gz").hu, np.random.default_rng(seed)
    for _ in range(REAL_FIELDS):
        yield small_field(hu, rng), rng


def whole(values: npt.NDArray[np.generic]) -> Hu:
    """Values as a reader gives them."""
    rounded: Hu = np.clip(np.rint(values), -32768, 32767).astype(np.int16)
    return rounded


def count(volumes: Iterator[tuple[Hu, np.random.Generator]], forms: dict[str, Form]) -> tuple[Counter[str], int]:
    """Refused volumes of each form, and the number of volumes."""
    refused: Counter[str] = Counter()
    seen = 0
    for hu, rng in volumes:
        seen += 1
        for name, form in forms.items():
            refused[name] += implausible_hu(whole(form(hu, rng))) is not None
    return refused, seen


def main() -> int:
    """Counts and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=int, nargs="?", default=1000)
    parser.add_argument("seed", type=int, nargs="?", default=1)
    parser.add_argument("--data", type=Path, default=os.environ.get("CTVLP_SHARED_DATA"))
    options = parser.parse_args()
    refused, volumes = count(simulated(options.studies, options.seed), GOOD | BAD)
    print(f"{options.studies} studies, {volumes} volumes; simulator {SIMULATOR_VERSION}, digest {simulator_digest()}")
    for name in GOOD | BAD:
        print(f"{'good' if name in GOOD else 'bad':<5}{name:<24}{refused[name]:>6} of {volumes} refused")
    false = sum(refused[name] for name in GOOD) / (volumes * len(GOOD))
    missed = 1 - sum(refused[name] for name in BAD) / (volumes * len(BAD))
    print(f"false refusals {false:.4%}, missed {missed:.4%}")
    if options.data is not None:
        cut, fields = count(real_fields(Path(options.data), options.seed), {"as it is": as_it_is})
        print(f"small fields of a real CT: {cut['as it is']} of {fields} refused")
        false = max(false, cut["as it is"] / fields)
    return int(false > FALSE_REFUSALS or missed > MISSED)


if __name__ == "__main__":
    sys.exit(main())
