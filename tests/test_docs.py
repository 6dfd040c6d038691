"""The examples of README and docs run as they stand, in a folder that holds what they name."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from talkingface.cli import main, parse_arguments
from talkingface.config import Config
from talkingface.media.image import write_image
from talkingface.media.video import Video
from talkingface.model.davs import DAVS
from talkingface.model.makeittalk import MakeItTalk
from talkingface.model.pc_avs import PC_AVS
from talkingface.model.videoretalking import VideoReTalking

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "checkpoints" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = re.compile(
    r"(?:python run_talkingface\.py|python -m talkingface|talkingface (?=generate|score|doctor|inspect|convert|curate))[^`\n|]*"
)
EXAMPLES = sorted({command.strip() for page in PAGES for command in COMMAND.findall(page.read_text()) if "NAME" not in command})
SLOW = "--model=Wav2Lip --dataset=demo"
RUN = [
    "generate",
    "score",
    "compare",
    "bench",
    "clinic",
    "curate",
    "check",
    "prepare",
    "config",
    "list",
    "doctor",
    "inspect",
    "convert",
]  # verbs whose examples run
SMALL = {  # model -> sizes of the weights in `place`
    "Wav2Lip": ["--Wav2Lip.width=0.1", "--Wav2Lip.image_size=48"],
    "MakeItTalk": [
        "--MakeItTalk.width=0.05",
        "--MakeItTalk.image_size=64",
        "--MakeItTalk.speaker_embedding=spectrum",
        "--face.detector=dlib",
    ],
    "VideoReTalking": [
        "--VideoReTalking.width=0.06",
        "--VideoReTalking.num_blocks=1",
        "--VideoReTalking.head_size=64",
        "--VideoReTalking.img_size=96",
        "--VideoReTalking.coefficients=landmarks",
    ],
    "PC_AVS": ["--PC_AVS.width=0.1", "--PC_AVS.image_size=64", "--face.detector=dlib"],
    "DAVS": ["--DAVS.width=0.05", "--DAVS.image_size=64", "--face.detector=dlib"],
}
CURATE = [  # for the smallest demo world
    "--face.detector=dlib",
    "--curate.clips.min_seconds=0.5",
    "--curate.tracks.min_found=5",
    "--curate.quality.min_face=20",
    "--curate.quality.min_sharpness=0",
    "--curate.workers=1",
]


def words(command: str) -> list[str]:
    """What a shell makes of a command, without the program."""
    parts = shlex.split(command.partition(" #")[0])
    return (
        parts[parts.index("run_talkingface.py") + 1 :]
        if "run_talkingface.py" in parts
        else parts[parts.index("talkingface") + 1 :]
    )


def write_blocks(page):
    """The files that a page shows, each after a line with its name."""
    for name, text in re.findall(r"^`([\w/.]+)`\n```\w+\n(.*?)```", page.read_text(), re.S | re.M):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a face, speech, videos, weights and a run, all from the smallest demo world."""
    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TALKINGFACE_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        assert main(["--model=Wav2Lip", "--dataset=demo", "--smoke", "--quiet", "--run_name=RUN", "--metrics=SSIM"]) == 0
        takes = sorted(Path("dataset/demo-smoke").rglob("clip_0?.mp4"))
        copies = {
            "face.mp4": takes[0],
            "pose.mp4": takes[1],
            "videos/a.mp4": takes[0],
            "real/a.mp4": takes[1],
            "my_videos/a.mp4": takes[0],
            "my_videos/b.mp4": takes[1],
            "raw/ann/a.mp4": takes[0],
            "raw/bob.mp4": takes[1],
        }
        for name, source in copies.items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes(source.read_bytes())
            Path(name).with_suffix(".landmarks.npz").write_bytes(source.with_suffix(".landmarks.npz").read_bytes())
        Path("speech.wav").write_bytes(takes[0].with_suffix(".wav").read_bytes())
        weights = Path("checkpoints/Wav2Lip")
        weights.mkdir(parents=True)
        (weights / "wav2lip_gan.pth").write_bytes(Path("saved/RUN/weights/generator.safetensors").read_bytes())
        PC_AVS(width=0.1, image_size=64).save(Path("checkpoints/PC_AVS"))
        DAVS(width=0.05, image_size=64).save(Path("checkpoints/DAVS"))
        VideoReTalking(width=0.06, num_blocks=1, head_size=64, img_size=96, coefficients="landmarks").save(
            Path("checkpoints/VideoReTalking")
        )
        MakeItTalk(width=0.05, image_size=64, speaker_embedding="spectrum").save(Path("checkpoints/MakeItTalk"))
        for name in ("portrait.jpg", "drawing.png"):
            write_image(Path(name), next(iter(Video(takes[0]))))
        write_blocks(ROOT / "docs" / "curate.md")
        shutil.copytree("saved/RUN", "saved/OTHER")
        assert main(["score", "videos", "--truth=real", "--metrics=SSIM,PSNR", "--output=scores", "--quiet"]) == 0
        yield folder


@pytest.mark.parametrize("command", EXAMPLES)
def test_an_example_is_a_command(command):
    arguments = parse_arguments(words(command))
    arguments.take("face", "audio", "pose", "mouth", "output", "truth", "config_files", "verify", "models", "edit")
    arguments.take("to", "precision", "steps")
    if arguments.verb in ("inspect", "convert", "download", "curate"):
        arguments.words.clear()
    if arguments.verb == "compare":
        arguments.words.clear()
    Config.load(flags=[flag for flag in arguments.flags if flag[0] != "resume"])


@pytest.mark.parametrize(
    "command",
    [command for command in EXAMPLES if re.search(rf"talkingface ({'|'.join(RUN)})|RUN", command)],
)
def test_an_example_runs(command, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    sized = "RUN" not in command and not re.search("talkingface (inspect|convert)", command)  # else sizes are read from the files
    small = [flag for model, flags in SMALL.items() if model in command and sized for flag in flags]
    small += ["--clinic.clips=1", "--clinic.steps=10", "--expert.batch_size=16"] if " clinic " in command else []
    if " curate " in command:
        small += CURATE + ([] if "judge" in command else ["--curate.sync.judge=DemoLSE"])
    code = main([*words(command), *small, "--quiet"])
    assert code == 0, capsys.readouterr().err


def test_python_examples_run(place, monkeypatch):
    monkeypatch.chdir(place)
    for page in PAGES:
        for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
            exec(compile(code, page.name, "exec"), {})  # our own page
