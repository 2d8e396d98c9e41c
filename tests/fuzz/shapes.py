"""What strangers may write where we expect something else, for hypothesis."""

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.faults.stage import IS_THOROUGH

some = settings(
    max_examples=2000 if IS_THOROUGH else 60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
"""How many examples of each: seconds in all, or minutes."""

NASTY_TEXTS = (
    *("", " ", "\0", "\r\n", "a\r\nX-Other: b", "\n::set-env name=A::b", "##[error]", "\x1b[2J"),
    *("\u202e", "\ud800", "\udcff", "é", "\u0663", "0", "-1", "1e999", "NaN", "null", "true"),
    *("../../etc/passwd", "/dev/full", "http://192.0.2.1/", "${jndi:ldap://x}", "{{7*7}}", "%s%n"),
    *("A" * 5000, "*", "[", "&x *x"),
)
NASTY_NUMBERS = (0, -1, 1 << 31, 1 << 63, 1 << 64, 10**400, -(10**400), 0.5, 1e308, float("inf"))

texts = st.sampled_from(NASTY_TEXTS) | st.text(st.characters(codec=None), max_size=20)
scalars = (
    st.none()
    | st.booleans()
    | st.sampled_from(NASTY_NUMBERS)
    | st.integers()
    | st.floats()  # NaN too: Python's json writes and reads it
    | texts
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
"""Whatever JSON can say, and some that only Python's can."""

DEEP = (b"[" * 100_000, b'{"a":' * 100_000, b"[" * 900 + b"]" * 900)
bodies = (
    st.binary(max_size=200)
    | st.sampled_from(DEEP)
    | values.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))
)
"""Whatever may come in the place of JSON."""


@st.composite
def like(draw: st.DrawFn, whole: Mapping[str, Any]) -> Any:
    """Draw what is as `whole`, but for one place that has another value, is missing, or new."""
    made: Any = json.loads(json.dumps(whole))
    place = made
    while True:
        key = draw(st.sampled_from(sorted(place)) | texts)
        inner = place.get(key)
        if isinstance(inner, dict) and inner and draw(st.booleans()):
            place = inner
            continue
        if draw(st.booleans()) or key not in place:
            place[key] = draw(values)
        else:
            del place[key]
        return made
