"""Do position, noise, spacing, order or identifiers of simulated studies carry labels? A regression on them tells.

    python -m benchmarks.shortcuts [studies] [seed] [site]

prints the mean cross-validated AUROC over findings, which is 0.5 where they carry none, and the simulator's digest.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from preprocess.simulate.delivery import StudyJob
from preprocess.simulate.identity import draw_identities
from preprocess.simulate.site import load_site
from preprocess.simulate.study import describe_header, draft_study, finding_ids
from preprocess.simulate.version import SIMULATOR_VERSION, simulator_digest

FOLDS = 5
LEAST_POSITIVES = 10


def draft_archive(*, studies: int, seed: int, site: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw studies without drawing voxels.

    Returns:
        What their headers say, with the patient's number as `patient`, and their findings (1, 0, null), row by row.
    """
    headers, findings = [], []
    for identity in draw_identities(studies, seed, load_site(site)):
        draft = draft_study(StudyJob(identity, seed, site, "default", Path()))
        headers.append({"patient": identity.patient, **describe_header(draft.body, draft.protocol, identity)})
        findings.append(
            {f: int(f in draft.severities) if f.split(".")[0] in draft.covered else None for f in finding_ids()}
        )
    return pd.DataFrame(headers), pd.DataFrame(findings).astype("Int8")


def mean_auroc(headers: pd.DataFrame, findings: pd.DataFrame) -> tuple[float, int]:
    """Mean over findings of the AUROC of a logistic regression on the headers, cross-validated by patient.

    The AUROC of a finding is the mean over folds: pooled scores of several folds would be biased below one half.

    Returns:
        The mean, and the number of findings with at least `LEAST_POSITIVES` positives.
    """
    features = pd.get_dummies(headers.drop(columns="patient"), dtype=float).to_numpy()
    found = []
    for finding in findings:
        known = findings[finding].notna().to_numpy()
        label = findings.loc[known, finding].to_numpy(dtype=int)
        if label.sum() >= LEAST_POSITIVES:
            found.append(_auroc(features[known], label, headers.loc[known, "patient"].to_numpy()))
    return float(np.mean(found)), len(found)


def _auroc(features: np.ndarray, label: np.ndarray, patient: np.ndarray) -> float:
    values = []
    for train, test in GroupKFold(FOLDS).split(features, label, patient):
        if 0 < label[test].sum() < len(test):
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
            model.fit(features[train], label[train])
            values.append(roc_auc_score(label[test], model.decision_function(features[test])))
    return float(np.mean(values))


def main(studies: int = 1000, seed: int = 0, site: str = "A") -> None:
    headers, findings = draft_archive(studies=studies, seed=seed, site=site)
    value, judged = mean_auroc(headers, findings)
    print(f"simulator {SIMULATOR_VERSION} {simulator_digest()}, site {site}, {studies} studies, seed {seed}")
    print(f"mean AUROC of a regression on {headers.shape[1] - 1} header values over {judged} findings: {value:.3f}")


if __name__ == "__main__":
    studies, seed, site = (*sys.argv[1:], *("1000", "0", "A")[len(sys.argv) - 1 :])
    main(int(studies), int(seed), site)
