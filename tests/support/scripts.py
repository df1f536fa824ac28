"""Scripts, run as a user runs them, without the settings of the person who tests."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def environment(**more: str) -> dict[str, str]:
    """Without an MLflow of the person who tests."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "GENLIB_STORAGE"))}
    return ours | {"OMP_NUM_THREADS": "1"} | more


def command(script: str | Path, *arguments: object) -> list[str]:
    """A script's command line."""
    return [sys.executable, str(script), *map(str, arguments)]


def launch(script: str | Path, *arguments: object, said: Path, **more: str) -> subprocess.Popen[bytes]:
    """Start a script; what it says goes to the end of the file `said`."""
    with open(said, "a") as file:
        return subprocess.Popen(
            command(script, *arguments),
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment(**more), cwd=ROOT,
        )  # fmt: skip


def finish(
    script: str | Path, *arguments: object, seconds: float = 300, cwd: Path = ROOT, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a script to its end."""
    return subprocess.run(
        command(script, *arguments),
        capture_output=True, text=True, env=environment(**more), timeout=seconds, cwd=cwd,
    )  # fmt: skip


def run_script(name: str, *arguments: object, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run one of `experiments/` to its end; without MLflow, which takes longer than all else, unless it is given."""
    return finish(ROOT / "experiments" / f"{name}.py", *arguments, **{"MLFLOW_TRACKING_URI": "none"} | more)
