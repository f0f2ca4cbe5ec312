"""Parameters of the two simulated hospitals, as data: their patients, scanners and protocols."""

from dataclasses import dataclass
from typing import Literal

from preprocess.errors import InputError
from preprocess.simulate.scene import Phase

SiteName = Literal["A", "B"]
Coverage = Literal["whole", "chest", "abdomen_pelvis"]
Range = tuple[float, float]


@dataclass(frozen=True)
class Scanner:
    """One make of scanner.

    Attributes:
        manufacturer: As the DICOM tag says it.
        model: As the DICOM tag says it.
        soft: Names of the soft kernels.
        sharp: Name of the sharp kernel.
        signed: Whether pixels are stored as signed numbers.
    """

    manufacturer: str
    model: str
    soft: tuple[str, ...]
    sharp: str
    signed: bool


@dataclass(frozen=True)
class Site:
    """One hospital.

    Attributes:
        name: "A" or "B".
        women: Share of women.
        age_years: Mean and standard deviation of age.
        height_sd: Relative standard deviation of the body's length.
        girth: Mean and relative standard deviation of width and depth.
        fat_mm: Median of the fat under the skin, and standard deviation of its logarithm.
        belly_mm: Mean and standard deviation of the front wall's bulge.
        warp_mm: Standard deviation of the coarse displacement that bends all organs.
        timing_sd: Relative standard deviation of contrast enhancement.
        tissue_sd_hu: Standard deviation of an organ's own offset.
        repeat: Chances that a patient has a second, and then a third study.
        coverage: Share of each scan range.
        phases: Share of each phase of the primary series.
        second_phase: Chance of another phase beside the primary one.
        sharp_copy: Chance of a reconstruction with the sharp kernel.
        thick_copy: Chance of a reconstruction with slices twice as thick.
        localizer: Chance of a localizer.
        in_plane_mm: Range of the pixel's mean edge.
        pixel_ratio: Range of row spacing over column spacing.
        slice_mm: Range of the distance between slices.
        noise_hu: Range of the noise of a soft kernel, for a body of average width.
        oblique: Chance that the grid is turned by some degrees.
        oblique_deg: Largest turn.
        flipped: Chance, for each axis of the slice, that it runs the other way.
        circle: Chance that corners outside the reconstruction circle hold padding.
        kvp: Tube voltages.
        severity: Parameters of the beta distribution of severity.
        is_correlated: Whether findings with a common cause come together.
        scanners: The makes in use.
    """

    name: SiteName
    women: float
    age_years: Range
    height_sd: float
    girth: Range
    fat_mm: Range
    belly_mm: Range
    warp_mm: float
    timing_sd: float
    tissue_sd_hu: float
    repeat: Range
    coverage: dict[Coverage, float]
    phases: dict[Phase, float]
    second_phase: float
    sharp_copy: float
    thick_copy: float
    localizer: float
    in_plane_mm: Range
    pixel_ratio: Range
    slice_mm: Range
    noise_hu: Range
    oblique: float
    oblique_deg: float
    flipped: float
    circle: float
    kvp: tuple[int, ...]
    severity: Range
    is_correlated: bool
    scanners: tuple[Scanner, ...]


SITE_A = Site(
    name="A",
    women=0.47,
    age_years=(61.0, 14.0),
    height_sd=0.04,
    girth=(1.0, 0.06),
    fat_mm=(17.0, 0.40),
    belly_mm=(16.0, 12.0),
    warp_mm=4.0,
    timing_sd=0.12,
    tissue_sd_hu=3.0,
    repeat=(0.2, 0.1),
    coverage={"whole": 0.76, "chest": 0.10, "abdomen_pelvis": 0.14},
    phases={"native": 0.22, "arterial": 0.13, "portal": 0.65},
    second_phase=0.18,
    sharp_copy=0.10,
    thick_copy=0.06,
    localizer=0.5,
    in_plane_mm=(2.6, 3.2),
    pixel_ratio=(0.88, 1.12),
    slice_mm=(3.6, 5.0),
    noise_hu=(9.0, 20.0),
    oblique=0.08,
    oblique_deg=4.0,
    flipped=0.05,
    circle=0.4,
    kvp=(100, 120, 120, 140),
    severity=(1.8, 1.2),
    is_correlated=False,
    scanners=(
        Scanner("SIMULATED ALPHA", "Alpha 64", ("B30f", "B31f"), "B70f", signed=False),
        Scanner("SIMULATED BETA", "Beta Pro", ("STANDARD", "SOFT"), "LUNG", signed=True),
    ),
)
SITE_B = Site(
    name="B",
    women=0.56,
    age_years=(54.0, 17.0),
    height_sd=0.05,
    girth=(1.05, 0.08),
    fat_mm=(24.0, 0.45),
    belly_mm=(26.0, 16.0),
    warp_mm=5.5,
    timing_sd=0.2,
    tissue_sd_hu=4.5,
    repeat=(0.2, 0.1),
    coverage={"whole": 0.60, "chest": 0.18, "abdomen_pelvis": 0.22},
    phases={"native": 0.40, "arterial": 0.25, "portal": 0.35},
    second_phase=0.12,
    sharp_copy=0.06,
    thick_copy=0.06,
    localizer=0.5,
    in_plane_mm=(2.5, 3.3),
    pixel_ratio=(0.82, 1.2),
    slice_mm=(3.0, 5.0),
    noise_hu=(14.0, 30.0),
    oblique=0.15,
    oblique_deg=6.0,
    flipped=0.08,
    circle=0.6,
    kvp=(80, 100, 120),
    severity=(1.7, 1.4),
    is_correlated=True,
    scanners=(
        Scanner("SIMULATED GAMMA", "Gamma One", ("FC08", "FC18"), "FC52", signed=True),
        Scanner("SIMULATED DELTA", "Delta iCT", ("B", "C"), "YA", signed=False),
    ),
)
SITES: dict[str, Site] = {"A": SITE_A, "B": SITE_B}


def load_site(name: str) -> Site:
    """Return a site by name.

    Raises:
        InputError: No such site.
    """
    if name not in SITES:
        raise InputError(f"site={name!r} is unknown; known are {', '.join(SITES)}")
    return SITES[name]
