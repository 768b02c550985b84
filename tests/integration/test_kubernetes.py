"""Manifests and chart: what an API server would refuse, whether outboxd takes what they give it, and whether probes reach it."""

import glob
import os
import re
import subprocess
import tempfile

import pytest
import yaml

from support import container, manifests, tools
from support.common import eventually, free_port
from support.consume import wait_for_records
from support.postgres import PASSWORDS, RELAY
from support.relay import ROOT, outboxd

FOLDER = os.path.join(ROOT, "packaging", "kubernetes")
CHART = os.path.join(ROOT, "packaging", "helm", "outboxd")
EVERYTHING = ("--set", "serviceMonitor.enabled=true", "--set", "prometheusRule.enabled=true", "--set", "dashboard.enabled=true",
              "--set", "networkPolicy.enabled=true", "--set", "podLabels.team=orders", "--set", "nodeSelector.disk=ssd",
              "--set", "env[0].name=OUTBOXD_LOG_FORMAT,env[0].value=json")
SOURCES = ["sidecar", "standalone", "chart"]

needs_containers = pytest.mark.skipif(bool(container.missing()), reason=f"no container can be made here: {container.missing()}")


def text_of(source):
    """The manifests of a file, or what the chart makes."""
    if source == "chart":
        return manifests.helm_template(tools.helm(), CHART, *EVERYTHING)
    with open(os.path.join(FOLDER, f"{source}.yaml"), encoding="utf-8") as f:
        return f.read()


@pytest.fixture(params=SOURCES)
def objects(request):
    return manifests.objects(text_of(request.param))


def kubeconform(text):
    """(exit code, what is wrong)."""
    location = os.path.join(tools.kubernetes_schemas(), "{{.ResourceKind}}{{.KindSuffix}}.json")
    done = subprocess.run([tools.kubeconform(), "-strict", "-schema-location", location, "-summary", "-output", "text"], input=text, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


# -- what an API server would say ------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [*SOURCES, "servicemonitor"])
def test_every_object_is_one_that_an_api_server_takes(source):
    code, said = kubeconform(text_of(source))
    assert code == 0 and "Invalid: 0, Errors: 0, Skipped: 0" in said, said


@pytest.mark.parametrize("was, wrong", [("restartPolicy: Always ", "restartPolicies: Always "), ("containerPort: 9480", "containerPort: http"),
                                        ("kind: Deployment", "kind: Deploymint"), ("replicas: 2", "replicas: two")])
def test_a_mistake_in_a_manifest_is_found(was, wrong):
    text = text_of("sidecar")
    assert was in text
    code, said = kubeconform(text.replace(was, wrong, 1))
    assert code != 0, said


def test_names_that_refer_to_another_object_or_port_are_there(objects):
    deployment, service = manifests.of_kind(objects, "Deployment"), manifests.of_kind(objects, "Service")
    one, spec = manifests.relay_of(deployment), manifests.pod(deployment)
    ports = {port["name"]: port["containerPort"] for port in one["ports"]}
    for probe in [one[name] for name in one if name.endswith("Probe")]:
        assert probe["httpGet"]["port"] in ports
    assert {mount["name"] for mount in one["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels and service["spec"]["selector"].items() <= labels
    assert service["spec"]["ports"][0]["targetPort"] in ports and service["spec"]["publishNotReadyAddresses"]
    assert re.match(r"outboxd", service["metadata"]["name"]), "the alerts look at jobs that begin so"
    for budget in [o for o in objects if o["kind"] == "PodDisruptionBudget"]:
        assert budget["spec"]["selector"]["matchLabels"].items() <= labels
    monitors = [o for o in objects if o["kind"] == "ServiceMonitor"] or manifests.objects(text_of("servicemonitor"))
    for monitor in monitors:
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]


def test_the_sidecar_starts_before_the_application_and_cannot_make_it_unready():
    deployment = manifests.of_kind(manifests.objects(text_of("sidecar")), "Deployment")
    one = manifests.pod(deployment)["initContainers"][0]
    assert one["restartPolicy"] == "Always" and {name for name in one if name.endswith("Probe")} == {"livenessProbe"}
    assert one["livenessProbe"]["httpGet"]["path"] == "/livez"


@pytest.mark.parametrize("source", ["standalone", "chart"])
def test_a_stand_alone_relay_has_a_standby_that_is_ready_before_the_other_ends(source):
    objects = manifests.objects(text_of(source))
    deployment, budget = manifests.of_kind(objects, "Deployment"), manifests.of_kind(objects, "PodDisruptionBudget")
    assert deployment["spec"]["replicas"] == 2 and budget["spec"]["maxUnavailable"] == 1
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    one = manifests.relay_of(deployment)
    assert one["livenessProbe"]["httpGet"]["path"] == "/livez" and one["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_a_pod_has_longer_to_end_than_the_relay_drains(objects):
    assert manifests.pod(manifests.of_kind(objects, "Deployment"))["terminationGracePeriodSeconds"] > 30   # shutdown_timeout


def test_no_secret_is_in_a_manifest_but_by_its_name(objects):
    assert not [o for o in objects if o["kind"] == "Secret"]
    text = yaml.safe_dump_all(o for o in objects if o["kind"] not in ("PrometheusRule",) and not o["metadata"]["name"].endswith("-dashboard"))
    assert not re.search(r"\bpassword ?=|PASSWORD: ", text), text
    spec = manifests.pod(manifests.of_kind(objects, "Deployment"))
    given = [one for c in [*spec.get("initContainers", []), *spec["containers"]] for one in c.get("env", [])]
    assert not [one for one in given if re.search(r"PASSWORD$|TOKEN$|SECRET$", one["name"]) and "value" in one], given


# -- the chart -------------------------------------------------------------------------------------------------------


def test_helm_lint_finds_nothing():
    done = subprocess.run([tools.helm(), "lint", "--strict", "--kube-version", tools.KUBERNETES, CHART], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0 and "0 chart(s) failed" in done.stdout, done.stdout


def test_the_chart_carries_the_alerts_and_the_dashboard_as_they_are():
    objects = manifests.objects(text_of("chart"))
    with open(os.path.join(ROOT, "packaging/prometheus/outboxd.rules.yml"), encoding="utf-8") as f:
        assert manifests.of_kind(objects, "PrometheusRule")["spec"] == yaml.safe_load(f)
    board = next(o for o in objects if o["metadata"]["name"].endswith("-dashboard"))
    with open(os.path.join(ROOT, "packaging/grafana/outboxd.json"), encoding="utf-8") as f:
        assert board["data"]["outboxd.json"].rstrip("\n") == f.read().rstrip("\n")


def test_the_chart_makes_the_least_by_default_and_refuses_what_it_does_not_know():
    kinds = sorted(o["kind"] for o in manifests.objects(manifests.helm_template(tools.helm(), CHART)))
    assert kinds == ["ConfigMap", "Deployment", "PodDisruptionBudget", "Service"]
    for wrong in ("replica=3", "monitor.address=127.0.0.1", "user=0", "replicas=0"):
        done = subprocess.run([tools.helm(), "template", "x", CHART, "--kube-version", tools.KUBERNETES, "--set", wrong], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert done.returncode != 0 and "schema" in done.stderr, f"{wrong}: {done.stderr}"


def test_the_notes_name_what_comes_before_the_first_event():
    """The outbox and the topics: with commands and flags that the program has."""
    with open(os.path.join(CHART, "templates", "NOTES.txt"), encoding="utf-8") as f:
        notes = f.read()
    assert re.search(r"^ +outboxd migrate --dsn ", notes, re.M) and "/usr/bin/outboxd check --create-topics --partitions 3" in notes
    for command in ("migrate", "check"):
        flags = set(re.findall(rf"outboxd {command} (.*)", notes)[0].split()) & {"--dsn", "--create-topics", "--partitions"}
        text = outboxd("help", command, expect=0).stdout
        assert flags and all(flag in text for flag in flags)


def test_versions_are_those_of_the_program():
    with open(os.path.join(ROOT, "CMakeLists.txt"), encoding="utf-8") as f:
        version = re.search(r"^project\(outboxd VERSION (\S+)", f.read(), re.M).group(1)
    with open(os.path.join(CHART, "Chart.yaml"), encoding="utf-8") as f:
        chart = yaml.safe_load(f)
    assert chart["version"] == chart["appVersion"] == version
    for path in glob.glob(os.path.join(FOLDER, "*.yaml")):
        with open(path, encoding="utf-8") as f:
            assert set(re.findall(r"/outboxd:(\S+)", f.read())) <= {version}, path


# -- the image, as the manifests start it ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def image():
    return container.image()


@pytest.fixture
def started(request, work_directory):
    """started(**options) -> Container; killed after the test."""
    made = request.node.relays = []

    def make(root, **options):
        made.append(container.Container(root, tempfile.mkdtemp(prefix="pod-", dir=work_directory), **options))
        return made[-1]
    yield make
    for one in made:
        one.kill()


AUTHORITY = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
SECRETS = {"outboxd-database": {"password": PASSWORDS[RELAY], "ca.pem": AUTHORITY}}


@needs_containers
def test_the_program_finds_no_problem_in_what_a_pod_gives_it(objects, image, started):
    deployment = manifests.of_kind(objects, "Deployment")
    one = manifests.relay_of(deployment)
    with manifests.Volumes(objects, deployment, SECRETS) as mounts:
        options = manifests.run_as(deployment)
        options["args"] = ["check", "--offline", *options["args"][1:]]
        code, said = started(image, mounts=mounts, env=manifests.variables(one), listen=9480, **options).run()
    assert code == 0 and "no problem" in said, said
    assert "warn" not in said.lower(), said


@needs_containers
def test_a_pod_publishes(objects, image, started, postgres, wal, database, kafka):
    """Names of servers are those of the test, and nothing else of the manifest is changed."""
    deployment = manifests.of_kind(objects, "Deployment")
    port = free_port()

    def here(text):
        for said, real in ((" sslmode=verify-full sslrootcert=/run/secrets/outboxd/ca.pem", ""), ("host=db ", f"host=127.0.0.1 port={postgres.port} "),
                           ("dbname=shop", f"dbname={database.name}"), ("kafka:9092", kafka.brokers), ("0.0.0.0:9480", f"0.0.0.0:{port}")):
            text = text.replace(said, real)
        return text

    topic = f"pod{os.getpid()}-{port}"
    kafka.create_topic(f"{topic}.events")
    database.execute("SELECT outbox.emit('order.placed', %s, '17', '{}')", (topic,))
    with manifests.Volumes(objects, deployment, SECRETS, here) as mounts:
        env = {name: here(value) for name, value in manifests.variables(manifests.relay_of(deployment)).items()}
        one = started(image, mounts=mounts, env=env, listen=port, **manifests.run_as(deployment)).start()
        assert len(wait_for_records(kafka.brokers, f"{topic}.events", 1)) == 1
        for name, value in manifests.relay_of(deployment).items():
            if name.endswith("Probe"):
                assert one.http(value["httpGet"]["path"])[0] == 200
        assert not one.log_lines('level[=":]+(warn|error)'), one.log_tail()
        assert one.stop() == 0


@pytest.fixture
def pod_with(image, started):
    """pod_with(objects, env) -> (the relay, probe): a pod with a network of its own, where its address is 10.244.0.7, and no way out of it. Only the
    address matters here: /livez says that the program turns."""
    def start(objects, env):
        deployment = manifests.of_kind(objects, "Deployment")
        with manifests.Volumes(objects, deployment, SECRETS, lambda text: text.replace(" sslrootcert=/run/secrets/outboxd/ca.pem", "")) as mounts:
            one = started(image, mounts=mounts, env=env, network=False, listen=9480, **manifests.run_as(deployment)).start(wait_ready=False)
            for words in (("link", "set", "lo", "up"), ("address", "add", "10.244.0.7/32", "dev", "lo")):
                assert one.inside("ip", *words, network=True).returncode == 0
            probe = manifests.relay_of(deployment)["livenessProbe"]["httpGet"]
            assert probe["port"] == manifests.relay_of(deployment)["ports"][0]["name"] and manifests.relay_of(deployment)["ports"][0]["containerPort"] == 9480
            alive = lambda address: one.inside("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://{address}:9480{probe['path']}",  # noqa: E731
                                               network=True).stdout
            eventually(lambda: alive("127.0.0.1") == "200", what=lambda: f"it listens\n{one.log_tail()}")
            return one, alive
    return start


@needs_containers
def test_probes_and_scrapes_reach_the_address_of_the_pod(objects, pod_with):
    one, alive = pod_with(objects, manifests.variables(manifests.relay_of(manifests.of_kind(objects, "Deployment"))))
    assert alive("10.244.0.7") == "200", one.log_tail()
    assert "outboxd_build_info" in one.inside("curl", "-s", "http://10.244.0.7:9480/metrics", network=True).stdout


@needs_containers
def test_without_an_address_of_the_manifest_only_the_pod_itself_reaches_the_relay(pod_with):
    """Why the manifests set monitor.listen."""
    objects = manifests.objects(text_of("sidecar"))
    env = manifests.variables(manifests.relay_of(manifests.of_kind(objects, "Deployment")))
    one, alive = pod_with(objects, {name: value for name, value in env.items() if name != "OUTBOXD_MONITOR_LISTEN"})
    assert alive("10.244.0.7") == "000", one.log_tail()   # connection refused
