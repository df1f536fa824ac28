"""A variational autoencoder against pythae's default MLP: equal network, images, batch and optimiser, one thread.

    pip install -e '.[bench]'
    python experiments/bench/autoencoders.py [--repeats 15] [--seconds 60]

Both train by their own trainer, in turns; ratios above 1 say that we are faster. After equal CPU time the test loss is
measured by one and the same code: pythae's weights are read into our model, for the networks are the same. MNIST is
read from the data folder (GENLIB_DATA) or downloaded.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor

from experiments.bench.timing import comparison_cells, is_installed, race
from experiments.command.tables import cell
from genlib import ContinuousVAE, Progress, train
from genlib.methods.vae import VAE
from genlib.studies.autoencoders.measures import nll

BURST = 47
"""Updates of a burst: an epoch of 6,000 images."""
SHARED: dict[str, Any] = {"hidden": (512,), "steps": 10**9, "validate_every": 10**9, "log_every": BURST}
STUDIES = {
    "coloured 3 × 28 × 28, z = 2, batch 128": ContinuousVAE(continuous=2, **SHARED),
    "binary 28 × 28, z = 2, batch 128": ContinuousVAE(continuous=2, pixels="binary", likelihood_images=8_000, **SHARED),
}
Trainer = tuple[Callable[[], object], Callable[[], VAE]]


@dataclass(frozen=True)
class Options:
    """How long to measure."""

    repeats: int = 15
    """Interleaved measurements."""
    seconds: float = 60.0
    """CPU-seconds after which the test loss is taken; 0 skips it."""
    seeds: int = 3
    """Trainings behind each test loss."""


def by_genlib(study: ContinuousVAE) -> Trainer:
    """`train()`, batches and reports included."""
    progress = train(study)
    found: list[Progress] = []

    def burst() -> None:
        found[:] = [next(progress)]

    return burst, lambda: found[0].state.finished()


def by_pythae(study: ContinuousVAE) -> Trainer:
    """`BaseTrainer.train_step`, an epoch of every time other 6,000 images, without its progress bars."""
    from pythae import models
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import CallbackHandler

    logging.disable(logging.CRITICAL)
    rows = study.data().train
    order = study.draws("pythae").uniform(len(rows["x"])).argsort()
    loaders = []
    torch.manual_seed(study.seed)
    model = models.VAE(models.VAEConfig(input_dim=study.shape, latent_dim=study.continuous, reconstruction_loss="bce"))
    settings = BaseTrainerConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=study.batch_size,
        learning_rate=study.learning_rate,
        optimizer_cls="Adam",
        no_cuda=True,
    )
    trainer: Any = None
    size = BURST * study.batch_size
    order = torch.cat((order, order[: -len(order) % size]))  # ten bursts see every image
    for part in torch.split(order, size):
        x = study.image({name: tensor[part] for name, tensor in rows.items()})
        trainer = trainer or BaseTrainer(model, BaseDataset(x, torch.ones(len(x))), None, settings)
        loaders.append(trainer.get_train_dataloader(BaseDataset(x, torch.ones(len(x)))))
    trainer.prepare_training()
    trainer.callback_handler = CallbackHandler(callbacks=[], model=model)
    epoch = 0

    def burst() -> None:
        nonlocal epoch
        trainer.train_loader = loaders[epoch % len(loaders)]
        epoch += 1
        trainer.train_step(epoch)

    return burst, lambda: read(model, study)


@torch.no_grad()
def read(theirs: Any, study: ContinuousVAE) -> VAE:
    """Our model with pythae's weights."""
    found, encoder, decoder = study.model(), theirs.encoder, theirs.decoder
    layers: list[tuple[Any, Tensor, Tensor]] = [
        (found.encoder[0], encoder.layers[0][0].weight, encoder.layers[0][0].bias),
        (
            found.encoder[2],
            torch.cat((encoder.embedding.weight, encoder.log_var.weight)),
            torch.cat((encoder.embedding.bias, encoder.log_var.bias)),
        ),
        (found.decoder[0], decoder.layers[0][0].weight, decoder.layers[0][0].bias),
        (found.decoder[2], decoder.layers[1][0].weight, decoder.layers[1][0].bias),
    ]
    for ours, weight, bias in layers:
        ours.weight.copy_(weight)
        ours.bias.copy_(bias)
    x = torch.rand(8, *study.shape)
    z = found.encode(x).mean
    torch.testing.assert_close(z, encoder(x).embedding, rtol=1e-4, atol=1e-5)
    there = decoder(z).reconstruction.reshape(x.shape)
    torch.testing.assert_close(found(x), there, rtol=1e-4, atol=1e-5)
    return found.requires_grad_(False)


def after(make: Callable[[ContinuousVAE], Trainer], study: ContinuousVAE, seconds: float) -> dict[str, float]:
    """The test metrics after so many CPU-seconds of bursts."""
    burst, model = make(study)
    began = time.process_time()
    while time.process_time() - began < seconds:
        burst()
    found = model()
    metrics = {"loss": study.whole_loss(found, study.part("evaluation"), study.draws("bench"))["loss"]}
    if study.pixels == "binary":
        x = study.image(study.part("evaluation"))[: study.likelihood_images]
        metrics["nll"] = nll(found, x, study.draws("bench"), samples=study.importance_samples)[0]
    return metrics


def main(options: Options) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    table = Table(title=f"medians of {options.repeats} interleaved measurements [95 % interval], one thread")
    budget = f"after {options.seconds:g} CPU-s: "
    heads = ("test loss", "NLL, nats") if options.seconds else ()
    for column in (
        "images",
        "library",
        "updates per CPU-second",
        "time ÷ genlib's",
        *(budget + head for head in heads),
    ):
        table.add_column(column, justify="left" if column in ("images", "library") else "right")
    makers = {"genlib": by_genlib} | ({"pythae": by_pythae} if is_installed("pythae") else {})
    for what, study in STUDIES.items():
        raced = {name: make(study)[0] for name, make in makers.items()}
        times = race(raced, options.repeats)
        for name, make in makers.items():
            found = []
            for seed in range(options.seeds if options.seconds else 0):
                sys.stderr.write(f"{what}: {name}, seed {seed}\n")
                found.append(after(make, replace(study, seed=seed), options.seconds))
            measured = [cell([one[key] for one in found if key in one], 1) for key in ("loss", "nll")] if found else []
            table.add_row(what, name, *comparison_cells(times, name, BURST), *measured)
        table.add_section()
    Console(width=150).print(table)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
