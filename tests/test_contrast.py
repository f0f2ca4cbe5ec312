"""What the targets of abnormal samples consist of, told from the targets alone."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from ctvlp.contrast import TargetShares
from ctvlp.gathering import Gathered, Samples
from ctvlp.settings import PairingSettings


def gathered(count, *, findings=None, seed=0, abnormal=None):
    """One anatomy of samples that all have texts of their own, every second one abnormal unless said."""
    generator = torch.Generator().manual_seed(seed)
    features = F.normalize(torch.randn(count, 8, generator=generator), dim=1)
    sick = torch.arange(count) % 2 == 0 if abnormal is None else torch.tensor(abnormal)
    stated = torch.randint(1, 8, (count,), generator=generator) * sick if findings is None else torch.tensor(findings)
    samples = Samples(
        image=features,
        text_row=torch.arange(count),
        abnormal=sick,
        text_id=torch.arange(count),
        findings=stated,
        patient=torch.arange(count),
        uncertain=torch.zeros(count, dtype=torch.bool),
    )
    return Gathered({"liver": samples}, features, features, count, 0)


def target_shares(gathered, pairing):
    shares = TargetShares()
    shares.add(gathered, pairing)
    return shares.figures()


def shares(values):
    return [values[name] for name in ("self_share", "findings_share", "peer_share")]


@pytest.mark.parametrize("count", [8, 64, 512])
def test_in_the_mixture_the_shares_are_those_of_the_settings_whatever_the_number_of_samples(count):
    pairing = PairingSettings(self_weight=0.4, overlap_weight=0.25)
    everywhere = gathered(count, findings=[1] * count)
    assert shares(target_shares(everywhere, pairing)) == pytest.approx([0.4, 0.15, 0.45], abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"use_findings": False}, [0.4, 0.0, 0.6]),
        ({"self_weight": 0.0}, [0.0, 0.25, 0.75]),
    ],
    ids=["no findings", "others alone"],
)
def test_shares_follow_the_settings(changes, expected):
    pairing = PairingSettings(**{"self_weight": 0.4, "overlap_weight": 0.25} | changes)
    assert shares(target_shares(gathered(16, findings=[2] * 16), pairing)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("changes", [{"mode": "patient"}, {"mode": "normal"}, {"self_weight": 1.0}], ids=str)
def test_where_all_stand_alone_nothing_else_is_told(changes):
    assert target_shares(gathered(16, findings=[2] * 16), PairingSettings(**changes)) == {"alone_share": 1.0}


@pytest.mark.parametrize("count", [16, 64, 512])
def test_what_a_sample_with_company_keeps_does_not_depend_on_the_number_of_samples(count):
    found = target_shares(gathered(count), PairingSettings(self_weight=0.4, use_peer=False))
    assert found["self_share"] == pytest.approx(0.4, abs=1e-5)


def test_steps_add_up_to_an_epoch():
    pairing, shares = PairingSettings(self_weight=0.4, overlap_weight=0.25), TargetShares()
    shares.add(gathered(4, abnormal=[True, False, False, False]), pairing)  # alone
    shares.add(gathered(3, abnormal=[True] * 3, findings=[1, 1, 1]), pairing)
    assert shares.figures() == pytest.approx(
        {"alone_share": 0.25, "self_share": 0.4, "findings_share": 0.15, "peer_share": 0.45}, abs=1e-5
    )


@pytest.mark.parametrize("mix", ["sum", "mixture"])
@pytest.mark.parametrize("use_findings", [True, False])
def test_equal_texts_are_findings(mix, use_findings):
    told = gathered(8, abnormal=[True] * 8, findings=[1] * 8)
    one_text = replace(told.anatomies["liver"], text_id=torch.zeros(8, dtype=torch.int64))
    same = replace(told, anatomies={"liver": one_text})
    found = target_shares(same, PairingSettings(mix=mix, use_findings=use_findings, overlap_weight=1.0))
    own, by_findings, by_peer = shares(found)
    if mix == "sum":  # every pair has weight 1, whatever the settings
        assert (own, by_findings, by_peer) == pytest.approx((1 / 8, 7 / 8, 0.0))
    else:
        assert (own, by_findings, by_peer) == pytest.approx((0.5, 0.5, 0.0) if use_findings else (0.5, 0.0, 0.5))


def test_without_a_peer_the_findings_take_its_share():
    everywhere = gathered(16, findings=[2] * 16)
    alone = Gathered(everywhere.anatomies, everywhere.texts, None, 16, 0)
    assert shares(target_shares(alone, PairingSettings(self_weight=0.4))) == pytest.approx([0.4, 0.6, 0.0], abs=1e-5)


def test_a_sample_without_company_keeps_its_target_for_itself():
    found = target_shares(gathered(4, abnormal=[True, False, False, False]), PairingSettings())
    assert found == {"alone_share": 1.0}


def test_where_findings_overlap_with_nobody_the_peer_takes_their_share():
    found = target_shares(gathered(4, abnormal=[True] * 4, findings=[1, 2, 4, 8]), PairingSettings(self_weight=0.4))
    assert shares(found) == pytest.approx([0.4, 0.0, 0.6], abs=1e-5)


def test_in_the_sum_the_shares_are_those_of_the_weights_before_division():
    pairing = PairingSettings(mix="sum", overlap_weight=0.5, peer_temperature=10.0)
    everywhere = gathered(4, abnormal=[True] * 4, findings=[1] * 4)
    own, by_findings, by_peer = shares(target_shares(everywhere, pairing))
    # weights of a row: 1 for itself, half of 1 for each of three others by findings, half of about a quarter by the peer
    assert own == pytest.approx(1 / 2.875, abs=0.01)
    assert by_findings / by_peer == pytest.approx(4, rel=0.05)
    assert own + by_findings + by_peer == pytest.approx(1)


def test_no_abnormal_sample_no_shares():
    assert target_shares(Gathered({}, torch.zeros(0, 4), None, 0, 0), PairingSettings()) == {}
