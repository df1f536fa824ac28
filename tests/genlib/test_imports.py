"""Law 3: `import genlib` brings neither engines nor heavy libraries, and costs little."""

import subprocess
import sys

HEAVY = ("ray", "mlflow", "sklearn", "matplotlib", "scipy", "rich")


def test_import_is_light():
    code = f"import sys, genlib; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_genlib_prints_nothing(tiny, capfd):
    from genlib import train

    list(train(tiny))
    assert capfd.readouterr() == ("", "")
