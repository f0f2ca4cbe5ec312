"""The registry of drawn findings: for each site, what changes a body's plan and what paints on the canvas.

Every finding has a painter; findings of size or form have a shaper too, which acts first. Shaper and painters of one
finding in one study each get a fresh generator in the same state: they draw the same sides and places from it, on every
series of the study. The dictionaries stand in the order in which the findings are to be applied: changes of a whole
organ, then focal lesions, then fluid, gas and stones, so that a cyst in a fatty liver stays a cyst.
"""

from preprocess.errors import InputError
from preprocess.simulate import (
    lesions_b_bowel,
    lesions_b_chest,
    lesions_b_gut,
    lesions_b_liver,
    lesions_b_shape,
    lesions_b_upper,
    lesions_b_urinary,
    lesions_bowel,
    lesions_chest,
    lesions_gut,
    lesions_liver,
    lesions_shape,
    lesions_upper,
    lesions_urinary,
)
from preprocess.simulate.recipe import Painter, Recipe, Shaper, painter

_RECIPES: dict[str, dict[str, Recipe]] = {
    "A": {
        **lesions_liver.RECIPES,
        **lesions_upper.RECIPES,
        **lesions_urinary.RECIPES,
        **lesions_gut.RECIPES,
        **lesions_bowel.RECIPES,
        **lesions_chest.RECIPES,
    },
    "B": {
        **lesions_b_liver.RECIPES,
        **lesions_b_upper.RECIPES,
        **lesions_b_urinary.RECIPES,
        **lesions_b_gut.RECIPES,
        **lesions_b_bowel.RECIPES,
        **lesions_b_chest.RECIPES,
    },
}
_SHAPERS: dict[str, dict[str, Shaper]] = {"A": lesions_shape.SHAPERS, "B": lesions_b_shape.SHAPERS}


def painters(site: str) -> dict[str, Painter]:
    """Return finding to painter for a site, in the order of painting.

    Raises:
        InputError: No such site.
    """
    return {finding: painter(finding, recipe) for finding, recipe in _RECIPES[_known(site)].items()}


def shapers(site: str) -> dict[str, Shaper]:
    """Return finding to shaper for a site, for the findings that change an organ's size or form.

    Raises:
        InputError: No such site.
    """
    return dict(_SHAPERS[_known(site)])


def _known(site: str) -> str:
    if site not in _RECIPES:
        raise InputError(f"site={site!r} has no lesion generator; known are {', '.join(_RECIPES)}")
    return site
