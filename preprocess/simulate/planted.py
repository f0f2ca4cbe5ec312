"""Plants identifiers into simulated reports: names, days, numbers and places, in English and German wording."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from preprocess.simulate.persona import Language, Persona, pick, read_names
from preprocess.simulate.site import SiteName

SLOT = re.compile(r"\{(\w+)\}")
_ENGLISH = "January;February;March;April;May;June;July;August;September;October;November;December"
_GERMAN = "Januar;Februar;März;April;Mai;Juni;Juli;August;September;Oktober;November;Dezember"
MONTHS = {"en": _ENGLISH.split(";"), "de": _GERMAN.split(";")}
PATIENT_FORMS = ("{g} {f}", "{f}, {g}", "{F}, {G}", "{G} {F}", "{i}. {f}", "{g} {f}", "{f} {g}", "{F}^{G}")


@dataclass(frozen=True)
class Planted:
    """One identifier in a report.

    Attributes:
        kind: name, date, id, contact, address or institution.
        known: Whether headers or table name it.
        written: As it stands in the report.
        telling: The pieces of it that must not be left.
    """

    kind: str
    known: bool
    written: str
    telling: tuple[str, ...]


def plant_identifiers(
    text: str, persona: Persona, rng: np.random.Generator, *, site: SiteName = "A", language: Language = "en"
) -> tuple[str, tuple[Planted, ...]]:
    """Plant identifiers into a report: lines above it, sentences between its sentences, a signature below.

    Args:
        text: The report.
        persona: Who it belongs to.
        rng: The only source of chance.
        site: Whose wording; the rules were written without that of "B".
        language: Of the planted wording.

    Returns:
        The new report, and what was planted.
    """
    scribe = _Scribe(persona, rng, site, language)
    wording = read_names(site, language)
    above = [scribe.write(line) for line in _some(wording["header"], int(rng.integers(1, 4)), rng)]
    within = [scribe.write(line) for line in _some(wording["inline"], int(rng.integers(1, 4)), rng)]
    below = [scribe.write(line) for line in _some(wording["signature"], 1, rng)]
    ends = [match.end() for match in re.finditer(r"[a-z]{3}\.(?= [A-Z])", text)] or [len(text)]
    places = sorted((pick(ends, rng) for _ in within), reverse=True)
    for place, sentence in zip(places, within, strict=True):
        text = f"{text[:place]} {sentence}{text[place:]}"
    return "\n".join([*above, text, *below]), tuple(scribe.planted)


def left_over(planted: Planted, cleaned: str, original: str) -> tuple[str, ...]:
    """Telling pieces of a planted identifier that a cleaned report holds more often than the report before planting."""
    return tuple(piece for piece in planted.telling if _count(piece, cleaned) > _count(piece, original))


def _count(piece: str, text: str) -> int:
    return len(re.findall(rf"(?<!\w){re.escape(piece)}(?!\w)", text, re.IGNORECASE))


class _Scribe:
    """Fills templates and remembers what it wrote."""

    def __init__(self, persona: Persona, rng: np.random.Generator, site: SiteName, language: Language) -> None:
        self.persona, self.rng, self.language = persona, rng, language
        self.words = read_names(site, language)
        self.planted: list[Planted] = []

    def write(self, template: str) -> str:
        """Return a template with its slots filled."""
        return SLOT.sub(lambda slot: self._fill(slot[1]), template)

    def _fill(self, slot: str) -> str:
        if slot in ("rank", "form"):
            return pick(self.words[f"{slot}s"], self.rng)
        kind, known, written, telling = _SLOTS[slot](self)
        self.planted.append(Planted(kind, known, written, telling))
        return written

    def patient(self, forms: Sequence[str] = PATIENT_FORMS) -> tuple[str, bool, str, tuple[str, ...]]:
        """The patient's name in any order and case."""
        return "name", True, *_named(self.persona.given, self.persona.family, pick(forms, self.rng))

    def part(self, given: bool) -> tuple[str, bool, str, tuple[str, ...]]:
        """One part of the patient's name."""
        name = self.persona.given if given else self.persona.family
        return "name", True, name, telling_words(name)

    def referrer(self, plain: bool) -> tuple[str, bool, str, tuple[str, ...]]:
        """The referring physician, without a rank if plain."""
        forms = ("{g} {f}", "{f}") if plain else ("Dr. {g} {f}", "{g} {f}", "Dr. {f}", "{f}, {g}")
        form = pick(forms, self.rng)
        return "name", True, *_named(*self.persona.referrer, form)

    def person(self, form: str) -> tuple[str, bool, str, tuple[str, ...]]:
        """Somebody nobody knows of."""
        given, family = pick(self.words["given"], self.rng), pick(self.words["family"], self.rng)
        return "name", False, *_named(given, family, form)

    def day(self, born: bool) -> tuple[str, bool, str, tuple[str, ...]]:
        """A day: of birth, or one around the study."""
        day = self.persona.born if born else self.persona.day - timedelta(days=int(self.rng.integers(0, 900)))
        written = self._day(day)
        return "date", born, written, (written, f"{day:%Y}")

    def moment(self) -> tuple[str, bool, str, tuple[str, ...]]:
        """A day with its time."""
        _, _, day, telling = self.day(False)
        clock = f"{self.rng.integers(0, 24):02d}:{self.rng.integers(0, 60):02d}"
        glue = {"en": (" at ", " ", ", "), "de": (" um ", ", ", " ")}[self.language]
        unit = {"en": "", "de": " Uhr"}[self.language] if self.rng.random() < 0.5 else ""
        return "date", False, f"{day}{pick(glue, self.rng)}{clock}{unit}", (*telling, clock)

    def month_year(self) -> tuple[str, bool, str, tuple[str, ...]]:
        """A month with its year."""
        day = self.persona.day - timedelta(days=int(self.rng.integers(100, 2000)))
        written = f"{MONTHS[self.language][day.month - 1]} {day.year}" if self.rng.random() < 0.6 else f"{day:%m/%Y}"
        return "date", False, written, (written, f"{day:%Y}")

    def year(self) -> tuple[str, bool, str, tuple[str, ...]]:
        """A year alone."""
        written = f"{self.persona.day.year - int(self.rng.integers(1, 30))}"
        return "date", False, written, (written,)

    def social(self) -> tuple[str, bool, str, tuple[str, ...]]:
        """A social security number."""
        written = f"{self.rng.integers(100, 900)}-{self.rng.integers(10, 100)}-{self.rng.integers(1000, 10000)}"
        return "id", False, written, (written,)

    def _day(self, day: date) -> str:
        month = MONTHS[self.language][day.month - 1]
        forms = [f"{day:%Y-%m-%d}", f"{day:%d.%m.%Y}", f"{day.day}.{day.month}.{day:%y}", f"{day:%d.%m.%y}"]
        if self.language == "en":
            forms += [
                f"{month} {day.day}, {day.year}",
                f"{day:%m/%d/%Y}",
                f"{day:%m/%d/%y}",
                f"{day.day} {month} {day.year}",
            ]
            forms += [
                f"{day:%d}-{month[:3].upper()}-{day.year}",
                f"{month[:3]} {day.day}, {day.year}",
                f"{day:%d/%m/%Y}",
            ]
        else:
            forms += [
                f"{day.day}. {month} {day.year}",
                f"{day:%d}. {month} {day.year}",
                f"{day.day}.{day.month}.{day.year}",
            ]
        return pick(forms, self.rng)

    def number(self, value: str | None) -> tuple[str, bool, str, tuple[str, ...]]:
        """A number of the study, or one nobody knows of."""
        if value is not None:
            return "id", True, value, (value,)
        digits = "".join(map(str, self.rng.integers(0, 10, size=int(self.rng.integers(5, 11)))))
        written = pick((digits, f"A{digits}", f"{digits[:3]}-{digits[3:]}", f"RAD-{digits}", f"{digits}/24"), self.rng)
        return "id", False, written, (written, digits)

    def phone(self, short: bool = False) -> tuple[str, bool, str, tuple[str, ...]]:
        """A telephone number, or an extension."""
        a, b, c = (str(self.rng.integers(low, 10 * low)) for low in (100, 1000, 10000))
        if short:
            return "contact", False, b, (b,)
        forms = {
            "en": (f"({a}) {a}-{b}", f"{a}-{a}-{b}", f"+1 {a} {a} {b}", f"+44 20 {b} {b}"),
            "de": (f"0{a}/{c}", f"0{a} {c}-{b}", f"+49 {a} {c}-0", f"(0{a}) {c}{a}", f"0{a}-{c}"),
        }
        written = pick(forms[self.language], self.rng)
        return "contact", False, written, (written, c if c in written else b)

    def mail(self, link: bool) -> tuple[str, bool, str, tuple[str, ...]]:
        """A mail address or a link."""
        domain, name = pick(self.words["domains"], self.rng), _plain(pick(self.words["family"], self.rng))
        written = f"https://www.{domain}/pacs?study={self.rng.integers(1000, 9999)}" if link else f"{name}@{domain}"
        return "contact", False, written, (written, domain)

    def address(self) -> tuple[str, bool, str, tuple[str, ...]]:
        """A street with its number and a town with its postal code."""
        street, town, number = (
            pick(self.words["streets"], self.rng),
            pick(self.words["towns"], self.rng),
            int(self.rng.integers(1, 300)),
        )
        if self.language == "en":
            street = f"{street} {pick(self.words['street_kinds'], self.rng)}"
            return "address", False, f"{number} {street}, {town}", (street, town)
        return "address", False, f"{street} {number}, {town}", (f"{street} {number}", town)

    def hospital(self, known: bool) -> tuple[str, bool, str, tuple[str, ...]]:
        """The study's hospital or another."""
        name = self.persona.institution if known else pick(self.words["hospitals"], self.rng)
        return "institution", known, name, (name,)


_SLOTS: Mapping[str, Callable[[_Scribe], tuple[str, bool, str, tuple[str, ...]]]] = {
    "patient": _Scribe.patient,
    "given": lambda scribe: scribe.part(True),
    "family": lambda scribe: scribe.part(False),
    "referrer": lambda scribe: scribe.referrer(False),
    "referrer_plain": lambda scribe: scribe.referrer(True),
    "family_comma": lambda scribe: scribe.patient(("{f}, {g}",)),
    "year": _Scribe.year,
    "ssn": _Scribe.social,
    "person": lambda scribe: scribe.person("{g} {f}"),
    "surname": lambda scribe: scribe.person("{f}"),
    "initialled": lambda scribe: scribe.person("{i}. {f}"),
    "family_first": lambda scribe: scribe.person("{f}, {g}"),
    "birth": lambda scribe: scribe.day(True),
    "date": lambda scribe: scribe.day(False),
    "moment": _Scribe.moment,
    "month_year": _Scribe.month_year,
    "mrn": lambda scribe: scribe.number(scribe.persona.patient_id),
    "accession": lambda scribe: scribe.number(scribe.persona.accession),
    "uid": lambda scribe: scribe.number(scribe.persona.study_uid),
    "number": lambda scribe: scribe.number(None),
    "phone": _Scribe.phone,
    "extension": lambda scribe: scribe.phone(True),
    "mail": lambda scribe: scribe.mail(False),
    "link": lambda scribe: scribe.mail(True),
    "address": _Scribe.address,
    "hospital": lambda scribe: scribe.hospital(False),
    "institution": lambda scribe: scribe.hospital(True),
}


def _named(given: str, family: str, form: str) -> tuple[str, tuple[str, ...]]:
    """A name in a form, and its telling words."""
    written = form.format(g=given, f=family, G=given.upper(), F=family.upper(), i=given[0])
    has_given = "{g}" in form or "{G}" in form
    return written, (*telling_words(family), *(telling_words(given) if has_given else ()))


def telling_words(name: str) -> tuple[str, ...]:
    """Words of a name without its particles."""
    return tuple(word for word in name.split() if word[0].isupper())


def _plain(name: str) -> str:
    """A name as it stands in a mail address."""
    return re.sub(r"[^a-z]", "", name.lower()) or "info"


def _some(options: tuple[str, ...], count: int, rng: np.random.Generator) -> list[str]:
    return [options[int(index)] for index in rng.permutation(len(options))[:count]]
