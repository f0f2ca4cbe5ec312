"""How a model cuts crops into tokens: plain values that a loader's process can have without the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctvlp.transforms import Shift, Tokens, tokenize_crop
from preprocess.vocabulary import Anatomy

if TYPE_CHECKING:
    from preprocess.crops import Crop


@dataclass(frozen=True)
class Tokenizer:
    """Cuts crops as one model was, or is to be, trained on.

    Attributes:
        anatomies: Name to anatomy, which has a cap of its own.
        patch_voxels: Anatomy to the edge of a patch in crop voxels.
        block_voxels: Edge of a block in crop voxels.
        max_tokens: Cap of tokens a crop; the anatomy's own cap holds too.
    """

    anatomies: Mapping[str, Anatomy]
    patch_voxels: Mapping[str, int]
    block_voxels: int
    max_tokens: int

    def tokenize(self, crop: "Crop", anatomy: str, *, shift: Shift = (0, 0, 0)) -> Tokens:
        """Cut a crop into tokens, see `tokenize_crop`."""
        return tokenize_crop(
            crop,
            self.anatomies[anatomy],
            patch_voxels=self.patch_voxels[anatomy],
            block_voxels=self.block_voxels,
            max_tokens=min(self.anatomies[anatomy].max_tokens, self.max_tokens),
            shift=shift,
        )
