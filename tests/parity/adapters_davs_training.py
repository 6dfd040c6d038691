"""Golden cases of DAVS's training."""

import numpy as np
import torch

from talkingface.config import Config
from talkingface.metric.retrieval import retrieval
from talkingface.model.davs import DAVS, stages
from talkingface.model.davs.data import Choices, cut
from talkingface.model.davs.stages import on_channels
from talkingface.nn.weights import load_weights

ADAPTERS: dict = {}


def adapter(name):
    """Register the function as the adapter of a case."""
    return lambda function: ADAPTERS.setdefault(name, function)


@adapter("davs/losses")
def losses(case):
    x = case.inputs()
    rows, others, logits = stages.flat(x["f1"][:, None]), stages.flat(x["f2"][:, None]), x["logits"]
    found = retrieval(others.numpy(), rows.numpy())
    probabilities = logits[:, :30].sigmoid()
    return {
        "l2_distance_matrix": stages.distances(rows, others),
        "l2_contrastive_margin1": stages.contrastive(rows, others),
        "l2_contrastive_hard": stages.contrastive(rows, others, hardest=True),
        "ranking_margin02": stages.ranking(rows, others),
        "l2_softmax": stages.uniformity(logits),
        "sum_log_softmax": stages.uniform_cross_entropy(logits),
        "gan_real": stages.bce(probabilities, 1.0),
        "gan_fake": stages.bce(probabilities, 0.0),
        "retrieval_f1_to_f2": np.array(list(found.values())),
    }


ENTRIES = {
    "ID_encoder": "identity", "lip_feature_encoder": "lips", "mfcc_encoder": "speech", "Decoder": "decoder",
    "model_fusion": "words", "discriminator_audio": "modality", "ID_lip_discriminator": "word_from_person",
}  # fmt: skip
"""Entry of the authors' checkpoint -> attribute of the model or of the stage."""


def released_stage(case):
    """The generator's stage with the made-up weights of a case, in training mode but for dropout."""
    model = DAVS(recipe="released")
    stage = stages.GeneratorStage(model, single_gan=True)
    networks = {entry: getattr(stage, attribute) for entry, attribute in ENTRIES.items()}
    networks |= {"netD": stage.discriminators["single"], "netD_mul": stage.discriminators["sequence"]}
    for entry, network in networks.items():
        own = {name.partition(".")[2]: w for name, w in case.weights().items() if name.startswith(f"{entry}.")}
        load_weights(network, own, case.name)
    stage.train()
    for module in stage.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return stage


@adapter("davs/train_losses")
@torch.no_grad()
def train_losses(case):
    x, stage = case.inputs(), released_stage(case)
    frames = x["video32"].repeat_interleave(8, -1).repeat_interleave(8, -2).movedim(2, -1)  # (2, 25, 256, 256, 3)
    choices = Choices(reference=3, spoken=1, heard=1, painted=2)
    cuts = [
        cut(clip.numpy(), speech[:, 0].numpy(), choices, stage.lengths) for clip, speech in zip(frames, x["mfcc"], strict=True)
    ]
    batch = {name: torch.from_numpy(np.stack([one[name] for one in cuts])) for name in cuts[0]} | {"word": x["label"]}
    batch = {name: 255 * value if name in ("reference", "spoken", "heard") else value for name, value in batch.items()}
    made = stage.forward_pass(batch)
    critic = stage.critic_losses(made.spoken, made.maps, batch) | stage.discriminator_losses(made.painted, lambda: 0.05)
    own = stage.encoder_losses(made.spoken, made.maps, made.person[0], batch)
    own |= stage.adversarial_losses(made.painted) | stages.picture_differences(made.painted)
    own["still"] = stages.restlessness(made.painted)
    weights = settings("generator")

    def of_one(frames):
        """What one kind of frames gives to the losses: that of both, painted twice, halved."""
        both = stages.picture_differences(made.painted._replace(by_audio=frames, by_video=frames))
        return sum(weights[name] * both[name] for name in ("l1", "mouth")) / 2

    image = {name: critic[name] for name in ("single", "single_combine", "sequence", "sequence_combine")}
    return {
        "embedding_l2": own["contrastive"], "dis_R_loss": critic["modality"], "D_word_CE": critic["word_from_person"],
        **{f"D_{name}": loss for name, loss in image.items()}, "loss_D": sum(image.values()) + critic["word_from_person"],
        "audio_D_inv": own["audio_modality"], "image_D_inv": own["video_modality"],
        "audio_CE": own["audio_word"], "image_CE": own["video_word"], "softmax_loss": weights["forget_word"] * own["forget_word"],
        **{f"G_{name}": own[f"real_{name}"] for name in image},
        "L1_audio": of_one(made.painted.by_audio), "L1_image": of_one(made.painted.by_video),
        "G_x": own["still"], "loss_G": sum(weights[name] * loss for name, loss in own.items()),
        "audio_fakes": on_channels(made.painted.by_audio), "image_fakes": on_channels(made.painted.by_video),
    }  # fmt: skip


def settings(stage):
    """The weights of a stage's losses as the YAML file says them."""
    return Config.load("DAVS").section(stage)["loss_weights"]
