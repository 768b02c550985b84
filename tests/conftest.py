"""Shared fixtures: a PostgreSQL of each worker, one Kafka for the whole run, a fresh database and topic prefix per test."""

import collections
import functools
import itertools
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
import zlib

import pytest

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [_HERE, os.path.join(_HERE, "faults")]

from support.broker import SharedBroker  # noqa: E402
from support.common import ServerDidNotStart, started, work_directory_of  # noqa: E402
from support.kafka import SHARED, KafkaServer  # noqa: E402
from support.pair import Pair  # noqa: E402
from support.postgres import APP, RELAY, PostgresServer  # noqa: E402
from support.relay import Relay, choose_binary, configuration, migrate, outboxd_binary  # noqa: E402
from support.tables import Tables  # noqa: E402
from support.wal import Wal  # noqa: E402

# Of this worker alone: all of them make topics on one broker.
_numbers = itertools.count(10000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) + 1)


def soak(*values, **more):
    """A case for parametrize() that is run in soak alone."""
    return pytest.param(*values, marks=pytest.mark.soak, **more)


def oldest_and_newest(majors):
    """Of what is done on each PostgreSQL: quick on these two, as the matrix has a journey on each."""
    majors = sorted(majors, key=int)
    return [major if major in (majors[0], majors[-1]) else soak(major) for major in majors]


LOOKS = "500ms"   # monitor.interval of the tests' relays, unless they ask for another
OWN_SERVERS = {"server", "cluster", "pair_servers"}   # fixtures of module scope
OWN_BROKER = "broker-"   # how groups of tests are called that have a broker to themselves
OWN_BROKERS = 3   # so many of them: each needs less time than a worker's share of a run


def pytest_configure(config):
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):   # what nohup, or a shell's &, ignores, a command under test would ignore, too
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    config.addinivalue_line("markers", "slow: takes more than ten seconds; begun before the others")
    config.addinivalue_line("markers", "soak: one more case of a kind that another case of the same test stands for, or an outage at its full length; "
                                       "run with --soak, as tests/run soak does")
    config.addinivalue_line("markers", "by_turns: of a module whose tests are about what both captures share: each case is quick by one of them, and one for soak by "
                                       "the other; its name says by which. What TRIALS.md names stays quick by both")
    config.addinivalue_line("markers", "matrix: a cell of tests/run matrix, or a case with a server of another version, that the quick parts leave out; run with --matrix")
    config.addinivalue_line("markers", "own_broker: stops the broker, lets it hang, changes it for all, or looks at all that is in it; its `kafka` is one that no "
                                       "other worker uses")
    config.addinivalue_line("markers", "xdist_group(name): tests that share a server of their own stay on one worker of pytest-xdist")


def pytest_addoption(parser):
    parser.addoption("--soak", action="store_true", help="the tests that are marked soak, and no others")
    parser.addoption("--matrix", action="store_true", help="every cell of test_matrix and what else is marked matrix, and no other test")
    parser.addoption("--parts", default="", help="which parts of tests/run, separated by commas: integration, faults, wal; all by default")


def part_of(item):
    """The part of tests/run that a test belongs to: wal when its file, name or parameters say so, else its directory."""
    return "wal" if "wal" in item.nodeid.rsplit("/", 1)[-1].lower() else item.path.parent.name


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """With pytest-xdist, a module's own server should not be started by every worker, nor a broker for those tests that have one to themselves."""
    parts = [p for p in config.getoption("--parts").split(",") if p]
    if parts:
        config.hook.pytest_deselected(items=[item for item in items if part_of(item) not in parts])
        items[:] = [item for item in items if part_of(item) in parts]
    _take_turns(items)
    _each_value_once(items)
    others = [item for item in items if not _wanted(config, item)]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if _wanted(config, item)]
    _choose_binaries(items)
    group_of = _groups(items)
    for item, group in group_of.items():
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(group))
    items[:] = _in_order(items, group_of)


def _wanted(config, item):
    if config.getoption("--matrix"):
        return item.module.__name__ == "test_matrix" or item.get_closest_marker("matrix") is not None
    return bool(item.get_closest_marker("soak")) == config.getoption("--soak") and not item.get_closest_marker("matrix")


def _take_turns(items):
    """The marker by_turns."""
    with open(os.path.join(_HERE, "TRIALS.md"), encoding="utf-8") as f:
        text = f.read()
    trials, whole = set(re.findall(r"\w+", text)), set(re.findall(r"\b(test_\w+)\b(?!:)", text))   # a module without names is meant as a whole
    pairs = collections.defaultdict(dict)
    for item in items:
        words = item.callspec.id.split("-") if hasattr(item, "callspec") else []   # an id is the same in each worker; a value may be an object
        captures = [word for word in words if word in CAPTURES]
        if item.get_closest_marker("by_turns") and len(captures) == 1 and \
                item.originalname.removeprefix("test_") not in trials and item.path.stem not in whole:
            rest = [word for word in words if word not in CAPTURES]
            pairs[item.path.name, item.originalname, *rest][captures[0]] = item
    for name, pair in pairs.items():
        if len(pair) == len(CAPTURES) and not any(item.get_closest_marker("soak") for item in pair.values()):
            names = sorted(pair)
            pair[names[zlib.crc32(repr(name).encode()) % len(names)]].add_marker(pytest.mark.soak)


def _each_value_once(items):
    """Of a test whose parameters are multiplied with each other, quick are as many cases as have each value of each of them; the rest is for soak.

    Not where the products are the point: fail points, and what mutants must turn red.
    """
    with open(os.path.join(_HERE, "mutants", "table.tsv"), encoding="utf-8") as f:
        held = set(re.findall(r"::(test_\w+)", f.read()))
    tests = collections.defaultdict(list)
    for item in items:
        if hasattr(item, "callspec") and part_of(item) != "faults" and item.originalname not in held:
            tests[item.path, item.originalname].append(item)
    for cases in tests.values():
        # Parameters that always change together are one.
        parameters = {tuple(id(case.callspec.params[name]) for case in cases) for name in cases[0].callspec.params}
        parameters = [values for values in parameters if len(set(values)) > 1]
        if len(parameters) < 2 or math.prod(len(set(values)) for values in parameters) != len(cases):
            continue
        values = {case: {(id(p), p[n]) for p in parameters} for n, case in enumerate(cases)}
        quick = [case for case in cases if not case.get_closest_marker("soak") and not case.get_closest_marker("matrix")]
        missing = set().union(*map(values.get, quick))
        for _ in range(len(quick)):
            best = max(quick, key=lambda case: (len(values[case] & missing), zlib.crc32(case.name.encode())))
            if not values[best] & missing:
                break
            missing -= values[best]
            quick.remove(best)
        for case in quick:
            case.add_marker(pytest.mark.soak)


_plain = pytest.StashKey()


def _choose_binaries(items):
    """The first case of each test is played with sanitizers; further parameters of it are with $OUTBOXD_PLAIN, what users run, if tests/run has built it: each is
    the quicker by what sanitizers cost a process. Not among the faults, which need fail points."""
    seen = set()
    for item in items:
        test = (item.path, item.originalname)
        item.stash[_plain] = os.environ.get("OUTBOXD_PLAIN") if test in seen and item.path.parent.name != "faults" else None
        seen.add(test)


def _groups(items):
    """item -> the name of its group, of which all stay on one worker, in this order. An item without a group stands for itself.

    What needs a broker to itself is dealt to OWN_BROKERS groups: tests of one module, or of one server of a module, to the same, and the most first.
    """
    units = collections.defaultdict(list)
    for item in items:
        if _unit(item):
            units[_unit(item)].append(item)
    disturbing = {unit: members for unit, members in units.items() if any(map(_own_broker, members))}
    groups = {unit: members for unit, members in units.items() if unit not in disturbing}
    dealt = [[] for _ in range(OWN_BROKERS)]
    for members in sorted(disturbing.values(), key=_weight, reverse=True):
        min(dealt, key=_weight).extend(members)
    groups.update((f"{OWN_BROKER}{n}", members) for n, members in enumerate(dealt))
    return {item: group for group, members in groups.items() for item in members}


def _weight(items):
    """How long they take, about, in cases of the usual kind, which take two or three seconds."""
    return sum(5 if item.get_closest_marker("slow") else 1 for item in items)


def _in_order(items, group_of):
    """What takes long is begun in the first three quarters, so that no worker is left alone with it at the end: the groups with a broker to themselves, then those that
    share a server and what is marked slow, the larger before the smaller. They wait more than they work, so some of the other tests follow each of them:
    processors would be idle if all workers waited."""
    units = collections.defaultdict(list)
    for item in items:
        units[group_of.get(item, item)].append(item)
    weight = {unit: _weight(members) for unit, members in units.items()}
    brokers = [unit for unit in units if str(unit).startswith(OWN_BROKER)]
    long = sorted((unit for unit in units if weight[unit] > 1 and unit not in brokers), key=weight.get, reverse=True)
    others = [unit for unit in units if weight[unit] == 1 and unit not in brokers]
    share = 3 * len(others) // (4 * max(1, len(long)))
    order = brokers + [unit for n, one in enumerate(long) for unit in [one, *others[n * share:(n + 1) * share]]] + others[len(long) * share:]
    return [item for unit in order for item in units[unit]]


def _unit(item):
    """Of tests that belong on one worker."""
    if item.get_closest_marker("xdist_group"):
        return item.get_closest_marker("xdist_group").args[0]
    own = OWN_SERVERS & set(getattr(item, "fixturenames", ()))
    if own:
        return f"{item.module.__name__}-{_parameter(item, min(own))}"
    return item.module.__name__ if _own_broker(item) else None


def _own_broker(item):
    return item.get_closest_marker("own_broker") is not None


def _parameter(item, fixture):
    return item.callspec.params.get(fixture, "") if hasattr(item, "callspec") else ""


# -- one broker for all workers ------------------------------------------------------------------------------------------

_BROKER, _OWN = pytest.StashKey(), pytest.StashKey()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Of pytest-xdist, where tests are handed out: their broker starts while the first worker does."""
    if _BROKER not in node.config.stash:
        node.config.stash[_BROKER] = _launch_broker(node.config)
    node.workerinput["broker"] = node.config.stash[_BROKER]


def _launch_broker(config):
    """For SharedBroker; None where none can be started: a worker that needs one says why."""
    directory = work_directory_of(os.getpid())
    config.add_cleanup(functools.partial(_remove_directory, directory))
    try:
        server = KafkaServer(os.path.join(directory, "kafka"), SHARED, heap="1g").launch()
    except (OSError, RuntimeError, subprocess.SubprocessError):
        return None
    config.add_cleanup(server.kill)
    return server.facts()


def _remove_directory(path):
    if not os.environ.get("OUTBOXD_KEEP"):
        shutil.rmtree(path, ignore_errors=True)


def _shared_facts(config):
    """Of the broker of all workers; None where this process is the only one."""
    return getattr(config, "workerinput", {}).get("broker")


def _broker_of(item):
    """The fixture behind `kafka`."""
    return "own_broker" if _own_broker(item) else "shared_broker"


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    """A worker's own broker ends with the group that needs it: idle, it would cost 10 ms a second to the end of the run."""
    if _own_broker(item) and _shared_facts(item.config) and not (nextitem and _own_broker(nextitem)) and _OWN in item.config.stash:
        item.config.stash[_OWN].kill()


def _running(server):
    """A group before this one may have ended it."""
    return server if server.process is not None else server.start()


# -- a server that does not start costs one failure, not one of each test that needs it ------------------------------

_down = {}


@pytest.hookimpl(hookwrapper=True)
def pytest_fixture_setup(fixturedef, request):
    outcome = yield
    if outcome.excinfo and issubclass(outcome.excinfo[0], ServerDidNotStart) and fixturedef.argname != "kafka":   # one of two, which have been here
        _down.setdefault((fixturedef.argname, fixturedef.baseid, getattr(request, "param", "")), request.node.nodeid or "the first test")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    choose_binary(item.stash[_plain])
    needs = {*item.fixturenames, *([_broker_of(item)] if "kafka" in item.fixturenames else [])}
    for (fixture, where, parameter), first in _down.items():
        if fixture in needs and item.nodeid.startswith(where) and _parameter(item, fixture) == parameter:
            pytest.skip(f"the server of fixture '{fixture}' did not start: see the first error of this worker ({first})")


def pytest_runtest_logreport(report):
    """Names each test that failed in the file $OUTBOXD_FAILED_TESTS, as pytest takes it; of several workers, the one that sees all reports."""
    path = os.environ.get("OUTBOXD_FAILED_TESTS")
    if path and report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        with open(path, "a", encoding="utf-8") as f:
            f.write(re.sub(r"@[\w.-]*$", "", report.nodeid) + "\n")


def pytest_report_header():
    return f"outboxd: {outboxd_binary()}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Append the logs of the test's relays to the report of a failure."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for number, relay in enumerate(getattr(item, "relays", []), 1):
            report.sections.append((f"log of relay {number}", relay.log_tail(60)))


@pytest.fixture(scope="session")
def work_directory():
    path = work_directory_of(os.getpid())
    yield path
    _remove_directory(path)


@pytest.fixture(scope="session")
def postgres(work_directory):
    """The PostgreSQL server of the worker. A test that stops it starts it again."""
    server = started(PostgresServer, os.path.join(work_directory, "postgresql"))
    server.create_roles()
    yield server
    server.stop("immediate")


@pytest.fixture(scope="session")
def own_broker(request, work_directory):
    """A broker that no other process uses. A test that stops it starts it again."""
    server = request.config.stash[_OWN] = started(KafkaServer, os.path.join(work_directory, "kafka"))
    yield server
    server.kill()


@pytest.fixture(scope="session")
def shared_broker(request):
    """The broker of the run, which nobody may stop: that of all workers, else the one of this process, which may start another where that one does not answer."""
    if _shared_facts(request.config):
        try:
            return SharedBroker(**_shared_facts(request.config)).wait()
        except (AssertionError, SystemError) as e:
            warnings.warn(f"the broker of all workers does not answer, so this worker starts one: {e}")
    server = _running(request.getfixturevalue("own_broker"))
    del request.config.stash[_OWN]   # from now on it does not end with a group
    return SharedBroker(**server.facts())


@pytest.fixture
def kafka(request):
    """The Kafka broker of the test: one that others use, too, unless the test has the marker own_broker."""
    server = request.getfixturevalue(_broker_of(request.node))
    return _running(server) if _own_broker(request.node) else server


@pytest.fixture(scope="session")
def migrated_template(postgres):
    """Name of a migrated database that is copied for each test: milliseconds instead of a migration."""
    database = postgres.fresh_database("template")
    migrate(database)
    grant_memberships(database)
    return database.name


def grant_memberships(database):
    """What an administrator does after `outboxd migrate`."""
    database.execute(f"GRANT outbox_writer TO {APP}; GRANT outbox_relay TO {RELAY}")


@pytest.fixture
def empty_database(postgres):
    """A database without the outbox, owned by an ordinary role."""
    database = postgres.fresh_database("empty")
    yield database
    database.drop()


@pytest.fixture
def database(postgres, migrated_template):
    """A migrated database with the memberships granted."""
    database = postgres.fresh_database("shop", template=migrated_template)
    yield database
    database.drop()


@pytest.fixture(scope="module")
def pair_servers(request, work_directory):
    """A primary and its standby for a module, PostgreSQL 15 unless the module asks for another (support/pair.py)."""
    major = getattr(request, "param", "15")
    pair = started(lambda d: Pair(d, major), os.path.join(work_directory, f"pair-{request.module.__name__}-{major}"))
    template = pair.fresh_database("template")
    migrate(template)
    grant_memberships(template)
    pair.catch_up()
    pair.template = template.name
    yield pair
    pair.remove()


@pytest.fixture
def pair(pair_servers):
    """The module's pair, whole again whatever the test before did to it."""
    pair_servers.whole()
    return pair_servers


@pytest.fixture
def pair_database(pair):
    """A migrated database on the pair. Its dsn() names both servers; what the test looks at is on the primary of the moment."""
    database = pair.fresh_database("shop", template=pair.template)
    yield database
    pair.primary_up()
    database.drop()


@pytest.fixture
def prefix(request):
    """A topic prefix of this test's own."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.originalname.removeprefix("test_").lower())
    return f"{name[:40].strip('-')}-{next(_numbers)}"


@pytest.fixture
def relay(request, work_directory, database, kafka, prefix):
    """Maker of relays: relay(pipeline={...}, env={...}, ...) -> Relay, not started, topics "<prefix>.<aggregate_type>".

    Without `config` the one pipeline polls outbox.event of `database` with short intervals; with file=False there is no file at
    all. Every relay is killed after the test, and a sanitizer finding in its log fails the test.
    """
    relays = request.node.relays = []

    def make(pipeline=None, config=None, args=None, env=None, file=True, **more):
        directory = tempfile.mkdtemp(prefix="relay-", dir=work_directory)
        if config is None and file:
            options = {"topic": prefix + ".${aggregate_type}", "poll_interval_max": "100ms",
                       "retry_backoff_max": "500ms", **(pipeline or {})}
            if options.get("messages"):
                options.setdefault("messages_from", "anyone")  # most tests leave the function as PostgreSQL has it
            # What a slot confirms waits for the next look: by default 15 s, of which most tests that use the log would wait half.
            monitor = {"interval": LOOKS, **(more.pop("monitor", None) or {})}
            config = configuration(more.pop("dsn", database.dsn()), more.pop("brokers", kafka.brokers), options, monitor=monitor, **more)
        one = Relay(config, directory, args, env)
        relays.append(one)
        return one

    yield make
    for one in relays:
        if one.running():
            one.kill()
    for one in relays:
        assert not one.not_struck(), f"fail points that never struck: {one.not_struck()}"
        assert not one.findings(), f"sanitizer finding:\n{one.findings()}"


# What differs between the captures in a configuration that is otherwise the same. A short lease makes an idle slot follow soon.
CAPTURES = {"poll": {"capture": "poll"}, "wal": {"capture": "wal", "poll_interval_max": None, "mark_interval": "20ms", "lease": "3s"}}


@pytest.fixture
def wal(database):
    """The database's WAL, with everything an administrator prepares for a relay of pipeline "orders"."""
    return Wal(database)


@pytest.fixture
def wal_relay(relay, wal):
    """Like `relay`, with capture = "wal"."""
    return lambda pipeline=None, **more: relay({**CAPTURES["wal"], **(pipeline or {})}, **more)


@pytest.fixture
def poll_relay(relay):
    """Like `relay`: the same pipeline, by polling."""
    return lambda pipeline=None, **more: relay({**CAPTURES["poll"], **(pipeline or {})}, **more)


@pytest.fixture
def tables(database, kafka, prefix, relay):
    """The database with ordinary tables to capture."""
    return Tables(database, kafka, prefix, relay)


@pytest.fixture(params=list(CAPTURES))
def capture(request):
    """The name of the capture. A test that takes it, or `captured`, runs by polling and from the WAL, unless it is parametrised with "capture" itself."""
    return request.param


@pytest.fixture
def captured(request, capture):
    """Maker of relays by that capture."""
    return request.getfixturevalue(f"{capture}_relay")
