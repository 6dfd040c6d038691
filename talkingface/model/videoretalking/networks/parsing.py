"""ParseNet (Chen et al., CVPR 2021, of PSFR-GAN): the parts of a face. The layers are facexlib's."""

from __future__ import annotations

from torch import Tensor

from talkingface.model.videoretalking.networks.library import Adopted
from talkingface.nn.weights import register_network

# background, skin, nose, glasses, 2 eyes, 2 brows, 2 ears, mouth, 2 lips, hair, hat, ear ring, necklace, neck, cloth
NUM_CLASSES = 19


class ParseNet(Adopted):
    """Says of each pixel to which part of a face it belongs; the published file is ParseNet-latest.pth.

    Its second head, which paints the face again, is there and not used.
    """

    def __init__(self) -> None:
        from facexlib.parsing.parsenet import ParseNet as Published

        super().__init__(Published(in_size=512, out_size=512, parsing_ch=NUM_CLASSES))

    def features(self, faces: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 64, H, W), of which both heads make their pictures."""
        x = self.encoder(faces)
        return self.decoder(x + self.body(x))

    def forward(self, faces: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [-1, 1], sides multiples of 16, 512 in training -> (B, 19, H, W); the largest is the class."""
        return self.out_mask_conv(self.features(faces))


register_network("the face parser ParseNet (ParseNet-latest.pth)", ParseNet)
