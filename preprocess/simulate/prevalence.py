"""Which findings a study has and how plain each is: drawn independently of everything else of the study."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.special import ndtri

from preprocess.errors import InputError
from preprocess.simulate.site import Site


@dataclass(frozen=True)
class Prevalence:
    """How often findings are drawn.

    Attributes:
        name: "default" or "realistic".
        share: Finding id to its share of the studies that show its anatomy.
        exclusions: Pairs that cannot stand together.
        groups: Findings with a common cause, and the correlation of their latent variables.
    """

    name: str
    share: dict[str, float]
    exclusions: tuple[tuple[str, str], ...]
    groups: tuple[tuple[float, tuple[str, ...]], ...]


@cache
def _table() -> Mapping[str, Any]:
    path = Path(__file__).with_name("prevalence.yaml")
    table: Mapping[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return table


@cache
def load_prevalence(name: str = "default") -> Prevalence:
    """Read a prevalence by name.

    Raises:
        InputError: No such prevalence.
    """
    table = _table()
    if name not in table["prevalence"]:
        raise InputError(f"prevalence={name!r} is unknown; known are {', '.join(table['prevalence'])}")
    return Prevalence(
        name=name,
        share={finding: float(share) for finding, share in table["prevalence"][name].items()},
        exclusions=tuple((str(one), str(other)) for one, other in table["exclusions"]),
        groups=tuple((float(group["correlation"]), tuple(group["findings"])) for group in table["co_occurrence"]),
    )


def raised(prevalence: Prevalence) -> dict[str, float]:
    """Chances of the draw such that each finding keeps its share although one of an excluding pair is dropped.

    Of a pair drawn together one is dropped, each as likely as the other: share = chance * (1 - chance_of_other / 2).
    """
    chance = dict(prevalence.share)
    for _ in range(50):
        for one, other in prevalence.exclusions:
            chance[one] = prevalence.share[one] / (1 - chance[other] / 2)
            chance[other] = prevalence.share[other] / (1 - chance[one] / 2)
    return chance


def draw_findings(
    rng: np.random.Generator, prevalence: Prevalence, site: Site, covered: Collection[str]
) -> dict[str, float]:
    """Draw the findings of one study.

    Args:
        rng: Source of chance.
        prevalence: How often.
        site: Says whether findings with a common cause come together, and how severities are distributed.
        covered: Anatomies that the study shows; no finding of another is kept.

    Returns:
        Finding id to severity, 0 (invisible) to 1 (plain), in the order of the data file.
    """
    chance = raised(prevalence)
    findings = list(chance)
    latent = dict(zip(findings, rng.standard_normal(len(findings)).tolist(), strict=True))
    shared = rng.standard_normal(len(prevalence.groups))
    severity = rng.beta(*site.severity, size=len(findings))
    coins = rng.random(len(prevalence.exclusions))
    if site.is_correlated:
        for cause, (correlation, members) in zip(shared, prevalence.groups, strict=True):
            for finding in members:
                latent[finding] = float(np.sqrt(correlation) * cause + np.sqrt(1 - correlation) * latent[finding])
    present = {finding for finding in findings if latent[finding] < ndtri(chance[finding])}
    for coin, (one, other) in zip(coins, prevalence.exclusions, strict=True):
        if one in present and other in present:
            present.discard(one if coin < 0.5 else other)
    return {
        finding: float(plain)
        for finding, plain in zip(findings, severity, strict=True)
        if finding in present and finding.split(".")[0] in covered
    }
