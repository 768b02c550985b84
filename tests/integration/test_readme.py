"""What the README tells people to type works as it stands there."""

import os
import re

from support.consume import wait_for_records
from support.relay import ROOT, outboxd, write_configuration


def readme_block(language):
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as readme:
        return re.search(rf"```{language}\n(.*?)```", readme.read(), re.S).group(1)


def test_the_dedupe_recipe_acts_once_on_a_record_that_comes_twice(relay, kafka, database, prefix):
    topic = kafka.create_topic(f"{prefix}.order")
    relay().start()
    create, insert = [s.strip() for s in re.sub(r"--.*", "", readme_block("sql dedupe-recipe")).split(";") if s.strip()]
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
    block = [b for b in re.findall(r"```sql\n(.*?)```", open(os.path.join(ROOT, "README.md"), encoding="utf-8").read(), re.S)
             if "set_context" in b][0]
    database.execute("CREATE TABLE customer_order (id int, state text); GRANT ALL ON customer_order TO PUBLIC")
    database.execute(re.sub(r"--.*", "", block))
    record = wait_for_records(kafka.brokers, topic, 1)[0]
    headers = dict(record.headers)
    assert (headers["ce_correlationid"], headers["ce_causationid"]) == (b"checkout-17", b"cart-17")
    assert (record.key, record.value) == (b"17", b'{"total": 42.50, "order_id": 17}')


def readme():
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as page:
        return page.read()


def checked(kafka, database, path, pipeline):
    """The output of check for a file whose one pipeline is `pipeline`, text of the README."""
    write_configuration(path, f'name = "shop";\ndatabase: {{ dsn = "{database.dsn()}"; }};\nkafka: {{ brokers = "{kafka.brokers}"; }};\n'
                              f'pipelines: (\n{pipeline}\n);\nmonitor: {{ listen = ""; }};\n')
    return outboxd("check", "-c", path, "--create-topics", expect=0).stdout


def test_debeziums_table_is_adopted_as_it_stands_there(kafka, database, tmp_path):
    ddl, pipeline = re.search(r"```sql\n(ALTER TABLE outboxevent.*?)```\n```\n(.*?)```", readme(), re.S).groups()
    database.execute("CREATE TABLE public.outboxevent (id uuid PRIMARY KEY, aggregatetype varchar(255) NOT NULL, "
                     "aggregateid varchar(255) NOT NULL, type varchar(255) NOT NULL, payload jsonb)")
    database.execute(re.sub(r"--.*", "", ddl))
    database.execute("INSERT INTO public.outboxevent VALUES (gen_random_uuid(), 'readme', '17', 'order.placed', '{}')")
    assert "1 to readme.events" in checked(kafka, database, str(tmp_path / "a.conf"), pipeline)


def test_a_table_of_rails_is_adopted_as_it_stands_there(kafka, database, tmp_path):
    text = re.search(r"A table of Rails or Laravel.*?Other columns", readme(), re.S).group(0)
    columns, index, grant = (re.search(pattern, text, re.S).group(1) for pattern in
                             (r"`(columns: .*?)`", r"`(CREATE INDEX .*?)`", r"`(GRANT .*?)`"))
    database.execute("CREATE TABLE public.outbox_messages (id bigserial PRIMARY KEY, event_id uuid NOT NULL, event_type varchar NOT NULL, "
                     "aggregate_type varchar NOT NULL, aggregate_id bigint NOT NULL, payload jsonb NOT NULL, "
                     "created_at timestamp NOT NULL DEFAULT now(), processed_at timestamp)")
    database.execute(index)
    database.execute(grant)
    text = checked(kafka, database, str(tmp_path / "a.conf"),
                   f'{{ name = "orders"; table = "public.outbox_messages"; topic = "readme.events"; {columns} }}')
    assert "outbox_messages (" not in text and "no index" not in text, text


def test_a_json_value_passes_with_the_cast(database):
    call = re.search(r"`(emit\('order\.placed'[^`]*row_to_json\(o\)::jsonb\))`", readme()).group(1)
    database.execute(f"SELECT outbox.{call} FROM (SELECT 17 AS order_id) AS o")
    assert database.scalar("SELECT payload::text FROM outbox.event") == '{"order_id": 17}'


def test_the_limit_of_a_record_is_raised_as_it_stands_there(database):
    statement = re.search(r"`(CREATE OR REPLACE FUNCTION outbox\.record_bytes_max.*?)`", readme()).group(1)
    database.execute(statement)
    database.execute("SELECT outbox.emit('order.placed', 'order', '17', to_jsonb(repeat('x', 2000000)))")
    assert database.scalar("SELECT count(*) FROM outbox.event") == 1
