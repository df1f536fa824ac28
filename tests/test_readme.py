"""What the README shows, works: its Python runs, its make targets exist, its scripts take the options it gives them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from genlib import STUDIES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.S)
COMMANDS = [line.split("#")[0].strip() for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]


@pytest.mark.parametrize("code", [block for kind, block in BLOCKS if kind == "python"])
def test_python_runs(code, capsys):
    exec(compile(code, "README.md", "exec"), {})
    assert ("validation/loss" in capsys.readouterr().out) == ("print" in code)


def test_make_targets_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    used = {command.split()[1] for command in COMMANDS if command.startswith("make ")}
    used |= set(re.findall(r"`make ([\w-]+)`", README))
    assert used
    assert used <= targets


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("python ")])
def test_scripts_take_the_options(command):
    _, path, *arguments = command.split()
    offered = subprocess.run(
        [sys.executable, path, *[word for word in arguments if not word.startswith("--")][:1], "--help"],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert offered.returncode == 0, offered.stderr
    fields = {f"--{name.replace('_', '-')}" for kind in STUDIES for name in kind().fields()}
    for option in (word for word in arguments if word.startswith("--")):
        assert option in offered.stdout or (path.endswith("sample.py") and option in fields), option


def test_pictures_are_there():
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", README)
    assert pictures
    assert all((ROOT / picture).stat().st_size > 5_000 for picture in pictures)
