"""Clauses whose right answer is known: a language model that fails on them is not let near a report.

A model may be too small for the question, or not tuned to follow one; it would still answer, and its errors would
become labels. The clauses state or deny findings of the vocabulary in the plainest words, and among them are remarks
that say nothing.
"""

from preprocess.model_answers import Choice
from preprocess.vocabulary import Vocabulary

FINDINGS = 24
"""About as many are asked about, spread evenly over the vocabulary."""

LEAST_RIGHT = 0.75
"""Share of right answers below which a model is refused."""

REMARKS = ("Please compare with earlier examinations", "The examination was tolerated well", "Dictated but not read")


def build_controls(vocabulary: Vocabulary) -> dict[str, Choice]:
    """Return clauses and what they state: every other finding is denied."""
    controls = {remark: Choice(None, None, "") for remark in REMARKS}
    step = max(len(vocabulary.findings) // FINDINGS, 1)
    for number, finding in enumerate(vocabulary.findings[::step]):
        words, says = ("No evidence of {}", "negative") if number % 2 else ("Evidence of {}", "positive")
        controls[words.format(finding.name)] = Choice(finding.anatomy, finding.id, says)
    return controls
