"""The volume encoder: levels, positions, and vectors of anatomies that do not depend on their neighbours."""

import numpy as np
import pytest
import torch
from devices import DEVICES
from small_store import small_vocabulary
from tiny_text import write_tiny_encoder
from torch.nn import functional as F

from ctvlp.model import build_config, build_model
from ctvlp.scoring import score_store
from ctvlp.volume_batches import VolumeBatch, build_volume_batch
from ctvlp.volume_vision import VolumeEncoder
from ctvlp.windows import Window, WindowGrid
from preprocess.errors import InputError
from preprocess.store import Store
from tests.whole_volumes import write_volume_store

VOCABULARY = small_vocabulary()
GRID = WindowGrid((12, 16, 24), (4, 8, 8))
TOKENS = 3 * 2 * 3


def build_encoder(depth=4, **options):
    torch.manual_seed(0)
    return VolumeEncoder(GRID, width=8, depth=depth, heads=2, mlp_ratio=2.0, **options)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    config = build_config(
        encoder="volume",
        width=16,
        depth=4,
        heads=2,
        embed_dim=8,
        volume_window=list(GRID.shape),
        volume_patch=list(GRID.patch),
        text_encoder=str(write_tiny_encoder(tmp_path_factory.mktemp("encoder"))),
    )
    return build_model(config, VOCABULARY.anatomies, seed=0)


def volumes(count=3, seed=0, shape=GRID.shape):
    return torch.from_numpy(np.random.default_rng(seed).integers(-1200, 400, (count, 1, *shape)).astype(np.int16))


def drawn_batch(seed=0):
    rng = np.random.default_rng(seed)
    windows = []
    for number in range(4):
        names = ("liver", "kidney") if number % 2 else ("liver",)
        tokens = {name: rng.random(TOKENS) < 0.5 for name in names}
        for chosen in tokens.values():
            chosen[number] = True
        windows.append(Window(volumes(1, seed + number)[0, 0].numpy(), tokens))
    return build_volume_batch(windows, {"liver": [0, 1, 2, 3], "kidney": [1, 3]})


def test_sizes_are_those_of_the_paper():
    grid = WindowGrid((112, 256, 352), (16, 16, 32))
    assert grid == WindowGrid(build_config().volume_window, build_config().volume_patch)
    assert int(np.prod(grid.counts)) == 1232
    assert build_encoder(depth=12).levels == [3, 6, 9]
    assert build_encoder(depth=12).out_width == 4 * 8


def test_tokens_are_the_levels_and_the_final_norm_side_by_side():
    encoder, seen = build_encoder(), volumes()
    found = encoder(seen)
    scaled = ((seen.float() + 1150) / 1500).clamp(0, 1)
    states = [encoder.embed(scaled)]
    for block in encoder.blocks:
        states.append(block(states[-1]))
    expected = torch.cat([states[2], states[3], states[4], encoder.norm(states[4])], dim=-1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert found.shape == (3, TOKENS, encoder.out_width)


def test_attenuation_beyond_the_window_is_not_seen():
    encoder = build_encoder()
    low, high, within = (torch.full((1, 1, *GRID.shape), value, dtype=torch.int16) for value in (-1150, 350, 0))
    torch.testing.assert_close(encoder(low), encoder(torch.full_like(low, -3000)))
    torch.testing.assert_close(encoder(high), encoder(torch.full_like(low, 3000)))
    assert (encoder(within) - encoder(high)).abs().max() > 1e-3


def test_what_it_is_given_stays_as_it_was():
    seen = volumes().float()
    before = seen.clone()
    build_encoder()(seen)
    assert torch.equal(seen, before)


@pytest.mark.parametrize("shape", [(12, 16, 24), (8, 16, 24), (20, 32, 48)], ids=["learned", "smaller", "larger"])
def test_positions_are_interpolated_to_other_grids(shape):
    encoder = build_encoder()
    counts = WindowGrid(shape, GRID.patch).counts
    learned = encoder.embed.position_embeddings.detach().reshape(1, *GRID.counts, 8)
    expected = F.interpolate(learned.permute(0, 4, 1, 2, 3), size=counts, mode="trilinear")
    expected = expected.permute(0, 2, 3, 4, 1).reshape(1, -1, 8)
    with torch.no_grad():
        for block in encoder.blocks:
            for layer in (block.attn.out_proj, block.mlp.linear2):  # blocks that pass on what they are given
                layer.weight.zero_()
                layer.bias.zero_()
        first = encoder(volumes(1, shape=shape))[..., :8]
        encoder.embed.position_embeddings.zero_()
        without = encoder(volumes(1, shape=shape))[..., :8]
    torch.testing.assert_close(first - without, expected, atol=1e-5, rtol=1e-4)


def test_a_size_that_patches_do_not_fill_is_refused():
    with pytest.raises(ValueError, match="cannot be cut into patches"):
        build_encoder()(volumes(shape=(12, 16, 20)))


@pytest.mark.parametrize("device", DEVICES)
def test_vectors_are_normalised_and_do_not_depend_on_other_windows(model, device):
    model.to(device)
    batch = drawn_batch().to(device)
    with torch.no_grad():
        together = model.encode_part(batch)
        assert {name: len(vectors) for name, vectors in together.items()} == {"liver": 4, "kidney": 2}
        for most in (1, 3):
            pieces = [model.encode_part(piece) for piece in batch.split(most)]
            for name, vectors in together.items():
                torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors), device=device))
                apart = torch.cat([piece[name] for piece in pieces if name in piece])
                torch.testing.assert_close(apart, vectors, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(together["liver"][0], together["liver"][1], atol=1e-4)
    model.to("cpu")


def test_only_an_anatomys_own_tokens_are_pooled(model):
    batch = drawn_batch()
    all_tokens = {name: torch.ones_like(tokens) for name, tokens in batch.tokens.items()}
    with torch.no_grad():
        own = model.encode_part(batch)["liver"]
        whole = model.encode_part(VolumeBatch(batch.volumes, batch.rows, all_tokens))["liver"]
    assert (own - whole).abs().amax(dim=1).min() > 1e-5


def test_gradients_reach_every_weight_of_the_image_side(model):
    model.zero_grad()
    sum(vectors[:, 0].sum() for vectors in model.encode_part(drawn_batch()).values()).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    model.zero_grad()
    assert [name for name in without if not name.startswith(("text.", "alignment.", "log_scale"))] == []


@pytest.mark.parametrize("device", DEVICES)
def test_bf16_gives_float32_vectors_near_the_exact_ones(model, device):
    model.to(device)
    batch = drawn_batch().to(device)
    with torch.no_grad():
        exact = model.encode_part(batch)["liver"]
        with torch.autocast(device, torch.bfloat16):
            coarse = model.encode_part(batch)["liver"]
    assert coarse.dtype == torch.float32
    assert (coarse * exact).sum(dim=1).min() > 0.99
    model.to("cpu")


def test_recomputing_the_blocks_changes_no_gradient(model):
    batch, gradients = drawn_batch(), []
    for recompute in (False, True):
        model.vision.blocks.recompute = recompute
        model.zero_grad()
        model.encode_part(batch)["liver"].sin().sum().backward()
        gradients.append([p.grad.clone() for p in model.vision.parameters()])
    model.zero_grad()
    model.vision.blocks.recompute = False
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_pieces_keep_the_order_of_samples():
    batch = drawn_batch()
    pieces = batch.split(3)
    assert [{name: rows.tolist() for name, rows in piece.rows.items()} for piece in pieces] == [
        {"liver": [0, 1, 2], "kidney": [1]},
        {"liver": [0], "kidney": [0]},
    ]
    for name, tokens in batch.tokens.items():
        assert torch.equal(torch.cat([piece.tokens[name] for piece in pieces]), tokens)
    assert torch.equal(torch.cat([piece.volumes for piece in pieces]), batch.volumes)
    assert batch.split(2)[0].rows.keys() == {"liver", "kidney"}
    assert batch.split(1)[0].rows.keys() == {"liver"}
    with pytest.raises(ValueError, match="at least one window"):
        batch.split(0)


@pytest.mark.parametrize(
    ("windows", "samples", "message"),
    [(0, {}, "at least one window"), (2, {"liver": [1, 0]}, "must ascend"), (2, {"liver": [1, 1]}, "must ascend")],
    ids=["none", "order", "twice"],
)
def test_batches_that_cannot_be_are_refused(windows, samples, message):
    tokens = {"liver": np.ones(TOKENS, dtype=bool)}
    with pytest.raises(ValueError, match=message):
        build_volume_batch([Window(np.zeros(GRID.shape, np.int16), tokens)] * windows, samples)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "slice"}, "model.encoder='slice': should be 'crop' or 'volume'"),
        ({"volume_window": [112, 250, 352]}, "cannot be cut into patches"),
    ],
    ids=["encoder", "window"],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        build_config(**changes)


def test_each_encoder_refuses_the_others_images(model):
    with pytest.raises(TypeError, match="reads whole volumes"):
        model.set_measures({"liver": (torch.zeros(18), torch.ones(18))})
    crops = build_model(build_config(text_encoder=model.config.text_encoder, width=16, depth=1), VOCABULARY.anatomies)
    with pytest.raises(TypeError, match="reads crops"):
        crops.encode_part(drawn_batch())
    assert (crops.window, model.window) == (None, GRID)


def test_a_store_with_whole_volumes_is_screened(model, tmp_path):
    write_volume_store(tmp_path, studies=3)
    model.eval()
    scores, failures = score_store(Store(tmp_path), model, VOCABULARY)
    assert failures == {}
    of = scores.set_index(["study_id", "finding"])
    assert of["assessable"].groupby("study_id").sum().to_dict() == {"000": 2, "001": 3, "002": 3}
    assert of.loc[("000", "kidney.calculus"), "reason"] == "segmentation_failed"  # the liver beside it is whole
    assert of["probability"].dropna().nunique() > 3
    again, _ = score_store(Store(tmp_path), model, VOCABULARY)
    assert again.equals(scores)


def test_studies_whose_volumes_are_not_kept_are_left_out_with_what_to_do(model, tmp_path):
    write_volume_store(tmp_path, studies=2, keep=False)
    with pytest.raises(InputError, match=r"no study could be read.*keep=\[volume\]"):
        score_store(Store(tmp_path), model, VOCABULARY)
