"""MLflow's own limits are kept to, and addresses that cannot work are refused."""

import pytest

from cluster.mirror import refuse_unusable
from cluster.secrets import scrubbed
from genlib import InputError

pytestmark = pytest.mark.filterwarnings("ignore")


def test_numbers_that_are_none_become_tags(tmp_path):
    from cluster.mirror.store import Row, Store

    store = Store(f"sqlite:///{tmp_path}/mlflow.db", (tmp_path / "artifacts").as_uri())
    run = store.run("strange", "key", name="strange", began=0)
    store.rows(run, [Row("a|b", 1.0, 5, 1), Row("nll", float("inf"), 5, 1)])
    store.params(run, {"words": "x" * 10_000})
    shown = store.client.get_run(run).data
    assert shown.metrics == {"a_b": 1.0}
    assert shown.tags["nonfinite.nll"] == "inf at 1"
    assert shown.params["words"].endswith("(whole in study.json)")


def test_addresses_that_cannot_work_are_refused(tmp_path, monkeypatch):
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_error(403)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Refusing)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{server.server_port}")
    with pytest.raises(InputError, match="answers with 403 Forbidden") as refused:
        refuse_unusable(tmp_path)
    assert "secret" not in str(refused.value)
    server.shutdown()
    server.server_close()
    assert "does not answer" in refuse_unusable(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    with pytest.raises(InputError, match="keeps no runs in a folder"):
        refuse_unusable(tmp_path)
    assert scrubbed("http://me:secret@host:5000/x") == "http://me:…@host:5000/x"
