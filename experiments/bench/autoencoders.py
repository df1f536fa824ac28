"""A variational autoencoder against pythae's default MLP: equal network, images, batch and optimiser, one thread.

    pip install -e '.[bench]'
    python experiments/bench/autoencoders.py [--repeats 15] [--seconds 60]

Each library trains with its own trainer, in turns; ratios above 1 say that genlib is faster. After equal CPU time the
test loss is measured by one and the same code: pythae's weights are read into genlib's model, for the networks are the
same. MNIST is read from the data folder (GENLIB_DATA) or downloaded.
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
from rich.table import Table
from torch import Tensor

from experiments.bench.timing import TimingOptions, comparison_cells, is_installed, race, show
from experiments.command.arguments import read
from experiments.command.tables import cell
from genlib import ContinuousVAE, Progress, train
from genlib.methods.vae import VAE
from genlib.studies.autoencoders.measures import nll

BURST = 47
"""Updates in a burst: an epoch of 6,000 images."""
SHARED: dict[str, Any] = {"hidden": (512,), "steps": 10**9, "validate_every": 10**9, "log_every": BURST}
STUDIES = {
    "coloured 3 × 28 × 28, z = 2, batch 128": ContinuousVAE(continuous=2, **SHARED),
    "binary 28 × 28, z = 2, batch 128": ContinuousVAE(continuous=2, pixels="binary", likelihood_images=8_000, **SHARED),
}
Trainer = tuple[Callable[[], object], Callable[[], VAE]]


@dataclass(frozen=True)
class Options(TimingOptions):
    """How long to measure."""

    seconds: float = 60.0
    """CPU-seconds of training before the test loss is measured; 0 skips it."""
    seeds: int = 3
    """Number of trainings behind each test loss, each with a seed of its own."""


def by_genlib(study: ContinuousVAE) -> Trainer:
    """genlib's `train()`, batches and reports included."""
    progress = train(study)
    latest: list[Progress] = []

    def burst() -> None:
        latest[:] = [next(progress)]

    return burst, lambda: latest[0].state.finished()


def by_pythae(study: ContinuousVAE) -> Trainer:
    """pythae's `BaseTrainer.train_step`: every epoch takes another 6,000 images and draws no progress bars."""
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

    return burst, lambda: translated(model, study)


@torch.no_grad()
def translated(theirs: Any, study: ContinuousVAE) -> VAE:
    """genlib's model with pythae's weights, checked to compute the same."""
    ours, encoder, decoder = study.model(), theirs.encoder, theirs.decoder
    layers: list[tuple[Any, Tensor, Tensor]] = [
        (ours.encoder[0], encoder.layers[0][0].weight, encoder.layers[0][0].bias),
        (
            ours.encoder[2],
            torch.cat((encoder.embedding.weight, encoder.log_var.weight)),
            torch.cat((encoder.embedding.bias, encoder.log_var.bias)),
        ),
        (ours.decoder[0], decoder.layers[0][0].weight, decoder.layers[0][0].bias),
        (ours.decoder[2], decoder.layers[1][0].weight, decoder.layers[1][0].bias),
    ]
    for layer, weight, bias in layers:
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    x = torch.rand(8, *study.shape)
    z = ours.encode(x).mean
    torch.testing.assert_close(z, encoder(x).embedding, rtol=1e-4, atol=1e-5)
    reconstruction = decoder(z).reconstruction.reshape(x.shape)
    torch.testing.assert_close(ours(x), reconstruction, rtol=1e-4, atol=1e-5)
    return ours.requires_grad_(False)


def after(make: Callable[[ContinuousVAE], Trainer], study: ContinuousVAE, seconds: float) -> dict[str, float]:
    """The test metrics after `seconds` CPU-seconds of bursts."""
    burst, model = make(study)
    began = time.process_time()
    while time.process_time() - began < seconds:
        burst()
    trained = model()
    metrics = {"loss": study.whole_loss(trained, study.part("evaluation"), study.draws("bench"))["loss"]}
    if study.pixels == "binary":
        x = study.image(study.part("evaluation"))[: study.likelihood_images]
        metrics["nll"] = nll(trained, x, study.draws("bench"), samples=study.importance_samples)[0]
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
    for images, study in STUDIES.items():
        raced = {name: make(study)[0] for name, make in makers.items()}
        times = race(raced, options.repeats)
        for name, make in makers.items():
            rows = []
            for seed in range(options.seeds if options.seconds else 0):
                sys.stderr.write(f"{images}: {name}, seed {seed}\n")
                rows.append(after(make, replace(study, seed=seed), options.seconds))
            measured = [cell([row[key] for row in rows if key in row], 1) for key in ("loss", "nll")] if rows else []
            table.add_row(images, name, *comparison_cells(times, name, BURST), *measured)
        table.add_section()
    show(table, "autoencoders", record=options.record, width=150)


if __name__ == "__main__":
    main(read(Options, about=__doc__))
