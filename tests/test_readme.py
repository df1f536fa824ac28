"""What the README shows, works: its Python runs, its make targets exist, its scripts take the options it gives them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.scripts import finish

from cluster.run import Run
from genlib import PointDiffusion

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.S)
COMMANDS = [line.split("#")[0].strip() for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]


@pytest.mark.parametrize("code", [block for kind, block in BLOCKS if kind == "python"])
def test_python_runs(code, tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(code)
    options = ("--plan", "--storage", tmp_path / "runs") if "sweep_script" in code else ()
    done = finish(script, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ("validation/loss" in done.stdout) == ("print" in code)
    assert ("evaluated 2 times" in done.stdout) == ("sweep_script" in code)


def test_the_token_of_a_cluster_is_made_as_shown(tmp_path):
    """On a machine that has none, in the order of the README; Ray's own start is tried in `test_job.py`."""
    lines = [line for line in COMMANDS if "auth" in line or "AUTH" in line]
    assert len(lines) == 2
    shell = "\n".join(["set -e", *lines, 'test -s "$RAY_AUTH_TOKEN_PATH"'])
    around = {"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", shell], env=around, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o400


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("python ")])
def test_commands_run_as_shown(command, tmp_path):
    """Those that launch say what they would do."""
    words = command.split()[1:]
    launches = "--help" not in words and "runs.py" not in words[0] and "--plan" not in words
    if "runs.py" in words[0]:
        Run(PointDiffusion.preset("tiny"), tmp_path / "runs").execute(evaluation=False)
    storage = () if "--help" in words else ("--storage", tmp_path / "runs")
    done = finish(ROOT / words[0], *words[1:], *(["--plan"] if launches else []), *storage, MLFLOW_TRACKING_URI="none")
    if "it cannot be downloaded" in done.stderr:
        pytest.skip("the data are not here")
    assert done.returncode == 0, done.stderr


def test_make_targets_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    used = {command.split()[1] for command in COMMANDS if command.startswith("make ")}
    used |= set(re.findall(r"`make ([\w-]+)`", README))
    assert used
    assert used <= targets


def test_pictures_are_there():
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", README)
    assert pictures
    assert all((ROOT / picture).stat().st_size > 5_000 for picture in pictures)
