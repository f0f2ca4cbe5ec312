"""What a report says of an anatomy as one English sentence, so that reports of every language and style read alike.

The sentence states status, findings, sides, sizes and doubt, and nothing that depends on how a report was dictated:
denied findings are left out, since which of them a report denies is a habit of its author.
"""

from collections.abc import Iterable
from math import floor

from preprocess.reading import Evidence, ReportReading
from preprocess.vocabulary import Vocabulary

STATED = {"abnormal": "is abnormal", "uncertain": "may be abnormal"}
SIDES = {"left": " on the left", "right": " on the right", "both": " on both sides"}


def canonical_text(anatomy: str, reading: ReportReading, vocabulary: Vocabulary) -> str:
    """Render what was read of one anatomy.

    Args:
        anatomy: Its name.
        reading: The report's reading with this vocabulary.
        vocabulary: Gives the anatomy's title and the findings' names and order.

    Returns:
        One sentence, such as "The kidney is abnormal: renal cyst on the left (12 mm), possibly hydronephrosis.";
        empty where the anatomy is unmentioned. Equal readings give equal sentences.
    """
    title, status = vocabulary.anatomies[anatomy].title, reading.anatomies[anatomy].status
    if status == "normal":
        return normal_text(title)
    if status == "removed":
        return f"The {title} has been removed."
    if status not in STATED:
        return ""
    stated = STATED[status]
    certain, doubtful = [], []
    for finding in vocabulary.of(anatomy):
        label = reading.labels[finding.id]
        if label not in (1, -1):
            continue
        is_certain = label == 1 and status == "abnormal"
        counted = ("positive",) if is_certain else ("positive", "uncertain")
        mentions = [e for e in reading.evidence if e.finding == finding.id and e.assertion in counted]
        described = finding.name + _qualified(mentions)
        if is_certain:
            certain.append(described)
        else:
            doubtful.append(f"possibly {described}")
    named = ", ".join([*certain, *doubtful])
    return f"The {title} {stated}{': ' if named else ''}{named}."


def normal_text(title: str) -> str:
    """Return the sentence that calls an anatomy normal, from its title."""
    return f"The {title} is unremarkable."


def vague_texts(title: str) -> tuple[str, ...]:
    """Return the sentences that call an anatomy abnormal without saying why, so that two of them need not agree."""
    return tuple(f"The {title} {stated}." for stated in STATED.values())


def _qualified(mentions: Iterable[Evidence]) -> str:
    """Side and size of a finding over all its mentions: the largest diameter, in whole millimetres."""
    kept = [mention for mention in mentions if not mention.overridden]
    sides = {mention.side for mention in kept if mention.side is not None}
    side = SIDES["both"] if len(sides) > 1 else SIDES.get(next(iter(sides), ""), "")
    sizes = {max(1, floor(mention.size_mm + 0.5)) for mention in kept if mention.size_mm is not None}
    size = f" ({'up to ' if len(sizes) > 1 else ''}{max(sizes)} mm)" if sizes else ""
    return side + size
