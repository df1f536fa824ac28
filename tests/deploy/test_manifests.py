"""The manifests fit their schemas, and keep the rules that their pages promise."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from packaging.utils import canonicalize_name
from pathspec import GitIgnoreSpec
from support.kuberay import KINDS
from support.scripts import ROOT
from support.slurm import JOB, standins

from cluster.secrets import SECRET

DEPLOY = ROOT / "cluster" / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
VERSION = "1.33"
KUBERAYS = {"cluster.yaml", "job.yaml"}
"""Files of kinds that are KubeRay's: Kubernetes' own schemas know only the pods inside."""


def documents(path):
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


MANIFESTS = [
    (path.name, document)
    for path in sorted(KUBERNETES.glob("*.yaml"))
    if path.name != "kustomization.yaml"
    for document in documents(path)
]


def pods():
    """Every pod: a name, its labels, its specification."""
    for _, document in MANIFESTS:
        name, spec = f"{document['kind']} {document['metadata'].get('name')}", document.get("spec", {})
        if document["kind"] in ("Deployment", "StatefulSet"):
            yield name, spec["template"]["metadata"]["labels"], spec["template"]["spec"]
        if document["kind"] == "RayCluster":
            labels = {"ray.io/cluster": document["metadata"]["name"]}
            yield f"{name} head", labels | {"ray.io/node-type": "head"}, spec["headGroupSpec"]["template"]["spec"]
            for group in spec["workerGroupSpecs"]:
                of_group = labels | {"ray.io/node-type": "worker", "ray.io/group": group["groupName"]}
                yield f"{name} {group['groupName']}", of_group, group["template"]["spec"]


PODS = list(pods())


def test_every_manifest_is_applied_and_every_pod_is_seen():
    asked = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    assert {*asked, "job.yaml", "kustomization.yaml"} == {path.name for path in KUBERNETES.glob("*.yaml")}
    assert len(PODS) == 6


KNOWN = [document for name, document in MANIFESTS if name not in KUBERAYS]


@pytest.mark.parametrize("document", KNOWN, ids=lambda document: f"{document['kind']} {document['metadata']['name']}")
def test_manifests_fit_the_schemas_of_kubernetes(document):
    kubernetes_validate.validate(document, VERSION, strict=True)  # raises where one does not


@pytest.mark.parametrize("name", sorted(KUBERAYS))
def test_kuberays_kinds_have_the_fields_that_it_knows(name):
    for document in documents(KUBERNETES / name):
        jsonschema.validate(document, KINDS[document["kind"]])
        wrong = json.loads(json.dumps(document).replace('"rayStartParams"', '"rayStartParam"'))
        wrong["spec"]["submissionmode"] = "HTTPMode"
        with pytest.raises(jsonschema.ValidationError, match="Additional properties"):
            jsonschema.validate(wrong, KINDS[document["kind"]])


@pytest.mark.parametrize(("name", "labels", "spec"), PODS, ids=[name for name, *_ in PODS])
def test_pods_fit_the_schema_and_have_no_rights(name, labels, spec):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", "labels": labels}, "spec": spec}
    kubernetes_validate.validate(pod, VERSION, strict=True)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec.get("automountServiceAccountToken") is False or name.endswith("head")  # its autoscaler asks Kubernetes
    assert spec["enableServiceLinks"] is False  # else the service `postgres` sets POSTGRES_PORT to an address
    for container in spec["containers"]:
        shut = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert container["securityContext"] == shut
        assert container["resources"]["limits"]["memory"]
        for setting in container["env"]:
            assert "value" not in setting or not is_secret(setting["name"]), setting
        assert {mount["name"] for mount in container["volumeMounts"]} <= {volume["name"] for volume in
                spec["volumes"]} | {"data"}  # fmt: skip


def is_secret(name):
    return SECRET.search(name) and not name.endswith(("_PATH", "_FILE", "_MODE"))


def test_all_doors_are_shut_and_each_rule_opens_one_that_is_there():
    policies = [document for _, document in MANIFESTS if document["kind"] == "NetworkPolicy"]
    everyone = [policy for policy in policies if policy["spec"]["podSelector"] == {}]
    assert any(set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"} and "ingress" not in policy["spec"]
               and "egress" not in policy["spec"] for policy in everyone)  # fmt: skip

    def chosen(selector):
        wanted = selector.get("matchLabels", {})
        return [name for name, labels, _ in PODS if wanted.items() <= labels.items()]

    for policy in policies:
        assert chosen(policy["spec"]["podSelector"]), policy["metadata"]["name"]
        for direction in ("ingress", "egress"):
            for rule in policy["spec"].get(direction, ()):
                assert rule.get("ports") or rule.get("from") or rule.get("to"), "a rule for everyone and everything"
                for peer in (*rule.get("from", ()), *rule.get("to", ())):
                    elsewhere = "namespaceSelector" in peer  # of which this file knows nothing
                    assert elsewhere or chosen(peer["podSelector"]), peer
    services = {document["metadata"]["name"]: document for _, document in MANIFESTS if document["kind"] == "Service"}
    assert all(service["spec"].get("type", "ClusterIP") == "ClusterIP" for service in services.values())
    assert all(chosen({"matchLabels": service["spec"]["selector"]}) for service in services.values())


def test_every_secret_that_is_mounted_is_made():
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    made = {secret["name"]: {file.rpartition("=")[2] for file in secret["files"]} for secret in
            kustomization["secretGenerator"]}  # fmt: skip
    mounted = {volume["secret"]["secretName"] for *_, spec in PODS for volume in spec["volumes"] if "secret" in volume}
    cluster = next(document for name, document in MANIFESTS if name == "cluster.yaml")
    assert mounted | {cluster["spec"]["authOptions"]["secretName"]} <= made.keys()
    drawn = (DEPLOY / "secrets.sh").read_text()
    for files in made.values():
        assert all(Path(file).name in drawn for file in files)


# -- Compose -----------------------------------------------------------------------------------------------------------

COMPOSE = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_services_have_no_rights_and_no_doors(name):
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].partition(":")[0] not in ("", "0", "root")
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert not any(is_secret(setting) for setting in service.get("environment", {}))
    assert set(service.get("secrets", ())) <= COMPOSE["secrets"].keys()
    assert set(service["networks"]) <= COMPOSE["networks"].keys()
    assert set(service.get("depends_on", ())) <= COMPOSE["services"].keys()
    secrets = {Path(COMPOSE["secrets"][secret]["file"]).name for secret in service.get("secrets", ())}
    assert not secrets or service["user"] == "1000:1000"  # their owner, on the machine and inside
    volumes = {volume.partition(":")[0] for volume in service.get("volumes", ())}
    assert volumes <= COMPOSE["volumes"].keys()
    for dependency, how in service["depends_on"].items() if isinstance(service.get("depends_on"), dict) else ():
        assert how["condition"] != "service_healthy" or "healthcheck" in COMPOSE["services"][dependency]


def test_networks_lead_nowhere_but_where_ports_are_published():
    for name, network in COMPOSE["networks"].items():
        users = [service for service in COMPOSE["services"].values() if name in service["networks"]]
        if not (network or {}).get("internal"):
            assert all("ports" in service for service in users)
    assert {name for name, service in COMPOSE["services"].items() if "data" in service["networks"]} == {
        "mlflow",
        "postgres",
    }


def test_compose_itself_takes_the_file():
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed")
    command = [docker, "compose", "-f", str(DEPLOY / "compose" / "compose.yaml"), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_containers_start_is_in_the_project():
    commands = [container["command"] for *_, spec in PODS for container in spec["containers"] if "command" in container]
    commands += [service["entrypoint"] for service in COMPOSE["services"].values() if "entrypoint" in service]
    places = {word for command in commands for word in command if word.startswith("/app/") or word.endswith(".py")}
    assert len(places) >= 3
    for place in places:
        assert (ROOT / place.removeprefix("/app/")).exists(), place


def test_no_secret_gets_into_the_image():
    ignored = GitIgnoreSpec.from_lines((ROOT / ".dockerignore").read_text().splitlines())
    for place in ("compose", "kubernetes"):
        assert ignored.match_file(f"cluster/deploy/{place}/secrets/ray_token")
    assert not ignored.match_file("cluster/deploy/with-secrets.sh")


def test_secrets_are_drawn_once_and_read_by_their_owner_alone(tmp_path):
    folder = tmp_path / "secrets"
    contents = []
    for _ in range(2):
        subprocess.run(["sh", str(DEPLOY / "secrets.sh"), str(folder)], check=True)
        contents.append({path.name: path.read_text() for path in folder.iterdir()})
    assert contents[0] == contents[1]
    assert all(len(text) == 64 for text in contents[0].values())
    assert len(set(contents[0].values())) == len(contents[0])
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o400}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_lock_has_a_hash_for_every_package_of_the_constraints():
    blocks = (DEPLOY / "requirements.lock").read_text().replace("\\\n", " ").splitlines()[1:]
    locked = {canonicalize_name(block.partition("==")[0]): block for block in blocks}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        if version:
            assert locked[canonicalize_name(name)].split()[0].endswith(f"=={version}"), line
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}\b", block) for block in blocks)
    assert {"nvidia-cublas", "triton"} <= locked.keys()  # what torch needs with CUDA


# -- SLURM -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def slurm(tmp_path):
    """The job's file with stand-ins for SLURM and Ray; what they were told is in a file."""
    settings, said = standins(tmp_path, ray=True)

    def job(*words, **more):
        command = ["bash", str(JOB), *words]
        return subprocess.Popen(command, env=settings | more, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return job, said


def test_a_job_begins_ray_and_gives_the_command(slurm, tmp_path):
    job, said = slurm
    done = job("-c", "import os; print(*(os.environ[name] for name in ('RAY_AUTH_MODE', 'RAY_ADDRESS')))")
    out, error = done.communicate(timeout=60)
    assert done.returncode == 0, error
    assert out == "token 127.0.0.1:24242\n"
    assert re.match(r"ray symmetric-run --address 127\.0\.0\.1:24242 --min-nodes 1 ", said.read_text())
    token = tmp_path / ".ray" / "genlib_token"
    assert (len(token.read_text()), token.stat().st_mode & 0o777) == (64, 0o400)


def test_a_job_whose_time_is_over_stops_politely_and_queues_itself_again(slurm):
    job, said = slurm
    waits = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit(143)))"
    running = job("-u", "-c", f"{waits}; print('works', flush=True); time.sleep(60)")
    assert running.stdout.readline() == "works\n"
    running.send_signal(10)  # SIGUSR1
    out, error = running.communicate(timeout=60)
    assert running.returncode == 0, error
    assert out == "saved\n"
    assert said.read_text().splitlines()[1:] == ["scontrol requeue 4242"]


@pytest.mark.parametrize(("words", "storage", "sentence"), [
    ((), "/shared", "give the script to run"), (("x.py",), "", "set GENLIB_STORAGE"),
])  # fmt: skip
def test_a_job_that_cannot_work_says_so(slurm, words, storage, sentence):
    done = slurm[0](*words, GENLIB_STORAGE=storage)
    assert sentence in done.communicate(timeout=60)[1]
    assert done.returncode == 2
