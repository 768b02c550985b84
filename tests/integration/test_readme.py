"""Blocks of the README and of the guide that test_guide cannot type in as they are, or of which more is asserted than that they run."""

import os
import re

from support import pages
from support.consume import wait_for_records
from support.relay import ROOT, outboxd, write_configuration

ADOPT = "packaging/guide/adopt.md"


def page(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as f:
        return f.read()


def block(name, word, kind="sql"):
    """The one block of a page that is of this kind, or is not run, and has that word in it."""
    found, = [step.text for step in pages.steps_of(page(name))[0] if word in step.text and (step.kind == "not run" or step.detail.startswith(kind))
              and step.span]
    return found


def test_the_dedupe_recipe_acts_once_on_a_record_that_comes_twice(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    relay().start()
    create, insert = [s.strip() for s in re.sub(r"--.*", "", block("packaging/guide/guarantees.md", "inbox")).split(";") if s.strip()]
    database.execute(create)
    database.execute("SELECT outbox.emit('order.placed', 'order', '1', '{}')")
    # Published, but the mark is lost, as after a crash between the two: the relay sends it again, with the same id.
    wait_for_records(kafka.brokers, topic, 1)
    database.execute("INSERT INTO outbox.event (event_id, event_type, aggregate_type, aggregate_id, payload, occurred_at)"
                     " SELECT event_id, event_type, aggregate_type, aggregate_id, payload, occurred_at FROM outbox.event")
    records = wait_for_records(kafka.brokers, topic, 2)
    acted = 0
    with database.connect(autocommit=False) as consumer, consumer.cursor() as cursor:
        for record in records:
            cursor.execute(insert.replace("$1", "%s"), (dict(record.headers)["ce_id"].decode(),))
            acted += cursor.rowcount
    assert acted == 1


def test_the_first_transaction_of_the_readme_arrives(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    relay().start()
    database.execute("CREATE TABLE customer_order (id int, state text); GRANT ALL ON customer_order TO PUBLIC")
    database.execute(block("README.md", "set_context"))
    record = wait_for_records(kafka.brokers, topic, 1)[0]
    headers = dict(record.headers)
    assert (headers["ce_correlationid"], headers["ce_causationid"]) == (b"checkout-17", b"cart-17")
    assert (record.key, record.value) == (b"17", b'{"total": 42.50, "order_id": 17}')


def checked(kafka, database, path, pipeline):
    """The output of check for a file whose one pipeline is `pipeline`, text of a page."""
    write_configuration(path, f'name = "shop";\ndatabase: {{ dsn = "{database.dsn()}"; }};\nkafka: {{ brokers = "{kafka.brokers}"; }};\n'
                              f'pipelines: (\n{pipeline}\n);\nmonitor: {{ listen = ""; }};\n')
    return outboxd("check", "-c", path, "--create-topics", expect=0).stdout


def test_debeziums_table_is_adopted_as_it_stands_there(kafka, database, tmp_path):
    ddl, pipeline = block(ADOPT, "ALTER TABLE outboxevent"), block(ADOPT, "outboxevent", "pipeline")
    database.execute("CREATE TABLE public.outboxevent (id uuid PRIMARY KEY, aggregatetype varchar(255) NOT NULL, "
                     "aggregateid varchar(255) NOT NULL, type varchar(255) NOT NULL, payload jsonb)")
    database.execute(re.sub(r"--.*", "", ddl))
    database.execute("INSERT INTO public.outboxevent VALUES (gen_random_uuid(), 'readme', '17', 'order.placed', '{}')")
    assert "1 to readme.events" in checked(kafka, database, str(tmp_path / "a.conf"), pipeline)


def test_a_table_of_rails_is_adopted_as_it_stands_there(kafka, database, tmp_path):
    index, grant = block(ADOPT, "CREATE INDEX").strip().split("\n")
    database.execute("CREATE TABLE public.outbox_messages (id bigserial PRIMARY KEY, event_id uuid NOT NULL, event_type varchar NOT NULL, "
                     "aggregate_type varchar NOT NULL, aggregate_id bigint NOT NULL, payload jsonb NOT NULL, "
                     "created_at timestamp NOT NULL DEFAULT now(), processed_at timestamp, tenant text)")
    database.execute(index)
    database.execute(grant)
    text = checked(kafka, database, str(tmp_path / "a.conf"), block(ADOPT, "outbox_messages", "pipeline"))
    assert "outbox_messages (" not in text and "no index" not in text, text


def test_a_json_value_passes_with_the_cast(database):
    call = re.search(r"`(emit\('order\.placed'[^`]*row_to_json\(o\)::jsonb\))`", page("packaging/guide/database.md")).group(1)
    database.execute(f"SELECT outbox.{call} FROM (SELECT 17 AS order_id) AS o")
    assert database.scalar("SELECT payload::text FROM outbox.event") == '{"order_id": 17}'


def test_the_limit_of_a_record_is_raised_as_it_stands_there(database):
    database.execute(block("packaging/guide/database.md", "record_bytes_max"))
    database.execute("SELECT outbox.emit('order.placed', 'order', '17', to_jsonb(repeat('x', 2000000)))")
    assert database.scalar("SELECT count(*) FROM outbox.event") == 1
