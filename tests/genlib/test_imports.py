"""Law 3: `import genlib` brings neither engines nor heavy libraries, and costs little."""

import gc
import subprocess
import sys

import pytest

from genlib.importing import uncollected

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
    was = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with uncollected():
            assert not gc.isenabled()
        assert gc.isenabled() is enabled
        assert gc.get_freeze_count() == 0
    finally:
        (gc.enable if was else gc.disable)()
