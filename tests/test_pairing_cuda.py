"""The CUDA kernel of the pairing: in numba's simulator everywhere, on a GPU where there is one."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_pairing import CASES, MODES, draw

from ctvlp.pairing import pairing_targets

SIMULATED = """
import pickle
import sys
from pathlib import Path
import numpy as np
from ctvlp import pairing_cuda
pairing_cuda.THREADS = 4
path = Path(sys.argv[1])
found = {}
for key, (arrays, settings) in pickle.loads(path.read_bytes()).items():
    out = np.full((len(arrays[0]),) * 2, np.nan, np.float32)
    pairing_cuda.fill_targets(*arrays, out, **settings, stream=0)
    found[key] = out
path.write_bytes(pickle.dumps(found))
"""
ABSENT = {
    "findings": np.zeros(0, np.uint64),
    "peer_cosine": np.zeros((0, 0), np.float32),
    "exclude": np.zeros((0, 0), np.bool_),
}
OPTIONS = {"overlap_weight": 0.7, "self_weight": 0.4, "peer_temperature": 0.2}
DRAWN = [
    ("mixed", ()),
    ("mixed", ("findings",)),
    ("mixed", ("peer_cosine", "exclude")),
    ("one sample", ()),
    ("all normal", ()),
    ("all abnormal", ()),
    ("everything excluded", ()),
    ("all 64 findings", ("exclude",)),
]


def drawn(name, dropped):
    case = draw(np.random.default_rng(3), **CASES[name])
    return {key: None if key in dropped else value for key, value in case.items()}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """What the kernel fills for every case, mode and mix: in one process, since the simulator is chosen at import."""
    batches = {}
    for name, dropped in DRAWN:
        case = drawn(name, dropped)
        arrays = [ABSENT[key] if value is None else value for key, value in case.items()]
        share = 1.0 if case["peer_cosine"] is None else 0.0 if case["findings"] is None else OPTIONS["overlap_weight"]
        for mode, mix in MODES[1:]:
            settings = {"mode": mode, "mix": mix, "share": share, "own": 0.4, "temperature": 0.2}
            batches[name, dropped, mode, mix] = (arrays, settings)
    path = tmp_path_factory.mktemp("simulated") / "batches"
    path.write_bytes(pickle.dumps(batches))
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run([sys.executable, "-c", SIMULATED, path], env=environment, check=True)
    return pickle.loads(path.read_bytes())


@pytest.mark.parametrize(("mode", "mix"), MODES[1:])
@pytest.mark.parametrize(("name", "dropped"), DRAWN)
def test_the_simulated_kernel_fills_the_same_targets(simulated, name, dropped, mode, mix):
    expected = pairing_targets(**drawn(name, dropped), mode=mode, mix=mix, **OPTIONS)
    np.testing.assert_allclose(simulated[name, dropped, mode, mix], expected, atol=1e-6)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("mode", "mix"), MODES)
@pytest.mark.parametrize(("name", "dropped"), DRAWN)
def test_a_gpu_fills_the_same_targets(name, dropped, mode, mix):
    case = drawn(name, dropped)
    expected = pairing_targets(**case, mode=mode, mix=mix, **OPTIONS)
    tensors = {
        key: None if value is None else torch.from_numpy(value.view(np.int64) if key == "findings" else value).cuda()
        for key, value in case.items()
    }
    found = pairing_targets(**tensors, mode=mode, mix=mix, **OPTIONS)
    assert found.is_cuda
    np.testing.assert_allclose(found.cpu().numpy(), expected, atol=1e-6)
