"""Which simulator made a figure: its version, and a digest of its source and data."""

import hashlib
from functools import cache
from pathlib import Path

SIMULATOR_VERSION = "0.1.0"
"""Raised with every change that alters what is simulated, once figures made with it are published."""


@cache
def simulator_digest() -> str:
    """Return 16 hex digits over the simulator's code and data files, and the data of the vocabulary that it draws."""
    here = Path(__file__).parent
    files = [*here.glob("*.py"), *here.glob("*.yaml")]
    files += [here.parent / "data" / name for name in ("structures.yaml", "anatomies_ct15.yaml", "findings_ct54.yaml")]
    digest = hashlib.sha256()
    for path in sorted(files, key=lambda path: path.name):
        content = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{path.name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]
