"""Simulate one study: body, findings, series, masks, report, and the truth about them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from preprocess.simulate import lesions as registry
from preprocess.simulate.body import older, sample_plan
from preprocess.simulate.coverage import covered_anatomies
from preprocess.simulate.delivery import StudyJob, write_study
from preprocess.simulate.identity import StudyIdentity, stream
from preprocess.simulate.people import People, name_people
from preprocess.simulate.prevalence import draw_findings, load_prevalence
from preprocess.simulate.raster import Drawing, colour, draw
from preprocess.simulate.report import Report, Statement, write_report
from preprocess.simulate.scanner import Protocol, sample_protocol
from preprocess.simulate.scene import BodyPlan, Lesion, Phase, Scene
from preprocess.simulate.segmenter import Failure, segment_like
from preprocess.simulate.site import Site, load_site
from preprocess.simulate.tissue import vary_attenuation
from preprocess.vocabulary_files import load_anatomies, load_vocabulary


@dataclass(frozen=True)
class StudyRecord:
    """What the tables say of one study.

    Attributes:
        identity: Who, when, and under which names.
        series: Number of series, a localizer included.
        findings: Finding id to 1, 0, or None where the scan does not cover its anatomy.
        lesions: Rows of `lesions.parquet`.
        failures: What the segmenter got wrong.
        report: The report, before anybody was named in it.
        people: Whom headers and report name, and the report as it is given out.
        header: Columns that carry no label: position, noise, spacing and the like.
    """

    identity: StudyIdentity
    series: int
    findings: dict[str, int | None]
    lesions: list[dict[str, object]]
    failures: list[Failure]
    report: Report
    people: People
    header: dict[str, float | str]


@cache
def anatomy_structures() -> dict[str, tuple[str, ...]]:
    """Anatomy to its structures."""
    return {name: anatomy.structures for name, anatomy in load_anatomies("ct15").items()}


@cache
def finding_ids() -> tuple[str, ...]:
    """Ids of the 54 findings, in the vocabulary's order."""
    return tuple(finding.id for finding in load_vocabulary("ct54").findings)


@dataclass(frozen=True)
class StudyDraft:
    """A study before anything is drawn: the healthy body, how it is scanned, what it shows, and its findings.

    Attributes:
        body: The patient on that day.
        protocol: How the study is scanned.
        covered: Anatomy to the share of it inside the scan; the others are unknown.
        severities: Finding id to severity.
    """

    body: BodyPlan
    protocol: Protocol
    covered: dict[str, float]
    severities: dict[str, float]


def draft_study(job: StudyJob) -> StudyDraft:
    """Draw everything of a study that needs no voxel; each part has a generator of its own."""
    site = load_site(job.site)
    place = (job.identity.patient, job.identity.visit)
    body = _body(job, site)
    protocol = sample_protocol(stream(job.seed, site.name, "protocol", *place), site, body)
    covered = covered_anatomies(body, anatomy_structures(), *protocol.range_mm)
    rng = stream(job.seed, site.name, "findings", *place)
    return StudyDraft(body, protocol, covered, draw_findings(rng, load_prevalence(job.prevalence), site, covered))


def simulate_study(job: StudyJob) -> StudyRecord:
    """Simulate one study and move its finished files into place.

    Raises:
        OSError: The files cannot be written.
    """
    draft = draft_study(job)
    protocol, covered = draft.protocol, draft.covered
    place = (job.seed, job.site, job.identity.patient, job.identity.visit)
    plan = _reshape(job, draft.body, draft.severities)
    drawing = draw(plan, protocol.grid, stream(*place, "texture"))
    phases = dict.fromkeys(series.phase for series in protocol.series)
    scenes = {phase: _paint(job, drawing, phase, draft.severities) for phase in phases}
    scene, lesions = scenes[protocol.series[0].phase]
    labels, failures = segment_like(scene, lesions, stream(*place, "segmenter"))
    report = write_report(
        [_statement(lesion) for lesion in lesions],
        covered=sorted(covered),
        site=job.site,
        rng=stream(*place, "report"),
    )
    people = name_people(
        job.identity,
        report.text,
        age_years=plan.age_years,
        seed=job.seed,
        site=job.site,
        language=job.identifiers,
    )
    pictures = {phase: scene for phase, (scene, _) in scenes.items()}
    rows = write_study(job, protocol, plan, people.headers, pictures, labels, lesions)
    drawn = {lesion.finding for lesion in lesions}
    truth = {f: int(f in drawn) if f.split(".")[0] in covered else None for f in finding_ids()}
    series = len(protocol.series) + int(protocol.has_localizer)
    header = describe_header(plan, protocol, job.identity)
    return StudyRecord(job.identity, series, truth, rows, failures, report, people, header)


def _body(job: StudyJob, site: Site) -> BodyPlan:
    """Draw the patient, as old and as enhanced as at this study."""
    plan = sample_plan(stream(job.seed, site.name, "body", job.identity.patient), site)
    rng = stream(job.seed, site.name, "timing", job.identity.patient, job.identity.visit)
    varied = vary_attenuation(plan, rng, timing_sd=site.timing_sd, tissue_sd_hu=site.tissue_sd_hu)
    return older(varied, job.identity.years)


def _finding_stream(job: StudyJob, finding: str) -> np.random.Generator:
    """Return a fresh generator of one finding: shaper and painter of every series start from the same state."""
    return stream(job.seed, job.site, "finding", job.identity.patient, job.identity.visit, finding)


def _reshape(job: StudyJob, plan: BodyPlan, severities: Mapping[str, float]) -> BodyPlan:
    for finding, shape in registry.shapers(job.site).items():
        if finding in severities:
            plan = shape(plan, severities[finding], _finding_stream(job, finding)).plan
    return plan


def _paint(
    job: StudyJob, drawing: Drawing, phase: Phase, severities: Mapping[str, float]
) -> tuple[Scene, list[Lesion]]:
    """Paint the findings of one phase, in the registry's order; a finding that finds no place is left out."""
    scene = colour(drawing, phase)
    lesions = []
    for finding, paint in registry.painters(job.site).items():
        if finding in severities:
            lesion = paint(scene, severities[finding], _finding_stream(job, finding))
            if lesion is not None and len(lesion.voxels):
                lesions.append(lesion)
    return scene, lesions


def _statement(lesion: Lesion) -> Statement:
    return Statement(lesion.finding, lesion.severity, lesion.side, lesion.part, lesion.size_mm)


def describe_header(plan: BodyPlan, protocol: Protocol, who: StudyIdentity) -> dict[str, float | str]:
    """Return what is known of a study without its organs; none of it may carry a label."""
    z, y, x = protocol.grid.spacing_mm
    slices, rows, columns = protocol.grid.shape
    left, back, head = protocol.offset_mm.tolist()
    primary = protocol.series[0]
    return {
        "index": who.index, "visit": who.visit, "ordinal_day": who.day.toordinal(), "time": int(who.time),
        "patient_number": int(who.patient_id[1:10]), "uid_tail": int(who.study_uid[-6:]),
        "accession": int(who.accession[:8]), "age_years": plan.age_years, "is_woman": int(plan.sex == "F"),
        "spacing_z": z, "spacing_y": y, "spacing_x": x, "slices": slices, "rows": rows, "columns": columns,
        "offset_l": left, "offset_p": back, "offset_s": head, "noise_hu": primary.noise_hu, "blur": primary.blur,
        "kvp": protocol.kvp, "series": len(protocol.series), "has_localizer": int(protocol.has_localizer),
        "has_circle": int(protocol.has_circle), "is_head_first": int(protocol.is_head_first_file),
        "manufacturer": protocol.scanner.manufacturer, "phase": primary.phase, "coverage": protocol.coverage,
    }  # fmt: skip
