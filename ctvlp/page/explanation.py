"""An explained report as one HTML file that loads nothing."""

from importlib.resources import files
from pathlib import Path

import jinja2
from markupsafe import Markup

from preprocess.errors import InputError
from preprocess.explanation import Explanation, Segment, describe_evidence
from preprocess.publish import publish


def write_explanation(out: Path, explanation: Explanation) -> Path:
    """Write the page of an explained report in one step.

    Args:
        out: The HTML file; its folder is made if missing.
        explanation: See `preprocess.explanation.explain_report`.

    Returns:
        `out`.

    Raises:
        InputError: The file cannot be written.
    """
    html = render_explanation(explanation)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        publish(out, html.encode("utf-8", errors="replace"))
    except OSError as error:
        raise InputError(f"{out}: cannot write the page: {error.strerror or error}") from error
    return out


def render_explanation(explanation: Explanation) -> str:
    """Return the page as HTML; all text is escaped, and a content security policy forbids every request and script."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ctvlp.page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = files("ctvlp.page").joinpath("style.css").read_text(encoding="utf-8")
    return environment.get_template("explanation.html.j2").render(
        explanation=explanation,
        classes=_classes,
        describe=describe_evidence,
        style=Markup(style),  # noqa: S704 (own file)
    )


def _classes(segment: Segment) -> str:
    """CSS classes of a segment: the kinds of its marks, and the assertions of its findings."""
    kinds = [mark.kind for mark in segment.marks]
    stated = [mark.label.split(": ", 1)[1].split(",")[0] for mark in segment.marks if mark.kind == "finding"]
    return " ".join(dict.fromkeys(f"is-{name}" for name in [*kinds, *stated]))
