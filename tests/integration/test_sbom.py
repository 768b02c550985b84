"""packaging/sbom: what it lists is what the program loads, as the loader and dpkg see it by other ways, and what the database will show."""

import datetime
import json
import os
import re
import subprocess
import urllib.parse

import pytest

from support.relay import ROOT, migrate, outboxd_binary

EPOCH = 1764374400


@pytest.fixture(scope="module")
def bill():
    return json.loads(written())


def written(**more):
    done = subprocess.run([os.path.join(ROOT, "packaging", "sbom"), outboxd_binary()], stdout=subprocess.PIPE, text=True, check=True,
                          env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH), **more})
    return done.stdout


def libraries(bill):
    return {part["name"]: part for part in bill["components"] if part["type"] == "library"}


def test_every_library_that_the_program_loads_is_listed_with_the_package_that_is_installed(bill):
    parts = libraries(bill)
    mapped = subprocess.run([outboxd_binary(), "version"], env={**os.environ, "LD_TRACE_LOADED_OBJECTS": "1"}, stdout=subprocess.PIPE, text=True,
                            check=True).stdout
    files = {os.path.basename(os.path.realpath(path)) for path in re.findall(r"=> (/\S+)", mapped)}
    assert files == {p["value"] for part in parts.values() for p in part["properties"]} and len(files) > 10
    assert {"librdkafka1", "libpq5", "libconfig9", "libjansson4", "libc6"} <= parts.keys()
    said = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}\\n", *parts], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert dict(line.split() for line in said.splitlines()) == {name: part["version"] for name, part in parts.items()}


def test_libraries_have_licences_and_addresses_that_scanners_know(bill):
    for name, part in libraries(bill).items():
        assert all(licence["license"]["name"] for licence in part["licenses"]), name
        purl = re.fullmatch(r"pkg:deb/debian/([a-z0-9.+%-]+)@(\S+)\?arch=\w+&distro=debian-\d+", part["purl"], re.I)
        assert urllib.parse.unquote(purl.group(1)) == name and urllib.parse.unquote(purl.group(2)) == part["version"]
    licences = {name: {licence["license"]["name"] for licence in part["licenses"]} for name, part in libraries(bill).items()}
    assert any("BSD" in name for name in licences["librdkafka1"]) and any("PostgreSQL" in name for name in licences["libpq5"])
    assert bill["metadata"]["component"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]


def test_who_asks_for_whom_leads_from_the_program_to_every_library(bill):
    asked = {entry["ref"]: entry["dependsOn"] for entry in bill["dependencies"]}
    reached, todo = set(), [bill["metadata"]["component"]["bom-ref"]]
    while todo:
        for ref in asked[todo.pop()]:
            if ref not in reached:
                reached.add(ref)
                todo.append(ref)
    assert reached == {part["bom-ref"] for part in libraries(bill).values()}


def test_migrations_have_the_checksums_that_a_database_shows(bill, empty_database):
    migrate(empty_database)
    listed = {part["name"]: part["hashes"][0]["content"] for part in bill["components"] if part["type"] == "file"}
    rows = empty_database.execute("SELECT version, name, checksum FROM outbox.migration")
    assert len(rows) >= 5
    for version, name, checksum in rows:
        assert listed[f"sql/{version:04}_{name}.up.sql"] == checksum


def test_it_is_what_the_standard_asks_for_and_the_same_each_time(bill):
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.5", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bill["serialNumber"])
    assert datetime.datetime.fromisoformat(bill["metadata"]["timestamp"].replace("Z", "+00:00")).timestamp() == EPOCH
    references = [part["bom-ref"] for part in bill["components"]] + [bill["metadata"]["component"]["bom-ref"]]
    assert len(references) == len(set(references))
    assert json.loads(written(LC_ALL="C", TZ="Pacific/Kiritimati")) == bill
