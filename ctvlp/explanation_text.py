"""An explained report in words for the terminal, with or without colours."""

from collections.abc import Iterator

from preprocess.explanation import ExplainedSentence, Explanation, Segment, describe_evidence

RESET = "\x1b[0m"
STYLES = {"anatomy": "\x1b[36m", "elsewhere": "\x1b[2;36m", "cue": "\x1b[4m", "sign": "\x1b[3m", "side": "\x1b[34m"}
"""Escape codes: cyan anatomies, underlined cues, italic signs, blue sides; findings are bold, coloured by state."""
ASSERTIONS = {"positive": "\x1b[1;31m", "negative": "\x1b[1;32m", "uncertain": "\x1b[1;33m"}
OTHER = "\x1b[1;35m"


def format_explanation(explanation: Explanation, *, colour: bool) -> str:
    """Return the report sentence by sentence with what each led to, then each anatomy.

    Args:
        explanation: See `preprocess.explanation.explain_report`.
        colour: Mark recognised words by escape codes; without, they stand in brackets.
    """
    count = len(explanation.sentences)
    lines = [
        f"vocabulary {explanation.vocabulary}, language {explanation.language}, "
        f"{explanation.matched} of {count} sentences matched"
    ]
    section = None
    for explained in explanation.sentences:
        if explained.sentence.section != section:
            section = explained.sentence.section
            lines += ["", section]
        lines += _sentence(explained, colour)
    lines += ["", "anatomies"]
    for anatomy in explanation.anatomies:
        lines.append(f"  {anatomy.title:<16}{anatomy.status:<12}{anatomy.canonical}")
        if anatomy.text:
            lines.append(f"  {'':<28}{printable(anatomy.text)}")
    lines += [f"  {name}: {state}" for name, state in explanation.elsewhere.items()]
    if explanation.unmentioned:
        lines.append(f"  not mentioned: {', '.join(explanation.unmentioned)}")
    return "\n".join(lines)


def printable(text: str) -> str:
    """Return a text on one line without control characters, which could steer the terminal."""
    return "".join(char if char.isprintable() else " " if char.isspace() else "\ufffd" for char in text)


def _sentence(explained: ExplainedSentence, colour: bool) -> Iterator[str]:
    shown = "".join(_segment(segment, colour) for segment in explained.segments)
    yield f"{explained.sentence.index + 1:>4}  {shown if colour else _bracketed(explained)}"
    for evidence in explained.evidence:
        yield f"      > {describe_evidence(evidence)}   [{evidence.rule}]"
    if not explained.evidence and explained.sentence.anatomies:
        carried = "" if explained.sentence.matched else ", only because spoken of before"
        yield f"      > {', '.join(explained.sentence.anatomies)}{carried}"
    if not explained.sentence.matched:
        yield "      > not matched"


def _segment(segment: Segment, colour: bool) -> str:
    text = printable(segment.text)
    if not colour or not segment.marks or text.isspace():
        return text
    codes = [STYLES[mark.kind] for mark in segment.marks if mark.kind != "finding"]
    for mark in segment.marks:
        if mark.kind == "finding":
            assertion = mark.label.split(": ", 1)[1].split(",")[0]
            codes.append(ASSERTIONS.get(assertion, OTHER))
    return f"{''.join(codes)}{text}{RESET}"


def _bracketed(explained: ExplainedSentence) -> str:
    """The sentence with brackets round every stretch of recognised words."""
    shown, inside = [], False
    for segment in explained.segments:
        if bool(segment.marks) != inside:
            inside = bool(segment.marks)
            shown.append("[" if inside else "]")
        shown.append(printable(segment.text))
    return "".join([*shown, "]" if inside else ""])
