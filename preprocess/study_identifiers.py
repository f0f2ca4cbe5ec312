"""What headers and report table know of each report's patient and study, so that it can be removed from the text."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pydicom

from preprocess.known_identifiers import NOTHING_KNOWN, KnownIdentifiers, identifiers_of_row, read_day
from preprocess.readers_dicom import DECODE_ERRORS
from preprocess.report_links import split_keys

logger = logging.getLogger(__name__)

# fmt: off
NAME_TAGS = (
    "PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "ReferringPhysicianName",
    "RequestingPhysician", "PerformingPhysicianName", "NameOfPhysiciansReadingStudy", "PhysiciansOfRecord",
    "OperatorsName", "ConsultingPhysicianName", "ResponsiblePerson",
)
NUMBER_TAGS = (
    "PatientID", "OtherPatientIDs", "AccessionNumber", "StudyInstanceUID", "StudyID", "AdmissionID",
    "IssuerOfPatientID", "RequestedProcedureID", "PatientTelephoneNumbers",
)
PLACE_TAGS = ("InstitutionName", "InstitutionAddress", "PatientAddress")
DATE_TAGS = ("PatientBirthDate",)
# fmt: on
READERS = 8


def known_of_reports(
    reports: pd.DataFrame, keys: Mapping[str, Sequence[str]], files: Mapping[str, Path]
) -> "pd.Series[Any]":
    """`KnownIdentifiers` of each report, in the order of the table.

    Args:
        reports: As `preprocess.reports.link_reports` gives them, with the identifiers of the table still in place.
        keys: Study to its keys and its patient's id.
        files: Study to one of its files, whose header is read; files that are not DICOM say nothing.
    """
    wanted = sorted({study for study in reports["study_id"] if isinstance(study, str) and study in files})
    with ThreadPoolExecutor(READERS) as pool:
        headers = dict(zip(wanted, pool.map(lambda study: identifiers_of_file(files[study]), wanted), strict=True))
    known: list[KnownIdentifiers] = []
    names = [str(name) for name in reports.columns if name != "study_id"]
    for study_id, *values in zip(reports["study_id"], *(reports[name] for name in names), strict=True):
        study = study_id if isinstance(study_id, str) else ""
        row = dict(zip(names, values, strict=True))
        told = (*keys.get(study, ()), *split_keys(str(row.get("link_id", ""))))
        own = KnownIdentifiers(numbers=tuple(dict.fromkeys(key for key in told if key)))
        table = identifiers_of_row(row)
        known.append(own | headers.get(study, NOTHING_KNOWN) | table)
    return pd.Series(known, index=reports.index, dtype=object)


def identifiers_of_file(path: Path) -> KnownIdentifiers:
    """Identifiers in the header of a DICOM file; nothing where it is another file or cannot be read."""
    try:
        with path.open("rb") as stream:
            start = stream.read(132)
        has_preamble = start[128:132] == b"DICM"
        if not has_preamble and start[:2] not in (b"\x08\x00", b"\x00\x08", b"\x02\x00"):
            return NOTHING_KNOWN
        tags = [*NAME_TAGS, *NUMBER_TAGS, *PLACE_TAGS, *DATE_TAGS, "SpecificCharacterSet"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, force=not has_preamble, stop_before_pixels=True, specific_tags=tags)
            found = {name: _values(dataset.get(name)) for name in tags}
    except (*DECODE_ERRORS, OSError) as error:
        logger.info("the header of a file could not be read for the names in it: %s", type(error).__name__)
        return NOTHING_KNOWN
    days = (read_day(text) for name in DATE_TAGS for text in found[name])
    return KnownIdentifiers(
        names=tuple(text for name in NAME_TAGS for text in found[name]),
        numbers=tuple(text for name in NUMBER_TAGS for text in found[name]),
        dates=tuple(day for day in days if day is not None),
        institutions=tuple(text for name in PLACE_TAGS for text in found[name]),
    )


def _values(value: object) -> list[str]:
    """The texts of an element, one or several."""
    several = value if isinstance(value, (list, pydicom.multival.MultiValue)) else [value]
    return [text for one in several if one is not None and (text := str(one).strip("\0 "))]
