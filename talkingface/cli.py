"""The command line: flags -> Config -> run. Alone reads sys.argv, alone prints.

Exit codes: 0 done; 1 an error of no other kind; 2 a wrong setting, name or flag; 3 a video, sound, picture or data set
that cannot be used; 4 weights that are missing, damaged or of another network; 5 done, but some clips could not be
generated or scored; 6 a training that cannot go on; 130 interrupted.
"""

from __future__ import annotations

import difflib
import json
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from talkingface import __version__
from talkingface.errors import ConfigError, DatasetError, TalkingFaceError

USAGE = """\
talkingface {version}: train, run and score talking-face models.

  python run_talkingface.py --model=NAME --dataset=NAME [--any.key=value ...]
  talkingface VERB [...]            (python -m talkingface VERB is the same)

Verbs
  run        train a model on a data set, generate its test clips and score them (the verb when none is given)
  list       models | datasets | metrics | steps: what is registered
  config     print every setting with its value and where it came from
  curate     RAW_FOLDER --output FOLDER [--model A,B] [--steps A,B]: raw videos become a training set: faces followed, cut out,
             in sync, of good quality, split by speaker; each step has settings, --curate.STEP.KEY=VALUE
  check      --dataset NAME [--sample N]: what is wrong with this copy of a data set, and what to do next
  cut        --dataset NAME --lists FILE|FOLDER --videos FOLDER [--output FOLDER] [--workers N] [--size N] [--limit N]:
             cut the clips of a published list from videos that you fetched
  prepare    turn a data set's raw videos into this model's training data
  generate   --face FILE --audio FILE [--pose FILE|none] [--mouth FILE] [--output FILE]: one talking video
  puppet     PICTURE [--landmarks FILE] [--edit] [--folder DIR] [--background FILE] [--inner_lip] [--preview false]:
             make a character of a drawn face, for MakeItTalk; --edit opens a page on which its points are dragged
  score      FOLDER|FILE [--truth FOLDER|FILE] [--output DIR]: score videos on disk, of any system
             --verify REPORT.json: score its files again, and say what differs
  compare    REPORT REPORT ... [--output DIR]: reports (files or run folders) side by side, with paired tests
  bench      --models A,B=WEIGHTS --dataset NAME: several models over one test list, and the leaderboard
  clinic     --model NAME --dataset NAME: why does a lip-sync expert not learn? Checks, a verdict, and what to do next
  tune       try the settings of --tune.space and say which are best (Ray spreads the runs)
  doctor     check this machine: packages, codecs, face detectors, published weights
  inspect    FILE: which network a file of weights holds, what is missing or too much in it, and where it comes from
  download   [MODEL|METRIC|all] [--from FILE|FOLDER]: fetch published weights, or take those that you fetched by hand;
             without a name: what is here
  convert    FILE|FOLDER [--to safetensors|original] [--precision float16|bfloat16|float32] [--output FILE|FOLDER]:
             weights as safetensors, or in the files that their authors' programs read

Flags of all verbs but list
  --model NAME                  a registered model; case, dash and underscore do not matter
  --dataset NAME                a registered data set
  --config_files "A.yaml B.yaml"  settings files; later ones win over earlier ones
  --evaluate_model_file PATH    generate and score with these weights (a published file, or a run's weights), no training
  --resume PATH                 go on with the training in a run folder
  --stages A,B                  train these stages only
  --metrics A,B                 score with these metrics (short for --evaluation.metrics)
  --smoke                       one batch through everything
  --dry_run                     say what would be loaded, how large it is and where outputs go
  --any.key VALUE               any setting of `talkingface config`; --any.key=VALUE is the same

Output
  --json      print the result as one JSON object on standard output; messages go to standard error
  --quiet     warnings and errors only
  --version, --help

Exit codes: 0 done; 1 other error; 2 wrong setting, name or flag; 3 unusable video, sound, picture or data set;
4 weights missing, damaged or of another network; 5 done, but some clips failed; 6 training cannot go on; 130 interrupted.
"""

SHORT = {"metrics": "evaluation.metrics", "dataset_mode": "dataset", "outfile": "output"}  # flags that stand for another key
NUMBER = re.compile(r"-?\d+(\.\d+)?")
SWITCHES = ("json", "quiet", "help", "version")


class Arguments(NamedTuple):
    """A command line, taken apart."""

    verb: str
    words: list[str]
    flags: list[tuple[str, str]]
    switches: set[str]

    def take(self, *names: str) -> dict[str, str]:
        """Remove the verb's own flags from `flags` and return them."""
        own = {key: value for key, value in self.flags if key in names}
        self.flags[:] = [flag for flag in self.flags if flag[0] not in names]
        return own


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line. Returns its exit code; a user's mistake ends with a message, never a traceback."""
    try:
        arguments = parse_arguments(list(sys.argv[1:] if argv is None else argv))
        if "version" in arguments.switches:
            print(__version__)
            return 0
        if "help" in arguments.switches:
            print(USAGE.format(version=__version__), end="")
            return 0
        return VERBS[arguments.verb](arguments)
    except TalkingFaceError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; a run goes on with --resume=FOLDER.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:  # what the disk or the system refuses, at a place that knows no better remedy
        print(f"error: {error.filename or 'the system'}: {error.strerror or error}.", file=sys.stderr)
        return 1


def parse_arguments(argv: list[str]) -> Arguments:
    """Take a command line apart: `--k=v`, `--k v`, several numbers (`--k 0 10 0 0`) and bare `--k` (true).

    Raises:
        ConfigError: an unknown verb or a flag with one dash.
    """
    if not argv:
        return Arguments("run", [], [], {"help"})
    verb = argv.pop(0) if not argv[0].startswith("-") else "run"
    if verb not in VERBS:
        close = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise ConfigError(f"{verb!r} is no verb{hint} Known: {', '.join(VERBS)}.")
    words, flags, switches = [], [], set()
    while argv:
        word = argv.pop(0)
        if word in ("-h", "-q"):
            word = {"-h": "--help", "-q": "--quiet"}[word]
        if not word.startswith("--"):
            if word.startswith("-") and len(word) > 1:
                raise ConfigError(f"{word}: flags start with two dashes: --{word.lstrip('-')}.")
            words.append(word)
            continue
        key, equals, value = word[2:].partition("=")
        if key in SWITCHES and not equals:
            switches.add(key)
            continue
        if not equals:
            value = argv.pop(0) if argv and not argv[0].startswith("--") else "true"
            while NUMBER.fullmatch(value.rpartition(",")[2]) and argv and NUMBER.fullmatch(argv[0]):
                value = f"{value},{argv.pop(0)}"
        flags.append((SHORT.get(key, key), value))
    return Arguments(verb, words, flags, switches)


def load_config(arguments: Arguments, overrides: dict[str, Any] | None = None):
    """The Config of a command line."""
    from talkingface.config import Config, Layer, sizes_of

    own = arguments.take("config_files")
    if arguments.words:
        raise ConfigError(f"{arguments.words[0]!r}: settings are flags, such as --model={arguments.words[0]}.")
    files: list[Path | str | Layer] = [*split_files(own.get("config_files", ""))]
    if weights := dict(arguments.flags).get("evaluate_model_file"):
        files.insert(0, sizes_of(Path(weights).expanduser()))
    resume = dict(arguments.flags).get("resume")
    if resume == "auto":
        resume = str(newest_run(dict(arguments.flags)))
        arguments.flags[:] = [(key, resume if key == "resume" else value) for key, value in arguments.flags]
    if resume:
        if not (Path(resume) / "config.yaml").is_file():
            raise ConfigError(f"--resume={resume}: no run folder: {Path(resume) / 'config.yaml'} does not exist.")
        files.insert(0, Path(resume) / "config.yaml")
    return Config.load(files=files, overrides=overrides or {}, flags=arguments.flags)


def newest_run(flags: dict[str, str]) -> Path:
    """The newest run of the model and data set of a command line."""
    from talkingface.config import Config

    config = Config.load(flags=[(key, value) for key, value in flags.items() if key != "resume"])
    runs = Path(config["saved_dir"]).glob(f"{config['model']}-{config['dataset']}-*/config.yaml")
    newest = max(runs, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        raise ConfigError(f"--resume=auto: {config['saved_dir']} holds no run of {config['model']} on {config['dataset']}.")
    return newest.parent


def split_files(text: str) -> list[Path]:
    """The files of --config_files: one name, or several with blanks or commas between (quotes keep a blank)."""
    if not text or Path(text).is_file():
        return [Path(text)] if text else []
    return [Path(name) for name in shlex.split(text.replace(",", " "))]


def start_messages(arguments: Arguments) -> None:
    from talkingface.log import log_to_console

    log_to_console(quiet="quiet" in arguments.switches)


def run(arguments: Arguments) -> int:
    """Train, generate, score; print the table."""
    config = load_config(arguments)
    start_messages(arguments)
    if config["dry_run"]:
        from talkingface.plan import plan

        return show(arguments, *plan(config))
    from talkingface.quick_start import run as run_config

    outcome = run_config(config)
    if outcome.report is None:
        return show(arguments, {"folder": str(outcome.folder), "losses": outcome.losses}, losses_text(outcome))
    code = show(arguments, outcome.report.to_json(), f"{outcome.report.table()}\n{outcome.folder}")
    return 5 if outcome.report.failures else code


def losses_text(outcome: Any) -> str:
    lines = [f"{stage}: " + ", ".join(f"{k} {v:.4g}" for k, v in losses.items()) for stage, losses in outcome.losses.items()]
    return "\n".join([*lines, str(outcome.folder)])


def list_registered(arguments: Arguments) -> int:
    """Print the models, data sets or metrics with a line on each; imports none of them."""
    from talkingface.config import describe, settings_files

    plugins = [Path(folder) for folder in arguments.take("plugins").get("plugins", "").split(",") if folder]
    kinds = {"models": "model", "datasets": "dataset", "metrics": "metric", "steps": "curate"}
    asked = arguments.words or list(kinds)
    for word in asked:
        if word not in kinds:
            raise ConfigError(f"list {word}: expected one of {', '.join(kinds)}.")
    found = {word: {name: describe(path) for name, path in settings_files(kinds[word], plugins).items()} for word in asked}
    text = []
    for word, entries in found.items():
        width = max(map(len, entries), default=0)
        text += [f"{word}:"] if len(found) > 1 else []
        text += [f"{'  ' if len(found) > 1 else ''}{name:<{width}}  {line}" for name, line in entries.items()]
    return show(arguments, found, "\n".join(text))


def show_config(arguments: Arguments) -> int:
    """Print every setting, its value and its origin."""
    config = load_config(arguments)
    entries = {key: {"value": config[key], "origin": config.origin(key)} for key in config}
    width = max(map(len, entries))
    lines = [f"{key:<{width}}  {json.dumps(e['value'], ensure_ascii=False):<28}  {e['origin']}" for key, e in entries.items()]
    return show(arguments, entries, "\n".join(lines))


def curate(arguments: Arguments) -> int:
    """Make a training set of a folder of raw videos."""
    own = arguments.take("output", "model", "steps")
    if len(arguments.words) != 1 or "output" not in own:
        raise ConfigError("curate needs a folder of raw videos and a place: talkingface curate RAW_FOLDER --output FOLDER.")
    raw, output = Path(arguments.words.pop()), Path(own["output"])
    models = [name for name in own.get("model", "").split(",") if name]
    flags = [*arguments.flags, *([("curate.steps", own["steps"])] if "steps" in own else [])]

    def config_of(model: str) -> Any:
        others = {name for name in models if name != model}
        mine = [(key, value) for key, value in flags if key.partition(".")[0] not in others]
        data = [("model", model), ("dataset", "folder"), ("folder.root", str(output))] if model else []
        return load_config(arguments._replace(flags=[*mine, *data]))

    config = config_of("")
    start_messages(arguments)
    from talkingface.training_set import make_training_set

    found = make_training_set(config, raw, output, models, config_of)
    code = show(arguments, found.to_json(), found.text())
    return 5 if found.damaged else code


def check(arguments: Arguments) -> int:
    """Examine a copy of a data set."""
    own = arguments.take("sample")
    config = load_config(arguments)
    start_messages(arguments)
    from talkingface.dataset.card import card
    from talkingface.dataset.check import check as check_dataset
    from talkingface.quick_start import build_dataset, check_names, set_up

    set_up(config)
    check_names(config, needs=("dataset",))
    sample = whole_number(own, "sample", 40)
    found = check_dataset(build_dataset(config), config["dataset"], card(config["dataset"]), sample)
    code = show(arguments, found.to_json(), found.text())
    return code if found.is_usable else DatasetError.exit_code


def cut(arguments: Arguments) -> int:
    """Cut the clips of a data set that is published as a list."""
    own = arguments.take("lists", "videos", "output", "workers", "size", "limit")
    for needed in ("lists", "videos"):
        if needed not in own:
            raise ConfigError(f"cut needs --{needed}=FOLDER: the published lists, and the videos that you fetched.")
    config = load_config(arguments)
    start_messages(arguments)
    from talkingface.dataset.card import cards
    from talkingface.dataset.cut import Listed, cut_clips
    from talkingface.quick_start import check_names, set_up
    from talkingface.registry import DATASETS

    set_up(config)
    check_names(config, needs=("dataset",))
    kind = DATASETS[config["dataset"]]
    if not issubclass(kind, Listed):
        known = ", ".join(name for name in cards() if issubclass(DATASETS[name], Listed))
        raise ConfigError(f"--dataset={config['dataset']} is not published as a list of times and crops; {known} are.")
    lists, videos = Path(own["lists"]).expanduser(), Path(own["videos"]).expanduser()
    output = Path(own.get("output", config[f"{config['dataset']}.root"])).expanduser()
    workers, size, limit = (
        whole_number(own, "workers", config["prepare.workers"]),
        whole_number(own, "size", kind.size),
        whole_number(own, "limit", 0),
    )
    made = cut_clips(kind.cuts(lists), videos, output, workers, size, limit)
    show(arguments, made.to_json(), made.text())
    return 5 if made.left_out else 0


def whole_number(flags: dict[str, str], name: str, default: int) -> int:
    """A flag of a verb that is 0, 1, 2, ..."""
    text = flags.get(name, str(default))
    if not text.isdecimal():
        raise ConfigError(f"--{name}={text}: expected a whole number, 0 or more.")
    return int(text)


def prepare(arguments: Arguments) -> int:
    """Make a model's training data from a data set's raw videos."""
    config = load_config(arguments)
    start_messages(arguments)
    from talkingface.quick_start import prepare_all

    counts = prepare_all(config)
    lines = []
    for split, c in counts.items():
        lines.append(f"{split}: {c['prepared']} clips prepared, {c['set_aside']} set aside")
        lines += [f"  {name}: {reason}" for name, reason in c["reasons"].items()]
    code = show(arguments, counts, "\n".join(lines))
    return 5 if any(c["set_aside"] for c in counts.values()) else code


def generate(arguments: Arguments) -> int:
    """Make one talking video."""
    own = arguments.take("face", "audio", "pose", "mouth", "output")
    for needed in ("face", "audio"):
        if needed not in own:
            raise ConfigError(f"generate needs --{needed}=FILE.")
    config = load_config(arguments)
    start_messages(arguments)
    from talkingface.quick_start import generate_one

    output = Path(own.get("output", f"{Path(own['face']).stem}_{Path(own['audio']).stem}.mp4"))
    pose, mouth = (Path(own[key]) if key in own else None for key in ("pose", "mouth"))
    made = generate_one(config, Path(own["face"]), Path(own["audio"]), pose, output, mouth)
    untouched = "".join(f"; {count} untouched: {reason}" for reason, count in made["untouched"].items())
    return show(arguments, {"output": str(output), **made}, f"{output}: {made['frames']} frames{untouched}")


def puppet(arguments: Arguments) -> int:
    """Make a character that MakeItTalk animates of a picture."""
    own = arguments.take("landmarks", "folder", "background", "inner_lip", "edit", "preview")
    if len(arguments.words) != 1:
        raise ConfigError("puppet needs one picture: talkingface puppet PICTURE [--landmarks FILE] [--edit].")
    picture = Path(arguments.words.pop())
    config = load_config(arguments)
    start_messages(arguments)
    from talkingface.model.makeittalk.new_puppet import new_puppet
    from talkingface.quick_start import face_finder, set_up

    set_up(config)
    files = {name: Path(own[name]).expanduser() for name in ("landmarks", "folder", "background") if name in own}
    inner_lip, edit, preview = yes(own, "inner_lip", False), yes(own, "edit", False), yes(own, "preview", True)
    opened = open_page if edit else None
    made = new_puppet(picture, face_finder(config), **files, inner_lip=inner_lip, opened=opened, preview=preview)
    if made is None:
        return show(arguments, {"picture": None, "files": []}, "closed without saving; nothing was written.")
    lines = [str(path) for path in made.files]
    lines.append(f"talkingface generate --model=MakeItTalk --face={shlex.quote(str(made.picture))} --audio=SPEECH.wav")
    return show(arguments, made._asdict(), "\n".join(lines))


def yes(flags: dict[str, str], name: str, default: bool) -> bool:
    """A flag of a verb that is true or false."""
    text = flags.get(name, str(default)).lower()
    if text not in ("true", "false"):
        raise ConfigError(f"--{name}={flags[name]}: expected true or false.")
    return text == "true"


def open_page(address: str) -> None:
    """Show a page of our own in the user's browser, and say where it is for those who have none here."""
    import webbrowser

    print(f"Place the points on this page, then save: {address}", file=sys.stderr, flush=True)
    webbrowser.open(address)


def score(arguments: Arguments) -> int:
    """Score videos on disk, or verify a stored report."""
    own = arguments.take("truth", "output", "verify")
    if ("verify" in own) == (len(arguments.words) == 1):
        raise ConfigError("score needs one folder or file of videos (score FOLDER [--truth FOLDER]), or --verify=REPORT.json.")
    videos = Path(own["verify"] if "verify" in own else arguments.words.pop())
    config = load_config(arguments)
    start_messages(arguments)
    if "verify" in own:
        from talkingface.verify import verify

        found = verify(config, videos)
        show(arguments, {"checked": found.checked, "differences": found.differences}, found.text())
        return 1 if found.differences else 0
    from talkingface.quick_start import save_report, score_videos

    report = score_videos(config, videos, Path(own["truth"]) if "truth" in own else None)
    if "output" in own:
        save_report(config, report, Path(own["output"]))
    code = show(arguments, report.to_json(), report.table())
    return 5 if report.failures else code


def compare(arguments: Arguments) -> int:
    """Put reports side by side."""
    own, paths = arguments.take("output"), [Path(word) for word in arguments.words]
    arguments.words.clear()
    config = load_config(arguments)
    start_messages(arguments)
    from talkingface.compare import Comparison
    from talkingface.page import write_page
    from talkingface.report import Report, write_json

    reports = dict(zip(short_names(paths), map(Report.load, paths), strict=True))
    found = Comparison(reports)
    if "output" in own:
        write_json(Path(own["output"]) / "comparison.json", found.to_json())
        page = Path(own["output"]) / "comparison.html"
        write_page(page, reports, config["evaluation.page_clips"], config["evaluation.page_seconds"])
    return show(arguments, found.to_json(), found.table())


def short_names(paths: Sequence[Path]) -> list[str]:
    """What tells the reports of a comparison apart: the names of their folders, or else their whole paths."""
    names = [(path.parent if path.suffix == ".json" else path).resolve().name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def bench(arguments: Arguments) -> int:
    """Run several models over one test list."""
    own = arguments.take("models", "output")
    if "models" not in own:
        raise ConfigError("bench needs --models=A,B: names with commas between, each with =WEIGHTS or with published ones.")
    start_messages(arguments)
    from talkingface.bench import bench as run_bench
    from talkingface.bench import entries
    from talkingface.report import write_json

    flags, words = list(arguments.flags), list(arguments.words)
    models = entries(own["models"])

    def config_of(model: str, weights: str, run_name: str) -> Any:
        checkpoints = dict(flags).get("checkpoints_dir", "checkpoints")
        chosen = [("model", model), ("evaluate_model_file", weights or f"{checkpoints}/{model}"), ("run_name", run_name)]
        others = {entry.model for entry in models} - {model}
        own_flags = [(key, value) for key, value in flags if key.partition(".")[0] not in others]
        return load_config(arguments._replace(words=list(words), flags=[*own_flags, *chosen]))

    board = run_bench(config_of, models, dict(flags).get("run_name", "bench"))
    if "output" in own:
        write_json(Path(own["output"]) / "board.json", board.to_json())
    show(arguments, board.to_json(), board.text())
    return 5 if board.failed or any(report.failures for report in board.reports.values()) else 0


def clinic(arguments: Arguments) -> int:
    """Examine a lip-sync expert that does not learn."""
    config = load_config(arguments)
    start_messages(arguments)
    from talkingface.clinic import examine

    found = examine(config)
    show(arguments, found.to_json(), found.text())
    return 1 if found.faults else 0


def tune(arguments: Arguments) -> int:
    """Try settings; print the trials, best first."""
    config = load_config(arguments)
    start_messages(arguments)
    from talkingface.tune import search

    trials = search(config)
    lines = [
        f"{trial.score:.4g}  {trial.folder}  " + ", ".join(f"{k}={v}" for k, v in trial.settings.items()) for trial in trials
    ]
    return show(arguments, [trial._asdict() for trial in trials], "\n".join(lines))


def doctor(arguments: Arguments) -> int:
    """Check this machine."""
    from talkingface.doctor import examine

    findings = examine(load_config(arguments))
    marks = {"ok": "ok  ", "missing": "--  ", "broken": "FAIL"}
    lines = [f"{marks[f.state]} {f.what:<32} {f.detail}" for f in findings]
    code = show(arguments, [f._asdict() for f in findings], "\n".join(lines))
    return 1 if any(f.state == "broken" for f in findings) else code


def inspect(arguments: Arguments) -> int:
    """Say what a file of weights is."""
    if len(arguments.words) != 1:
        raise ConfigError("inspect needs one file of weights: talkingface inspect FILE [--json].")
    path = Path(arguments.words.pop())
    load_config(arguments)
    start_messages(arguments)
    from talkingface.passport import passport

    found = passport(path)
    code = show(arguments, found.to_json(), found.text())
    return 4 if found.problem else code


def download(arguments: Arguments) -> int:
    """Fetch published weights, or say which are here."""
    own, words = arguments.take("from"), list(arguments.words)
    arguments.words.clear()
    config = load_config(arguments)
    start_messages(arguments)
    from talkingface.download import Downloader
    from talkingface.media.fetch import Limits

    limits = Limits(seconds=config["download.timeout"], attempts=config["download.attempts"])
    folder, mirrors = Path(config["checkpoints_dir"]), config["download.mirrors"]
    loader = Downloader(folder, mirrors, config["download.offline"], limits)
    names = words or ["all"]
    if "from" in own:
        rows = [row for name in names for row in loader.take(name, Path(own["from"]))]
    else:
        rows = [row for name in names for row in (loader.download(name) if words else loader.look(name))]
    width = max(len(row.state) for row in rows)
    show(arguments, [row._asdict() for row in rows], "\n".join(f"{row.state:<{width}}  {row.path}: {row.detail}" for row in rows))
    asked = bool(words) or "from" in own
    return 4 if any(row.state == "failed" or (asked and row.needed and row.state in ("absent", "by hand")) for row in rows) else 0


def convert(arguments: Arguments) -> int:
    """Write weights in another container."""
    own = arguments.take("to", "precision", "output")
    if len(arguments.words) != 1:
        raise ConfigError("convert needs one file or folder of weights: talkingface convert FILE --to=safetensors|original.")
    source = Path(arguments.words.pop())
    load_config(arguments)
    start_messages(arguments)
    from talkingface.convert import convert as convert_weights

    output = Path(own["output"]) if "output" in own else None
    written = convert_weights(source, output, own.get("to", "safetensors"), own.get("precision", ""))
    return show(arguments, [str(path) for path in written], "\n".join(map(str, written)))


def show(arguments: Arguments, result: Any, text: str) -> int:
    """Print a result: as JSON, or as text."""
    print(json.dumps(result, indent=1, ensure_ascii=False, default=str) if "json" in arguments.switches else text)
    return 0


VERBS: dict[str, Callable[[Arguments], int]] = {
    "run": run,
    "list": list_registered,
    "config": show_config,
    "curate": curate,
    "check": check,
    "cut": cut,
    "prepare": prepare,
    "generate": generate,
    "puppet": puppet,
    "score": score,
    "compare": compare,
    "bench": bench,
    "clinic": clinic,
    "tune": tune,
    "doctor": doctor,
    "inspect": inspect,
    "download": download,
    "convert": convert,
}
