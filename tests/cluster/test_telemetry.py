"""Neither MLflow nor Ray reports on its users, unless they want it."""

import os
import subprocess
import sys

import pytest

CODE = """
import cluster
from mlflow.telemetry.client import get_telemetry_client
from ray._common.usage.usage_lib import usage_stats_enabled
print(get_telemetry_client() is not None, usage_stats_enabled())
"""
NAMES = ("MLFLOW_DISABLE_TELEMETRY", "RAY_USAGE_STATS_ENABLED", "DO_NOT_TRACK", "CI")


@pytest.mark.parametrize(("wanted", "said"), [({}, "False False"), ({"RAY_USAGE_STATS_ENABLED": "1"}, "False True")])
def test_telemetry_is_off_unless_it_is_turned_on(wanted, said):
    around = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run([sys.executable, "-c", CODE], env=around | wanted, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == said
