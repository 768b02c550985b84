"""What the README tells people to type works as it stands there."""

import os
import re

from support.consume import wait_for_records
from support.relay import ROOT


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
