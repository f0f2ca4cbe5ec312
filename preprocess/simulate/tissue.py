"""Attenuation of tissues in Hounsfield units, by contrast phase, and how it varies from study to study."""

from dataclasses import replace

import numpy as np

from preprocess.simulate.scene import BodyPlan, Organ, Phase

PHASES: tuple[Phase, ...] = ("native", "arterial", "portal")

TISSUES: dict[str, tuple[float, float, float, float]] = {
    # native, arterial, portal HU, standard deviation of the texture
    "skin": (-10, 0, 5, 5),
    "fat": (-105, -105, -104, 7),
    "muscle": (55, 58, 65, 8),
    "pericardium": (20, 22, 26, 5),
    "lung": (-850, -840, -835, 38),
    "lung_vessel": (20, 110, 90, 20),
    "airway_wall": (-250, -240, -230, 20),
    "cortex": (430, 430, 435, 60),
    "marrow": (170, 172, 178, 35),
    "cartilage": (100, 100, 105, 20),
    "cord": (30, 32, 36, 4),
    "liver": (58, 72, 112, 6),
    "spleen": (50, 125, 118, 6),
    "pancreas": (42, 100, 92, 9),
    "kidney_cortex": (33, 185, 172, 9),
    "kidney_medulla": (29, 80, 150, 9),
    "adrenal": (22, 62, 68, 6),
    "myocardium": (46, 105, 98, 6),
    "blood_arterial": (42, 300, 145, 6),
    "blood_venous": (40, 75, 140, 6),
    "blood_portal": (41, 85, 165, 6),
    "blood_right_heart": (42, 230, 140, 8),
    "hepatic_vein": (44, 74, 150, 6),
    "gut_wall": (38, 62, 85, 9),
    "stomach_wall": (40, 75, 90, 9),
    "esophagus_wall": (38, 55, 62, 7),
    "bladder_wall": (34, 45, 55, 6),
    "gallbladder_wall": (35, 45, 60, 5),
    "gland": (44, 75, 88, 8),
    "thyroid": (95, 170, 160, 10),
    "uterus": (45, 85, 105, 10),
}


def attenuation(tissue: str) -> tuple[dict[Phase, float], float]:
    """Return the mean HU by phase and the texture's standard deviation of a tissue."""
    *means, texture = TISSUES[tissue]
    return dict(zip(PHASES, means, strict=True)), texture


def vary_attenuation(plan: BodyPlan, rng: np.random.Generator, *, timing_sd: float, tissue_sd_hu: float) -> BodyPlan:
    """Draw one study's attenuation: contrast timing changes all enhancement together, and each organ a little.

    Args:
        plan: The body.
        rng: Source of chance; one draw a study, so that all its series agree.
        timing_sd: Relative standard deviation of the enhancement over native, for each phase.
        tissue_sd_hu: Standard deviation of each solid organ's own offset in HU.

    Returns:
        The same body with other attenuation.
    """
    strength = {phase: float(np.exp(rng.normal(0.0, timing_sd))) for phase in PHASES}
    changed: list[Organ] = []
    for organ in plan.organs.values():
        native = organ.hu["native"]
        spread = 0.0 if native < -50 or native > 150 else tissue_sd_hu
        own = float(rng.normal(0.0, spread))
        hu: dict[Phase, float] = {
            phase: native + own + (organ.hu[phase] - native) * strength[phase] for phase in PHASES
        }
        changed.append(replace(organ, hu=hu))
    return plan.with_organs(*changed)
