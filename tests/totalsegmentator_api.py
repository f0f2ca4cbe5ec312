"""TotalSegmentator's own Python API as the reference: in a private home folder, without statistics or download."""

import contextlib
import io
import json
from pathlib import Path
from unittest import mock

import nibabel
import numpy as np

from preprocess.environment import environment
from preprocess.geometry import nifti_from_affine
from preprocess.volume import Volume


def api_labels(volume: Volume, weights: Path, home: Path, *, fast: bool, in_processes: bool = False, **options):
    """Labels (z, y, x) on the volume's grid.

    Args:
        volume: HU on canonical axes.
        weights: Folder of the networks.
        home: An empty folder, which becomes TotalSegmentator's home.
        fast: Take the 3 mm network.
        in_processes: Let nnU-Net start its child processes; else it does the same work here, which takes less time.
        options: Further arguments of the API.
    """
    config = {
        "totalseg_id": "",
        "send_usage_stats": False,
        "statistics_disclaimer_shown": True,
        "prediction_counter": 0,
    }
    home.mkdir(parents=True, exist_ok=True)
    (home / "config.json").write_text(json.dumps(config))
    folders = dict.fromkeys(
        ("TOTALSEG_WEIGHTS_PATH", "nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"), str(weights)
    )
    image = nibabel.Nifti1Image(volume.hu.transpose(2, 1, 0), nifti_from_affine(volume.affine))
    with environment({**folders, "TOTALSEG_HOME_DIR": str(home)}), contextlib.redirect_stdout(io.StringIO()):
        import totalsegmentator.nnunet  # changes nnU-Net's predictor when it is imported
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
        from totalsegmentator.python_api import totalsegmentator

        here = (
            contextlib.nullcontext()
            if in_processes
            else mock.patch.object(nnUNetPredictor, "predict_from_files", _here)
        )
        with here:
            result = totalsegmentator(
                image, task="total", fast=fast, ml=True, quiet=True, device="cpu", nr_thr_saving=1, **options
            )
    return np.asarray(result.dataobj).transpose(2, 1, 0)


def _here(self, source, target, **options):
    return self.predict_from_files_sequential(source, target, options["save_probabilities"], options["overwrite"])
