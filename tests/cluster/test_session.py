"""Ray's session, held by a thread: it is there for what is inside, and gone afterwards."""

import subprocess
import sys

CODE = """
import ray
from cluster.session import available, ray_session

@ray.remote
def core():
    return ray.get_runtime_context().get_node_id()

nodes, doing = [], []
for cpus in (1, 2):
    with ray_session(cpus, meanwhile=lambda: doing.append(ray.is_initialized())):
        with ray_session(4):  # the one that is open
            nodes.append(ray.get(core.remote()))
        assert available()["CPU"] == cpus
print(len(set(nodes)), doing, available(3)["CPU"], ray.is_initialized())
"""


def test_a_session_follows_another():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", "[False,", "False]", "3.0", "False"]
