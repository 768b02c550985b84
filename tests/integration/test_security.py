"""What SECURITY.md tells people to type works as it stands there; and the pages name no test that is not there."""

import os
import re
import uuid

import psycopg2
import pytest

from support import named_tests
from support.common import eventually
from support.consume import read_topics
from support.postgres import APP, PASSWORDS, SUPERUSER
from support.relay import ROOT, migrate, outboxd

EMIT = "SELECT outbox.emit('order.placed', 'order', '1', '{}')"


def block(name):
    with open(os.path.join(ROOT, "SECURITY.md"), encoding="utf-8") as page:
        return re.search(rf"```{name}\n(.*?)```", page.read(), re.S).group(1)


@pytest.fixture
def hardened(postgres):
    """An empty database after the page's block of roles, the three roles, and the page's names for all of them."""
    suffix = uuid.uuid4().hex[:8]
    database = postgres.fresh_database("hardened")
    roles = [f"{role}_{suffix}" for role in ("shop_owner", "shop_relay", "shop_app")]
    sql = re.sub(r"\b(shop_owner|shop_relay|shop_app)\b", rf"\1_{suffix}", block("sql roles"))
    database.execute(re.sub(r"DATABASE shop\b", f"DATABASE {database.name}", sql), user=SUPERUSER)
    for role in roles:
        PASSWORDS[role] = "pw"
        database.execute(f"ALTER ROLE {role} PASSWORD 'pw'", user=SUPERUSER)
    yield database, *roles
    database.drop()
    for role in roles:
        postgres.execute(f"DROP ROLE {role}")
        del PASSWORDS[role]


def test_the_hardened_roles_migrate_write_and_publish_and_nobody_else_comes_in(hardened, relay, kafka, prefix, tmp_path):
    database, owner, publisher, writer = hardened
    topic = kafka.create_topic(f"{prefix}.order")
    migrate(database, "--writer", writer, "--relay", publisher, user=owner)
    database.execute(EMIT, user=writer)
    path = tmp_path / "outboxd.conf"
    path.write_text(f'database: {{ dsn = "{database.dsn(publisher)}"; }};\nkafka: {{ brokers = "{kafka.brokers}"; }};\n'
                    f'pipelines: ( {{ name = "orders"; topic = "{prefix}.${{aggregate_type}}"; }} );\n')
    os.chmod(path, 0o600)
    checked = outboxd("check", "-c", path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    one = relay(dsn=database.dsn(publisher)).start()
    eventually(lambda: database.scalar("SELECT count(*) FROM outbox.event WHERE published_at IS NULL", user=SUPERUSER) == 0,
               what="the row is marked")
    assert len(read_topics(kafka.brokers, topic)) == 1
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        database.execute("SELECT 1", user=APP)
    for role in (writer, publisher):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            database.execute("CREATE TABLE public.mine ()", user=role)
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            database.execute("CREATE TEMPORARY TABLE mine ()", user=role)
    migrate(database, "--guard-messages", user=SUPERUSER)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        database.execute("SELECT pg_logical_emit_message(true, 'outboxd.event', 'x'::bytea)", user=writer)
    database.execute(EMIT, user=writer)
    eventually(lambda: len(read_topics(kafka.brokers, topic)) == 2, what="it goes on")
    one.stop(expect=0)


def test_members_of_a_group_role_are_kept_out_of_other_databases(database, postgres):
    name = f"member_{uuid.uuid4().hex[:8]}"
    PASSWORDS[name] = "pw"
    postgres.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'pw'; GRANT outbox_writer TO {name}")
    try:
        database.execute(EMIT, user=name)
        database.execute(re.sub(r"DATABASE other\b", f"DATABASE {database.name}", block("sql other-databases")), user=SUPERUSER)
        with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
            database.execute(EMIT, user=name)
    finally:
        postgres.execute(f"DROP ROLE {name}")
        del PASSWORDS[name]


PYTHON = {"test_emit": ["types_are_names", "headers_have_limits"]}
UNIT = {"mask": ["pairs_lose_passwords"]}


@pytest.mark.parametrize("clause, problems", [
    ("test_emit: types_are_names, headers_*", 0),
    ("test_emit (3): ..._have_limits and types_are_names", 0),
    ("test_emit: types_are_namez", 1),
    ("test_emit: types_are_names, a_row_that_is_gone...", 1),
    ("test_emitt", 1),
    ("unit: mask/pairs_lose_passwords, mask", 0),
    ("unit: mask/pairs_lose_words", 1),
    ("unit: masks", 1),
    ("fuzz_mask", 0),
    ("fuzz_masks", 1),
])
def test_a_page_that_names_a_test_that_is_not_there_is_found(clause, problems):
    assert len(list(named_tests.problems_of_clause(clause, PYTHON, UNIT, {"mask"}, []))) == problems
