"""Law 3: `import genlib` brings neither engines nor heavy libraries, and costs little."""

import gc
import subprocess
import sys

import pytest

from genlib.collector import importing

HEAVY = ("ray", "mlflow", "sklearn", "matplotlib", "scipy", "rich")


def test_import_is_light():
    code = f"import sys, genlib; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_genlib_prints_nothing(tiny, capfd):
    from genlib import train

    list(train(tiny))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_afterwards_what_it_was(enabled):
    frozen, was = gc.get_freeze_count(), gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        kept = [[] for _ in range(1_000)]
        with importing():
            assert not gc.isenabled()
        assert gc.isenabled() is enabled
        assert gc.get_freeze_count() >= frozen + len(kept)
    finally:
        gc.unfreeze()
        (gc.enable if was else gc.disable)()
