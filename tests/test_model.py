"""The two towers: vectors of crops of any size, independent of their neighbours in the batch."""

import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from devices import DEVICES
from small_store import ball_crop, small_vocabulary
from tiny_text import write_tiny_encoder

from ctvlp.batches import AnatomyBatch, Batch, ImageBatch, build_image_batch
from ctvlp.model import SIZES, ModelConfig, build_config, build_model
from ctvlp.vision import PatchStem, pad
from preprocess.errors import InputError

VOCABULARY = small_vocabulary()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return str(write_tiny_encoder(tmp_path_factory.mktemp("encoder")))


@pytest.fixture(scope="module")
def model(encoder):
    config = build_config(width=16, depth=2, heads=2, stem_width=4, embed_dim=8, text_encoder=encoder)
    return build_model(config, VOCABULARY.anatomies, seed=0).eval()


@pytest.fixture(scope="module")
def tokens(model):
    rng = np.random.default_rng(0)
    crops = [ball_crop(rng, set(), anatomy="liver") for _ in range(3)]
    cut = [model.tokenize(crop, "liver") for crop in crops]
    few = cut[1]
    cut[1] = replace(few, **{k: getattr(few, k)[:3] for k in ("patches", "inside", "positions_mm", "index")})
    return cut


def samples_of(image: ImageBatch) -> AnatomyBatch:
    """Samples of which nothing but the image counts."""
    count = len(image)
    whole, no = torch.zeros(count, dtype=torch.int64), torch.zeros(count, dtype=torch.bool)
    labels = torch.full((count, 1), torch.nan)
    return AnatomyBatch(image, whole, whole, no, whole, whole, labels, whole, no)


def test_vectors_are_normalised_and_do_not_depend_on_their_neighbours(model, tokens):
    with torch.no_grad():
        together = model.encode_image(build_image_batch("liver", tokens))
        torch.testing.assert_close(together.norm(dim=1), torch.ones(3))
        for one, vector in zip(tokens, together, strict=True):
            alone = model.encode_image(build_image_batch("liver", [one]))[0]
            torch.testing.assert_close(alone, vector, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-4)


def test_the_order_of_tokens_does_not_matter_but_their_places_do(model, tokens):
    one = tokens[0]
    order = np.random.default_rng(1).permutation(len(one))
    names = ("patches", "inside", "positions_mm", "index")
    shuffled = replace(one, **{name: getattr(one, name)[order] for name in names})
    moved = replace(one, positions_mm=one.positions_mm[order])
    with torch.no_grad():
        vectors = [model.encode_image(build_image_batch("liver", [t]))[0] for t in (one, shuffled, moved)]
    torch.testing.assert_close(vectors[0], vectors[1], atol=1e-5, rtol=1e-5)
    assert (vectors[0] - vectors[2]).abs().max() > 1e-5


def test_the_attention_lies_on_each_crops_own_tokens(model, tokens):
    with torch.no_grad():
        _, attention = model.encode_image(build_image_batch("liver", tokens), return_attention=True)
    assert [len(row) for row in attention] == [len(one) for one in tokens]
    for row in attention:
        assert (row >= 0).all()
        assert 0 < float(row.sum()) < 1


def test_each_anatomy_has_its_own_query_and_layer(model, tokens):
    with torch.no_grad():
        liver, kidney = (model.encode_image(build_image_batch(name, tokens)) for name in ("liver", "kidney"))
    assert not torch.allclose(liver, kidney, atol=1e-3)


def test_gradients_reach_every_weight_of_the_image_side(model, tokens):
    model.zero_grad()
    model.encode_image(build_image_batch("liver", tokens))[:, 0].sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    model.zero_grad()
    unused = (
        "text.",
        "alignment.",
        "log_scale",
        "vision.kind.kidney",
        "pooling.queries.kidney",
        "pooling.project.kidney",
    )
    assert [name for name in without if not name.startswith(unused)] == []


def test_attenuation_beyond_every_window_is_not_seen_and_within_one_is(model, tokens):
    one = tokens[0]
    vectors = []
    for hu in (1800, 2600, 1200):
        patches = one.patches.copy()
        patches[0] = hu
        with torch.no_grad():
            vectors.append(model.encode_image(build_image_batch("liver", [replace(one, patches=patches)]))[0])
    torch.testing.assert_close(vectors[0], vectors[1])
    assert (vectors[0] - vectors[2]).abs().max() > 1e-5


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("edge", [4, 12])
def test_the_stem_lets_one_bright_block_of_the_region_through_whatever_the_patch_size(kernel, edge):
    torch.manual_seed(0)
    stem = PatchStem(3, 8, 16, kernel).eval()
    image = torch.zeros(3, 3, edge, edge, edge)
    image[1, 0, 1, 2, 3] = image[2, 0, -1, -1, -1] = 5.0  # in the region, outside it
    shares = torch.zeros(3, 2, edge, edge, edge)
    shares[:, 0, :2] = 1.0
    with torch.no_grad():
        patches, crops = stem(image, shares, torch.tensor([1, 1, 1]))
    for embedded in (patches, crops):
        assert (embedded[0] - embedded[1]).abs().max() > 0.05
        torch.testing.assert_close(embedded[0], embedded[2])


def test_the_stem_takes_largest_and_mean_responses_over_the_region_alone():
    torch.manual_seed(0)
    stem = PatchStem(2, 3, 5, 1).eval()
    image, shares = torch.randn(4, 2, 4, 4, 4), torch.rand(4, 2, 4, 4, 4) * (torch.rand(4, 1, 4, 4, 4) < 0.4)
    lengths = torch.tensor([1, 3])
    with torch.no_grad():
        patches, crops = stem(image, shares, lengths)
        response = stem.second(stem.first(image).relu().flatten(2).transpose(1, 2)).relu()  # (4, 64, 6)
        weights = shares.flatten(2)
        groups = [[0], [1], [2], [3], [0], [1, 2, 3]]
        expected = []
        for group in groups:
            blocks = [
                (response[p, q], weights[p, :, q]) for p in group for q in range(64) if weights[p, :, q].sum() > 0
            ]
            largest = torch.stack([r for r, _ in blocks]).amax(0)
            means = [sum(r * w[k] for r, w in blocks) / sum(w[k] for _, w in blocks) for k in (0, 1)]
            shared = sum(w for _, w in blocks) / 64
            described = torch.cat([largest, *means])
            layer = stem.patch if len(expected) < 4 else stem.crop
            expected.append(layer(torch.cat([described, shared]) if len(expected) < 4 else described))
    torch.testing.assert_close(torch.cat([patches, crops]), torch.stack(expected), atol=1e-5, rtol=1e-4)


def test_measures_are_seen_in_standard_deviations_of_the_training_crops(model, tokens):
    vision, batch = model.vision, build_image_batch("liver", tokens)
    before = vision.measure_mean.clone(), vision.measure_spread.clone()
    mean, spread = batch.measures.mean(0), torch.full((batch.measures.shape[1],), 0.25)
    spread[0] = 0.0  # a measure that never varies
    vision.set_measures("liver", mean, spread)
    standard = vision.standard_measures(batch)
    torch.testing.assert_close(standard[:, 1:], ((batch.measures - mean) / 0.25).clamp(-5, 5)[:, 1:])
    assert standard.isfinite().all()
    assert torch.equal(vision.standard_measures(replace(batch, anatomy="kidney")), batch.measures.clamp(-5, 5))
    vision.measure_mean, vision.measure_spread = before


def test_the_crop_as_a_whole_reaches_the_vector_past_the_attention(model, tokens):
    pooling = model.pooling
    padded, exists = torch.randn(2, 5, 16), torch.ones(2, 5, dtype=torch.bool)
    silent = padded.clone()
    silent[:, 0] = 0
    with torch.no_grad():
        before = pooling.attention.out_proj.weight.clone()
        pooling.attention.out_proj.weight.zero_()
        with_crop, without = (pooling("liver", value, exists)[0] for value in (padded, silent))
        expected = pooling.project["liver"](padded[:, 0] + pooling.attention.out_proj.bias)
        pooling.attention.out_proj.weight.copy_(before)
    torch.testing.assert_close(with_crop, torch.nn.functional.normalize(expected, dim=-1))
    assert not torch.allclose(with_crop, without, atol=1e-2)


def test_padding_is_behind_each_crops_own_tokens():
    padded, exists = pad(torch.arange(10.0).reshape(5, 2), torch.tensor([2, 3]))
    assert exists.tolist() == [[True, True, False], [True, True, True]]
    assert padded.tolist() == [[[0, 1], [2, 3], [0, 0]], [[4, 5], [6, 7], [8, 9]]]


@pytest.mark.parametrize(("log_scale", "expected"), [(2.659, 14.28), (20.0, 1000.0), (-5.0, 2.0)])
def test_the_temperature_stays_in_its_range_and_keeps_its_gradient(model, log_scale, expected):
    before = model.log_scale.detach().clone()
    with torch.no_grad():
        model.log_scale.fill_(log_scale)
    model.keep_temperature()
    assert float(model.logit_scale.detach()) == pytest.approx(expected, rel=1e-3)
    (gradient,) = torch.autograd.grad(model.logit_scale, model.log_scale)
    assert float(gradient) == pytest.approx(expected, rel=1e-3)
    with torch.no_grad():
        model.log_scale.copy_(before)


def test_weights_depend_on_the_seed_alone_and_torchs_random_state_is_left_alone(encoder):
    config = build_config(width=16, depth=1, heads=2, stem_width=4, embed_dim=8, text_encoder=encoder)
    state = torch.get_rng_state()
    first, second, other = (build_model(config, VOCABULARY.anatomies, seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_the_model_starts_at_temperature_0_07(encoder):
    config = build_config(width=16, depth=1, heads=2, stem_width=4, embed_dim=8, text_encoder=encoder)
    assert float(build_model(config, VOCABULARY.anatomies).logit_scale.detach()) == pytest.approx(1 / 0.07, rel=1e-5)


def test_sizes_are_those_that_the_names_promise():
    assert (SIZES["bench"].width, SIZES["bench"].depth, SIZES["bench"].max_tokens) == (96, 3, 48)
    assert (SIZES["base"].width, SIZES["base"].depth, SIZES["base"].heads) == (768, 12, 12)
    assert list(SIZES) == ["bench", "tiny", "small", "base"]


@pytest.mark.parametrize(
    ("size", "millions"),
    [
        ("bench", 0.258),
        ("tiny", 3.1),
        pytest.param("small", 22.8, marks=pytest.mark.slow),
        pytest.param("base", 90.0, marks=pytest.mark.slow),
    ],
)
def test_every_size_trains_on_crops_of_any_size(encoder, size, millions):
    model = build_model(build_config(size, text_encoder=encoder), VOCABULARY.anatomies)
    assert sum(p.numel() for p in model.vision.parameters()) == pytest.approx(1e6 * millions, rel=0.1)
    rng = np.random.default_rng(0)
    crop = ball_crop(rng, set(), anatomy="liver")
    part = replace(crop, image=crop.image[:7, 3:14], mask=crop.mask[:7, 3:14])
    cut = [model.tokenize(each, "liver") for each in (part, crop)]
    assert len(cut[0]) < len(cut[1]) <= SIZES[size].max_tokens
    vectors = model.encode_image(build_image_batch("liver", cut))
    vectors[:, 0].sum().backward()
    assert all(p.grad.isfinite().all() for p in model.vision.parameters() if p.grad is not None)
    assert all(p.grad is not None for p in model.vision.blocks.parameters())


@pytest.mark.parametrize("device", DEVICES)
def test_recomputing_stem_and_blocks_changes_no_gradient(encoder, tokens, device):
    small = {"width": 16, "depth": 2, "heads": 2, "stem_width": 4, "embed_dim": 8, "text_encoder": encoder}
    gradients = []
    for recompute in (False, True):
        config = build_config(checkpoint_blocks=recompute, **small)
        model = build_model(config, VOCABULARY.anatomies).to(device)
        model.encode_image(build_image_batch("liver", tokens).to(device)).sin().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() >= {"vision.stem.first.weight", "vision.blocks.0.attn.qkv.weight"}
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-6, rtol=1e-4)


def encoded(encoder, tokens, kind, **options):
    """A small model, and what its image encoder makes of crops or windows, ready for gradients."""
    small = {"width": 16, "depth": 4, "heads": 2, "stem_width": 4, "embed_dim": 8, "text_encoder": encoder}
    window = {"volume_window": (8, 16, 16), "volume_patch": (4, 8, 8)}
    model = build_model(build_config(encoder=kind, **small, **window, **options), VOCABULARY.anatomies).train()
    seen = build_image_batch("liver", tokens) if kind == "crop" else torch.zeros(2, 1, 8, 16, 16)
    return model, model.vision(seen)


@pytest.mark.parametrize("kind", ["crop", "volume"])
def test_with_checkpoint_blocks_the_blocks_keep_little_for_the_way_back(encoder, tokens, kind):
    kept = []
    for checkpoint_blocks in (False, True):
        values: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, n=values: n.append(t.numel()) or t, lambda t: t):
            encoded(encoder, tokens, kind, checkpoint_blocks=checkpoint_blocks)
        kept.append(sum(values))
    assert kept[1] * 3 < kept[0]


@pytest.mark.parametrize("kind", ["crop", "volume"])
def test_with_compile_every_block_is_compiled(encoder, tokens, kind, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda block, **options: compiled.append(block) or block)
    encoded(encoder, tokens, kind)
    assert compiled == []
    model, _ = encoded(encoder, tokens, kind, compile=True)
    assert compiled == list(model.vision.blocks)


@pytest.mark.parametrize("device", DEVICES)
def test_bf16_gives_float32_vectors_near_the_exact_ones(model, tokens, device):
    model.to(device)
    batch = build_image_batch("liver", tokens).to(device)
    with torch.no_grad():
        exact, said = model.encode_image(batch), model.encode_text(["the liver is normal"])
        with torch.autocast(device, torch.bfloat16):
            coarse, said_coarse = model.encode_image(batch), model.encode_text(["the liver is normal"])
    model.to("cpu")
    assert (coarse.dtype, said_coarse.dtype) == (torch.float32, torch.float32)
    assert (coarse * exact).sum(dim=1).min() > 0.999
    assert (said_coarse * said).sum(dim=1).min() > 0.999


def test_a_batch_is_encoded_anatomy_by_anatomy(model, tokens):
    parts = {name: build_image_batch(name, tokens[: 1 + number]) for number, name in enumerate(("liver", "kidney"))}
    batch = Batch(0, ("a", "b"), (), {name: samples_of(part) for name, part in parts.items()})
    with torch.no_grad():
        found = model.encode(batch)
        assert list(found) == list(parts)
        for name, part in parts.items():
            assert torch.equal(found[name], model.encode_image(part))
    assert model.images(batch) == list(parts.values())
    assert model.encode(Batch(0, (), (), {})) == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("huge", {}), "model size 'huge' is unknown"), (("bench", {"widht": 3}), "model setting 'widht' is unknown")],
    ids=["size", "setting"],
)
def test_an_unknown_name_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        build_config(arguments[0], **arguments[1])


WRONG = [
    ("encoder", "slice", "'crop' or 'volume'"),
    ("width", "abc", "a valid integer"),
    ("depth", 0, "greater than 0"),
    ("heads", 5, "a divisor of width=96"),
    ("mlp_ratio", 0.0, "greater than 0"),
    ("mlp_ratio", 0.01, "at least 1/96, one over the width"),
    ("stem_width", 0, "greater than 0"),
    ("stem_kernel", 2, "an odd number"),
    ("embed_dim", 0, "greater than 0"),
    ("pooling_heads", 5, "a divisor of width=96"),
    ("max_tokens", 0, "greater than 0"),
    ("block_voxels", 0, "greater than 0"),
    ("patch_voxels", 8, "a valid tuple"),
    ("patch_voxels", (0,), "greater than 0"),
    ("patch_voxels", (), "ascending multiples of block_voxels=4, at least one"),
    ("patch_voxels", (8, 10), "ascending multiples of block_voxels=4, at least one"),
    ("patch_voxels", (16, 8), "ascending multiples of block_voxels=4, at least one"),
    ("patch_by_anatomy", {"liver": 0}, "greater than 0"),
    ("volume_window", 5, "a valid tuple"),
    ("volume_patch", "abc", "a valid tuple"),
    ("checkpoint_blocks", "no", "a valid boolean"),
    ("compile", 1, "a valid boolean"),
    ("text_encoder", 3, "a valid string"),
    ("text_pooling", "max", "'mean' or 'first'"),
    ("text_frozen", "maybe", "a valid boolean"),
    ("text_max_tokens", 0, "greater than 0"),
]


@pytest.mark.parametrize(("name", "value", "expected"), [pytest.param(*row, id=f"{row[0]}={row[1]}") for row in WRONG])
def test_a_value_that_cannot_be_is_refused(name, value, expected):
    with pytest.raises(InputError) as caught:
        build_config(**{name: value})
    assert str(caught.value) == f"model.{name}={value!r}: should be {expected}"


def test_no_value_is_left_unchecked():
    assert {name for name, _, _ in WRONG} == set(asdict(ModelConfig()))


def test_lists_as_configuration_files_give_them_are_taken():
    config = build_config(patch_voxels=[8, 16], volume_window=[64, 64, 64], volume_patch=[16, 16, 32])
    assert (config.patch_voxels, config.volume_window, config.volume_patch) == ((8, 16), (64, 64, 64), (16, 16, 32))


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "learning"])
@pytest.mark.parametrize(("stated", "most"), [(None, 128), (10**30, 128), (126, 126)])
def test_more_tokens_than_the_text_encoder_takes_are_refused(encoder, tmp_path, frozen, stated, most):
    folder = shutil.copytree(encoder, tmp_path / "encoder")
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": stated}), encoding="utf-8")
    small = {"width": 16, "heads": 2, "text_encoder": str(folder), "text_frozen": frozen}
    with pytest.raises(
        InputError, match=rf"model\.text_max_tokens={most + 1}: should be at most {most}, which .* takes"
    ):
        build_model(build_config(text_max_tokens=most + 1, **small), VOCABULARY.anatomies)
    if frozen:
        build_model(build_config(text_max_tokens=most, **small), VOCABULARY.anatomies)


def test_anatomies_with_unequal_numbers_of_windows_are_refused(encoder):
    liver, kidney = VOCABULARY.anatomies.values()
    anatomies = {"liver": liver, "kidney": kidney.model_copy(update={"windows_hu": ((-160.0, 240.0),)})}
    with pytest.raises(ValueError, match="the same number of HU windows"):
        build_model(build_config(text_encoder=encoder), anatomies)
