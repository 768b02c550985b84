"""sink = "file": acknowledged means flushed to the disk. Nothing is lost by kills, rotation, a full disk, a torn last line, or a file that is
taken away; no line is ever half; and the order of a key is the order of the file."""

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess

import pytest

from conftest import CAPTURES
from support import workload
from support.common import at_pace, eventually
from support.disk import Disk, HangingDisk
from support.lines import files_of, read_lines, records_of
from support.postgres import APP
from support.relay import clean_environment, configuration, outboxd, outboxd_binary, write_configuration
from support.trial import Trial
from support.verify import compare, read_truth
from support.wal import Wal

pytestmark = pytest.mark.by_turns

UNPUBLISHED = "SELECT count(*) FROM outbox.event WHERE published_at IS NULL"


@pytest.fixture(params=["poll", "wal"])
def captured(request, relay, database):
    """Maker of relays by either capture, and the file that they write."""
    if request.param == "wal":
        Wal(database)

    def make(path, file=None, **pipeline):
        return relay({**CAPTURES[request.param], "sink": "file", "file": {"path": str(path), **(file or {})}, **pipeline}, brokers="")
    return make


@pytest.fixture
def writer(relay):
    return lambda path, file=None, **pipeline: relay({"sink": "file", "file": {"path": str(path), **(file or {})}, **pipeline}, brokers="")


@pytest.fixture
def disk(tmp_path):
    disk = Disk(str(tmp_path / "small-disk"), 8)
    yield disk
    disk.empty()
    disk.remove()


def all_marked(database, one, timeout=60):
    eventually(lambda: database.scalar(UNPUBLISHED) == 0, timeout, lambda: f"all marked, left {database.scalar(UNPUBLISHED)}\n{one.log_tail()}")


def test_what_was_emitted_stands_in_the_file(captured, database, tmp_path):
    """Every kind of event: tombstones, JSON null, any bytes, headers, trace context; each field compared."""
    path = tmp_path / "orders.jsonl"
    workload.prepare(database, keys=40)
    one = captured(path).start()
    workload.Pgbench(database, 2000).run()
    all_marked(database, one)
    report = compare(read_truth(database), read_lines(path))
    report.assert_exact()
    assert report.records >= 2000 and one.metric("pipeline_state", state="running") == 1
    one.stop()
    assert one.log_lines("code=FILE_OPENED")


HOSTILE = ['{"a": "\\"\\\\\\n\\u2028\\u0007"}', '{"a": "\U0001f980 \\ud83e\\udd80"}', '"</script>"', "[]", "null", '"' + "x" * 100000 + '"']


def test_hostile_bytes_come_back(captured, database, tmp_path):
    path = tmp_path / "orders.jsonl"
    one = captured(path, key="${payload_bytes}").start()
    values = [bytes(range(256)), b"", b"\n", b"\xff", b"\x00", b"plain", "ä\u2028".encode(), b"{\"a\":1}\n{\"b\":2}\n", os.urandom(50000)]
    for value in values:
        database.execute("SELECT outbox.emit('order.scanned', 'order', 'k', NULL, payload_bytes => %s, content_type => 'x/y')", (value,))
    for text in HOSTILE:
        database.execute("SELECT outbox.emit('order.placed', 'order', 'k', %s::jsonb, headers => %s::jsonb)",
                         (text, '{"quote": "a\\"b\\nc", "odd": "\\u0001\\u202e"}'))
    all_marked(database, one)
    records = read_lines(path)
    assert [r.value for r in records[:len(values)]] == values
    assert [r.key for r in records[:len(values)]] == values, "binary keys"
    wanted = [row[0].encode() for row in database.query("SELECT payload::text FROM outbox.event WHERE payload IS NOT NULL ORDER BY seq")]
    assert [r.value for r in records[len(values):]] == wanted
    assert all(r.key is None for r in records[len(values):])
    assert dict(records[-1].headers)["quote"] == b'a"b\nc' and dict(records[-1].headers)["odd"] == "\u0001\u202e".encode()


def test_raw_writes_values_alone_and_refuses_line_ends(writer, database, tmp_path):
    path = tmp_path / "values"
    one = writer(path, {"format": "raw"}, on_poison="dead_letter").start()
    for value in (b"one", b"two\nlines", b"\xff\x00"):
        database.execute("SELECT outbox.emit('order.scanned', 'order', 'k', NULL, payload_bytes => %s)", (value,))
    all_marked(database, one)
    assert path.read_bytes() == b"one\n\xff\x00\n"
    assert database.query("SELECT error_code FROM outbox.dead_letter") == [("FILE_LINE_END",)]


def killed(one, database, events, kills, seed):
    """Kills the relay so many times while the workload runs; it is up again at once."""
    rng = random.Random(seed)
    left, at = [kills], [one.published() + rng.randrange(20, 200)]

    def between():
        if left[0] > 0 and one.published() >= at[0]:
            one.kill()
            left[0] -= 1
            one.start()
            at[0] = one.published() + rng.randrange(20, 200)
    workload.Pgbench(database, events, seed=seed).run(pause=0.005, between=between)
    while left[0] > 0:  # a machine that is slow, and a workload that was not
        one.kill()
        left[0] -= 1
        one.start()


@pytest.mark.slow
def test_a_dozen_kills_under_load_lose_nothing(captured, database, tmp_path):
    path = tmp_path / "orders.jsonl"
    window = 100
    workload.prepare(database, keys=40)
    one = captured(path, in_flight_events=window, batch_events=50).start()
    killed(one, database, 6000, kills=12, seed=3)
    all_marked(database, one)
    one.stop()
    assert one.starts == 13
    report = compare(read_truth(database), read_lines(path))
    print(report)
    report.assert_exact(duplicates=12 * window)


@pytest.mark.slow
def test_rotation_under_load_and_kills_splits_nothing(captured, database, tmp_path):
    path = tmp_path / "orders.jsonl"
    workload.prepare(database, keys=40)
    one = captured(path, {"rotate_bytes": "100kB", "rotate_interval": "1s"}, in_flight_events=200, batch_events=50).start()
    killed(one, database, 4000, kills=4, seed=5)
    all_marked(database, one)
    one.stop()
    files = files_of(str(path))
    assert len(files) > 10, files
    for name in files:
        with open(name, "rb") as f:
            text = f.read()
        records_of(text)
        assert len(text) <= 100000, f"{name}: {len(text)}"
    compare(read_truth(database), read_lines(path)).assert_exact(duplicates=4 * 200)


def test_a_backlog_goes_into_files_of_the_size_that_is_asked_for(captured, database, tmp_path):
    """More waits than one file takes, and one line is larger than any."""
    path = tmp_path / "orders.jsonl"
    one = captured(path, {"rotate_bytes": "20kB"}).start()
    trial = Trial(database, one)
    one.stop()
    trial.emit(300)
    database.execute("SELECT outbox.emit('order.placed', 'order', '1', jsonb_build_object('n', repeat('x', 30000)))", user=APP)
    trial.emit(50)
    one.start()
    all_marked(database, one)
    one.stop()
    sizes = sorted(os.path.getsize(name) for name in files_of(str(path)))
    assert sizes[-1] > 30000 and sizes[-2] <= 20000 and len(sizes) < 20, sizes
    assert len(read_lines(path)) == 351


def test_without_a_relay_status_asks_no_broker_where_none_is_named(writer, tmp_path):
    one = writer(tmp_path / "orders.jsonl")
    said = outboxd("status", "-c", one.config_path)
    assert "no unpublished events" in said.stdout and "roker" not in said.stdout, said.stdout


def test_rotation_by_time_needs_no_further_event(writer, database, tmp_path):
    path = tmp_path / "orders.jsonl"
    one = writer(path, {"rotate_interval": "1s"}).start()
    Trial(database, one).emit(3)
    all_marked(database, one)
    eventually(lambda: len(files_of(str(path))) == 2 and os.path.getsize(path) == 0, 10, lambda: f"rotated: {os.listdir(tmp_path)}")
    assert len(read_lines(path)) == 3


def test_a_full_disk_is_waited_for(captured, database, disk):
    path = os.path.join(disk.path, "orders.jsonl")
    one = captured(path, batch_events=100).start()
    trial = Trial(database, one)
    trial.emit(50)
    all_marked(database, one)
    disk.fill(20000)
    for _ in range(10):
        trial.emit(200)
    assert "No space left" in one.wait_not_ready("FILE_DISK_FULL", 30)
    assert one.metric("pipeline_state", state="stalled") == 1
    with open(path, "rb") as f:
        before = len(records_of(f.read()))  # no half line, also while it is full
    assert before < 2050
    disk.empty()
    all_marked(database, one)
    one.wait_ready()
    trial.result(read_lines(path)).assert_none_lost()
    assert one.starts == 1 and len(one.log_lines("code=FILE_DISK_FULL")) <= 3, one.log_tail()
    assert one.log_lines("code=PIPELINE_RECOVERED.*FILE_DISK_FULL"), one.log_tail()


def test_a_disk_without_room_for_a_group_takes_the_lines_that_fit(captured, database, disk):
    """One transaction of 3 MB, and never 1 MB free: it arrives all the same, as whole lines, piece by piece."""
    path = os.path.join(disk.path, "orders.jsonl")
    one = captured(path, batch_events=1000).start()
    disk.fill(800000)
    database.execute("SELECT outbox.emit('order.placed', 'order', (n % 7)::text, to_jsonb(n || repeat('x', 3000))) FROM generate_series(1, 1000) n")

    def lines():
        with open(path, "rb") as f:
            return len(records_of(f.read()))  # no half line
    had = 0
    for _ in range(3):
        assert "No space left" in one.wait_not_ready("FILE_DISK_FULL", 30)
        had = eventually(lambda: (now := lines()) >= had + 100 and now, 20, lambda: f"more than {had} lines\n{one.log_tail()}")
        disk.release(800000)
    disk.empty()
    all_marked(database, one)
    one.wait_ready()
    assert lines() == 1000
    assert len({dict(record.headers)["ce_id"] for record in read_lines(path)}) == 1000


@pytest.mark.slow
def test_a_disk_that_hangs_is_said_and_holds_up_nothing_else(captured, database, tmp_path):
    """Half a minute without an answer is said; the endpoint answers all the time, and what waits is published once the disk is back."""
    path, disk = tmp_path / "orders.jsonl", HangingDisk(str(tmp_path))
    one = captured(path).start(env=disk.environment)
    trial = Trial(database, one)
    trial.emit(20)
    all_marked(database, one)
    with disk.hanging():
        trial.emit(20)
        reason = one.wait_not_ready("FILE_SILENT", 60)
        assert "the disk has not answered" in reason and str(path) in reason
        assert one.http("/livez")[0] == 200 and one.metric("pipeline_state", state="stalled") == 1
        assert database.scalar(UNPUBLISHED) == 20
    all_marked(database, one)
    one.wait_ready()
    trial.result(read_lines(path)).assert_none_lost()
    assert one.starts == 1 and one.log_lines("code=PIPELINE_RECOVERED"), one.log_tail()


def test_a_relay_that_loses_its_session_while_the_disk_hangs_goes_on(captured, database, tmp_path):
    """It must close the file, and cut what is not safe in it, which waits for the disk."""
    path, disk = tmp_path / "orders.jsonl", HangingDisk(str(tmp_path))
    one = captured(path, retry_backoff_max="500ms").start(env=disk.environment)
    trial = Trial(database, one)
    trial.emit(20)
    all_marked(database, one)
    with disk.hanging():
        trial.emit(20)
        eventually(lambda: one.metric("inflight_events") == 20, 20, one.log_tail)
        database.terminate_backends()
        one.wait_not_ready("", 20)
        assert one.http("/livez")[0] == 200 and one.http("/metrics")[0] == 200
    all_marked(database, one)
    one.wait_ready()
    trial.result(read_lines(path)).assert_none_lost(duplicates=20)
    assert one.starts == 1


def on_a_disk_that_may_hang(relay, database, tmp_path, **more):
    """The file, its disk, a relay that has published 20 events, and these."""
    path, disk = tmp_path / "orders.jsonl", HangingDisk(str(tmp_path))
    one = relay({"sink": "file", "file": {"path": str(path)}}, brokers="", **more).start(env=disk.environment)
    trial = Trial(database, one)
    trial.emit(20)
    all_marked(database, one)
    return path, disk, one, trial


def test_a_disk_that_hangs_in_close_holds_up_a_stop_no_longer_than_the_shutdown_timeout(relay, database, tmp_path):
    """All is drained, so the loop and its deadline are over; the file is closed by the sink's own thread."""
    path, disk, one, trial = on_a_disk_that_may_hang(relay, database, tmp_path, shutdown_timeout="2s")
    with disk.hanging():
        one.stop(expect=5)
    assert one.log_lines("code=DRAIN_INCOMPLETE") and one.log_lines("code=STOPPED "), one.log_tail()
    one.start(env=disk.environment)
    trial.emit(20)
    all_marked(database, one)
    one.stop()
    trial.result(read_lines(path)).assert_none_lost()


def released(one):
    """Nobody answers at the endpoint any more: the loop is over, and all is let go."""
    try:
        one.http("/livez")
    except OSError:
        return True
    return False


def test_a_second_signal_does_not_wait_for_a_disk_that_hangs_in_close(relay, database, tmp_path):
    path, disk, one, trial = on_a_disk_that_may_hang(relay, database, tmp_path, shutdown_timeout="60s")
    with disk.hanging():
        one.signal(signal.SIGTERM)
        eventually(lambda: released(one), 20, one.log_tail)
        assert one.running()
        one.signal(signal.SIGINT)
        assert one.wait_exit(10) == 5   # shutdown_timeout is a minute
    assert one.log_lines("code=STOPPED_AT_ONCE") and one.log_lines("code=STOPPED .*second signal"), one.log_tail()
    trial.result(read_lines(path)).assert_none_lost()


def test_a_gap_keeps_its_exit_code_when_the_disk_hangs_in_close(relay, database, tmp_path):
    """And systemd is told that the relay stops before that is waited for; nobody sent a signal."""
    path, disk, notify = tmp_path / "orders.jsonl", HangingDisk(str(tmp_path)), str(tmp_path / "notify")
    wal = Wal(database)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(notify)
        s.settimeout(20)
        one = relay({**CAPTURES["wal"], "sink": "file", "file": {"path": str(path)}}, brokers="", shutdown_timeout="2s")
        one.start(env={**disk.environment, "NOTIFY_SOCKET": notify})
        trial = Trial(database, one)
        trial.emit(20)
        all_marked(database, one)
        with disk.hanging():
            wal.drop_slot_under_the_reader()
            while b"STOPPING=1" not in s.recv(4096):
                assert one.running(), one.log_tail()
            assert one.wait_exit(30) == 4, one.log_tail()
    assert one.log_lines("code=DRAIN_INCOMPLETE") and one.log_lines("code=STOPPED .*exit_code=4"), one.log_tail()


def test_a_relay_that_stops_on_a_full_disk_says_so_and_loses_nothing(writer, database, disk):
    path = os.path.join(disk.path, "orders.jsonl")
    one = writer(path).start()
    trial = Trial(database, one)
    trial.emit(50)
    all_marked(database, one)
    disk.fill()
    trial.emit(500)
    one.wait_not_ready("FILE_DISK_FULL", 30)
    one.kill()
    disk.empty()
    one.start()
    all_marked(database, one)
    trial.result(read_lines(path)).assert_none_lost(duplicates=100)


def test_a_torn_last_line_is_cut_and_said(captured, database, tmp_path):
    """As a kill within a write, or a power loss, leaves it."""
    path = tmp_path / "orders.jsonl"
    one = captured(path).start()
    trial = Trial(database, one)
    trial.emit(20)
    all_marked(database, one)
    one.stop()
    whole = path.read_bytes()
    first = whole[:whole.index(b"\n") + 1]
    for torn in (b'{"topic":"t","key":"half', first[:-1], b"\0" * 4096, None):
        if torn is None:   # a lost block within a group: zeros up to where a page of the file ends
            torn = first + b"\0" * (8192 - (len(whole) + len(first)) % 4096) + b"}\n"
        path.write_bytes(whole + torn)
        one.start()
        trial.emit(5)
        all_marked(database, one)
        one.stop()
        found = read_lines(path)
        trial.result(found).assert_none_lost(duplicates=1)
        assert len(found) <= len(trial.expected) + 1
        whole = path.read_bytes()
    assert len(one.log_lines("code=FILE_TORN_LINE.*bytes=")) == 4, one.log_tail()


@pytest.mark.parametrize("how", ["moved", "removed", "replaced", "copied and cut"])
def test_a_file_that_is_taken_away_is_said_and_opened_anew(writer, database, tmp_path, how):
    path, moved = tmp_path / "orders.jsonl", tmp_path / "moved"
    one = writer(path).start()
    trial = Trial(database, one)
    trial.emit(20)
    all_marked(database, one)
    if how == "moved":
        os.rename(path, moved)
    elif how == "removed":
        shutil.copy(path, moved)
        os.unlink(path)
    elif how == "replaced":
        os.rename(path, moved)
        path.write_text("")
    else:
        shutil.copy(path, moved)
        os.truncate(path, 0)
    trial.emit(20)
    all_marked(database, one)
    assert len(read_lines(path)) == 20
    trial.result(records_of(moved.read_bytes()) + read_lines(path)).assert_none_lost()
    assert len(one.log_lines("code=FILE_REPLACED")) == 1, one.log_tail()
    assert one.ready()[0]


def test_a_directory_that_goes_away_is_waited_for(writer, database, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    one = writer(home / "orders.jsonl").start()
    trial = Trial(database, one)
    trial.emit(20)
    all_marked(database, one)
    os.rename(home, tmp_path / "away")
    trial.emit(20)
    assert "No such file" in one.wait_not_ready("FILE_UNWRITABLE", 30)
    os.rename(tmp_path / "away", home)
    all_marked(database, one)
    trial.result(read_lines(home / "orders.jsonl")).assert_none_lost()


def test_a_second_relay_on_the_file_writes_nothing(writer, database, postgres, migrated_template, tmp_path):
    path = tmp_path / "orders.jsonl"
    one = writer(path).start()
    trial = Trial(database, one)
    trial.emit(20)
    all_marked(database, one)
    other = postgres.fresh_database("other", template=migrated_template)
    try:
        config = configuration(other.dsn(), "", {"sink": "file", "file": {"path": str(path)}, "retry_backoff_max": "500ms"})
        two = writer(path)
        write_configuration(two.config_path, {**config, "monitor": {"listen": f"127.0.0.1:{two.port}"}})
        two.start(wait_ready=False)
        more = Trial(other, two)
        more.emit(5)
        assert str(path) in two.wait_not_ready("FILE_LOCKED", 30)
        trial.emit(20)
        all_marked(database, one)
        trial.result(read_lines(path)).assert_none_lost()
        one.stop()
        all_marked(other, two)  # it goes on by itself
        more.result(read_lines(path)[40:]).assert_none_lost()
    finally:
        two.kill()
        other.drop()


def test_a_standby_takes_the_file_over(captured, database, tmp_path):
    """Both relays of one outbox name the same file; only the one that publishes has it open."""
    path = tmp_path / "orders.jsonl"
    one, two = captured(path, standby_interval="100ms").start(), captured(path, standby_interval="100ms")
    trial = Trial(database, [one, two])
    two.start()
    trial.emit(100)
    all_marked(database, one)
    assert not two.log_lines("code=FILE_"), two.log_tail()
    one.signal(signal.SIGTERM)
    assert one.wait_exit() == 0
    trial.emit(100)
    all_marked(database, two)
    trial.result(read_lines(path)).assert_none_lost()
    assert not two.log_lines("code=FILE_LOCKED"), two.log_tail()


def test_a_relay_that_lost_its_session_lets_the_file_go(captured, database, tmp_path):
    """The standby takes the lock while the file of the relay that lost it is still open; nothing was on its way."""
    path = tmp_path / "orders.jsonl"
    one = captured(path, standby_interval="100ms", retry_backoff_min="2s", retry_backoff_max="3s").start()
    trial = Trial(database, one)
    trial.emit(20)
    all_marked(database, one)
    two = captured(path, standby_interval="100ms", retry_backoff_max="500ms").start()
    one.pause()
    database.terminate_backends()
    two.wait_log("code=PIPELINE_ACTIVE")
    one.resume()
    one.wait_log("code=PIPELINE_STANDBY")
    trial.emit(20)
    all_marked(database, two)
    trial.result(read_lines(path)).assert_none_lost()
    one.stop()


@pytest.mark.parametrize("what, message, remedy", [
    ("a directory", "Is a directory", "Name a file in file.path"),
    ("in no directory", "No such file or directory", "Create the directory of file.path"),
    ("a link", "it is a symbolic link", "Name a file in file.path"),
    ("a pipe", "is not a regular file", "Name a file in file.path"),
    ("another file", "was not written by outboxd as JSON lines", "Correct file.path"),
    ("a document", "was not written by outboxd as JSON lines", "Correct file.path"),
    ("too long to rotate", "File name too long", "Shorten the name"),
    ("not ours", "Permission denied", "Give the relay's user write permission")])
def test_a_path_that_cannot_be_is_refused_before_anything_is_read(database, tmp_path, what, message, remedy):
    path, user = tmp_path / "orders.jsonl", {}
    if what == "a directory":
        path.mkdir()
    elif what == "in no directory":
        path = tmp_path / "none" / "orders.jsonl"
    elif what == "a link":
        path.symlink_to(tmp_path / "other")
    elif what == "a pipe":
        os.mkfifo(path)
    elif what == "another file":
        path.write_text("root:x:0:0\n")
    elif what == "a document":
        path.write_text('{"name": "mine"}')
    elif what == "too long to rotate":
        path = tmp_path / ("n" * 240)
    else:
        path.write_text("")
        path.chmod(0o400)
        user = unprivileged(tmp_path)
    config = write_configuration(str(tmp_path / "outboxd.conf"), configuration(database.dsn(), "", {
        "sink": "file", "file": {"path": str(path), "rotate_bytes": "1MB"}}))
    if user:
        os.chown(config, user["user"], -1)
    for arguments in (["check", "--offline", "-c", config], ["run", "-c", config]):
        done = subprocess.run([outboxd_binary(), *arguments], env=clean_environment(), text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=at_pace(30), check=False, **user)
        assert done.returncode == 1 and message in done.stdout and remedy in done.stdout and str(path) in done.stdout, done.stdout


def unprivileged(directory):
    """Who may not write what root may; skips where that cannot be tried."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    at = str(directory)
    while at != "/":
        os.chmod(at, os.stat(at).st_mode | 0o055)
        at = os.path.dirname(at)
    who = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    if subprocess.run([outboxd_binary(), "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, **who).returncode:
        pytest.skip("another user cannot run the binary here")
    return who


def test_stdout_marks_only_when_that_is_asked_for(relay, database, tmp_path):
    config = write_configuration(str(tmp_path / "x.conf"), configuration(database.dsn(), "", {"sink": "stdout"}))
    shown = outboxd("check", "--offline", "-c", config, expect=1).stdout
    assert 'sink = "stdout" stores no record' in shown and "allow_unstored = true" in shown
    one = relay({"sink": "stdout", "allow_unstored": True}, brokers="").start()
    trial = Trial(database, one)
    trial.emit(10)
    all_marked(database, one)
    assert len(one.log_lines(r'^\{"topic":')) == 10
