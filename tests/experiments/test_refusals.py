"""What cannot work is refused in one sentence and with exit code 2, and leaves nothing behind."""

import io
import runpy
import shlex
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest
from support.scripts import ROOT, finish

from cluster.run import Run
from cluster.storage import run_folders
from genlib import CouplingFlow, PointDiffusion, TinyGPT

HUGE = "1000000000000"
POINTS, CLASSES, TEXT, FLOW = "{points}", "{classes}", "{text}", "{flow}"
STORAGE, FILE, THESIS, CSV = "{s}", "{file}", "{thesis}", "{csv}"

TRAIN = [
    ("point-difusion", "unknown study 'point-difusion': the studies are point-diffusion"),
    ("''", "unknown study ''"),
    ("nowhere.py:Mine", "nowhere.py"),
    ("README.md:Mine", "README.md"),
    ("--width 3", "unknown study '--width'"),
    ("point-diffusion --preset bset", "no preset 'bset': it has report, best, tiny"),
    ("point-diffusion --preset", "--preset: give a value; allowed is a text"),
    ("point-diffusion --widht 3", "no option --widht: did you mean --width?"),
    ("point-diffusion --", "one word too many"),
    ("point-diffusion --zzzz", "no option --zzzz: `--help` lists them"),
    ("point-diffusion extra", "'extra' is one word too many"),
    ("point-diffusion --width", "--width: give a value; allowed is an integer of at least 1"),
    ("point-diffusion --width abc", "width: got 'abc'; allowed is an integer of at least 1"),
    ("point-diffusion --width 0", "width: got 0; allowed is an integer of at least 1"),
    ("point-diffusion --width -3", "width: got -3"),
    ("point-diffusion --width 2.5", "width: got 2.5"),
    ("point-diffusion --width 1e400", "width: got inf"),
    ("point-diffusion --width nan", "width: got nan"),
    ("point-diffusion --width true", "width: got 'true'"),
    ("point-diffusion --width 99999999999999999999", "width: got 99999999999999999999"),
    ("point-diffusion --width 100000000", "GiB for the weights, and this machine has"),
    ("point-diffusion --width=", "width: got ''"),
    ("point-diffusion --steps 0", "steps: got 0"),
    ("point-diffusion --steps -1", "steps: got -1"),
    ("point-diffusion --steps many", "steps: got 'many'"),
    ("point-diffusion --batch-size 0", "batch_size: got 0"),
    ("point-diffusion --batch-size 1.5", "batch_size: got 1.5"),
    (f"point-diffusion --batch-size {HUGE}", "GiB for batch_size, and this machine has"),
    ("point-diffusion --learning-rate 0", "learning_rate: got 0.0; allowed is a number above 0"),
    ("point-diffusion --learning-rate -1", "learning_rate: got -1.0"),
    ("point-diffusion --learning-rate nan", "learning_rate: got nan"),
    ("point-diffusion --learning-rate inf", "learning_rate: got inf"),
    ("point-diffusion --learning-rate fast", "learning_rate: got 'fast'"),
    ("point-diffusion --learning-rate-schedule linear", "allowed is one of constant, cosine"),
    ("point-diffusion --schedule exp7", "schedule: got 'exp7'; allowed is one of"),
    ("point-diffusion --schedule", "--schedule: give a value; allowed is one of"),
    ("point-diffusion --sampler rk45", "sampler: got 'rk45'"),
    ("point-diffusion --density circles", "density: got 'circles'"),
    ("image-diffusion --text-dropout 0 --guidance 2", "use 1, or train with text_dropout above 0"),
    ("image-diffusion --patch 3", "patch: got 3; images of 28 × 28 need a divisor of 28"),
    ("image-diffusion --multiples 1 2 2 2", "multiples: got 4 levels, which halve 14 × 14 patches 3 times"),
    ("image-diffusion --text-width 10", "text_width: got 10; allowed are multiples of 4"),
    ("image-diffusion --samples 5000", "4000 is the most for mnist"),
    ("image-diffusion --width 12", "allowed are multiples of 8"),
    ("vicreg --batch-size 1", "batch_size: got 1; allowed is an integer of at least 2"),
    ("vicreg --preset tiny --batch-size 2000", "there are 1,437 training images; allowed is at most as many"),
    ("vicreg --training-files 6", "training_files: got 6; allowed is an integer of at least 1 and at most 5"),
    ("vicreg --strengths 0.4 0.4", "give four numbers"),
    ("vicreg --view-size 4", "are at least 8 high"),
    ("vicreg --supervised true --positives neighbours", "exclude each other"),
    ("vicreg --decoder-weight 1", "set codes as well"),
    ("vicreg --positives neighbors", "positives: got 'neighbors'; allowed is one of views, neighbours, alternating"),
    ("point-diffusion --classes 4", "classes: got 4, but the density 'square' has 5 classes"),
    ("point-diffusion --classes -1", "classes: got -1"),
    ("point-diffusion --density spiral --classes 2", "has no classes; use 0"),
    ("point-diffusion --points 2 --classes 5", "at least one per class"),
    ("point-diffusion --guidance 3", "use 1, or train with classes and label_dropout above 0"),
    ("point-diffusion --seed -1", "seed: got -1"),
    ("point-diffusion --seed x", "seed: got 'x'"),
    ("point-diffusion --ema-decay 1", "ema_decay: got 1.0"),
    ("point-diffusion --ema-decay -0.1", "ema_decay: got -0.1"),
    ("point-diffusion --clip-norm -1", "clip_norm: got -1.0"),
    ("point-diffusion --warmup-steps -1", "warmup_steps: got -1"),
    ("point-diffusion --weight-decay -1", "weight_decay: got -1.0"),
    ("point-diffusion --log-every 0", "log_every: got 0"),
    ("point-diffusion --sampling-steps 0", "sampling_steps: got 0"),
    ("point-diffusion --samples 10", "samples: got 10; allowed is an integer of at least 50"),
    (f"point-diffusion --samples {HUGE}0", "GiB for samples, and this machine has"),
    ("point-diffusion --likelihood-points 1", "likelihood_points: got 1"),
    ("point-diffusion --device mps", "device 'mps' is of a kind that genlib is not tested on"),
    ("point-diffusion --device meta", "device 'meta' is of a kind that genlib is not tested on"),
    ("point-diffusion --device gpu", "device 'gpu' is none that torch knows"),
    ("point-diffusion --device meta --plan", "device 'meta' is of a kind"),
    ("point-diffusion --device cuda:99", "torch sees no GPU here"),
    ("point-diffusion --workers many", "--workers: got 'many'; allowed is a number, or MIN:MAX"),
    ("point-diffusion --workers 0", "--workers: got '0'"),
    ("point-diffusion --workers -1", "--workers: got '-1'"),
    ("point-diffusion --workers 3:2", "--workers: got '3:2'"),
    ("point-diffusion --workers 1000 --batch-size 1000", "a run needs 1000 CPUs"),
    ("point-diffusion --workers 2 --batch-size 63", "a global batch of 63 cannot be split over 2 workers"),
    (f"point-diffusion --storage {FILE}", "cannot be written (Not a directory)"),
    (f"point-diffusion --storage {FILE} --plan", "cannot be written (Not a directory)"),
    (f"point-diffusion --storage {FILE}/deeper --plan", "cannot be written (Not a directory)"),
    (f"point-diffusion --storage {THESIS}", "holds files that genlib did not write"),
    ("point-diffusion --tracking ftp://host/x", "MLflow does not speak ftp://"),
    ("point-diffusion --tracking runs/mlflow", "MLflow keeps no runs in a folder"),
    ("point-diffusion --tracking file:///tmp/x", "MLflow keeps no runs in a folder"),
    ("point-diffusion --tracking mssql+nodriver://host/x", "no address of a database"),
    ("point-diffusion --tracking mysql+aiomysql://host/x", "the driver of mysql+aiomysql:// is not installed"),
    ("point-diffusion --json=maybe", "--json: got 'maybe'; allowed is true or false"),
    ("point-diffusion --from nowhere", "there is no run 'nowhere'"),
    (f"point-diffusion --from {FLOW} --steps 40", "is a run of coupling-flow: give that study"),
    (f"point-diffusion --from {POINTS}", "is at update 20 already: give --steps more"),
    (f"point-diffusion --from {POINTS} --steps 40 --width 64", "its model or optimizer is another"),
    ("point-diffusion --points 0 --epochs 5", "draws fresh data for every batch: give steps"),
    ("point-diffusion --points 100 --epochs 0", "epochs: got 0"),
    ("point-diffusion --points 100 --epochs nan", "epochs: got nan"),
    ("point-diffusion --points 100 --epochs few", "--epochs: got 'few'; allowed is a number"),
    ("point-diffusion --points 100 --epochs 5 --steps 9", "two words for one thing"),
    ("coupling-flow --layers 1", "layers: got 1"),
    ("coupling-flow --coupling cubic", "coupling: got 'cubic'; allowed is one of affine, spline"),
    ("continuous-vae --hidden", "--hidden: give a value"),
    ("continuous-vae --hidden 0", "hidden: got (0,); allowed is a list, each an integer"),
    ("continuous-vae --hidden a b", "hidden: got ('a', 'b')"),
    (f"tiny-gpt --text {CSV}/nowhere.txt", "/nowhere.txt"),
    ("tiny-gpt --tied=maybe", "tied: got 'maybe'; allowed is true or false"),
]
RUNS = [
    ("lits", "runs.py has no command 'lits': did you mean list?"),
    ("show", "RUN is missing: give a run directory"),
    ("show zzz", "there is no run 'zzz'"),
    ("show ''", "there is no run ''"),
    ("list extra", "'extra' is one word too many"),
    (f"list --storage {CSV}/nowhere", "there are no runs in /"),
    (f"diff {POINTS}", "OTHER is missing"),
    ("draw zzz", "there is no run 'zzz'"),
    ("delete", "RUNS is missing"),
    ("delete / --yes", "there is no run '/'"),
    ("delete '' --yes", "there is no run ''"),
    ("delete . --yes", "there is no run '.'"),
    ("delete .. --yes", "there is no run '..'"),
    ("delete /elsewhere/{points} --yes", "there is no run '/elsewhere/"),
    ("delete {elsewhere} --yes", "is not in the storage"),
    ("delete point-diffusion --yes", "there is no run 'point-diffusion'"),
]
SAMPLE = [
    ("", "RUN is missing"),
    ("zzz", "there is no run 'zzz'"),
    (f"{POINTS} --count 0", "--count: got 0; allowed is at least 1"),
    (f"{POINTS} --count abc", "--count: got 'abc'; allowed is an integer"),
    (f"{POINTS} --count {HUGE}0", "samples need"),
    (f"{POINTS} --width 3", "'width' made the model"),
    (f"{POINTS} --sampling-steps 0", "sampling_steps: got 0"),
    (f"{POINTS} --widht 3", "no option --widht"),
    (f"{POINTS} --out {FILE}/x.npz", "/file/x.npz cannot be written (Not a directory)"),
    (f"{POINTS} --own nowhere.py:Mine", "nowhere.py"),
]
SCORE = [
    (POINTS, "give a CSV file for a run of points, images for one of vicreg, or --text"),
    (f"{POINTS} {CSV}/good {CSV}/good", "one file of points at a time: got 2"),
    (f"{POINTS} {CSV}/nowhere.csv", "/nowhere.csv cannot be read"),
    (f"{POINTS} {STORAGE}", "cannot be read"),
    (f"{POINTS} --text hello", "scores no texts"),
    (f"{TEXT} {CSV}/good", "scores texts: give --text"),
    (f"{TEXT} --text a", "give at least two tokens"),
    (f"{POINTS} {CSV}/words", "line 3: 'a,b' is not numbers"),
    (f"{POINTS} {CSV}/empty", "holds no points"),
    (f"{POINTS} {CSV}/ragged", "line 2: 1 columns, the lines before have 2"),
    (f"{POINTS} {CSV}/wide", "has 3 columns: this run needs 2"),
    (f"{POINTS} {CSV}/far", "point 2 has 1e+300; allowed is a number between"),
    (f"{POINTS} {CSV}/nan", "point 1 has nan"),
    (f"{POINTS} {CSV}/binary", "is no CSV file"),
    (f"{CLASSES} {CSV}/good", "this run needs 2 and the class, 0 to 4,"),
    (f"{CLASSES} {CSV}/class", "a class is not one of 0 to 4"),
    (f"{POINTS} {CSV}/good --out {FILE}/x.csv", "/file/x.csv cannot be written (Not a directory)"),
]
GENERATE = [
    (TEXT, "--prompt is missing: give text to go on from"),
    (f"{POINTS} --prompt a", "is no study of text"),
    (f"{TEXT} --prompt a --tokens 0", "--tokens: got 0"),
    (f"{TEXT} --prompt a --temperature -1", "--temperature: got -1.0; allowed is 0, or 0.01 to 100"),
    (f"{TEXT} --prompt a --temperature 1e-300", "--temperature: got 1e-300"),
    (f"{TEXT} --prompt a --temperature inf", "--temperature: got inf"),
    (f"{TEXT} --prompt a --temperature nan", "--temperature: got nan"),
    (f"{TEXT} --prompt a --top-k -1", "--top-k: got -1"),
    (f"{TEXT} --prompt a --top-p 0", "--top-p: got 0.0"),
    (f"{TEXT} --prompt a --top-p 1.5", "--top-p: got 1.5"),
    (f"{TEXT} --prompt ''", "--prompt: got ''"),
]
MANY = [
    ("claims", "point-difusion", "unknown study 'point-difusion'"),
    ("claims", "--seeds 1", "an interval needs at least 2"),
    ("claims", "digit-judge", "digit-judge claims nothing"),
    ("claims", "vicreg --only nothing", "--only: got 'nothing', which no claim of vicreg has in its text"),
    ("claims", f"--storage {FILE} --plan", "cannot be written"),
    ("results", "--only nothing", "--only: got 'nothing', which no row has in its name; rows are of PointDiffusion"),
    ("results", "--seeds 0", "--seeds: got 0; allowed is an integer of at least 1"),
    ("leaderboard_points", "--densities circles", "--densities: got 'circles'"),
    ("leaderboard_points", "--seeds 0 --plan", "--seeds"),
    ("mirror", f"--storage {CSV}/nowhere", "/nowhere is no storage of genlib's"),
    ("mirror", "--minutes long", "--minutes: got 'long'; allowed is a number"),
]
SWEEP = [
    ("--search bayes", "--search: got 'bayes'; allowed is one of grid, random, optuna"),
    ("--search random", "needs a number of runs: give runs"),
    ("--stopping hyperband", "--stopping: got 'hyperband'; allowed is one of none, asha, median"),
    ("--runs -1", "Sweep.runs: got -1"),
    ("--seeds a", "--seeds: got 'a'; allowed is a list, each an integer"),
    ("--seeds", "--seeds: give a value"),
    ("--seeds 0 0", "at least one seed, each once"),
    ("--seeds -1", "Sweep.seeds: got (-1,)"),
    ("--confirm -1", "Sweep.confirm: got -1"),
    ("--minutes -5", "Sweep.minutes: got -5"),
    ("--minutes nan", "Sweep.minutes: got nan"),
    ("--figures -1", "figures: got -1"),
    ("--workers 2 --stopping asha", "are not stopped early"),
    (f"--storage {FILE} --plan", "cannot be written"),
    ("--plan --device meta", "device 'meta' is of a kind"),
    ("--metric nll", "no option --metric"),
    ("--fesh", "no option --fesh: did you mean --fresh?"),
]
ALL = [
    *(("train", *case) for case in TRAIN), *(("runs", *case) for case in RUNS), *(("sample", *case) for case in SAMPLE),
    *(("score", *case) for case in SCORE), *(("generate", *case) for case in GENERATE), *MANY,
    *(("sweep_diffusion", *case) for case in SWEEP),
]  # fmt: skip


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A storage with runs, and files to stumble over, by the names that the cases have for them."""
    folder = tmp_path_factory.mktemp("places")
    storage = folder / "runs"
    studies = {
        "points": PointDiffusion.preset("tiny"), "flow": CouplingFlow.preset("tiny"),
        "classes": PointDiffusion.preset("tiny", classes=5), "text": TinyGPT.preset("tiny"),
    }  # fmt: skip
    runs = {name: Run(study, storage) for name, study in studies.items()}
    for run in runs.values():
        run.execute(evaluation=False)
    elsewhere = Run(studies["points"], folder / "elsewhere")
    elsewhere.execute(evaluation=False)
    (folder / "file").write_text("")
    (folder / "thesis").mkdir()
    (folder / "thesis" / "chapter.tex").write_text("")
    for name, content in {
        "good": b"x,y\n0.1,0.2\n", "words": b"x,y\n0.1,0.2\na,b\n", "empty": b"\n", "ragged": b"0.1,0.2\n0.3\n",
        "wide": b"1,2,3\n", "far": b"0.1,0.2\n1e300,0\n", "nan": b"nan,0\n", "binary": b"\xff\xfe\x00\x81",
        "class": b"0.1,0.2,7\n",
    }.items():  # fmt: skip
        (folder / name).write_bytes(content)
    return {name: run.key for name, run in runs.items()} | {
        "s": storage, "file": folder / "file", "thesis": folder / "thesis", "csv": folder, "elsewhere": elsewhere.path,
    }  # fmt: skip


def content(folder):
    return {path: path.stat().st_size for path in folder.rglob("*") if "lease" not in path.parts}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("script", "arguments", "said"), ALL, ids=[f"{one[0]} {one[1]}" for one in ALL])
def test_one_sentence_exit_code_2_and_nothing_left(places, script, arguments, said, monkeypatch):
    arguments = shlex.split(arguments.format(**places))
    if "--storage" not in arguments:
        arguments += [f"--storage={places['s']}"]
    if "--tracking" not in arguments:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    if script == "train" and "--preset" not in arguments and arguments[0] == "point-diffusion":
        arguments.insert(1, "--preset=tiny")
    before = content(places["csv"])
    out, err = io.StringIO(), io.StringIO()
    path = ROOT / "experiments" / f"{script}.py"
    monkeypatch.setattr(sys, "argv", [str(path), *arguments])
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    sentence = err.getvalue().strip()
    assert ended.value.code == 2, out.getvalue() + sentence
    assert said in sentence
    assert len(sentence.splitlines()) == 1
    assert len(sentence) < 700
    assert out.getvalue() == ""
    assert content(places["csv"]) == before


def test_the_list_is_long():
    assert len(ALL) >= 115


def test_nothing_else_of_the_storage_was_deleted(places):
    assert {path.name for path in run_folders(places["s"])} == {
        places[n] for n in ("points", "flow", "classes", "text")
    }


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ('Sweep(name="x", study=PointDiffusion(), space={"width": [8]}, metric="nll", mode="minimise")', "Sweep.mode"),
        ('Sweep(name="x", study=PointDiffusion(widht=3), space={"width": [8]}, metric="nll")', "no field 'widht'"),
        ('Sweep(name="x", study=PointDiffusion(), space={}, metric="nll")', "names at least one field"),
    ],
)
def test_a_mistake_in_a_users_own_file_is_one_sentence_too(tmp_path, mistake, said):
    script = tmp_path / "mine.py"
    script.write_text(
        "from experiments.command.sweeps import sweep_script\nfrom genlib import PointDiffusion\n"
        f"from tuning import Sweep\n\nSWEEP = {mistake}\nsweep_script(SWEEP, across='width', by='depth')\n"
    )
    done = finish(script, "--storage", tmp_path / "runs", PYTHONPATH=str(ROOT))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert not (tmp_path / "runs").exists()
