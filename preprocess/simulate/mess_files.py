"""Messy cases of files and folders: names, places, clutter, damage and copies; no header is changed."""

import shutil
from pathlib import Path

from pydicom.fileset import FileSet

from preprocess.simulate.messy_study import MessyStudy, all_files, change_headers, ct_folders, read_slices, remove

_PREAMBLE = 132


def dicomdir(study: MessyStudy) -> None:
    """A DICOM file-set: DICOMDIR, and files without suffix in folders of its own scheme."""
    files = FileSet()
    for path in all_files(study):
        files.add(path)
    work = study.folder.with_name("fileset")
    files.write(work)
    shutil.rmtree(study.folder)
    work.replace(study.folder)


def one_folder(study: MessyStudy) -> None:
    """All series in one folder, under names in no order."""
    paths = all_files(study)
    for path, number in zip(paths, study.rng.permutation(len(paths)).tolist(), strict=True):
        path.rename(study.folder / f"{number:06d}.dcm")
    _remove_empty_folders(study.folder)


def deep_folders(study: MessyStudy) -> None:
    """Folders within folders, with blanks, umlauts and punctuation in their names."""
    for number, path in enumerate(all_files(study)):
        target = study.folder / "Röntgen, Fälle = 1" / f"Ablage {number % 3}" / path.parent.name / "a" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    _remove_empty_folders(study.folder)


def no_suffix(study: MessyStudy) -> None:
    """Files without suffix."""
    for path in all_files(study):
        path.rename(path.with_suffix(""))


def odd_suffix(study: MessyStudy) -> None:
    """Files that end in numbers, as UIDs in names do."""
    for number, path in enumerate(all_files(study)):
        path.rename(path.with_name(f"CT.1.2.{number}.512"))


def no_preamble(study: MessyStudy) -> None:
    """Files without the 128 bytes and the letters DICM at their head."""
    for path in all_files(study):
        path.write_bytes(path.read_bytes()[_PREAMBLE:])


def clutter(study: MessyStudy) -> None:
    """Files of other programs, with and without content."""
    folder = ct_folders(study)[0]
    content = {
        "Thumbs.db": b"\xd0\xcf\x11\xe0" * 40,
        "readme.txt": b"exported on request\n",
        "viewer.exe": b"MZ" + b"\0" * 400,
        "empty": b"",
        "export.xml": b"<?xml version='1.0'?><export/>",
        "image.jpg": b"\xff\xd8\xff\xe0" + b"\x10" * 300,
        "looks_like_it": b"\x08\x00" + b"no DICOM at all " * 30,
        ".DS_Store": b"\0" * 64,
    }
    for name, data in content.items():
        (folder / name).write_bytes(data)


def copied_files(study: MessyStudy) -> None:
    """Every file twice, the copy in another folder."""
    for path in all_files(study):
        target = study.folder / "Kopie" / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def zero_bytes(study: MessyStudy) -> None:
    """One slice inside each CT series is a file of no bytes."""
    for path in _inner_slices(study):
        path.write_bytes(b"")


def cut_short(study: MessyStudy) -> None:
    """One slice inside each CT series ends in the middle of its pixels."""
    for path in _inner_slices(study):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) * 3 // 4])


def headers_only(study: MessyStudy) -> None:
    """No slice has pixels."""

    def empty(file: object) -> None:
        del file.PixelData  # type: ignore[attr-defined]

    change_headers(study, empty)


def missing_slice(study: MessyStudy) -> None:
    """One slice inside each CT series is missing."""
    remove(_inner_slices(study))


def _inner_slices(study: MessyStudy) -> list[Path]:
    """A slice in the middle third of each CT series."""
    found = []
    for folder in ct_folders(study):
        paths = read_slices(folder).paths
        found.append(paths[int(study.rng.integers(len(paths) // 3, 2 * len(paths) // 3))])
    return found


def _remove_empty_folders(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
