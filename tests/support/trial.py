"""A trial: what a user did, and what became of the events, in four numbers: lost, duplicated, inverted, quiet seconds.

    trial = Trial(database, one)                     # `one` is the relay (or a list of relays)
    trial.emit(200, keys=10)                         # through outbox.emit; or trial.expect(ids) for rows written in another way
    with trial: ...                                  # meanwhile: the ground moves; the relay is watched
    result = trial.result(read_topics(kafka.brokers, topic))
    result.assert_none_lost(duplicates=one.metric("in_flight_events"))
    print(result)                                    # "lost 0, duplicated 3, inverted 0, quiet 0.4 s of 200"

Needs no schema of the workload and looks at ce_id and the key alone, so it works for any kind of outbox. *Inverted*: a first arrival behind
one of the same key that was committed later. *Quiet*: the longest time for which rows were there to be published, nothing was published,
/readyz was 200 and no line of warning or worse was written.
"""

import contextlib
import threading
import time
import uuid

import psycopg2

from .consume import headers_of

_LOUD = r"^\S+ (warn|error) "


class Result:
    def __init__(self, committed, lost, duplicated, inverted, foreign, quiet):
        self.committed, self.lost, self.duplicated, self.inverted = committed, lost, duplicated, inverted
        self.foreign, self.quiet = foreign, quiet

    def __str__(self):
        return (f"lost {len(self.lost)}, duplicated {len(self.duplicated)}, inverted {len(self.inverted)}, quiet {self.quiet:.1f} s "
                f"of {self.committed} events" + (f", {len(self.foreign)} that nobody committed" if self.foreign else ""))

    def assert_none_lost(self, duplicates=0, inverted=0, foreign=0):
        """Nothing lost; the others at most as many as given."""
        for what, found, allowed in (("lost", self.lost, 0), ("duplicated", self.duplicated, duplicates), ("inverted", self.inverted, inverted),
                                     ("foreign", self.foreign, foreign)):
            assert len(found) <= allowed, f"{what}: {len(found)}, at most {allowed:g} allowed, such as {found[:3]}\n{self}"
        assert self.committed > 0, "nothing was committed"


class Trial:
    def __init__(self, database, relays=(), waiting="SELECT count(*) FROM outbox.event WHERE published_at IS NULL"):
        self.database, self.waiting = database, waiting
        self.relays = list(relays) if isinstance(relays, (list, tuple)) else [relays]
        self.expected = []          # (key, event id) in the order of commits
        self.quiet = 0.0
        self._emitted = 0
        self._connection = None
        self._stop = threading.Event()
        self._thread = None

    # -- what was committed -------------------------------------------------------------------------------------------

    def emit(self, count, keys=10, type="order.placed", aggregate="order", user="shop_owner"):
        """`count` events on `keys` keys in one transaction, in turn; their ids."""
        rows = self._execute(
            "SELECT (%s + n) %% %s, outbox.emit(%s, %s, ((%s + n) %% %s)::text, jsonb_build_object('n', %s + n))::text "
            "FROM generate_series(0, %s - 1) n ORDER BY n",
            (self._emitted, keys, type, aggregate, self._emitted, keys, self._emitted, count), user)
        self._emitted += count
        self.expected += [(str(key), event) for key, event in rows]
        return [event for _, event in rows]

    @contextlib.contextmanager
    def one_connection(self, user="shop_owner"):
        """emit() by one connection for as long as this lasts: a new one for each costs ten times as much, which counts by the hundreds."""
        self._connection = self.database.connect(user)
        try:
            yield
        finally:
            self._connection.close()
            self._connection = None

    def _execute(self, sql, args, user):
        if self._connection is None:
            return self.database.execute(sql, args, user=user)
        with self._connection.cursor() as cursor:
            cursor.execute(sql, args)
            return cursor.fetchall()

    def expect(self, events):
        """Events that were written in another way: (key, event id) in the order of their commits."""
        self.expected += [(str(key), str(uuid.UUID(str(event)))) for key, event in events]

    def forget(self, events):
        """These are no longer there: they went with the server that had them."""
        gone = set(map(str, events))
        self.expected = [pair for pair in self.expected if pair[1] not in gone]

    # -- what the relay said meanwhile --------------------------------------------------------------------------------

    def __enter__(self):
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(20)

    def _watch(self):
        since, published, loud = None, -1, -1
        while not self._stop.wait(0.1):
            now = time.monotonic()
            try:
                waits = self.database.scalar(self.waiting) > 0
                ready = any(relay.running() and relay.ready()[0] for relay in self.relays)
                count = sum(relay.published() for relay in self.relays if relay.running())
                lines = sum(len(relay.log_lines(_LOUD)) for relay in self.relays)
            except (OSError, SystemError, psycopg2.Error, AssertionError):
                since = None        # the server or the relay is away: nobody is told that all is well
                continue
            if not waits or not ready or count != published or lines != loud:
                since, published, loud = now, count, lines
                if not waits:
                    since = None
            elif since is not None:
                self.quiet = max(self.quiet, now - since)
            else:
                since = now

    # -- what arrived -------------------------------------------------------------------------------------------------

    def result(self, records):
        """Compare with all records of the topics, by partition and offset."""
        place = {event: (key, n) for n, (key, event) in enumerate(self.expected)}
        seen, newest = set(), {}
        duplicated, inverted, foreign = [], [], []
        for record in records:
            event = headers_of(record).get("ce_id")
            if event not in place:
                foreign.append(event)
            elif event in seen:
                duplicated.append(event)
            else:
                seen.add(event)
                key, n = place[event]
                if n < newest.get(key, -1):
                    inverted.append(f"key {key}: event number {n} behind number {newest[key]}")
                newest[key] = max(n, newest.get(key, -1))
        lost = [f"number {n}, key {key}, {event}" for n, (key, event) in enumerate(self.expected) if event not in seen]
        return Result(len(self.expected), lost, duplicated, inverted, foreign, self.quiet)
