"""A case by chance: tables of random columns, statements with random values. The same seed gives the same case."""

import json
import random

_ALPHABET = ["a", "b", "Z", "0", " ", "é", "€", "\U0001f600", "\"", "\\", "'", "\n", "\t", "{", "}", ",", "/", "\u2028", "%", "NULL", "\x01", "\x7f", "日本"]
_HEAD = """CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree;
CREATE TYPE status AS ENUM ('new', 'open', 'it''s', 'a,b', 'done');
CREATE DOMAIN dint AS int; CREATE DOMAIN dnum AS numeric(8,3); CREATE DOMAIN dtext AS varchar(30); CREATE DOMAIN dts AS timestamp(3); CREATE TYPE comp AS (a int, b text);"""
_MODES = {"decimal": ["precise", "string", "double"], "time": ["adaptive", "adaptive_time_microseconds", "connect", "isostring", "microseconds", "nanoseconds"],
          "interval": ["numeric", "string"], "binary": ["bytes", "base64", "base64-url-safe", "hex"], "hstore": ["json", "map"], "unknown": [None, "bytes"],
          "schemas": ["true", "true", "false"]}
_DEFAULTS = {"int2": ["0", "'3'", "NULL"], "int4": ["5", "-7", "1+1", "abs(-2)"], "int8": ["0", "-1"], "text": ["''", "'it''s'", "upper('a')", "current_user", "E'a\\\\b'"],
             "varchar": ["'x y'"], "float8": ["1.5", "'NaN'", "random()"], "bool": ["true", "false"], "timestamptz": ["now()", "'2020-01-01 00:00+00'"],
             "interval": ["'00:00:01.5'", "'-1 mon'"], "uuid": ["gen_random_uuid()"], "jsonb": ["'{}'", "'{\"a\": 1}'"], "status": ["'new'", "'a,b'"]}
_ARRAYS = {"int2", "int4", "int8", "text", "varchar", "numeric", "float8", "bool", "date", "time", "timestamp", "timestamptz", "timetz", "uuid", "jsonb", "bytea", "inet", "oid",
           "int4range", "status", "citext", "hstore", "macaddr", "dint"}
# Debezium stops where a NOT NULL column of these has no value: in the old row of a delete, or for NaN and TOAST.
_NULLABLE = {"numeric", "timestamp", "date", "time", "dts", "dnum", "interval", "status", "hstore", "varbit", "bytea"}
_NO_KEY = {"json", "xml", "point", "box", "comp", "hstore"}


def _quoted(text):
    return "'" + text.replace("'", "''") + "'"


class _Values:
    def __init__(self, chance):
        self.chance, self.pick, self.number = chance, chance.choice, chance.randint

    def text(self, most=12):
        return "".join(self.pick(_ALPHABET) for _ in range(self.number(0, most)))[:most]

    def numeric(self, digits=12, scale=None):
        scale = self.number(0, 6) if scale is None else scale
        whole = str(self.number(0, 10 ** (digits - scale) - 1)) if digits > scale else "0"
        return self.pick(["", "-"]) + whole + ("." + "".join(self.pick("0123456789") for _ in range(scale)) if scale else "")

    def floating(self):
        return self.pick(["NaN", "Infinity", "-Infinity", "-0", repr(self.chance.uniform(-1, 1) * 10 ** self.number(-30, 30)), str(self.number(-10 ** 6, 10 ** 6) / 100)])

    def date(self):
        return f"{self.pick([1600, 1899, 1969, 1970, 2000, 2024, 2038, 9999]):04d}-{self.number(1, 12):02d}-{self.number(1, 28):02d}"

    def clock(self):
        whole = f"{self.number(0, 23):02d}:{self.number(0, 59):02d}:{self.number(0, 59):02d}"
        return self.pick([whole, "00:00:00", "23:59:59.999999", f"{whole}.{self.number(0, 999999):06d}", f"{whole}.{self.number(0, 999):03d}"])

    def interval(self):
        return self.pick(["0", f"{self.number(-5, 5)} years {self.number(-13, 13)} mons {self.number(-40, 40)} days",
                          f"{self.pick(['', '-'])}{self.number(0, 90)}:{self.number(0, 59):02d}:{self.number(0, 59):02d}.{self.number(0, 999999):06d}"])

    def json(self, depth=0):
        kind = self.number(0, 5 if depth < 2 else 3)
        value = [self.number(-10 ** 6, 10 ** 6), self.pick([True, False, None]), self.text(), self.pick([0.1, 1e22, 12345678901234567890])]
        return json.dumps(value[kind] if kind < 4 else [self.number(0, 9), self.text()] if kind == 4 else {self.text(5): self.number(0, 9), "k": [None, 1.5]}, ensure_ascii=False)

    def bits(self, count):
        return "".join(self.pick("01") for _ in range(count))

    def hstore(self):
        def part(text):
            return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return ", ".join(f"{part(self.text(4))}=>{self.pick(['NULL', part(self.text(6))])}" for _ in range(self.number(0, 5)))

    def range(self, low, high):
        return self.pick(["empty", f"[{low},{high})", f"({low},)", "(,)"])

    def type(self):
        """A type, and what makes a text of it."""
        n, bits, digits, precision = self.number(1, 12), self.number(2, 70), self.number(1, 20), self.number(0, 6)
        scale = self.number(0, digits)
        zone = lambda: self.pick(["+00", "+02", "-05:30", "+14"])
        return self.pick([
            ("int2", lambda: str(self.pick([0, 32767, -32768]))), ("int4", lambda: str(self.number(-2 ** 31, 2 ** 31 - 1))), ("int8", lambda: str(self.number(-2 ** 63, 2 ** 63 - 1))),
            ("text", self.text), (f"varchar({n})", lambda: self.text(n)), ("varchar", self.text), (f"char({n})", lambda: self.text(n)), ('"char"', lambda: self.pick("aZ0 ")),
            ("numeric", self.numeric), (f"numeric({digits},{scale})", lambda: self.numeric(digits, scale)), ("money", lambda: self.numeric(10, 2)), ("float4", self.floating),
            ("float8", self.floating), ("bool", lambda: self.pick("tf")), ("date", self.date), ("time", self.clock), (f"time({precision})", self.clock),
            ("timetz", lambda: self.clock() + zone()), ("timestamp", lambda: f"{self.date()} {self.clock()}"), (f"timestamp({precision})", lambda: f"{self.date()} {self.clock()}"),
            ("timestamptz", lambda: f"{self.date()} {self.clock()}+02"), (f"timestamptz({precision})", lambda: f"{self.date()} {self.clock()}+02"), ("interval", self.interval),
            (f"interval({precision})", self.interval), ("uuid", lambda: f"{self.chance.getrandbits(128):032x}"), ("json", self.json), ("jsonb", self.json),
            ("xml", lambda: self.pick(["<a/>", "<b>é</b>"])), ("bytea", lambda: f"\\x{self.chance.getrandbits(8 * n):0{2 * n}x}"), (f"bit({bits})", lambda: self.bits(bits)),
            ("bit", lambda: self.bits(1)), ("varbit", lambda: self.bits(self.number(0, 70))), ("inet", lambda: self.pick(["10.0.0.1", "::1", "10.1.2.3/8"])),
            ("cidr", lambda: "10.0.0.0/8"), ("macaddr", lambda: f"08:00:2b:01:02:{self.chance.getrandbits(8):02x}"), ("oid", lambda: str(self.chance.getrandbits(32))),
            ("int4range", lambda: self.range(1, 9)), ("numrange", lambda: self.range("1.50", "2.25")), ("daterange", lambda: self.range("2020-01-01", "2021-01-01")),
            ("status", lambda: self.pick(["new", "open", "it's", "a,b", "done"])), ("dint", lambda: str(self.number(-99, 99))), ("dnum", lambda: self.numeric(8, 3)),
            ("dtext", lambda: self.text(20)), ("dts", lambda: f"{self.date()} {self.clock()}"), ("hstore", self.hstore), ("citext", self.text),
            ("ltree", lambda: self.pick(["", "a.b_c.D"])),
            ("point", lambda: f"({self.chance.uniform(-9, 9)},{self.number(-9, 9)})"), ("box", lambda: "(1,2),(0,0)"), ("tsvector", lambda: "'a':1 'b':2A"), ("comp", lambda: "(1,x)")])


class _Column:
    def __init__(self, values, place):
        self.values = values
        self.name = '"' + values.pick([f"c{place}", f"Col {place}", f"é{place}"]) + '"'
        self.type, self.make = values.type()
        self.base = self.type.split("(")[0]
        self.array = self.base in _ARRAYS and values.chance.random() < .25
        self.large = False
        self.default = None if self.array or values.chance.random() < .5 else values.pick(_DEFAULTS.get(self.base, [None]))
        self.not_null = not self.array and self.default != "NULL" and self.base not in _NULLABLE and values.chance.random() < .25

    def definition(self):
        return (f"{self.name} {self.type}{'[]' if self.array else ''}" + (f" DEFAULT {self.default}" if self.default else "") + (" NOT NULL" if self.not_null else ""))

    def literal(self):
        if self.values.chance.random() < .15:
            return "NULL" if not self.not_null else "DEFAULT" if self.default else _quoted(self.make())
        if not self.array:
            return _quoted("x" * 300 if self.large and self.base == "text" else self.make())
        items = [None if self.values.chance.random() < .15 else self.make() for _ in range(self.values.number(40, 90) if self.large else self.values.number(0, 4))]
        escaped = ("NULL" if item is None else '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' for item in items)
        return _quoted("{" + ",".join(escaped) + "}") + f"::{self.type}[]"


class _Table:
    def __init__(self, values, place):
        self.values, self.rows = values, 0
        self.name = values.pick([f'"t{place}"', f'"T {place}"'])
        columns = [_Column(values, i) for i in range(values.number(3, 14))]
        self.columns = list({column.name: column for column in columns}.values())
        self.kind = values.pick(["key", "full", "columns", "index"])

    def definition(self):
        keys = []
        if self.kind == "columns":
            keys = [column for column in self.columns if not column.array and column.base not in _NO_KEY and column.base not in _NULLABLE][:2]
            for column in keys:
                column.not_null, column.default = True, None
        named = ", ".join([*(column.name for column in keys), "id"])
        yield f"CREATE TABLE {self.name} (id int NOT NULL, {', '.join(c.definition() for c in self.columns)}{f', PRIMARY KEY ({named})' if self.kind != 'index' else ''});"
        if self.kind == "index":
            yield f"CREATE UNIQUE INDEX ON {self.name} (id); ALTER TABLE {self.name} REPLICA IDENTITY USING INDEX {self.name[:-1]}_id_idx\";"
        if self.kind == "full":
            yield f"ALTER TABLE {self.name} REPLICA IDENTITY FULL;"
        if self.values.chance.random() < .4:
            yield f"ALTER TABLE {self.name} SET (toast_tuple_target = 128);"
            for column in self.columns:
                if column.base == "text" or column.array:
                    column.large = True
                    yield f"ALTER TABLE {self.name} ALTER {column.name} SET STORAGE EXTERNAL;"

    def insert(self):
        self.rows += 1
        columns = [c for c in self.columns if self.values.chance.random() < .9 or c.not_null and not c.default]
        return f"INSERT INTO {self.name} ({', '.join(['id', *(c.name for c in columns)])}) VALUES ({', '.join([str(self.rows), *(c.literal() for c in columns)])});"

    def change(self, within):
        """A statement; `within` a transaction none that changes the table."""
        kind = self.values.chance.random()
        if kind < .5:
            return self.insert()
        if kind < .75:
            column = self.values.pick(self.columns)
            return f"UPDATE {self.name} SET {column.name} = {column.literal()} WHERE id % {self.values.number(1, 4)} = 0;"
        if kind < .82:
            return f"UPDATE {self.name} SET id = id + 10000 WHERE id = (SELECT min(id) FROM {self.name});"
        if kind < .9 or within:
            return f"DELETE FROM {self.name} WHERE id = (SELECT max(id) FROM {self.name});"
        if kind < .92:
            return f"TRUNCATE {self.name};"
        if kind < .97:
            column = _Column(self.values, 50 + len(self.columns) + self.rows)
            column.not_null = False
            self.columns.append(column)
            return f"ALTER TABLE {self.name} ADD COLUMN {column.definition()};"
        return f"ALTER TABLE {self.name} DROP COLUMN {self.columns.pop().name};" if len(self.columns) > 3 else self.insert()


def case(seed):
    chance = random.Random(seed)
    values = _Values(chance)
    profiles = {str(i): {name: mode for name, mode in ((name, chance.choice(modes)) for name, modes in _MODES.items()) if mode} for i in range(3)}
    lines = [f"-- profile {json.dumps(profiles)}", f"-- profiles {json.dumps(['plain', 'transactions', *profiles])}", _HEAD]
    tables = [_Table(values, place) for place in range(values.number(3, 5))]
    for table in tables:
        lines += table.definition()
        lines += [table.insert() for _ in range(values.number(0, 4))]
    lines.append("-- from here")
    within = False
    for _ in range(values.number(25, 45)):
        if chance.random() < .15:
            lines.append("COMMIT;" if within else "BEGIN;")
            within = not within
        if chance.random() < .03:
            lines.append(f"SELECT pg_logical_emit_message(true, {_quoted(values.text(6))}, {_quoted(values.text())});")
        lines.append(chance.choice(tables).change(within))
    lines += ["COMMIT;"] * within
    return "\n".join([*lines, *(f"DELETE FROM {table.name} WHERE id % 2 = 0;" for table in tables)]) + "\n"
