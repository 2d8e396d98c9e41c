"""Which spellings of a secret to hunt: a log seldom shows one the way it was stored."""

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterator
from contextlib import suppress

MIN_SECRET = 6
"""Bytes. A shorter value would riddle the log with masks and could still be guessed."""

MIN_FORM = 8
"""Bytes that a derived form or a single line needs: shorter ones turn up by chance."""

_PUBLIC = {
    *("type", "project_id", "client_email", "universe_domain"),
    *("auth_uri", "token_uri", "auth_provider_x509_cert_url"),
}
_GOOGLE = ("service_account", "authorized_user")
"""What a Google key, by its type, says beside its secrets: logs are full of `googleapis.com`."""

_IN_WORDS = bytes(byte for byte in range(256) if byte > 0x7F or chr(byte).isalnum())  # noqa: PLR2004  # ASCII's last
_NEVER_ENCODED = bytes(byte for byte in range(128) if chr(byte).isalnum()) + b"-._"
_PERCENT_SAFE = (
    b"~",  # RFC 3986, curl, jq
    b"~/",  # Python
    b"~:/",
    b"~!*'()",  # JavaScript's encodeURIComponent
    b"~!#$&'()*+,/:;=?@",  # and its encodeURI
    b"~!$&'()*+,;=",  # a password in a URL, as RFC 3986 has it
    b"~!$%&'()*+,",  # as WHATWG
    b"~$&+,;=",  # as Go
    b"~$&+,/:;=@",  # a path in Go
    b"~!$'()*,/:?@",  # a query, by aiohttp
    b"~ ",  # a form, by Python; its blanks become +
    b"* ",  # by WHATWG, Java
)
_ANSI_C = {byte: f"\\{byte:03o}" for byte in (*range(32), 127)} | str.maketrans(
    {"\\": r"\\", "'": r"\'", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\x1b": r"\E"}
)
_IN_QUOTES = {ord(sign): "\\" + sign for sign in '\\"$`'}
_PROPERTIES = {ord(sign): "\\" + sign for sign in "\\=:#!"}
_GIT = {ord(sign): f"'\\{sign}'" for sign in "'!"}
_ECHO = dict(zip("abfnrtv\\", "\a\b\f\n\r\t\v\\", strict=True))
_CONTROLS = str.maketrans({"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"})
_OCTAL = {byte: f"\\{byte:03o}" for byte in range(128, 256)}
_JSON = {byte: f"\\u{byte:04x}" for byte in range(32)} | str.maketrans(
    {'"': r"\"", "\\": r"\\", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t"}
)
_HTML_QUOTES = (
    ('"', "'"),
    ("&quot;", "&#x27;"),
    ("&quot;", "&#39;"),
    ("&quot;", "&apos;"),
    ("&#34;", "&#39;"),
    ("&quot;", "'"),
)


def spellings(secret: bytes) -> tuple[bytes, ...]:
    """Return `secret` and every form of it that ordinary tools print, without duplicates.

    Args:
        secret: the value, stripped of white space at its ends.
    """
    values = (secret, *_decoded(secret))
    return tuple(dict.fromkeys(form for value in values for form in _spellings(value)))


def _spellings(secret: bytes) -> Iterator[bytes]:
    text = secret.decode("utf-8", "surrogateescape")
    texts = (*_json(text), *_shell(text), *_quoted(text), *_beyond_ascii(text), *_markup(text))
    derived = (
        *_layouts(secret),
        *_base64(secret),
        *_base64(text.encode("utf-16-le", "surrogatepass")),  # powershell -EncodedCommand
        *_latin_1(text),
        *_hex(secret),
        *_percent(secret),
        repr(secret)[2:-1].encode(),
        repr(secret + b"'\"")[2:-4].encode(),  # as it looks inside more bytes, with both quotes
        *(form.encode("utf-8", "surrogateescape") for form in texts),
    )
    yield secret
    yield from (form for form in derived if len(form) >= MIN_FORM)


def mask_lines(text: str) -> tuple[str, ...]:
    """Return the single-line strings to register with GitHub's `::add-mask::` for this value.

    The runner derives padded base64, JSON, percent and XML forms by itself (`HostContext.cs`);
    hex, URL-safe and unpadded base64 it does not. A value of several lines is given line by line,
    a JSON document by its strings, because the runner would mask every `{` of it.
    """
    secret = encode(text).strip()
    parts = list(_json_strings(secret)) or [secret]
    lines = [line for part in parts for line in _worthy_lines(part)]
    whole = [secret] if b"\n" not in secret else []
    decoded = [form for value in _decoded(secret) for form in _layouts(value) if b"\n" not in form]
    derived = (*_base64(secret), *_hex(secret), *decoded)
    forms = [form for form in derived if len(form) >= MIN_FORM]
    found = dict.fromkeys((*whole, *lines, *forms)) if secret else ()
    return tuple(line.decode("utf-8", "replace") for line in found)


def encode(text: str) -> bytes:
    """Return the bytes that a log would show for `text`, whatever it holds."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _decoded(secret: bytes) -> Iterator[bytes]:
    """The text that the secret is the base64 of, as Vault's Google keys are: steps decode it."""
    try:
        value = a2b_base64(b"".join(secret.split()), strict_mode=True)
        is_text = "".join(value.decode().split()).isprintable()
    except ValueError:
        return
    if is_text and len(value.strip()) >= MIN_FORM:
        yield value.strip()


def _layouts(secret: bytes) -> Iterator[bytes]:
    """Line by line, with other line ends, and the strings of a JSON document."""
    for part in (secret, *_json_strings(secret)):
        lines = part.splitlines()
        yield part
        yield b"\r\n".join(lines)
        yield b" ".join(lines)
        yield from _worthy_lines(part)


def _worthy_lines(value: bytes) -> Iterator[bytes]:
    for line in map(bytes.strip, value.splitlines()):
        if line.translate(None, _IN_WORDS) != line and not _is_armour(line):
            yield line


def _is_armour(line: bytes) -> bool:
    return line.startswith(b"-----") and bool(re.fullmatch(rb"-----(BEGIN|END) [^-]*-----", line))


def _json_strings(value: bytes) -> Iterator[bytes]:
    if not value.startswith((b"{", b"[")):
        return
    import json  # noqa: PLC0415  # 3 ms

    try:
        waiting: list[object] = [json.loads(value)]
    except (ValueError, RecursionError):
        return
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            fields: dict[str, object] = node  # pyright: ignore[reportUnknownVariableType]  # JSON's are
            shown = _PUBLIC if fields.get("type") in _GOOGLE else ()
            waiting += (value for key, value in fields.items() if key not in shown)
        elif isinstance(node, list):
            waiting += node
        elif isinstance(node, str) and len(node) >= MIN_FORM:
            yield encode(node).strip()


def _base64(secret: bytes) -> Iterator[bytes]:
    """At each of three alignments the characters that the secret alone decides, and whole."""
    for pad, dropped in ((0, 0), (1, 2), (2, 3)):
        decided = 8 * (pad + len(secret)) // 6
        yield from _both_alphabets(b2a_base64(bytes(pad) + secret, newline=False)[dropped:decided])
    whole = b2a_base64(secret, newline=False)
    yield from _both_alphabets(whole)
    yield from _both_alphabets(whole.rstrip(b"="))


def _both_alphabets(form: bytes) -> tuple[bytes, bytes]:
    return form, form.translate(bytes.maketrans(b"+/", b"-_"))


def _hex(secret: bytes) -> Iterator[bytes]:
    for form in (secret.hex(), secret.hex(" ")):  # xxd -p, od -An -tx1
        yield form.encode()
        yield form.upper().encode()


def _percent(secret: bytes) -> Iterator[bytes]:
    """As RFC 3986, section 2.1, and HTML forms have it, in either case of the digits."""
    for safe in _PERCENT_SAFE:
        upper = lower = secret
        unsafe = set(secret.translate(None, _NEVER_ENCODED + safe))
        for byte in sorted(unsafe, key=ord("%").__ne__):  # the sign of all the others comes first
            upper = upper.replace(bytes((byte,)), b"%%%02X" % byte)
            lower = lower.replace(bytes((byte,)), b"%%%02x" % byte)
        yield upper.replace(b" ", b"+")
        yield lower.replace(b" ", b"+")


def _json(text: str) -> Iterator[str]:
    for ascii_only in (True,) if _is_plain(text) else (True, False):
        form = _json_string(text, ascii_only=ascii_only)
        yield form
        yield form.replace("/", "\\/")
        yield _unicode_escape(form, "<>&='")  # Gson
        yield _upper_codes(_unicode_escape(form.replace('\\"', "\\u0022"), "<>&'+`"))  # .NET
        yield form.translate(_CONTROLS)  # JSON as node prints it,
        yield repr(form + "'\"")[1:-4]  # and as Python does
        for once in (form, _unicode_escape(form, "<>&")):  # Go
            yield once
            twice = _json_string(once, ascii_only=ascii_only)  # JSON in JSON
            yield twice
            yield _unicode_escape(twice, "<>&")


def _json_string(text: str, *, ascii_only: bool) -> str:
    """As `json.dumps` has it, which takes 3 ms to import: that is for texts beyond ASCII."""
    if _is_plain(text):
        return text.translate(_JSON)
    import json  # noqa: PLC0415  # see above

    return json.dumps(text, ensure_ascii=ascii_only)[1:-1]


def _is_plain(text: str) -> bool:
    return text.isascii() and "\x7f" not in text


def _unicode_escape(form: str, characters: str) -> str:
    return form.translate({ord(c): f"\\u{ord(c):04x}" for c in characters})


def _upper_codes(form: str) -> str:
    if "\\" not in form:
        return form
    codes = r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})"
    return re.sub(codes, lambda code: code[0][:2] + code[1][1:].upper(), form)


def _shell(text: str) -> Iterator[str]:
    yield text.replace("'", "'\\''")  # bash set -x
    yield text.replace("'", "'\"'\"'")  # shlex.quote
    yield re.sub("('+)", "'\"\\1\"'", text)  # ash set -x
    yield text.translate(_GIT)
    yield re.sub(r"""([\s!"$&'()*,;<>?\[\\\]^`{|}]|(?<=[:=])~)""", r"\\\1", text)  # bash printf %q
    yield text.translate(_IN_QUOTES)
    yield text.replace("$", "$$")  # make, docker compose
    if "\\" in text:
        yield re.sub(r"\\([abfnrtv\\])", lambda code: _ECHO[code[1]], text)  # sh's echo, echo -e
        yield re.sub(r"\\(.)", r"\1", text)  # read without -r
    ansi_c = text.translate(_ANSI_C)
    for quoted in (ansi_c, ansi_c.replace('"', '\\"')):  # bash $'...'; MySQL, PHP, protobuf
        yield quoted
        yield encode(quoted).decode("latin-1").translate(_OCTAL)  # the same where LC_ALL is C


def _quoted(text: str) -> Iterator[str]:
    yield repr(text)[1:-1]  # Python
    yield repr(text + "'\"")[1:-4]  # as it looks inside a longer text that holds both quotes
    yield text.translate(_CONTROLS)  # node, jq's @tsv, sed's l: no quotes, or some of another kind
    yield text.replace("'", "''")  # SQL, YAML
    yield text.replace('"', '""')  # CSV
    yield text.translate(_PROPERTIES)  # Java


def _beyond_ascii(text: str) -> Iterator[str]:
    if text.isascii():
        return
    form = _json_string(text, ascii_only=False).encode("ascii", "backslashreplace").decode()
    yield form  # Python's ascii(), and its stderr where LC_ALL is C
    yield _upper_codes(form)  # YAML


def _latin_1(text: str) -> Iterator[bytes]:
    """As requests sends a password; and UTF-8 that was taken for it, as an HTTP header is."""
    if text.isascii():
        return
    mistaken = encode(text).decode("latin-1")
    yield mistaken.encode()
    yield _json_string(mistaken, ascii_only=True).encode()
    with suppress(UnicodeEncodeError):
        yield text.encode("latin-1")
        yield from _base64(text.encode("latin-1"))


def _markup(text: str) -> Iterator[str]:
    bare = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for double, single in _HTML_QUOTES:
        form = bare.replace('"', double).replace("'", single)
        yield form
        yield form.encode("ascii", "xmlcharrefreplace").decode()
