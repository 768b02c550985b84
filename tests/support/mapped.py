"""What `outboxd check` says of a pipeline with capture = "tables", on a server of its own.

    with made_server(directory, major="18") as server:
        database = made_database(server)
        checked = Checked(database, directory, ["shop.*"], expect=2)
        run(database, checked.script())
"""

import contextlib
import re

from .postgres import RELAY, SUPERUSER, PostgresServer
from .relay import configuration, migrate, outboxd, write_configuration

PUBLICATION = "outboxd_orders"
SECOND = PUBLICATION + "_inserts"


@contextlib.contextmanager
def made_server(directory, **more):
    server = PostgresServer(directory, **more)
    server.start()
    server.create_roles()
    server.let_replicate(RELAY)
    try:
        yield server
    finally:
        server.remove()


def own_database(server):
    """A fixture: the database of a test, on the server of its module."""
    database = made_database(server)
    yield database
    database.drop()


def checker(database, tmp_path):
    """A fixture: check("shop.*", {"table": ...}, expect=2) is what `outboxd check` says of these mappings."""
    return lambda *mappings, **more: Checked(database, tmp_path, mappings, **more)


def made_database(server):
    database = server.fresh_database("shop")
    migrate(database)
    database.execute(f"GRANT outbox_relay TO {RELAY}")
    database.execute(f"CREATE SCHEMA shop; GRANT USAGE ON SCHEMA shop TO {RELAY};"
                     f" ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT SELECT ON TABLES TO {RELAY}")
    return database


class Checked:
    """What `outboxd check` said of a pipeline with these mappings."""

    def __init__(self, database, tmp_path, mappings, expect=0, **pipeline):
        groups = [{"table": m} if isinstance(m, str) else m for m in mappings]
        one = {"name": "orders", "capture": "tables", "sink": "null", "topic_prefix": "shop", "mappings": groups, **pipeline}
        config = configuration(database.dsn(), "", pipelines=[one])
        result = outboxd("check", "-c", write_configuration(str(tmp_path / "outboxd.conf"), config), expect=expect)
        assert result.stderr == "" and "nothing was changed" in result.stdout
        self.text = result.stdout

    def remedy(self, problem):
        lines = self.text.splitlines()
        number = next((i for i, line in enumerate(lines) if problem in line), None)
        assert number is not None, f"no problem {problem!r} in:\n{self.text}"
        return lines[number + 1].strip().removeprefix("remedy: ")

    def script(self):
        """The statements of the SQL block."""
        lines = self.text.splitlines()
        start = next((i for i, line in enumerate(lines) if line.startswith("sql  ")), len(lines))
        statements = []
        for line in lines[start + 1:]:
            if not re.match(r"(CREATE|ALTER|GRANT) ", line):
                break
            statements.append(line)
        return statements

    def tables(self):
        """Names of the tables that are shown, with what is said of each."""
        return dict(re.findall(r"^ {15}(\S.*?): (.*)$", self.text, re.MULTILINE))


def run(database, statements):
    for statement in statements if isinstance(statements, list) else re.findall(r"[^;]+;", statements):
        database.execute(statement, user=SUPERUSER)


def published(database, publication):
    return {row[0] for row in database.execute("SELECT tablename FROM pg_publication_tables WHERE pubname = %s", (publication,))}
