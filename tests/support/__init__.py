"""Fixtures of the integration and fault tests: real servers, the relay, an independent consumer, a checker."""

import os
import sys

CACHE = os.environ.get("OUTBOXD_CACHE") or os.path.expanduser("~/.cache/outboxd")

# confluent-kafka of the cache brings its own, newer librdkafka: it shares no code with the program under test.
_PYTHON = os.path.join(CACHE, "python")
if os.path.isdir(_PYTHON) and _PYTHON not in sys.path:
    sys.path.insert(0, _PYTHON)
