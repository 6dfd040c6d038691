"""The networks of VideoReTalking under the authors' parameter names; each loads its published file as it is.

Three are its own and are trained: `DNet` redraws a head with another expression, `LNet` paints the mouth at 96 x 96 pixels,
`ENet` brings the picture to 384 x 384. The others are published helpers: `CoefficientNetwork` (3DMM coefficients), `Gpen` and
`Gfpgan` (face restoration), `ParseNet` (parts of a face), `RetinaFace` (faces and five points), `ExpressionEditor` (GANimation),
`FaceRecognizer` (ArcFace, for training).
The face detector S3FD lies in talkingface/face/s3fd.py.
"""

from talkingface.model.videoretalking.networks.coefficients import CoefficientNetwork
from talkingface.model.videoretalking.networks.dnet import DNet
from talkingface.model.videoretalking.networks.enet import ENet
from talkingface.model.videoretalking.networks.ganimation import ExpressionEditor
from talkingface.model.videoretalking.networks.gfpgan import Gfpgan
from talkingface.model.videoretalking.networks.gpen import Gpen
from talkingface.model.videoretalking.networks.lnet import LNet
from talkingface.model.videoretalking.networks.parsing import ParseNet
from talkingface.model.videoretalking.networks.recognition import FaceRecognizer
from talkingface.model.videoretalking.networks.retinaface import RetinaFace

__all__ = [
    "CoefficientNetwork",
    "DNet",
    "ENet",
    "ExpressionEditor",
    "FaceRecognizer",
    "Gfpgan",
    "Gpen",
    "LNet",
    "ParseNet",
    "RetinaFace",
]
