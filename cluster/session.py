"""A Ray session: the cluster's inside a job, else an embedded one; quiet, and ended only if it was started here."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray


@contextmanager
def ray_session(cpus: int | None = None) -> Iterator[None]:
    """Connect to the cluster that `RAY_ADDRESS` names, or start Ray on this machine with one slot per core."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    remote = "RAY_ADDRESS" in os.environ
    ray.init(
        num_cpus=None if remote else cpus or os.cpu_count(),
        include_dashboard=False if not remote else None,
        logging_level=logging.ERROR,
        log_to_driver=False,
    )
    try:
        yield
    finally:
        ray.shutdown()
