"""A TCP proxy in front of PostgreSQL that reads protocol version 3: it alters, delays, holds, drops or cuts at a message that a test names.

    with Proxy(database.server.port) as proxy:
        one = relay(dsn=database.dsn(port=proxy.port))
        rule = proxy.on(KEEPALIVE, nth=3).alter(wal_end=lambda lsn: lsn + (1 << 40))
        proxy.on(COMMIT).alter(end_lsn=lambda lsn: lsn + (1 << 40))      # pgoutput inside XLogData inside CopyData
        proxy.on(sql(r"UPDATE .*published_at")).cut(after=True)          # the statement arrives, its answer does not
        held = proxy.on(answer_to(r"pg_walfile_name")).stall(); ...; held.release()
        rule.wait()                                                     # until it struck

Each rule strikes `times` times (None: always) from the `nth` message on that it matches; on leaving the block, a rule that never struck is
an AssertionError. `proxy.point_to(port)` sends new connections to another server, as a virtual address that moves; `cut_all`, `refuse` and
`hold` work on everything. Messages are whole: what is stalled or cut is never half of one, unless half_close says so.
"""

import re
import socket
import struct
import threading
import time

from .common import eventually

_SSL, _GSS, _CANCEL = 80877103, 80877104, 80877102
_RFQ = b"Z"

# Where an LSN stands in the body of a CopyData message: field -> offset of 8 bytes, big-endian.
_XLOG = {"start": 1, "end": 9}
_FIELDS = {
    "keepalive": {"wal_end": 1},
    "status": {"written": 1, "flushed": 9, "applied": 17},
    "begin": {**_XLOG, "final_lsn": 26},
    "commit": {**_XLOG, "commit_lsn": 27, "end_lsn": 35},
}


class Message:
    """One message: `kind` names it, `client` says who sent it, `connection` which connection it belongs to."""

    def __init__(self, connection, client, tag, body):
        self.connection, self.client, self.tag, self.body = connection, client, tag, bytearray(body)
        self.kind = self._kind()

    def _kind(self):
        if self.tag != b"d" or not self.body:
            return ""
        first = chr(self.body[0])
        if self.client:
            return "status" if first == "r" else ""
        if first == "k":
            return "keepalive"
        inner = chr(self.body[25]) if first == "w" and len(self.body) > 25 else ""
        return {"B": "begin", "C": "commit"}.get(inner, f"xlogdata {inner}" if first == "w" else "")

    def fields(self):
        """Name -> offset of the LSNs that alter() may name."""
        return _FIELDS.get(self.kind) or (_XLOG if self.kind.startswith("xlogdata") else {})

    def lsn(self, name):
        return struct.unpack_from(">Q", self.body, self.fields()[name])[0]

    def text(self):
        """The body as text: the statement of a Query or Parse."""
        return bytes(self.body).decode("utf-8", "replace")

    def wire(self):
        return self.tag + struct.pack(">I", len(self.body) + 4) + bytes(self.body)


def _kinds(*names):
    return lambda m: m.kind in names


KEEPALIVE = _kinds("keepalive")          # from the server
BEGIN = _kinds("begin")
COMMIT = _kinds("commit")
STATUS = _kinds("status")                # from the relay: a standby status update


def XLOGDATA(m):
    return m.kind in ("begin", "commit") or m.kind.startswith("xlogdata")


def pgoutput(letter):
    """An XLogData with this pgoutput message: "R" Relation, "I" Insert, "M" Message, ..."""
    return _kinds({"B": "begin", "C": "commit"}.get(letter, f"xlogdata {letter}"))


def sql(pattern):
    """A statement of the relay (simple or extended protocol) that matches a regular expression."""
    return lambda m: m.client and m.tag in (b"Q", b"P") and re.search(pattern, m.text(), re.S) is not None


def answer_to(pattern, tag=b"TDCEn2"):
    """The first message of the server's answer to such a statement."""
    def match(m):
        c = m.connection
        if m.client or c.asked is None or bytes(m.tag) not in [bytes([t]) for t in tag] or not re.search(pattern, c.asked, re.S):
            return False
        c.asked = None
        return True
    return match


class Rule:
    """What happens to the messages that `match` names. Choose one action; it is in force at once."""

    def __init__(self, proxy, match, nth, times, replication):
        self.proxy, self.match, self.nth, self.times, self.replication = proxy, match, nth, times, replication
        self.matched = self.struck = 0
        self.action = None
        self.released = threading.Event()
        self.what = "no action"
        self.optional = False

    def _do(self, what, action):
        assert self.action is None, "a rule has one action"
        self.what, self.action = what, action
        return self

    def wants(self, message):
        if self.action is None or self.replication not in (None, message.connection.replication) or not self.match(message):
            return False
        self.matched += 1
        if self.matched < self.nth or (self.times is not None and self.struck >= self.times):
            return False
        self.struck += 1
        return True

    # Actions return what is to be sent on (bytes, or None for nothing).

    def alter(self, change=None, **fields):
        """Other values of LSN fields (a number, or a function of the number that was there), or change(message) for anything else."""
        def act(message):
            for name, value in fields.items():
                old = message.lsn(name)
                struct.pack_into(">Q", message.body, message.fields()[name], value(old) if callable(value) else value)
            if change:
                change(message)
            return message.wire()
        return self._do(f"alter {', '.join(fields) or 'message'}", act)

    def drop(self):
        return self._do("drop", lambda message: None)

    def delay(self, seconds):
        """This direction of the connection waits."""
        def act(message):
            time.sleep(seconds)
            return message.wire()
        return self._do("delay", act)

    def stall(self):
        """This direction of the connection waits from this message on, until release()."""
        def act(message):
            self.released.wait()
            return message.wire()
        return self._do("stall", act)

    def release(self):
        self.released.set()

    def cut(self, after=False):
        """Both sides get a reset; with `after` the message arrives first, and when it is the relay's, the server has answered it for nobody."""
        def act(message):
            if after:
                message.connection.send_last(message)
            message.connection.cut(reset=not after)
        return self._do("cut", act)

    def half_close(self, in_the_middle=False):
        """No more bytes in this direction from here on, as a FIN; with `in_the_middle` after half of this message."""
        def act(message):
            if in_the_middle:
                wire = message.wire()
                message.connection.send_bytes(message.client, wire[:len(wire) // 2])
            message.connection.half_close(message.client)
        return self._do("half_close", act)

    def wait(self, timeout=20):
        """Until it struck."""
        eventually(lambda: self.struck, timeout, lambda: f"the proxy's rule '{self.what}' strikes (matched {self.matched}, from number {self.nth} on)")
        return self

    def if_ever(self):
        """It need not strike."""
        self.optional = True
        return self


class _Connection:
    def __init__(self, proxy, client):
        self.proxy, self.sockets = proxy, {True: client}     # True: the relay's side, False: the server's
        self.parameters, self.replication, self.asked = {}, False, None
        self.closed = self.mute = False
        self.answered = threading.Event()

    def run(self):
        """Start-up, then one thread for each direction."""
        try:
            client = self.sockets[True]
            while True:
                (size,) = struct.unpack(">I", _exactly(client, 4))
                rest = _exactly(client, size - 4)
                (code,) = struct.unpack_from(">I", rest)
                if code not in (_SSL, _GSS):
                    break
                client.sendall(b"N")
            server = self.sockets[False] = socket.create_connection(("127.0.0.1", self.proxy.target), timeout=30)
            server.settimeout(None)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.sendall(struct.pack(">I", size) + rest)
            if code == _CANCEL:
                return self.cut(reset=False)
            words = rest[4:].split(b"\0")
            self.parameters = {k.decode(): v.decode() for k, v in zip(words[::2], words[1::2]) if k}
            self.replication = self.parameters.get("replication", "") not in ("", "false", "off", "no", "0")
        except (OSError, EOFError):
            return self.cut()
        for from_client in (True, False):
            threading.Thread(target=self._pump, args=(from_client,), daemon=True).start()

    def _pump(self, from_client):
        source = self.sockets[from_client].makefile("rb")
        try:
            while True:
                head = source.read(5)
                if len(head) < 5:
                    break
                body = source.read(struct.unpack_from(">I", head, 1)[0] - 4)
                message = Message(self, from_client, head[:1], body)
                if from_client and message.tag in (b"Q", b"P"):
                    self.asked = message.text()
                if self.mute and not from_client:
                    if message.tag == _RFQ:
                        self.answered.set()
                    continue
                self.proxy.open.wait()
                wire = self.proxy.treat(message)
                if wire is not None and not self.closed:
                    self.send_bytes(from_client, wire)
        except (OSError, ValueError):
            self.cut()
        else:
            self.half_close(from_client)

    def send_last(self, message):
        """Send a message, and nothing after it. Of the relay's, wait until the server is ready for the next: it has done what it was told."""
        self.mute = message.client
        self.send_bytes(message.client, message.wire())
        if message.client:
            self.answered.wait(20)

    def send_bytes(self, from_client, data):
        self.sockets[not from_client].sendall(data)

    def half_close(self, from_client):
        try:
            self.sockets[not from_client].shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def cut(self, reset=True):
        self.closed = True
        for s in self.sockets.values():
            try:
                if reset:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                s.shutdown(socket.SHUT_RD)
            except OSError:
                pass
            s.close()


def _exactly(s, size):
    data = b""
    while len(data) < size:
        more = s.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


class Proxy:
    """Listens on `port` of the loopback and passes on to `target`; use as a context manager."""

    def __init__(self, target):
        self.target = target
        self.rules, self.connections = [], []
        self.counts = {}                    # kind of CopyData message -> how many passed
        self.lock = threading.Lock()
        self.open = threading.Event()
        self.open.set()
        self.listener = None
        self.port = 0
        self._listen()

    def _listen(self):
        self.listener = socket.create_server(("127.0.0.1", self.port), reuse_port=False)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = _Connection(self, client)
            self.connections.append(connection)
            threading.Thread(target=connection.run, daemon=True).start()

    def on(self, match, nth=1, times=1, replication=None):
        """A rule for messages that `match` names; `replication` True or False: only on such connections."""
        rule = Rule(self, match, nth, times, replication)
        with self.lock:
            self.rules.append(rule)
        return rule

    def treat(self, message):
        """What is to be sent on instead of a message."""
        with self.lock:
            if message.kind:
                self.counts[message.kind] = self.counts.get(message.kind, 0) + 1
            rule = next((r for r in self.rules if r.wants(message)), None)
        return rule.action(message) if rule else message.wire()

    def cut_all(self):
        """Reset every connection."""
        for connection in list(self.connections):
            connection.cut()
        self.connections.clear()

    def refuse(self):
        """Nobody listens any more, and all connections are cut; until allow()."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut_all()

    def allow(self):
        self._listen()

    def hold(self):
        """Connections stay up and carry nothing, as when a cable is out; until carry_on()."""
        self.open.clear()

    def carry_on(self):
        self.open.set()

    def point_to(self, port):
        """New connections go to another server, and all that exist are cut."""
        self.target = port
        self.cut_all()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.open.set()
        for rule in self.rules:
            rule.release()
        self.listener.close()
        self.cut_all()
        idle = [f"'{r.what}' (matched {r.matched}, from number {r.nth} on)" for r in self.rules if not r.struck and not r.optional]
        assert kind is not None or not idle, f"rules of the proxy that never struck: {idle}"
