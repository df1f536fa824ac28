"""A job of SLURM's without SLURM: what the job's file calls, as scripts that do it on this machine."""

import sys
from pathlib import Path

from support.scripts import ROOT, environment

JOB = ROOT / "cluster" / "deploy" / "slurm" / "genlib.sbatch"
SLURM = {
    "srun": """
while [ "${1#--}" != "$1" ]; do shift; done
exec "$@"
""",
    "scontrol": """
if [ "$1" = show ]; then echo here; else echo "scontrol $*" >> "$SAID"; fi
""",
    "hostname": """
if [ "$1" = --all-ip-addresses ]; then echo "$ADDRESS"; else echo here; fi
""",
}
RAY = {
    "ray": """
echo "ray $*" >> "$SAID"
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""
}


def standins(folder: Path, *, ray: bool, address: str = "127.0.0.1") -> tuple[dict[str, str], Path]:
    """The settings under which the job's file finds them, and the file that says what they were told.

    Arguments:
        ray: whether Ray has a stand-in too, which only carries out the command.
    """
    for name, text in (SLURM | (RAY if ray else {})).items():
        path = folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh{text}")
        path.chmod(0o755)
    said = folder / "said"
    settings = environment(
        PATH=f"{folder / 'bin'}:{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin", HOME=str(folder),
        SAID=str(said), ADDRESS=address, SLURM_JOB_NODELIST="here", SLURM_JOB_NUM_NODES="1", SLURM_JOB_ID="4242",
        SLURM_CPUS_PER_TASK="1", GENLIB_STORAGE=str(folder / "runs"),
    )  # fmt: skip
    return settings, said
