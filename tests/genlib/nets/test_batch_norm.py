"""Our batch norm is torch's on one worker, and that of the global batch on several."""

import torch
import torch.multiprocessing as processes
from torch import distributed, nn

from genlib import Draws
from genlib.nets.batch_norm import BatchNorm, over_workers

STEPS = 3


def trained(norm, x, target, part=slice(None)):
    """Outputs, gradients and running statistics after some steps."""
    outputs, gradients = [], []
    for _ in range(STEPS):
        rows = x[part].clone().requires_grad_()
        y = norm(rows)
        (y * target[part]).square().mean().backward()
        outputs.append(y.detach())
        gradients.append(rows.grad)
    return torch.cat(outputs), torch.cat(gradients)


def batch():
    draws = Draws(0, "batch")
    return 3 + 2 * draws.normal(8, 4, 5, 5), draws.fork("target").normal(8, 4, 5, 5)


def test_on_one_worker_it_is_torch_s():
    ours, theirs = BatchNorm(4), nn.BatchNorm2d(4)
    for found, expected in zip(trained(ours, *batch()), trained(theirs, *batch()), strict=True):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
    torch.testing.assert_close(ours.mean, theirs.running_mean)
    torch.testing.assert_close(ours.variance, theirs.running_var)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(batch()[0]), theirs(batch()[0]))


def test_scale_and_shift_can_be_left_out():
    assert [name for name, _ in BatchNorm(4, scale=False).named_parameters()] == ["bias"]
    assert not list(BatchNorm(4, scale=False, shift=False).parameters())


def worker(rank, folder):
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    norm = BatchNorm(4)
    with over_workers(2):
        outputs, gradients = trained(norm, *batch(), part=slice(4 * rank, 4 * rank + 4))
    state = {"mean": norm.mean, "variance": norm.variance, "weight": norm.weight.grad, "bias": norm.bias.grad}
    torch.save((outputs, gradients, state), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_two_workers_are_one(tmp_path):
    processes.spawn(worker, (str(tmp_path),), nprocs=2)
    norm = BatchNorm(4)
    outputs, gradients = trained(norm, *batch())
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    by_step = [torch.cat([part[k].reshape(STEPS, 4, 4, 5, 5) for part in parts], 1) for k in (0, 1)]
    torch.testing.assert_close(by_step[0].reshape(outputs.shape), outputs)
    # A worker's loss is a mean over its half; the loop averages over workers.
    torch.testing.assert_close(by_step[1].reshape(gradients.shape) / 2, gradients)
    for name, value in (("mean", norm.mean), ("variance", norm.variance)):
        for part in parts:
            torch.testing.assert_close(part[2][name], value)
    for name, value in (("weight", norm.weight.grad), ("bias", norm.bias.grad)):
        torch.testing.assert_close((parts[0][2][name] + parts[1][2][name]) / 2, value)
