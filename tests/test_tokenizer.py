"""How a model cuts crops: its own edges, and the smaller of its cap and the anatomy's."""

import numpy as np
import pytest
from small_store import ball_crop, small_vocabulary

from ctvlp.tokenizer import Tokenizer
from ctvlp.transforms import count_tokens

LIVER = small_vocabulary().anatomies["liver"]


@pytest.mark.parametrize(("own", "common"), [(5, 9), (9, 5), (999, 999)])
def test_the_smaller_cap_holds_of_the_anatomys_and_the_models(own, common):
    crop = ball_crop(np.random.default_rng(0), set(), anatomy="liver")
    tokenizer = Tokenizer({"liver": LIVER.model_copy(update={"max_tokens": own})}, {"liver": 4}, 2, common)
    tokens = tokenizer.tokenize(crop, "liver")
    assert (len(tokens), tokens.patch_voxels) == (min(own, common, count_tokens(crop, 4)), 4)
