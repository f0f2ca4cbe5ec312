"""Draw a person: proportions, the layers of the trunk and every organ, as primitives in millimetres."""

from dataclasses import replace

import numpy as np

from preprocess.simulate import abdomen, bowel, chest, envelope, skeleton
from preprocess.simulate.frame import Frame
from preprocess.simulate.scene import BodyPlan, Organ
from preprocess.simulate.site import Site, load_site
from preprocess.simulate.tissue import vary_attenuation

WARP_KNOTS = (6, 5, 11)
"""Knots of the warp along (L, P, S): about 80 mm apart."""
SPLINE_GAIN = 2.6
"""Standard deviation of independent spline weights over that of the field they make."""
WARP_BOX = ((-240.0, -180.0, -400.0), (240.0, 180.0, 420.0))


def sample_plan(rng: np.random.Generator, site: Site | str = "A") -> BodyPlan:
    """Draw one person with the attenuation of one examination.

    Args:
        rng: Source of chance; equal states give equal persons.
        site: The hospital, or its name; its patients' proportions are its own.

    Returns:
        The plan; organs in order of drawing.
    """
    place = load_site(site) if isinstance(site, str) else site
    frame = sample_frame(rng, place)
    organs = [
        *envelope.spaces(frame),
        *skeleton.muscles(frame),
        *skeleton.skeleton(frame),
        *chest.lungs(frame, rng),
        *chest.airways(frame),
        *chest.great_vessels(frame),
        *chest.heart(frame, rng),
        *chest.esophagus(frame, rng),
        *abdomen.liver(frame, rng),
        *abdomen.spleen(frame, rng),
        *abdomen.stomach(frame, rng),
        *abdomen.pancreas(frame, rng),
        *abdomen.kidneys(frame, rng),
        *abdomen.pelvis(frame, rng),
        *bowel.duodenum(frame, rng),
        *bowel.small_bowel(frame, rng),
        *bowel.colon(frame, rng),
    ]
    spread = place.warp_mm * SPLINE_GAIN
    warp = rng.normal(0.0, spread, (3, *WARP_KNOTS)).astype(np.float32)
    plan = BodyPlan(_by_name(organs), envelope.trunk(frame), warp, WARP_BOX, frame.sex, frame.age_years)
    return vary_attenuation(plan, rng, timing_sd=place.timing_sd, tissue_sd_hu=place.tissue_sd_hu)


def sample_frame(rng: np.random.Generator, site: Site) -> Frame:
    """Draw sex, age and proportions."""
    sex = "F" if rng.random() < site.women else "M"
    age = int(np.clip(rng.normal(*site.age_years), 18, 95))
    stature = (0.95 if sex == "F" else 1.0) * float(np.exp(rng.normal(0.0, site.height_sd)))
    mean, spread = site.girth
    width = (0.94 if sex == "F" else 1.0) * mean * float(np.exp(rng.normal(0.0, spread)))
    depth = width * float(np.exp(rng.normal(0.0, 0.05)))
    median, fat_sd = site.fat_mm
    fat = float(np.clip((1.2 if sex == "F" else 1.0) * median * np.exp(rng.normal(0.0, fat_sd)), 5.0, 60.0))
    belly = float(np.clip((0.8 if sex == "F" else 1.0) * rng.normal(*site.belly_mm), 0.0, 60.0))
    return Frame((width, depth, stature), sex, age, fat, belly)


def older(plan: BodyPlan, years: int) -> BodyPlan:
    """Return the same person some years later."""
    return replace(plan, age_years=min(plan.age_years + years, 99))


def _by_name(organs: list[Organ]) -> dict[str, Organ]:
    return {organ.structure: organ for organ in organs}
