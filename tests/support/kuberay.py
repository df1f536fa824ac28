"""What KubeRay 1.6 takes in the kinds that our manifests use, after its API reference; pods are Kubernetes' own affair.

Names that are not listed here are refused: an API server would drop them without a word.
"""

from typing import Any

POD: dict[str, Any] = {"type": "object", "required": ["spec"]}
WORDS = {"type": "object", "additionalProperties": {"type": "string"}}
COUNT = {"type": "integer", "minimum": 0}
NAME, YES, THINGS = {"type": "string", "minLength": 1}, {"type": "boolean"}, {"type": "array"}


def _exactly(required: list[str], **fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": fields, "additionalProperties": False}


_HEAD = _exactly(
    ["template"],
    template=POD, rayStartParams=WORDS, serviceType=NAME, headService={"type": "object"}, enableIngress=YES,
    labels=WORDS, resources=WORDS,
)  # fmt: skip
_WORKERS = _exactly(
    ["groupName", "template"],
    groupName=NAME, template=POD, rayStartParams=WORDS, replicas=COUNT, minReplicas=COUNT, maxReplicas=COUNT,
    numOfHosts=COUNT, idleTimeoutSeconds=COUNT, suspend=YES, scaleStrategy={"type": "object"}, labels=WORDS,
    resources=WORDS,
)  # fmt: skip
_AUTOSCALER = _exactly(
    [],
    idleTimeoutSeconds=COUNT, upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
    securityContext={"type": "object"}, resources={"type": "object"}, image=NAME, imagePullPolicy=NAME, env=THINGS,
    envFrom=THINGS, volumeMounts=THINGS, version={"enum": ["v1", "v2"]},
)  # fmt: skip
CLUSTER = _exactly(
    ["headGroupSpec"],
    headGroupSpec=_HEAD, workerGroupSpecs={"type": "array", "items": _WORKERS}, rayVersion=NAME,
    authOptions=_exactly([], mode={"enum": ["disabled", "token"]}, secretName=NAME, enableK8sTokenAuth=YES),
    enableInTreeAutoscaling=YES, autoscalerOptions=_AUTOSCALER, headServiceAnnotations=WORDS, suspend=YES,
    gcsFaultToleranceOptions={"type": "object"}, managedBy=NAME, upgradeStrategy={"type": "object"},
)  # fmt: skip
JOB = _exactly(
    ["entrypoint"],
    entrypoint=NAME, clusterSelector=WORDS, rayClusterSpec=CLUSTER, runtimeEnvYAML=NAME, jobId=NAME, metadata=WORDS,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]}, backoffLimit=COUNT,
    activeDeadlineSeconds=COUNT, shutdownAfterJobFinishes=YES, ttlSecondsAfterFinished=COUNT, suspend=YES,
    entrypointNumCpus={"type": "number"}, entrypointNumGpus={"type": "number"}, entrypointResources=NAME,
    submitterConfig={"type": "object"}, submitterPodTemplate=POD, deletionStrategy={"type": "object"}, managedBy=NAME,
    preRunningDeadlineSeconds=COUNT,
)  # fmt: skip


def _kind(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    fields = {"apiVersion": {"const": "ray.io/v1"}, "kind": {"const": kind}, "metadata": {"type": "object"}}
    return _exactly([*fields, "spec"], **fields, spec=spec)


KINDS = {"RayCluster": _kind("RayCluster", CLUSTER), "RayJob": _kind("RayJob", JOB)}
"""The schema of each kind."""
