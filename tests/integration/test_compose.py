"""The compose file: what it names is there, and its services do in their order, with real servers, what they are for. No container engine is needed: the
reference implementation of the specification reads the file, and an OCI runtime starts the image."""

import json
import os
import re
import subprocess
import tempfile

import pytest
import yaml

from support import container, tools
from support.common import eventually, free_port, started
from support.consume import wait_for_records
from support.postgres import PostgresServer
from support.prometheus import promtool
from support.relay import ROOT

FOLDER = os.path.join(ROOT, "packaging", "compose")
FILE = os.path.join(FOLDER, "compose.yaml")
PASSWORDS = {"postgres": "admin-5a", "owner": "owner' 6b", "app": "app-7c", "relay": "relay\\8d", "grafana": "grafana-9e"}


def understood(path):
    """(the file as `docker compose config` reads it, what the schema has against it)."""
    done = subprocess.run([tools.compose(), "--format", "json", "--no-path-resolution", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return (json.loads(done.stdout) if done.returncode == 0 else None), done.stderr


def references(project):
    """What the file names and does not have: that is no matter of the schema."""
    wrong = []
    for name, service in project["services"].items():
        wrong += [f"{name}: secret {s['source']}" for s in service.get("secrets", []) if s["source"] not in project["secrets"]]
        wrong += [f"{name}: volume {v['source']}" for v in service.get("volumes", []) if v["type"] == "volume" and v["source"] not in project["volumes"]]
        for other, how in service.get("depends_on", {}).items():
            if other not in project["services"]:
                wrong.append(f"{name}: service {other}")
            elif how["condition"] == "service_healthy" and "healthcheck" not in project["services"][other]:
                wrong.append(f"{name}: health of {other}")
    return wrong


@pytest.fixture(scope="module")
def project():
    made, wrong = understood(FILE)
    assert made, wrong
    return made


def read(name):
    with open(os.path.join(FOLDER, name), encoding="utf-8") as f:
        return f.read()


@pytest.mark.parametrize("was, wrong", [("    secrets: [ relay ]", "    secrets: [ nobody ]"), ("service_healthy", "service_happy"), ("read_only", "readonly"),
                                        ("      topics: {", "      topic: {"), ('"kafka:/var', '"kafak:/var')])
def test_a_mistake_in_the_file_is_found(tmp_path, was, wrong):
    assert was in read("compose.yaml")
    path = tmp_path / "compose.yaml"
    path.write_text(read("compose.yaml").replace(was, wrong))
    made, said = understood(str(path))
    assert said or references(made)


def test_every_service_secret_and_volume_that_is_named_is_there(project):
    assert not references(project)


def test_every_path_is_there_and_every_port_is_the_machines_own(project):
    for name, service in project["services"].items():
        for volume in service.get("volumes", []):
            if volume["type"] == "bind":
                assert os.path.exists(os.path.join(FOLDER, volume["source"])), f"{name}: {volume['source']}"
                assert volume["read_only"], f"{name}: {volume['source']}"
            else:
                assert volume["source"] in project["volumes"]
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", name
        build = service.get("build")
        if build:
            context = os.path.normpath(os.path.join(FOLDER, build["context"]))
            assert context == ROOT and os.path.join(context, build["dockerfile"]) == container.CONTAINERFILE
    ignored = subprocess.run(["git", "check-ignore", *(os.path.join(FOLDER, s["file"]) for s in project["secrets"].values())], cwd=ROOT, stdout=subprocess.PIPE,
                             text=True).stdout.split()
    assert len(ignored) == len(project["secrets"]) == len(PASSWORDS), "passwords are never committed"


def test_services_of_the_program_are_as_strict_as_the_manifests(project):
    ours = [s for s in project["services"].values() if s["image"] == "outboxd"]
    assert len(ours) == 3
    for service in ours:
        assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"] and service["mem_limit"]


def test_prometheus_scrapes_the_relay_with_the_packaged_rules(project, tmp_path):
    mounts = {v["target"]: os.path.normpath(os.path.join(FOLDER, v["source"])) for v in project["services"]["prometheus"]["volumes"]}
    config = yaml.safe_load(read("prometheus.yml"))
    target = config["scrape_configs"][0]["static_configs"][0]["targets"][0]
    assert target == f'outboxd:{project["services"]["outboxd"]["ports"][0]["target"]}' and 'listen = "0.0.0.0:9480"' in read("outboxd.conf")
    assert config["scrape_configs"][0]["job_name"].startswith("outboxd")
    text = read("prometheus.yml")
    for rules in config["rule_files"]:
        assert mounts[rules] == os.path.join(ROOT, "packaging/prometheus/outboxd.rules.yml")
        text = text.replace(rules, mounts[rules])
    path = tmp_path / "prometheus.yml"
    path.write_text(text)
    assert "SUCCESS" in promtool("check", "config", str(path))
    # The image's own command reads the file from there.
    assert "/etc/prometheus/prometheus.yml" in mounts


def test_grafana_finds_its_data_source_and_the_dashboard(project):
    service = project["services"]["grafana"]
    mounts = {v["target"]: v["source"] for v in service["volumes"]}
    source = yaml.safe_load(read("grafana/datasources.yml"))["datasources"][0]
    assert source["type"] == "prometheus" and source["isDefault"]
    assert source["url"] == f'http://prometheus:{project["services"]["prometheus"]["ports"][0]["target"]}'
    folder = yaml.safe_load(read("grafana/dashboards.yml"))["providers"][0]["options"]["path"]
    assert mounts[f"{folder}/outboxd.json"].endswith("grafana/outboxd.json")
    assert service["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == f"{folder}/outboxd.json"
    assert {os.path.dirname(t) for t in mounts} == {"/etc/grafana/provisioning/datasources", "/etc/grafana/provisioning/dashboards", folder}
    with open(os.path.join(FOLDER, mounts[f"{folder}/outboxd.json"]), encoding="utf-8") as f:
        board = json.load(f)
    assert board["templating"]["list"][0]["query"] == source["type"]


def test_every_variable_of_kafka_is_a_property_of_the_broker(project, kafka):
    known = set(re.findall(r'<a id="([\w.]+)"', kafka.tool("kafka.server.KafkaConfig")))
    assert "node.id" in known and len(known) > 100
    variables = project["services"]["kafka"]["environment"]
    named = {name.removeprefix("KAFKA_").lower().replace("_", "."): value for name, value in variables.items()}
    assert named.keys() <= known, named.keys() - known
    listeners = dict(re.findall(r"(\w+)://[^,]*:(\d+)", named["listeners"]))
    assert named["advertised.listeners"] == f"PLAINTEXT://kafka:{listeners['PLAINTEXT']}" and f'kafka:{listeners["PLAINTEXT"]}' in read("outboxd.conf")
    assert named["controller.quorum.voters"] == f"{named['node.id']}@localhost:{listeners[named['controller.listener.names']]}"
    assert [v["target"] for v in project["services"]["kafka"]["volumes"]] == [named["log.dirs"]]


# -- the services, in their order ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fresh_postgres(work_directory):
    """A data directory that is new, as the image of PostgreSQL makes it."""
    server = started(PostgresServer, os.path.join(work_directory, "compose-postgresql"))
    server.execute("CREATE DATABASE shop")
    yield server
    server.stop("immediate")


@pytest.mark.skipif(bool(container.missing()), reason=f"no container can be made here: {container.missing()}")
def test_the_services_do_what_they_are_for(project, fresh_postgres, kafka, work_directory):
    folder = tempfile.mkdtemp(prefix="compose-", dir=work_directory)
    port, topic = free_port(), f"compose{os.getpid()}.events"
    os.mkdir(os.path.join(folder, "secrets"))
    for name, password in PASSWORDS.items():
        with open(os.path.join(folder, "secrets", name), "w", encoding="ascii") as f:
            f.write(password + "\n")

    def here(text):
        for said, real in (("host=postgres ", f"host=127.0.0.1 port={fresh_postgres.port} "), ("kafka:9092", kafka.brokers), ("0.0.0.0:9480", f"0.0.0.0:{port}"),
                           ("shop.events", topic)):
            text = text.replace(said, real)
        return text

    with open(os.path.join(folder, "outboxd.conf"), "w", encoding="utf-8") as f:
        f.write(here(read("outboxd.conf")))
    os.chmod(os.path.join(folder, "outboxd.conf"), 0o644)
    script = os.path.join(FOLDER, os.path.basename(next(v["source"] for v in project["services"]["postgres"]["volumes"] if "initdb.d" in v["target"])))
    subprocess.run(["bash", script], check=True, env={"PATH": os.environ["PATH"], "SECRETS": os.path.join(folder, "secrets"), "POSTGRES_DB": "shop",
                                                       "PGHOST": fresh_postgres.directory, "PGPORT": str(fresh_postgres.port)})
    made = []

    def service(name, command=None):
        said = project["services"][name]
        mounts = {f"/run/secrets/{s['source']}": os.path.join(folder, project["secrets"][s["source"]]["file"]) for s in said["secrets"]}
        mounts.update({v["target"]: os.path.join(folder, v["source"]) for v in said.get("volumes", [])})
        one = container.Container(container.image(), tempfile.mkdtemp(prefix=f"{name}-", dir=folder), args=said["command"] if command is None else None,
                                  command=command, mounts=mounts, uid=int(container.said_by_containerfile("USER").split(":")[0]), listen=port,
                                  env={name: here(value) for name, value in said.get("environment", {}).items()})
        made.append(one)
        return one

    try:
        for name in ("migrate", "migrate", "topics"):   # a second start of everything changes nothing
            code, said = service(name).run()
            assert code == 0, said
        relay = service("outboxd").start()
        subprocess.run(["psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-c", "SELECT outbox.emit('order.placed', 'order', '17', '{}')"], check=True, stdout=subprocess.DEVNULL,
                       env={"PATH": os.environ["PATH"], "PGHOST": "127.0.0.1", "PGPORT": str(fresh_postgres.port), "PGUSER": "shop_app", "PGDATABASE": "shop",
                            "PGPASSWORD": PASSWORDS["app"]})
        assert len(wait_for_records(kafka.brokers, topic, 1)) == 1
        health = project["services"]["outboxd"]["healthcheck"]["test"]
        assert health[0] == "CMD"
        eventually(lambda: service("outboxd", health[1:]).run()[0] == 0, what=lambda: made[-1].log_tail())
        assert relay.stop() == 0
    finally:
        for one in made:
            one.kill()
