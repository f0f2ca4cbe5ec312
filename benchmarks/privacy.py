"""Measure what the removal of identifiers finds, and what it changes without need.

    python -m benchmarks.privacy [--data FOLDER] [--simulated 2000] [--seed 1] [--site A|B] [--show 0]

Identifiers are planted into simulated reports and, where FOLDER (by default, CTVLP_SHARED_DATA) holds
`reports/ct_rate_labelled.csv`, into those; half of the reports in English wording, half in German. An identifier
counts as found when none of its telling pieces is left. The other figures come from the real reports as they are: the
share of words that are changed, and how many labels of the report reader change. Counts and shares are printed, and no
text unless --show asks for that many misses.
"""

import argparse
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from preprocess.deidentify import Deidentifier
from preprocess.known_identifiers import KnownIdentifiers
from preprocess.report_reader import build_reader
from preprocess.reports import read_report_table
from preprocess.simulate.identity import draw_identities, stream
from preprocess.simulate.persona import Language, Persona, draw_persona
from preprocess.simulate.planted import Planted, left_over, plant_identifiers
from preprocess.simulate.report import Statement, write_report
from preprocess.simulate.site import SiteName, load_site
from preprocess.simulate.wording import load_wording
from preprocess.vocabulary_files import load_vocabulary

LANGUAGES: tuple[Language, ...] = ("en", "de")


def simulated_reports(count: int, seed: int) -> Iterator[str]:
    """Yield reports of both sites' wording."""
    for index in range(count):
        site, rng = "AB"[index % 2], stream(seed, "privacy", index)
        wording = load_wording(site)
        covered = [name for name in wording.anatomies if rng.random() < 0.85]
        drawn = [name for name in wording.findings if name.split(".")[0] in covered and rng.random() < 0.1]
        statements = [Statement(name, float(rng.random()), size_mm=float(rng.integers(4, 60))) for name in drawn]
        yield write_report(statements, covered=covered, site=site, rng=rng).text


def known_of(persona: Persona) -> KnownIdentifiers:
    """What headers and report table say of a study."""
    return KnownIdentifiers(
        names=(persona.dicom_name, persona.dicom_referrer),
        numbers=(persona.patient_id, persona.accession, persona.study_uid),
        dates=(persona.born,),
        institutions=(persona.institution,),
    )


def planted_reports(
    texts: Sequence[str], seed: int, site: SiteName
) -> Iterator[tuple[str, str, tuple[Planted, ...], Persona]]:
    """Yield each report as it was, the planted one, what was planted, and whose it is."""
    for identity, text in zip(draw_identities(len(texts), seed, load_site("A")), texts, strict=True):
        rng = stream(seed, "planted", identity.index)
        language = LANGUAGES[identity.index % 2]
        persona = draw_persona(identity, stream(seed, "patient", identity.patient), rng, site=site, language=language)
        planted, identifiers = plant_identifiers(text, persona, rng, site=site, language=language)
        yield text, planted, identifiers, persona


def measure_recall(texts: Sequence[str], seed: int, site: SiteName, show: int) -> None:
    """Print how many planted identifiers were removed, by kind."""
    deidentifier, reader = Deidentifier(), build_reader(load_vocabulary("ct54"))
    counts: Counter[tuple[str, bool, bool]] = Counter()
    misses: list[tuple[Planted, tuple[str, ...]]] = []
    labels: Counter[bool] = Counter()
    for index, (text, planted, identifiers, persona) in enumerate(planted_reports(texts, seed, site)):
        cleaned = deidentifier.apply(planted, known_of(persona)).text
        for identifier in identifiers:
            left = left_over(identifier, cleaned, text)
            counts[identifier.kind, identifier.known, not left] += 1
            if left:
                place = planted.find(identifier.written)
                misses.append((identifier, (*left, planted[max(0, place - 40) : place + 60])))
        if index % 4 == 0:
            before, after = reader.read(text).labels, reader.read(cleaned).labels
            labels.update(before[name] == after[name] for name in before)
    total = sum(counts.values())
    for kind, known in sorted({(kind, known) for kind, known, _ in counts}):
        found, missed = counts[kind, known, True], counts[kind, known, False]
        print(f"{kind:12s} {'known' if known else 'by rule':8s} {found / (found + missed):8.4f}  of {found + missed}")
    print(f"{'all':21s} {1 - len(misses) / total:8.4f}  of {total} in {len(texts)} reports")
    print(f"labels that differ from those of the report before planting: {labels[False]} of {labels.total()}")
    for identifier, left in misses[:show]:
        print(f"missed {identifier.kind} {identifier.written!r}: {left}")


def measure_change(texts: Sequence[str]) -> None:
    """Print what removing changes in real reports, in which nothing was planted."""
    deidentifier, reader = Deidentifier(), build_reader(load_vocabulary("ct54"))
    words = sum(len(text.split()) for text in texts)
    replaced: Counter[str] = Counter()
    touched: Counter[str] = Counter()
    start = time.process_time()
    cleaned = [deidentifier.apply(text) for text in texts]
    seconds = time.process_time() - start
    for text, clean in zip(texts, cleaned, strict=True):
        replaced.update(clean.replaced)
        for begin, end, kind in deidentifier.find(text):
            touched[kind] += len(text[begin:end].split())
    changed = [(a, b.text) for a, b in zip(texts, cleaned, strict=True) if a != b.text]
    differing = compared = 0
    for before, after in changed:
        first, second = reader.read(before).labels, reader.read(after).labels
        differing += sum(first[name] != second[name] for name in first)
    compared = len(texts) * len(load_vocabulary("ct54").findings)
    print(f"{len(texts)} real reports, {len(changed)} changed; replaced {dict(sorted(replaced.items()))}")
    others = touched.total() - touched["date"]
    print(f"words changed: {touched.total() / words:.5f}; other than dates: {others / words:.6f}")
    print(f"labels changed: {differing} of {compared}")
    print(f"{len(texts) / seconds:.0f} reports a second on one core")


def main() -> None:
    """Print the measures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("CTVLP_SHARED_DATA", "../shared/data"))
    parser.add_argument("--simulated", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--site", choices=["A", "B"], default="A")
    parser.add_argument("--show", type=int, default=0)
    arguments = parser.parse_args()
    table = Path(arguments.data) / "reports" / "ct_rate_labelled.csv"
    simulated = list(simulated_reports(arguments.simulated, arguments.seed))
    print("planted into simulated reports")
    measure_recall(simulated, arguments.seed, arguments.site, arguments.show)
    if table.is_file():
        texts = list(read_report_table(table, id_column="AccessionNo", text_column="report_text")["text"])
        print("planted into real reports")
        measure_recall(texts, arguments.seed + 1, arguments.site, arguments.show)
        print("nothing planted")
        measure_change(texts)


if __name__ == "__main__":
    main()
