"""Studies at the size of a test: every preset `tiny`, and variants that exercise what the presets leave off."""

from typing import Any

from genlib import STUDIES, Study

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
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
    "vicreg resnet four views": (
        "vicreg",
        {"backbone": "resnet", "views": 4, "one_batch": True, "blur": 0.5, "solarise": 0.2, "muon_rate": 0.001},
    ),
    "vicreg alternating": (
        "vicreg",
        {"positives": "alternating", "guide_steps": 4, "batch_size": 478}
        | {"steps": 8, "log_every": 4, "validate_every": 4},
    ),
    "vicreg codes": ("vicreg", {"codes": True, "code_views": True, "decoder_weight": 25.0, "over_views": "mean"}),
    "image-diffusion transformer": (
        "image-diffusion",
        {"network": "transformer", "positions": False, "levels": "cosine", "schedule": "cosine", "sampler": "ddim"},
    ),
    "image-diffusion few steps": (
        "image-diffusion",
        {"patch": 2, "multiples": (1, 2), "few_steps": True, "teacher_steps": 5, "samples": 50},
    ),
    "vicreg labels": ("vicreg", {"supervised": True, "clip_norm": 1.0}),
    "spiral-diffusion fresh": ("spiral-diffusion", {"points": 0, "learning_rate_schedule": "cosine", "clip_norm": 1.0}),
}


def every_tiny() -> dict[str, Study[Any]]:
    """By name: every study's tiny preset, and variants that exercise what the presets leave off."""
    by_title = {kind.title(): kind for kind in STUDIES}
    plain: dict[str, tuple[str, dict[str, Any]]] = {title: (title, {}) for title in by_title}
    return {name: by_title[title].preset("tiny", **fields) for name, (title, fields) in (plain | VARIANTS).items()}
