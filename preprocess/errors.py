"""The errors that reach a user, and the closed list of reasons for which a study can fail."""

from enum import StrEnum


class Reason(StrEnum):
    """Why a study was refused; the value is what `failures.jsonl` shows."""

    UNREADABLE = "UNREADABLE"
    """A file cannot be decoded."""
    NO_VOLUME = "NO_VOLUME"
    """No series of the study is a usable axial CT volume."""
    GEOMETRY = "GEOMETRY"
    """The place of the voxels cannot be trusted: missing slices, tilt, skewed or invalid axes."""
    HU_IMPLAUSIBLE = "HU_IMPLAUSIBLE"
    """The values are not Hounsfield units."""
    MASK_MISSING = "MASK_MISSING"
    """Masks were promised, and none was found for this study."""
    MASK_MISMATCH = "MASK_MISMATCH"
    """The mask does not overlap the image, or names no known structure."""
    DUPLICATE = "DUPLICATE"
    """Two studies carry the same key."""
    SEGMENTER = "SEGMENTER"
    """The segmentation network failed."""
    TIMEOUT = "TIMEOUT"
    """The study took longer than allowed."""
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    """The study needed more memory than allowed."""
    DISK = "DISK"
    """Reading the source or writing the result failed at the file system."""
    INTERNAL = "INTERNAL"
    """A defect of this program or a library: the message has the traceback's last line, or how the process died."""


class CtvlpError(Exception):
    """Base of all errors that this project raises on purpose; the message is one clear line."""


class InputError(CtvlpError):
    """What the user gave cannot be used: the command ends with exit status 2."""


class StudyError(CtvlpError):
    """One study cannot be used; the run records it and goes on.

    Args:
        reason: Entry of the closed list.
        message: What is wrong, with values, in one line.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type["StudyError"], tuple[Reason, str]]:
        return type(self), (self.reason, str(self))


class StoreError(CtvlpError):
    """A file of the store is missing, damaged or of another schema; the message names study and anatomy."""
