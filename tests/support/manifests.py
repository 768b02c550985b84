"""What Kubernetes would make of a manifest, as far as outboxd is concerned: the container, its environment, and its volumes as files."""

import os
import shutil
import subprocess

import yaml

from . import container
from .tools import KUBERNETES


def objects(text):
    """The objects of a YAML stream."""
    return [one for one in yaml.safe_load_all(text) if one]


def of_kind(all_objects, kind):
    found = [one for one in all_objects if one["kind"] == kind]
    assert len(found) == 1, f"{len(found)} objects of kind {kind}"
    return found[0]


def pod(deployment):
    return deployment["spec"]["template"]["spec"]


def relay_of(deployment):
    """The container that runs outboxd, as a sidecar or as the only one."""
    spec = pod(deployment)
    return next(one for one in [*spec.get("initContainers", []), *spec["containers"]] if one["name"] == "outboxd")


def variables(one):
    return {entry["name"]: entry["value"] for entry in one.get("env", [])}


class Volumes:
    """The directories that a pod's container gets, for as long as the block lasts: {mount path: directory of ours}.

    `secrets`: {name of the Secret: {key: text}}. A ConfigMap is one of the manifest itself. Texts go through `rename`.
    """

    def __init__(self, all_objects, deployment, secrets, rename=lambda text: text):
        self.paths = {}
        spec, group = pod(deployment), pod(deployment).get("securityContext", {}).get("fsGroup", 0)
        maps = {one["metadata"]["name"]: one["data"] for one in all_objects if one["kind"] == "ConfigMap"}
        by_name = {volume["name"]: volume for volume in spec.get("volumes", [])}
        for mount in relay_of(deployment).get("volumeMounts", []):
            volume = by_name[mount["name"]]
            assert mount["readOnly"], mount
            if "secret" in volume:
                files, mode = secrets[volume["secret"]["secretName"]], volume["secret"]["defaultMode"]
            else:
                files, mode = maps[volume["configMap"]["name"]], volume["configMap"].get("defaultMode", 0o644)
            self.paths[mount["mountPath"]] = container.mounted({name: rename(text) for name, text in files.items()}, mode, group)

    def __enter__(self):
        return self.paths

    def __exit__(self, *_):
        for path in self.paths.values():
            shutil.rmtree(path, ignore_errors=True)


def run_as(deployment):
    """Options of container.Container that say what the manifest's security contexts say."""
    spec, one = pod(deployment), relay_of(deployment)
    context = {**spec.get("securityContext", {}), **one["securityContext"]}
    assert context["runAsNonRoot"] and not context["allowPrivilegeEscalation"] and context["capabilities"] == {"drop": ["ALL"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    return {"uid": context["runAsUser"], "gid": context["runAsGroup"], "groups": [context["fsGroup"]], "readonly": context["readOnlyRootFilesystem"],
            "command": one.get("command"), "args": one["args"]}


def helm_template(helm, chart, *values):
    """What `helm template outboxd CHART` writes, for the version of Kubernetes whose schemas there are."""
    done = subprocess.run([helm, "template", "outboxd", chart, "--kube-version", KUBERNETES, *values], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"})
    assert done.returncode == 0, done.stderr
    return done.stdout
