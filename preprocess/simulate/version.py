"""Which simulator made a figure: its version, and a digest of its source and data."""

import hashlib
import json
from functools import cache
from pathlib import Path

from preprocess.vocabulary_files import load_vocabulary

SIMULATOR_VERSION = "0.2.0"
"""Raised with every change that alters what is simulated, once figures made with it are published."""


@cache
def simulator_digest() -> str:
    """Return 16 hex digits over the simulator's code and data files, and what it takes from the vocabulary.

    From the vocabulary it takes findings and the structures of anatomies; words and prompts do not enter.
    """
    here = Path(__file__).parent
    files = [*here.glob("*.py"), *here.glob("*.yaml"), here.parent / "data" / "structures.yaml"]
    vocabulary = load_vocabulary("ct54")
    drawn = [
        [finding.id for finding in vocabulary.findings],
        {name: anatomy.parts for name, anatomy in vocabulary.anatomies.items()},
    ]
    digest = hashlib.sha256(json.dumps(drawn).encode())
    for path in sorted(files, key=lambda path: path.name):
        content = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{path.name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]
