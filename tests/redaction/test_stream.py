"""No secret leaves the redactor, nothing else is lost, and nothing waits that need not."""

import json
import random
import re
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ci_identity.errors import ConfigurationError, ShortSecretError
from ci_identity.redaction import stream as redaction
from ci_identity.redaction.needles import spellings
from ci_identity.redaction.stream import Redactor
from ci_identity.redaction.view import TerminalView
from ci_identity.secret import Secret

Mode = Literal["default", "fast"]

TOKEN = "ghs_Zk3Qw8LxV2mN7pR4tY6uB9cD1eF5gH0jKaSd"
MASK = b"[MASKED]"
MODES: tuple[Mode, ...] = ("default", "fast")
ESCAPE = re.compile(rb"\x1b(?:\[[0-9;]*m|\]0;[^\x07]*\x07)")
SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]{0,64}[ -/]{0,4}[@-~]|[ -/]{1,4}[0-~]|[0-~])")


@pytest.fixture(params=["scan", "simd"], scope="module", autouse=True)
def engine(request: pytest.FixtureRequest) -> Iterator[None]:
    """All of this with each of the engines that can be had, proofs for any text included."""
    if request.param == "simd" and not find_spec("hyperscan"):
        pytest.skip("the extra `fast` is not installed")
    with pytest.MonkeyPatch.context() as patch:
        chosen = import_module(f"ci_identity.redaction.{request.param}")
        patch.setattr(redaction, "index", chosen.Scanner)
        patch.setattr(chosen, "LATER", 0, raising=False)
        for name in ("SOON", "_MUCH"):
            patch.setattr(redaction, name, 0)
        yield


class Case(NamedTuple):
    """One recorded stream, and what must become of it."""

    name: str
    secrets: list[str]
    pieces: list[bytes]
    absent: list[bytes]
    expected: bytes | None

    @property
    def is_wrapped(self) -> bool:
        """Whether its secret is split by line ends: then the cuts may show up to 7 bytes of it."""
        return "-wrapped" in self.name

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes that promise to cope with it."""
        return ("default",) if self.is_wrapped or self.name.startswith("ansi/") else MODES


def read_case(entry: dict[str, object]) -> Case:
    """Read one entry of `cases.json`, whose bytes are base64."""
    secrets, chunks, absent = entry["secrets"], entry["chunks"], entry["must_not_contain"]
    assert isinstance(secrets, list)
    assert isinstance(chunks, list)
    assert isinstance(absent, list)
    expected = entry["expected"]
    return Case(
        name=str(entry["name"]),
        secrets=secrets,
        pieces=[b64decode(chunk) for chunk in chunks],
        absent=[b64decode(fragment) for fragment in absent],
        expected=None if expected is None else b64decode(str(expected)),
    )


CASES = [read_case(e) for e in json.loads(Path(__file__).with_name("cases.json").read_text())]


def redact(secrets: list[str], pieces: list[bytes], mode: Mode = "default") -> bytes:
    """Run a whole stream through a new redactor."""
    redactor = Redactor(secrets, mode=mode)
    return b"".join([*map(redactor.feed, pieces), redactor.finish()])


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut `data` at these places."""
    return [data[start:end] for start, end in pairwise([0, *sorted(places), len(data)])]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_recorded_stream(case: Case) -> None:
    """Given pieces, one piece, byte by byte and random pieces all give what the case asks for."""
    data = b"".join(case.pieces)
    chance = random.Random(case.name)  # noqa: S311  # repeatable cuts
    ways = [case.pieces, [data], cut(data, list(range(1, len(data))))]
    ways += [cut(data, chance.choices(range(len(data)), k=5)) for _ in range(5)]
    for mode in case.modes:
        outputs = [redact(case.secrets, pieces, mode) for pieces in ways]
        for fragment in case.absent:
            assert not any(fragment in output for output in outputs)
        if case.expected is not None:
            assert set(outputs) == {case.expected}
        if not case.is_wrapped:
            assert len(set(outputs)) == 1


def covered(needles: list[bytes], text: bytes) -> list[bool]:
    """Say of each byte whether it is masked: the definition, for the whole text at once."""
    masked = [False] * len(text)
    for needle in needles:
        for start in range(len(text) - len(needle) + 1):
            if text.startswith(needle, start):
                masked[start : start + len(needle)] = [True] * len(needle)
    held = held_back(needles, text)
    if held >= 8:
        masked[-held:] = [True] * held
    return masked


def held_back(needles: list[bytes], text: bytes) -> int:
    """The length of the longest end of `text` that is a proper prefix of a needle."""
    sizes = range(1, min(len(text), max(map(len, needles), default=0)) + 1)
    return max(
        (s for s in sizes if any(s < len(n) and n.startswith(text[-s:]) for n in needles)),
        default=0,
    )


def reference(needles: list[bytes], text: bytes) -> bytes:
    """Redact a whole text without escape sequences and line ends."""
    shown = b""
    for index, is_masked in enumerate(covered(needles, text)):
        if not is_masked:
            shown += text[index : index + 1]
        elif index == 0 or not covered_before(needles, text, index):
            shown += MASK
    return shown


def covered_before(needles: list[bytes], text: bytes, index: int) -> bool:
    """Whether the byte before `index` is masked."""
    return covered(needles, text)[index - 1]


def needles_of(secrets: list[str]) -> list[bytes]:
    """All spellings of all secrets."""
    return [form for secret in secrets for form in spellings(secret.encode())]


SECRETS = st.lists(st.text("ab", min_size=6, max_size=14), min_size=1, max_size=4)


@st.composite
def streams(draw: st.DrawFn, glue: str = "ab.") -> tuple[list[str], bytes, list[bytes]]:
    """Secrets of few letters, a text made mostly of parts of them, and the text in pieces."""
    secrets = draw(SECRETS)
    parts = st.one_of(
        st.sampled_from(secrets),
        st.tuples(st.sampled_from(secrets), st.integers(0, 14)).map(lambda p: p[0][: p[1]]),
        st.text(glue, max_size=6),
    )
    data = "".join(draw(st.lists(parts, max_size=8))).encode()
    places = draw(st.lists(st.integers(0, len(data)), max_size=10))
    return secrets, data, cut(data, places)


@pytest.mark.parametrize("mode", MODES)
@settings(deadline=None)
@given(stream=streams())
def test_any_stream_in_any_pieces(mode: Mode, stream: tuple[list[str], bytes, list[bytes]]) -> None:
    """The output is the union of all occurrences masked, however the stream is cut."""
    secrets, data, pieces = stream
    assert redact(secrets, pieces, mode) == reference(needles_of(secrets), data)


@pytest.mark.parametrize("mode", MODES)
@settings(deadline=None)
@given(stream=streams())
def test_nothing_is_held_that_cannot_become_a_secret(
    mode: Mode, stream: tuple[list[str], bytes, list[bytes]]
) -> None:
    """After every piece all is out but the longest end that is a proper prefix of a needle."""
    secrets, _, pieces = stream
    needles = needles_of(secrets)
    redactor = Redactor(secrets, mode=mode)
    so_far = b""
    shown = b""
    for piece in pieces:
        so_far += piece
        shown += redactor.feed(piece)
        certain = len(so_far) - held_back(needles, so_far)
        masked = covered(needles, so_far)
        plain = bytes(b for b, m in zip(so_far[:certain], masked[:certain], strict=True) if not m)
        assert shown.replace(MASK, b"") == plain


@settings(deadline=None)
@given(
    stream=streams(glue="ab.\n\r\x1b["), sequence=st.sampled_from([b"\x1b[0m", b"\x1b]0;ab\x07"])
)
def test_colours_and_wraps_hide_nothing(
    stream: tuple[list[str], bytes, list[bytes]], sequence: bytes
) -> None:
    """Escape sequences and line ends anywhere inside secrets: what is seen holds none of them."""
    secrets, data, _ = stream
    assume(b"\x1b" not in data)
    data = data.replace(b".", sequence)
    output = redact(secrets, [data])
    assert ESCAPE.findall(output) == ESCAPE.findall(data)
    assert not any(s.encode() in part for s in secrets for part in seen(output).split(MASK))


def seen(output: bytes) -> bytes:
    """What a person sees."""
    return ESCAPE.sub(b"", output).replace(b"\n", b"").replace(b"\r", b"")


@settings(deadline=None)
@given(stream=streams(glue="ab.m;0[\x1b]\x07\\"))
def test_escape_sequences_may_be_cut_anywhere(
    stream: tuple[list[str], bytes, list[bytes]],
) -> None:
    """Without line ends the pieces make no difference, whatever becomes of the sequences."""
    secrets, data, pieces = stream
    assert redact(secrets, pieces) == redact(secrets, [data])


@pytest.mark.parametrize(
    "sequence",
    [
        b"\x1b",
        b"\x1b[",
        b"\x1b[1;2",
        b"\x1b(",
        b"\x1b[0m",
        b"\x1b]",
        b"\x1b]0;t\x1b\\",
        b"\x1b[31m\x1b[",
    ],
)
@pytest.mark.parametrize("secret", ["ghs_Zk3Qw8LxV2mN7pR4tY6uB9cD1eF5", "12345678", "\\]0;[mHJK"])
def test_a_cut_off_sequence_eats_no_secret(sequence: bytes, secret: str) -> None:
    """A terminal takes its first byte for the sequence's last one; the log has all of it."""
    data = b"x " + sequence + secret.encode() + b" y\n"
    for place in range(len(data)):
        shown = redact([secret], [data[:place], data[place:]])
        assert secret.encode() not in shown
        assert shown.startswith(b"x \x1b")
        assert shown.endswith(b"[MASKED] y\n")


def test_a_title_that_a_secret_ends_eats_none_of_it() -> None:
    """A bell within the secret is a title's end to a terminal; the log has all of it."""
    assert redact(["ab\acdefgh"], [b"x \x1b]0;ab\x07cdefgh y\n"]) == b"x \x1b]0;[MASKED] y\n"


@given(
    st.text("[m1;a", min_size=6, max_size=12).filter(lambda text: text.strip() == text),
    st.lists(
        st.sampled_from(["\x1b", "\x1b[", "\x1b[1", "m", "a", "(", "\x1b]0;", "\a", "SECRET"])
    ),
    st.lists(st.integers(0, 60), max_size=4),
)
def test_sequences_cut_off_anywhere_eat_no_secret(
    secret: str, parts: list[str], places: list[int]
) -> None:
    """However sequences, secrets and pieces fall: none is shown, and pieces do not count."""
    data = "".join(parts).replace("SECRET", secret).encode()
    shown = redact([secret], cut(data, places))
    assert secret.encode() not in shown
    assert shown == redact([secret], [data])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.text("[m1;a(", min_size=6, max_size=11).filter(lambda text: text.strip() == text),
        min_size=1,
        max_size=2,
    ),
    st.lists(
        st.sampled_from(["\x1b", "\x1b[", "\x1b[1", "\x1b[0m", "\x1b(", "m", "1", "\n", "SECRET"]),
        max_size=9,
    ),
    st.integers(0, 11),
)
def test_what_is_seen_and_what_is_there_is_masked(
    secrets: list[str], parts: list[str], size: int
) -> None:
    """Every occurrence in the text that a person sees, every one in the bytes, and no byte more."""
    parts = [part.replace("SECRET", secrets[number % 2 - 1]) for number, part in enumerate(parts)]
    data = "".join([*parts, secrets[0][:size], "\x1b[1", secrets[0][size:], "\n"]).encode()
    assert redact(secrets, [data]) == seen_reference(needles_of(secrets), data)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.text("ab", min_size=16, max_size=40), min_size=1, max_size=2),
    st.lists(st.integers(1, 17), min_size=1, max_size=4),
    st.lists(
        st.sampled_from(["\x1b[0m", "\x1b[1;31m", "\n", "\x1b[K\r\n", "\x1b[", "\x1b(B"]),
        min_size=1,
    ),
    st.sampled_from([0, 0, 7, 40]),
)
def test_a_long_secret_is_masked_however_often_it_is_interrupted(
    secrets: list[str], sizes: list[int], between: list[str], missing: int
) -> None:
    """In pieces of any sizes, whole or not: as much is masked as the definition asks for."""
    data = "\x1b[1m"
    for number, secret in enumerate(secrets):
        at = number
        while at < len(secret) - missing:
            size = sizes[at % len(sizes)]
            data += secret[at : at + size] + between[at % len(between)]
            at += size
        data += ".\x1b[0m\n"
    assert redact(secrets, [data.encode()]) == seen_reference(needles_of(secrets), data.encode())


def seen_reference(forms: list[bytes], data: bytes) -> bytes:
    """The definition for a whole text of complete lines whose sequences carry no text."""
    needles = [needle for needle in map(TerminalView.needle, forms) if len(needle) >= 6]
    hidden = {at for found in SEQUENCE.finditer(data) for at in range(*found.span())}
    places = [at for at, byte in enumerate(data) if at not in hidden and byte not in b"\r\n"]
    text = bytes(data[at] for at in places)
    masked = bytearray(len(data))
    for needle in needles:
        for start in range(len(data)):
            if text.startswith(needle, start):
                first, last = places[start], places[start + len(needle) - 1]
                masked[first : last + 1] = b"x" * (last + 1 - first)
            if data.startswith(needle, start):
                masked[start : start + len(needle)] = b"x" * len(needle)
    if (held := held_back(needles, text)) >= 8:
        masked[places[-held] :] = b"x" * (len(data) - places[-held])
    shown = b""
    for found in re.finditer(rb"\0+|x+", masked):
        part = data[found.start() : found.end()]
        shown += part if found[0][0] == 0 else MASK + b"".join(SEQUENCE.findall(part))
    return shown


@settings(deadline=None)
@given(stream=streams(glue="ab.\r\n"))
def test_cutting_a_wrapped_secret_shows_few_bytes_of_it(
    stream: tuple[list[str], bytes, list[bytes]],
) -> None:
    """The one exception: at most 7 bytes more are shown for each line end, never a whole secret."""
    secrets, data, pieces = stream
    output = redact(secrets, pieces)
    assert not any(secret.encode() in output for secret in secrets)
    extra = len(seen(output).replace(MASK, b"")) - len(
        seen(redact(secrets, [data])).replace(MASK, b"")
    )
    assert 0 <= extra <= 7 * len(re.findall(rb"[\r\n]", data))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("piece", "shown"),
    [
        (b"Password: ", b"Password: "),
        (b"x ghs_", b"x "),
        (b"ok\n", b"ok\n"),
        (b"\r 42% ", b"\r 42% "),
        (b"$ \x1b[0m", b"$ \x1b[0m"),
    ],
)
def test_what_cannot_become_a_secret_is_out_at_once(mode: Mode, piece: bytes, shown: bytes) -> None:
    """A prompt, a progress bar and a finished line never wait."""
    assert Redactor([TOKEN], mode=mode).feed(piece) == shown


def test_a_line_end_never_waits_for_a_few_bytes() -> None:
    """The start of a secret before a line end is shown, but the rest of the secret is not."""
    redactor = Redactor([TOKEN])
    assert redactor.feed(b"x ghs_\n") == b"x ghs_\n"
    assert redactor.feed(TOKEN[4:].encode() + b" y\n") == MASK + b" y\n"


def test_lines_stay_lines() -> None:
    """Two secrets on two lines get two masks: the line end between them belongs to neither."""
    data = f"{TOKEN}\n{TOKEN}\n".encode()
    assert redact([TOKEN], [data]) == redact([TOKEN], cut(data, [20, 41])) == (MASK + b"\n") * 2


@pytest.mark.parametrize("cut_at", [3, 15, 30, 60])
def test_a_secret_in_a_title_or_a_link_is_masked(cut_at: int) -> None:
    """What an escape sequence carries is not seen, but it is in the log."""
    data = f"a \x1b]8;;https://u:{TOKEN}@host/\x1b\\link\x1b]8;;\x1b\\ b".encode()
    assert redact([TOKEN], cut(data, [cut_at])) == data.replace(TOKEN.encode(), MASK)


def test_secrets_that_touch_in_a_link_get_one_mask() -> None:
    """As they do in the text."""
    data = b"\x1b]8;;" + 2 * TOKEN.encode() + b"\x07"
    assert redact([TOKEN], [data]) == b"\x1b]8;;" + MASK + b"\x07"


@pytest.mark.parametrize("mode", MODES)
def test_after_the_end_another_stream_may_begin(mode: Mode) -> None:
    """Nothing of the first stream is left over."""
    redactor = Redactor([TOKEN], mode=mode)
    for _ in range(2):
        assert redactor.feed(TOKEN[:20].encode()) + redactor.finish() == MASK
        assert redactor.feed(b"a " + TOKEN[:6].encode()) + redactor.finish() == b"a ghs_Zk"


@pytest.mark.parametrize("mode", MODES)
def test_a_secret_in_a_sequence_that_never_ends_is_masked(mode: Mode) -> None:
    """At the end of the stream, and when the sequence grows too long to be one."""
    start = b"\x1b]0;" + TOKEN.encode()
    assert redact([TOKEN], [start], mode) == b"\x1b]0;" + MASK
    assert redact([TOKEN], [start, b"." * 600], mode) == b"\x1b]0;" + MASK + b"." * 600


@pytest.mark.parametrize("mode", MODES)
def test_a_secret_added_on_the_way_joins_the_others(mode: Mode) -> None:
    """Added while another is half through: both are masked."""
    redactor = Redactor([TOKEN], mode=mode)
    shown = redactor.feed(b"a second-secret " + TOKEN[:20].encode())
    redactor.add(Secret("second-secret"), name="DB_PASSWORD")
    shown += redactor.feed(TOKEN[20:].encode() + b" second-secret") + redactor.finish()
    assert shown == b"a second-secret " + MASK + b" " + MASK


@pytest.mark.parametrize("short", ["abcde", "  abc \n", "a\nb\nc\nd"], ids=range(3))
def test_a_short_secret_is_refused_by_name(short: str) -> None:
    """Under 6 bytes that are seen: the message names the key and not the value."""
    with pytest.raises(ShortSecretError, match=r"^DB_PIN is too short to be masked") as caught:
        Redactor().add(Secret(short), name="DB_PIN")
    assert short not in str(caught.value)
    with pytest.raises(ShortSecretError, match=r"^a value is too short"):
        Redactor([TOKEN, short])


def test_a_spelling_that_is_short_when_seen_is_left_out() -> None:
    """Eight bytes of which five are seen would riddle the log."""
    redactor = Redactor(['{"key": "1\\n2\\n3\\n4\\n5"}'])
    assert redactor.feed(b"12345 \n") == b"12345 \n"


def test_a_refused_secret_changes_nothing() -> None:
    """The redactor goes on with the secrets it had."""
    redactor = Redactor([TOKEN])
    with pytest.raises(ShortSecretError):
        redactor.add("abc")
    assert redactor.feed(f"abc {TOKEN}\n".encode()) == b"abc " + MASK + b"\n"


def test_an_unknown_mode_is_refused() -> None:
    """A mode that does not exist is an error of the caller's, not silence."""
    with pytest.raises(ConfigurationError, match="'slow'"):
        Redactor([TOKEN], mode="slow")  # type: ignore[arg-type]  # the very point of the test


def test_the_mask_can_be_another() -> None:
    """Any text will do, even one that holds the secret's own letters."""
    redactor = Redactor(["secret-1"], mask="<secret>")
    assert redactor.feed(b"a secret-1 b\n") + redactor.finish() == b"a <secret> b\n"


@pytest.mark.parametrize("mode", MODES)
def test_a_command_that_prints_little_has_no_index(
    mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it pays, needles are looked for one by one; a new secret begins it all again."""
    monkeypatch.setattr(redaction, "SOON", 1 << 14)
    redactor = Redactor([TOKEN], mode=mode)
    line = b"token=" + TOKEN.encode() + b" " + TOKEN.encode().hex().encode() + b"\n"
    shown = b"token=" + MASK + b" " + MASK + b"\n"
    for secret in (TOKEN, "another-" + TOKEN):
        redactor.add(secret)
        for _ in range(20):
            assert redactor.feed(line) == shown
            assert not redactor._scanner
        assert redactor.feed(line * 200) == shown * 200
        assert redactor._scanner
        assert redactor.feed(line) == shown


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "secret", ["a" * 63 + "b", "ab" * 300, "\x1b[31m-secret-\x1b[0m", "s\nt\n" * 9], ids=range(4)
)
def test_the_held_state_stays_bounded(mode: Mode, secret: str) -> None:
    """However long the stream, no more is kept than a secret and an escape sequence."""
    redactor = Redactor([secret], mode=mode)
    needle = secret.encode()
    for piece in (
        b"a" * 9999,
        needle[:-1] * 50,
        b"\x1b" * 999,
        b"\x1b]" * 999,
        b"\n" * 999,
        b"\x1b[1;",
    ):
        for _ in range(20):
            redactor.feed(piece)
            assert len(redactor._tail) <= 4 * max(map(len, spellings(needle.strip()))) + 1040


@pytest.mark.parametrize("mode", MODES)
def test_each_of_several_threads_has_a_redactor_of_its_own(mode: Mode) -> None:
    """As stdout and stderr have: what one of them looks through is in no other's way."""
    pieces = [b"\x1b[1mPASS\x1b[0m a line of the log, and of some length\n" * 999] * 50
    with ThreadPoolExecutor(4) as threads:
        outputs = list(threads.map(lambda _: redact([TOKEN], pieces, mode), range(4)))
    assert outputs == [b"".join(pieces)] * 4


@pytest.mark.parametrize("mode", MODES)
def test_the_text_is_otherwise_untouched(mode: Mode) -> None:
    """Bytes of no encoding, NULs and broken sequences come out as they went in."""
    data = bytes(range(256)) * 3 + b"\x1b[\x1b]\x1b\x1b"
    assert redact([TOKEN], cut(data, list(range(0, len(data), 7))), mode) == data
