"""Shapes and types of the functions that take arrays are checked while the tests run (jaxtyping with beartype)."""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
if "GENLIB_DATA" not in os.environ:  # the judge of digits is made once for all tests, and leaves nothing in the home
    os.environ["GENLIB_DATA"] = tempfile.mkdtemp(prefix="genlib-data-")
    atexit.register(shutil.rmtree, os.environ["GENLIB_DATA"], ignore_errors=True)

from jaxtyping import install_import_hook

SHAPED = ["genlib.data", "genlib.nets", "genlib.methods", "genlib.metrics", "genlib.figures"]
install_import_hook(SHAPED, "typecheck.checked")

import pytest
import torch

from genlib import STUDIES

torch.set_num_threads(1)


@pytest.fixture(params=STUDIES, ids=lambda kind: kind.title())
def kind(request):
    """Every study, in turn."""
    return request.param


@pytest.fixture(scope="session")
def session():
    """One Ray for all tests that need it; starting it takes longer than most of them."""
    from cluster.session import ray_session

    os.environ.pop("RAY_ADDRESS", None)
    with ray_session(2):
        yield


VARIANTS = {
    "point-diffusion by class": ("point-diffusion", {"classes": 5, "label_dropout": 0.2, "ema_decay": 0.9}),
    "point-diffusion best": ("point-diffusion", {"points": 0, "denoiser": "preconditioned", "weighting": "edm"}),
    "point-diffusion best by class": ("point-diffusion", {"points": 0, "classes": 5, "batch_size": 60}),
    "coupling-flow spline by class": ("coupling-flow", {"coupling": "spline", "classes": 5, "fourier_features": 3}),
    "flow-matching best by class": (
        "flow-matching",
        {"velocity": "preconditioned", "times": "late", "classes": 5, "label_dropout": 0.2, "fourier_features": 3},
    ),
    "flow-matching optimal": ("flow-matching", {"pairing": "optimal", "classes": 5, "solver": "adaptive"}),
    "continuous-vae binary": ("continuous-vae", {"pixels": "binary", "binarised": "afresh", "beta_warmup": 4}),
    "colour-transfer best": (
        "colour-transfer",
        {"generator": "matrix", "critic_rate": 0.5, "identity_weight": 1.0, "pool": 12, "noise": 0.3},
    ),
    "tiny-gpt tied byte pairs": ("tiny-gpt", {"tokeniser": "byte_pairs", "vocabulary": 300, "tied": True}),
    "spiral-diffusion fresh": ("spiral-diffusion", {"points": 0, "learning_rate_schedule": "cosine", "clip_norm": 1.0}),
}


def every_tiny():
    """By name: every study's tiny preset, and variants that exercise what the presets leave off."""
    by_title = {kind.title(): kind for kind in STUDIES}
    plain = {title: (title, {}) for title in by_title}
    return {name: by_title[title].preset("tiny", **fields) for name, (title, fields) in (plain | VARIANTS).items()}


@pytest.fixture(params=every_tiny())
def tiny(request):
    """Each of them, in turn."""
    return every_tiny()[request.param]
