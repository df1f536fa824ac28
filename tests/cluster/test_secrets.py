"""No secret is kept or shown: not in the storage, in MLflow, on the console, in logs."""

import secrets
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.scripts import ROOT, finish

from cluster.run import Run
from cluster.secrets import scrubbed
from experiments.example_study import Perceptron
from genlib import InputError, setting
from tuning import Sweep

MINE = '''
from dataclasses import dataclass
from experiments.example_study import Perceptron, setting


@dataclass(frozen=True, kw_only=True)
class Mine(Perceptron):
    """One that cannot reach its data."""

    fails: bool = setting(False)
    """Whether it fails."""

    def loss(self, model, batch, draws):
        if self.fails:
            raise ConnectionError("no answer from https://me:CANARY@127.0.0.1:9/data?token=CANARY")
        return super().loss(model, batch, draws)


if __name__ == "__main__":
    from experiments.command.sweeps import sweep_script
    from tuning import Sweep

    sweep = Sweep(
        name="canaries", study=Mine.preset("tiny"), space={"width": [4, 8], "fails": [False, True]}, metric="accuracy"
    )
    sweep_script(sweep, across="width", by="fails")
'''


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:secret@host:5000/x", "http://me:…@host:5000/x"),
        ("http://:secret@host", "http://:…@host"),
        ("http://token@host/", "http://…@host/"),
        ("no file /home/http:/me:secret@host/x", "no file /home/http:/me:…@host/x"),
        ("postgresql+psycopg2://u:p/w@rd@host:5/db gone", "postgresql+psycopg2://u:…@host:5/db gone"),
        ("https://host/x?token=abc&page=1", "https://host/x?token=…&page=1"),
        ("x.py --api-key abc --steps 3", "x.py --api-key … --steps 3"),
        ("http://host:5000/x, then me@home", "http://host:5000/x, then me@home"),
        ("no secret: 3 @ 4", "no secret: 3 @ 4"),
        ("generate.py RUN --tokens 500 --sample-tokens 300", "generate.py RUN --tokens 500 --sample-tokens 300"),
        ("a loss per-token 3.2 nats", "a loss per-token 3.2 nats"),
        ("https://host:8080/@scope/pkg", "https://host:8080/@scope/pkg"),
        ("PYTHONPATH=/a:/b:/c@1.0", "PYTHONPATH=/a:/b:/c@1.0"),
        ("https://host/x?sort_key=width", "https://host/x?sort_key=width"),
        ("https://host/x?X-Amz-Signature=abc", "https://host/x?X-Amz-Signature=…"),
        ("Authorization: Bearer abcdefgh12", "Authorization: Bearer …"),
    ],
)
def test_addresses_are_shown_without_their_passwords(text, shown):
    assert scrubbed(text) == shown
    assert scrubbed(shown) == shown


def test_what_the_environment_calls_a_secret_is_one_wherever_it_stands(monkeypatch):
    monkeypatch.setenv("SOME_API_TOKEN", "hunter2hunter2")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/home/me/token")
    monkeypatch.setenv("DATABASE", "postgresql://me:quite%2Fsecret@host/db")
    monkeypatch.setenv("MAX_OUTPUT_TOKENS", "100000")
    monkeypatch.setenv("PIN_SECRET", "123456")
    monkeypatch.setenv("PWD", "/home/me/work")
    monkeypatch.setenv("OLDPWD", "/home/me/before")
    monkeypatch.setenv("MY_APPLICATION_CREDENTIALS", __file__)
    monkeypatch.setenv("MYSQL_PWD", "hunter3hunter3")
    assert scrubbed("hunter2hunter2 /home/me/token quite/secret quite%2Fsecret") == "… /home/me/token … …"
    assert scrubbed("hunter3hunter3 100000 123456") == "… 100000 123456"
    here = f"/home/me/work /home/me/before {__file__}"
    assert scrubbed(here) == here


def test_a_field_that_holds_a_password_is_refused(tmp_path):
    @dataclass(frozen=True, kw_only=True)
    class Remote(Perceptron):
        address: str = setting("")
        more: tuple[str, ...] = setting(())

    Run(Remote(address="https://host/text.txt"), tmp_path)
    with pytest.raises(InputError, match=r"Remote\.address holds a password"):
        Run(Remote(address="https://me:secret@host/text.txt"), tmp_path)
    with pytest.raises(InputError, match=r"Remote\.more holds a password"):
        Run(Remote(more=("a", "https://me:secret@host/text.txt")), tmp_path)
    space = {"address": ["", "https://me:secret@host/text.txt"]}
    with pytest.raises(InputError, match=r"Remote\.address holds a password"):
        Sweep(name="leaky", study=Remote(), space=space, metric="accuracy")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_canaries_come_out_nowhere(tmp_path):
    canary = f"canary{secrets.token_hex(8)}"
    began = time.time()
    script, storage = tmp_path / "mine.py", tmp_path / "runs"
    script.write_text(MINE.replace("CANARY", canary))
    address = f"http://me:{canary}@127.0.0.1:9"
    around = {
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": address,
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "1",
        "MY_SECRET_KEY": canary,
    }
    train = (ROOT / "experiments" / "train.py", f"{script}:Mine", "--preset", "tiny", "--storage", storage)
    said = []
    for asked in (
        (script, "--storage", storage, "--json"),
        (*train, "--fails"),
        (
            ROOT / "experiments" / "train.py",
            f"{script}:Mine",
            "--preset",
            "tiny",
            "--tracking",
            address,
            "--storage",
            storage,
        ),
        (ROOT / "experiments" / "mirror.py", "--storage", storage),
        (ROOT / "experiments" / "runs.py", "list", "--storage", storage),
    ):
        done = finish(*asked, **around)
        said.append(done.stdout + done.stderr)
    for _ in range(100):  # until the mirror has met the address
        logs = list(storage.glob(".mirror/*/state.json"))
        if logs:
            break
        time.sleep(0.2)
    assert logs, "the mirror has not tried"
    shown = finish(ROOT / "experiments" / "mirror.py", "--storage", storage, **around | {"MLFLOW_TRACKING_URI": ""})
    assert shown.returncode == 0, shown.stderr
    assert (storage / "mlflow.db").stat().st_size > 100_000
    assert "no answer from https://me:…@127.0.0.1:9/data?token=…" in "".join(said)
    assert canary not in "".join([*said, shown.stdout, shown.stderr])
    folders = [storage, *(path for path in Path("/tmp/ray").glob("session_*/logs") if path.stat().st_mtime > began - 5)]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    found = [path for path in files if path.suffix != ".py" and canary.encode() in path.read_bytes()]
    assert found == []
