"""Write what was simulated of one study: DICOM series, masks and truth, moved into place when all of it is there."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preprocess.simulate.dicom import SeriesHeader, StudyHeader, build_uid, write_series
from preprocess.simulate.identity import StudyIdentity, stream
from preprocess.simulate.mess import load_cases, make_messy
from preprocess.simulate.persona import Language
from preprocess.simulate.scanner import Protocol, SeriesPlan, expose
from preprocess.simulate.scene import BodyPlan, Lesion, Phase, Scene
from preprocess.simulate.site import SiteName
from preprocess.simulate.truth import describe_lesion, write_labels, write_voxels

UNFINISHED = ".unfinished"
BODY_PARTS = {"whole": "CHESTABDPELVIS", "chest": "CHEST", "abdomen_pelvis": "ABDOMENPELVIS"}


@dataclass(frozen=True)
class StudyJob:
    """What a worker needs to simulate one study.

    Attributes:
        identity: Who, when, and under which names.
        seed: Seed of the archive.
        site: Name of the hospital.
        prevalence: Name of the prevalence.
        out: Folder of the simulation.
        mess: Name of the case that its files are made into, or None.
        identifiers: Language of the persons and places that headers and report name, or None where they name nobody.
    """

    identity: StudyIdentity
    seed: int
    site: SiteName
    prevalence: str
    out: Path
    mess: str | None = None
    identifiers: Language | None = "en"


def write_study(
    job: StudyJob,
    protocol: Protocol,
    plan: BodyPlan,
    people: Mapping[str, str],
    scenes: Mapping[Phase, Scene],
    labels: NDArray[np.uint8],
    lesions: list[Lesion],
) -> list[dict[str, object]]:
    """Write all files into a temporary folder, then move them into place; return the lesions' rows."""
    uid = job.identity.study_uid
    work = job.out / UNFINISHED / uid
    shutil.rmtree(work, ignore_errors=True)
    affine = protocol.grid.affine.copy()
    affine[:3, 3] += protocol.offset_mm
    scene = scenes[protocol.series[0].phase]
    (work / "study").mkdir(parents=True)
    write_labels(work / "mask.nii.gz", labels, affine, scene.names)
    write_labels(work / "truth.nii.gz", scene.labels, affine, scene.names)
    write_voxels(work / "lesions.npz", lesions, scene.labels.shape, affine)
    rows = [{"study_id": uid, **describe_lesion(lesion, scene.labels.shape, affine)} for lesion in lesions]
    _write_all_series(job, protocol, _study_header(job, protocol, plan, people), scenes, work / "study")
    key = uid if job.mess is None else _make_messy(job, work)
    study = next((path for path in work.iterdir() if path.name.startswith("volume.")), work / "study")
    targets = {
        study.name: job.out / "archive" / _place(job.identity, study),
        "mask.nii.gz": job.out / "masks" / f"{key}.nii.gz",
        "truth.nii.gz": job.out / "truth" / "masks" / f"{uid}.nii.gz",
        "lesions.npz": job.out / "truth" / "lesions" / f"{uid}.npz",
    }
    for name, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        (work / name).replace(target)
    work.rmdir()
    return rows


def _make_messy(job: StudyJob, work: Path) -> str:
    """Turns the files in `work` into the job's case; the key by which the study is then known."""
    case, who = load_cases()[str(job.mess)], job.identity
    rng = stream(job.seed, job.site, "mess", who.patient, who.visit, case.name)
    primary = work / "study" / build_uid(who.study_uid, "series", 0)
    make_messy(case.name, work / "study", work / "mask.nii.gz", primary, rng)
    return who.accession if case.key == "accession" else who.study_uid


def _place(identity: StudyIdentity, study: Path) -> Path:
    """Where a study lies in the archive: in its patient's folder, or as one file named after it."""
    if study.name == "study":
        return Path(identity.patient_id) / identity.study_uid
    return Path(identity.study_uid + study.name.removeprefix("volume"))


def _write_all_series(
    job: StudyJob, protocol: Protocol, study: StudyHeader, scenes: Mapping[Phase, Scene], folder: Path
) -> None:
    order = stream(job.seed, job.site, "numbers", job.identity.patient, job.identity.visit)
    numbers = order.permutation(len(protocol.series)) + 2
    if protocol.has_localizer:
        image, affine = _localizer(scenes[protocol.series[0].phase], protocol)
        kind = ("ORIGINAL", "PRIMARY", "LOCALIZER")
        uid = build_uid(study.study_uid, "localizer")
        header = SeriesHeader(uid, 1, "Topogram", "", "", kind, 1.0, protocol.scanner.signed, False)
        write_series(folder / uid, image, affine, study, header)
    for position, (series, number) in enumerate(zip(protocol.series, numbers, strict=True)):
        noise = stream(job.seed, job.site, "noise", job.identity.patient, job.identity.visit, position)
        pixels, affine = expose(scenes[series.phase].hu.copy(), series, protocol, noise)
        header = _series_header(study, series, protocol, position, int(number))
        write_series(folder / header.series_uid, pixels, affine, study, header)


def _localizer(scene: Scene, protocol: Protocol) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """Project the body from front to back: one image (1, rows downwards, columns), and its affine."""
    image = scene.hu.mean(axis=1)[::-1]
    affine = np.eye(4)
    own = protocol.grid.affine
    affine[:3, :3] = np.stack([own[:3, 1], -own[:3, 0], own[:3, 2]], axis=1)
    rows, depth = scene.hu.shape[:2]
    affine[:3, 3] = own[:3, 3] + protocol.offset_mm + own[:3, 0] * (rows - 1) + own[:3, 1] * depth / 2
    return np.ascontiguousarray(np.rint(image[None])).astype(np.int16), affine


def _study_header(job: StudyJob, protocol: Protocol, plan: BodyPlan, people: Mapping[str, str]) -> StudyHeader:
    who = job.identity
    day = who.day
    return StudyHeader(
        study_uid=who.study_uid,
        frame_uid=build_uid(who.study_uid, "frame"),
        patient_id=who.patient_id,
        accession=who.accession,
        date=day.strftime("%Y%m%d"),
        time=who.time,
        sex=plan.sex,
        age_years=plan.age_years,
        manufacturer=protocol.scanner.manufacturer,
        model=protocol.scanner.model,
        kvp=protocol.kvp,
        body_part=BODY_PARTS[protocol.coverage],
        people=people,
    )


def _series_header(
    study: StudyHeader, series: SeriesPlan, protocol: Protocol, position: int, number: int
) -> SeriesHeader:
    return SeriesHeader(
        series_uid=build_uid(study.study_uid, "series", position),
        number=number,
        description=series.description,
        kernel=series.kernel,
        contrast="" if series.phase == "native" else "SIMULATED AGENT 300",
        image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
        thickness_mm=protocol.grid.spacing_mm[0] * series.slab * protocol.thickness_ratio,
        is_signed=protocol.scanner.signed,
        is_head_first=protocol.is_head_first_file,
    )
