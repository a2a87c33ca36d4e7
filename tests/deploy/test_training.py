"""The training jobs: their specs, what they publish to, and what happens when a pod ends early."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from training.cluster import Cluster
from training.errors import TrainingError, WorkerLost
from training.spec.reading import read_spec

Manifest = dict[str, Any]
Build = list[Manifest]
Find = Callable[..., Manifest]
DOCKERFILE = Path(__file__).parents[2] / "deploy" / "docker" / "training.Dockerfile"
NAMES = ["training/job", "training/cronjob", "training/sweep", "training/distributed", "training/trainjob"]


def job_specs(node: Any) -> Iterator[Manifest]:
    """Find the specs of jobs, inside templates too."""
    if isinstance(node, dict):
        if "podFailurePolicy" in node:
            yield node
        for value in node.values():
            yield from job_specs(value)
    elif isinstance(node, list):
        for value in node:
            yield from job_specs(value)


@pytest.fixture(params=NAMES)
def build(request: pytest.FixtureRequest, built: Callable[[str], Build]) -> Build:
    return built(request.param)


@pytest.fixture
def job(build: Build) -> Manifest:
    (spec,) = job_specs(build)
    return spec


@pytest.fixture
def container(job: Manifest) -> Manifest:
    (found,) = job["template"]["spec"]["containers"]
    return found  # type: ignore[no-any-return]


def spec_paths(job: Manifest, container: Manifest) -> list[str]:
    """Return the spec files that the pods of a job read; a sweep has one for each index."""
    path = container["args"][1]
    if "$(INDEX)" not in path:
        return [path]
    assert job["completionMode"] == "Indexed"
    assert next(entry for entry in container["env"] if entry["name"] == "INDEX")["valueFrom"]["fieldRef"]["fieldPath"] == (
        "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    )
    return [path.replace("$(INDEX)", str(index)) for index in range(job["completions"])]


def test_specs_of_the_job_are_mounted_and_can_be_trained(build: Build, job: Manifest, container: Manifest, tmp_path: Path) -> None:
    volumes = {volume["name"]: volume for volume in job["template"]["spec"]["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    files = next(item["data"] for item in build if item["metadata"]["name"] == mounts["/specs"]["configMap"]["name"])
    paths = spec_paths(job, container)

    assert {Path(path).name for path in paths} == files.keys()
    for path in paths:
        assert Path(path).parent == Path("/specs")
        (tmp_path / "spec.toml").write_text(files[Path(path).name], encoding="utf-8")
        assert read_spec(tmp_path / "spec.toml").acceptance.thresholds


def test_checkpoints_are_on_a_claim(job: Manifest, container: Manifest, build: Build) -> None:
    """They are below the working directory of the image."""
    (workdir,) = re.findall(r"^WORKDIR (/w\S+)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    volumes = {volume["name"]: volume for volume in job["template"]["spec"]["volumes"]}
    mounted = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    claim = mounted[workdir]["persistentVolumeClaim"]["claimName"]

    assert claim in {item["metadata"]["name"] for item in build if item["kind"] == "PersistentVolumeClaim"}
    assert "workingDir" not in container
    assert "--workdir" not in container["args"]


def test_what_is_published_reaches_the_servers(
    built: Callable[[str], Build], build: Build, job: Manifest, container: Manifest, one: Find
) -> None:
    """But for a sweep: a person chooses from it."""
    claims = {
        volume["name"]: volume.get("persistentVolumeClaim", {}).get("claimName") for volume in job["template"]["spec"]["volumes"]
    }
    repository = container["args"][container["args"].index("--repository") + 1]
    mount = next(mount for mount in container["volumeMounts"] if repository.startswith(mount["mountPath"]))
    shared = one(built("namespace"), "PersistentVolumeClaim")["metadata"]["name"]

    assert not mount.get("readOnly")
    assert (claims[mount["name"]] == shared) == ("sweep" not in repository)
    assert {item["metadata"]["namespace"] for item in build} == {"axon"}


def test_preemption_uses_up_no_try_and_a_refused_model_is_not_trained_again(job: Manifest, container: Manifest) -> None:
    preempted, refused = job["podFailurePolicy"]["rules"]
    expected = "FailIndex" if "backoffLimitPerIndex" in job else "FailJob"

    assert preempted == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert refused["action"] == expected
    assert refused["onExitCodes"] == {"containerName": container["name"], "operator": "In", "values": [1, 2]}
    assert job["template"]["spec"]["restartPolicy"] == "Never", "which the policy demands"
    assert job["podReplacementPolicy"] == "Failed", "two pods would want one checkpoint"
    assert job["template"]["spec"]["terminationGracePeriodSeconds"] >= 60, "to write the checkpoint"
    assert job.get("backoffLimit", job.get("backoffLimitPerIndex")) >= 2, "a pod that was killed goes on"


def test_nightly_job_runs_alone_and_replaces_nothing_by_something_worse(
    built: Callable[[str], Build], one: Find, tmp_path: Path
) -> None:
    build = built("training/cronjob")
    spec = one(build, "CronJob")["spec"]
    (text,) = one(build, "ConfigMap")["data"].values()
    (tmp_path / "spec.toml").write_text(text, encoding="utf-8")

    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] < 24 * 3600
    assert read_spec(tmp_path / "spec.toml").acceptance.never_worse_than_published is not None


def test_workers_of_a_distributed_job_find_each_other(built: Callable[[str], Build], one: Find) -> None:
    """Every index has the address that TF_CONFIG gives it, through the headless Service, and may be reached there."""
    build = built("training/distributed")
    job, service = one(build, "Job"), one(build, "Service")
    template = job["spec"]["template"]["spec"]
    (container,) = template["containers"]
    names = [entry["name"] for entry in container["env"]]
    text = container["env"][names.index("TF_CONFIG")]["value"]
    port = container["ports"][0]["containerPort"]
    addresses = []
    for index in range(job["spec"]["completions"]):
        assert Cluster.read({"TF_CONFIG": text.replace("$(INDEX)", str(index))}) == Cluster(job["spec"]["completions"], index)
        addresses.append(f"{job['metadata']['name']}-{index}.{template['subdomain']}:{port}")

    assert names.index("INDEX") < names.index("TF_CONFIG"), "a variable refers to those before it"
    assert json.loads(text.replace("$(INDEX)", "0"))["cluster"]["worker"] == addresses
    assert job["spec"]["parallelism"] == job["spec"]["completions"], "they fit together or not at all"
    assert job["spec"]["successPolicy"] == {"rules": [{"succeededIndexes": "0"}]}, "the first worker publishes"
    assert service["metadata"]["name"] == template["subdomain"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
    policy = one(build, "NetworkPolicy", "axon-distributed")["spec"]
    assert policy["podSelector"]["matchLabels"] == service["spec"]["selector"]
    assert policy["ingress"][0]["ports"] == [{"port": port}]


def test_worker_that_lost_another_one_is_tried_again(built: Callable[[str], Build], one: Find) -> None:
    (_, refused) = one(built("training/distributed"), "Job")["spec"]["podFailurePolicy"]["rules"]

    assert WorkerLost.exit_code not in refused["onExitCodes"]["values"]
    assert TrainingError.exit_code in refused["onExitCodes"]["values"]


def test_train_job_refers_to_its_runtime(built: Callable[[str], Build], one: Find) -> None:
    build = built("training/trainjob")
    job, runtime = one(build, "TrainJob")["spec"], one(build, "TrainingRuntime")
    (replicated,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]

    assert job["runtimeRef"] == {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": runtime["metadata"]["name"]}
    assert replicated["template"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    assert job["trainer"]["args"] == replicated["template"]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert replicated["name"] == replicated["template"]["spec"]["template"]["spec"]["containers"][0]["name"] == "node"
