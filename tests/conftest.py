"""Fixtures for all tests."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("steady", derandomize=True, database=None)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data; tests that need it are skipped where it is not there."""
    fallback = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CTVLP_SHARED_DATA", fallback))
    if not (folder / "real_ct").is_dir():
        pytest.skip(f"no real data at {folder}; set CTVLP_SHARED_DATA")
    return folder
