"""Checkpoints: a folder with the state's tensors and a manifest that names the study and every file's SHA-256.

A checkpoint is written aside, synced and renamed, so a folder under its final name is whole; hashed, because
`torch.load` does not notice a flipped bit; loaded with `weights_only=True`, so nothing of it is executed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from genlib.durable import sync_folder, write_new
from genlib.errors import CheckpointDamaged, CheckpointError
from genlib.state import State
from genlib.study import Study, recorded_name
from genlib.training import Launch, start

TENSORS, MANIFEST = "state.pt", "manifest.json"


def save_checkpoint(
    folder: str | Path, study: Study[Any], state: State, *, check: Callable[[], None] = lambda: None
) -> Path:
    """Write the state below `folder` as `step-00001234`; a checkpoint of that step that is there already is kept.

    Arguments:
        check: raises where this process may not write any more; asked right before the checkpoint gets its name.
    """
    folder = Path(folder)
    final = folder / f"step-{state.step:08d}"
    if final.exists():
        return final
    buffer = io.BytesIO()
    torch.save(state.capture(), buffer)
    payload = buffer.getvalue()
    manifest = {**study.identity(), "step": state.step, "sha256": {TENSORS: hashlib.sha256(payload).hexdigest()}}
    manifest["seal"] = _seal(manifest)
    aside = folder / f".{final.name}.{uuid.uuid4().hex[:8]}"
    aside.mkdir(parents=True)
    try:
        write_new(aside / TENSORS, payload)
        write_new(aside / MANIFEST, json.dumps(manifest, indent=2).encode())
        sync_folder(aside)
        check()
        os.rename(aside, final)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync_folder(folder)
    return final


def load_checkpoint(path: str | Path, study: Study[Any], launch: Launch | None = None) -> State:
    """The state saved in one checkpoint folder, which is checked to be whole and of this very study."""
    path = Path(path)
    manifest = _manifest(path)
    _refuse_other(path, manifest, study)
    try:
        payload = (path / TENSORS).read_bytes()
    except OSError as error:
        raise CheckpointDamaged(
            f"the checkpoint {path} is damaged: {TENSORS} cannot be read ({error.strerror}); use an earlier one."
        ) from error
    expected = manifest["sha256"][TENSORS]
    actual = hashlib.sha256(payload).hexdigest()
    if actual != expected:
        raise CheckpointDamaged(
            f"the checkpoint {path} is damaged: {TENSORS} has SHA-256 {actual[:12]}…, "
            f"its manifest says {expected[:12]}…; "
            "use an earlier one."
        )
    launch = launch or Launch()
    state = start(study, launch)
    try:
        state.restore(torch.load(io.BytesIO(payload), map_location=launch.device, weights_only=True))
    except (RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"the checkpoint {path} is whole, but the study's model is built differently now: its source has changed; "
            "raise the study's version, or start anew in another storage."
        ) from error
    return state


def checkpoints(folder: str | Path) -> list[Path]:
    """The checkpoint folders below `folder`, oldest step first."""
    return sorted(Path(folder).glob("step-*"))


def is_whole(path: Path) -> bool:
    """Whether a checkpoint's tensors are what its manifest says."""
    try:
        return bool(_manifest(path)["sha256"][TENSORS] == hashlib.sha256((path / TENSORS).read_bytes()).hexdigest())
    except (CheckpointDamaged, OSError):
        return False


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        _ = manifest["study"], manifest["version"], manifest["fields"].items(), manifest["sha256"][TENSORS]
        if manifest.pop("seal") != _seal(manifest):
            raise ValueError
    except FileNotFoundError as error:
        raise CheckpointDamaged(
            f"{path} is no checkpoint: it has no {MANIFEST}; give a folder named step-…."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise CheckpointDamaged(
            f"the checkpoint {path} is damaged: {MANIFEST} is not what was written; use an earlier one."
        ) from error
    return dict(manifest)


def _seal(manifest: dict[str, Any]) -> str:
    """The manifest's own hash: a flipped bit in a field's name must not read as another study."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _refuse_other(path: Path, manifest: dict[str, Any], study: Study[Any]) -> None:
    """Raise where the checkpoint was made by another study, naming what differs."""
    ours = json.loads(json.dumps(study.identity()))
    manifest = manifest | {"study": recorded_name(manifest["study"])}
    for what in ("study", "version"):
        if manifest[what] != ours[what]:
            raise CheckpointError(
                f"the checkpoint {path} belongs to another study: "
                f"its {what} is {manifest[what]}, asked is {ours[what]}."
            )
    made_of, now = manifest.get("files", {}), ours.get("files", {})
    changed = [name for name in {**made_of, **now} if made_of.get(name) != now.get(name)]
    if changed:
        raise CheckpointError(
            f"the checkpoint {path} was made of other data: {', '.join(changed)} changed since; bring back what it "
            "was, or train anew."
        )
    theirs = manifest["fields"]
    differ = [name for name in {**theirs, **ours["fields"]} if theirs.get(name) != ours["fields"].get(name)]
    if differ:
        clash = ", ".join(f"{name} is {theirs.get(name)}, asked is {ours['fields'].get(name)}" for name in differ)
        raise CheckpointError(
            f"the checkpoint {path} belongs to another study: its {clash}; train that one, or start this one anew."
        )
