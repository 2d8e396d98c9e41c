"""Reading a token whose signature we cannot check: what is refused, and that nothing leaks."""

import base64
import json
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_identity.errors import (
    AudienceError,
    CiIdentityError,
    ExpiredTokenError,
    IdentityError,
    MalformedTokenError,
)
from ci_identity.secret import Secret
from ci_identity.sources.subject_token import LEEWAY, MAX_TOKEN, parse, read

Sign = Callable[..., str]


def _segment(content: object) -> str:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


_HEADER = {"alg": "RS256", "typ": "JWT"}
_CLAIMS = {"iss": "https://issuer.example", "sub": "who", "aud": "vault", "exp": 1793534700}
_SIGNATURE = _segment(b"not checked here, so any bytes do")


def _token(header: object = _HEADER, claims: object = _CLAIMS, signature: str = _SIGNATURE) -> str:
    return f"{_segment(header)}.{_segment(claims)}.{signature}"


_MALFORMED = {
    # not the compact form
    "empty": "",
    "one part": _segment(_CLAIMS),
    "two parts": f"{_segment(_HEADER)}.{_segment(_CLAIMS)}",
    "four parts": f"{_token()}.{_SIGNATURE}",
    "five parts, as an encrypted token has": f"{_token()}.{_SIGNATURE}.{_SIGNATURE}",
    "no signature": _token(signature=""),
    "no header": f".{_segment(_CLAIMS)}.{_SIGNATURE}",
    "no payload": f"{_segment(_HEADER)}..{_SIGNATURE}",
    "only dots": "..",
    "padding": _token() + "=",
    "padding where base64 has it": _token(signature="AAA="),
    "newline at the end": _token() + "\n",
    "newlines that lenient base64 skips": _token(signature="AAAA") + "\n\n\n\n",
    "a fourth part that lenient base64 skips": _token().replace(".", "....", 1) + ".AAAA",
    "newline within": _token().replace(".", ".\n", 1),
    "space before": " " + _token(),
    "bearer prefix": "Bearer " + _token(),
    "quotes around": f'"{_token()}"',
    "plain base64 alphabet": _token().replace(".", "+/.", 1),
    "letters beyond ASCII": _token().replace(".", "\N{LATIN SMALL LETTER E WITH ACUTE}.", 1),
    "control character": _token() + "\x1b[2J",
    "a variable's name": "$CI_IDENTITY_TOKEN",
    "json answer": json.dumps({"value": _token()}),
    "too long": _token(claims=_CLAIMS | {"pad": "x" * MAX_TOKEN}),
    # not JSON objects
    "header not base64": f"a.{_segment(_CLAIMS)}.{_SIGNATURE}",
    "payload not base64": f"{_segment(_HEADER)}.a.{_SIGNATURE}",
    "signature not base64": _token(signature="a"),
    "header not json": _token(header=b"alg: RS256"),
    "payload not json": _token(claims=b"iss: who"),
    "payload not utf-8": _token(claims=b'{"iss": "\xff"}'),
    "payload cut": _token(claims=json.dumps(_CLAIMS).encode()[:-1]),
    "payload followed by more": _token(claims=json.dumps(_CLAIMS).encode() + b"{}"),
    "header a list": _token(header=[_HEADER]),
    "payload a list": _token(claims=[_CLAIMS]),
    "payload a text": _token(claims="who"),
    "payload null": _token(claims=None),
    "payload deep": _token(claims=b"[" * 10_000),
    "payload with an endless number": _token(claims=b'{"exp": ' + b"9" * 6_000 + b"}"),
    # not signed
    "alg none": _token(header=_HEADER | {"alg": "none"}),
    "alg None": _token(header=_HEADER | {"alg": "None"}),
    "alg missing": _token(header={"typ": "JWT"}),
    "alg null": _token(header=_HEADER | {"alg": None}),
    "alg empty": _token(header=_HEADER | {"alg": ""}),
    # claims that OpenID Connect requires
    "no claims": _token(claims={}),
    "iss missing": _token(claims={k: v for k, v in _CLAIMS.items() if k != "iss"}),
    "sub missing": _token(claims={k: v for k, v in _CLAIMS.items() if k != "sub"}),
    "aud missing": _token(claims={k: v for k, v in _CLAIMS.items() if k != "aud"}),
    "exp missing": _token(claims={k: v for k, v in _CLAIMS.items() if k != "exp"}),
    "iss a number": _token(claims=_CLAIMS | {"iss": 1}),
    "iss empty": _token(claims=_CLAIMS | {"iss": ""}),
    "iss with an escape": _token(claims=_CLAIMS | {"iss": "https://a\x1b[31m.example"}),
    "sub a list": _token(claims=_CLAIMS | {"sub": ["who"]}),
    "sub null": _token(claims=_CLAIMS | {"sub": None}),
    "sub with a newline": _token(claims=_CLAIMS | {"sub": "who\n::add-mask::x"}),
    "sub with a C1 control": _token(claims=_CLAIMS | {"sub": "who\x9b2J"}),
    "sub with a lone surrogate": _token(claims=_CLAIMS | {"sub": "\ud800"}),
    "aud null": _token(claims=_CLAIMS | {"aud": None}),
    "aud empty": _token(claims=_CLAIMS | {"aud": ""}),
    "aud no list": _token(claims=_CLAIMS | {"aud": []}),
    "aud a number": _token(claims=_CLAIMS | {"aud": 1}),
    "aud an object": _token(claims=_CLAIMS | {"aud": {"vault": True}}),
    "aud with a number": _token(claims=_CLAIMS | {"aud": ["vault", 1]}),
    "aud with a newline": _token(claims=_CLAIMS | {"aud": ["vault", "x\n"]}),
    "exp a text": _token(claims=_CLAIMS | {"exp": "1793534700"}),
    "exp true": _token(claims=_CLAIMS | {"exp": True}),
    "exp null": _token(claims=_CLAIMS | {"exp": None}),
    "exp a list": _token(claims=_CLAIMS | {"exp": [1793534700]}),
    "exp not a number": _token(claims=_CLAIMS | {"exp": float("nan")}),
    "exp infinite": _token(claims=_CLAIMS | {"exp": float("inf")}),
    "exp after the last year": _token(claims=_CLAIMS | {"exp": 10**15}),
    "exp too large for a float": _token(claims=_CLAIMS | {"exp": 10**400}),
    "nbf a text": _token(claims=_CLAIMS | {"nbf": "now"}),
    "nbf true": _token(claims=_CLAIMS | {"nbf": True}),
}


def _said(error: CiIdentityError) -> str:
    return f"{error} {error!r} {error.cause} {error.hint} {error.__cause__!r}"


@pytest.mark.parametrize("name", _MALFORMED)
def test_a_malformed_token_is_an_identity_error_that_holds_no_part_of_it(
    name: str, now: datetime
) -> None:
    """Whatever is handed over instead of a token gives one error, which echoes nothing."""
    text = _MALFORMED[name]
    with pytest.raises(MalformedTokenError) as caught:
        read(Secret(text), origin="THE_VARIABLE", audience="vault", now=now)
    assert str(caught.value).startswith("THE_VARIABLE ")
    assert isinstance(caught.value, IdentityError)
    assert not [part for part in text.split(".") if len(part) > 8 and part in _said(caught.value)]
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert _said(caught.value).isprintable()


@given(st.text(max_size=200))
def test_no_text_raises_anything_but_an_identity_error(text: str) -> None:
    """The reader is total: for any text it gives claims or an IdentityError."""
    with pytest.raises(MalformedTokenError):
        parse(Secret(text), origin="it")


@given(st.binary(max_size=200))
def test_no_payload_raises_anything_but_an_identity_error(payload: bytes) -> None:
    """The same for any payload in a token that is whole otherwise."""
    with pytest.raises(MalformedTokenError):
        parse(Secret(_token(claims=payload or b"x")), origin="it")


def test_the_claims_of_a_good_token_are_given_as_they_are(sign: Sign, now: datetime) -> None:
    """Claims are passed on whole, the ones we do not know among them."""
    token = Secret(sign(aud=["vault", "other"], groups=["a", 1]))
    claims = read(token, origin="it", audience="vault", now=now)
    assert claims["aud"] == ["vault", "other"]
    assert claims["groups"] == ["a", 1]


def test_letters_of_any_script_may_be_in_a_subject(sign: Sign, now: datetime) -> None:
    """A branch may be called in any language; joiners in it are no control characters."""
    name = "ref:refs/heads/\N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}-\u0434\u0430"
    claims = read(Secret(sign(sub=name)), origin="it", audience="vault", now=now)
    assert claims["sub"] == name


def test_a_wrong_audience_names_what_was_asked_and_what_was_got(sign: Sign, now: datetime) -> None:
    """Both audiences are in the message, since one of the two must be changed."""
    with pytest.raises(AudienceError) as caught:
        read(Secret(sign(aud=["one", "two"])), origin="it", audience="vault", now=now)
    assert str(caught.value) == "it is made for one, two; vault was asked for"


@pytest.mark.parametrize("aud", ["vault2", "VAULT", "vault/", ["other", "vault.example"]])
def test_an_audience_is_equal_or_it_is_another(sign: Sign, now: datetime, aud: object) -> None:
    """There is no matching of parts or of case."""
    with pytest.raises(AudienceError):
        read(Secret(sign(aud=aud)), origin="it", audience="vault", now=now)


def test_any_audience_passes_where_none_is_asked_for(sign: Sign, now: datetime) -> None:
    """Looking at a token needs no audience."""
    assert read(Secret(sign(aud="x")), origin="it", audience=None, now=now)["aud"] == "x"


@pytest.mark.parametrize(
    ("claim", "offset"),
    [("exp", -LEEWAY), ("nbf", LEEWAY), ("exp", timedelta(0)), ("nbf", timedelta(0))],
)
def test_clocks_may_differ_by_the_leeway(
    sign: Sign, now: datetime, claim: str, offset: timedelta
) -> None:
    """A token at the edge of its life is taken."""
    token = Secret(sign(**{claim: int((now + offset).timestamp())}))
    assert read(token, origin="it", audience="vault", now=now)


@pytest.mark.parametrize(
    ("claim", "offset", "said"),
    [
        ("exp", -LEEWAY - timedelta(seconds=1), "it ended at 2026-11-01 11:59:29 UTC; it is now"),
        ("nbf", LEEWAY + timedelta(seconds=1), "it is not valid before 2026-11-01 12:00:31 UTC"),
    ],
)
def test_a_token_out_of_its_time_is_refused_with_both_times(
    sign: Sign, now: datetime, claim: str, offset: timedelta, said: str
) -> None:
    """The two times tell a late use from a wrong clock."""
    token = Secret(sign(**{claim: int((now + offset).timestamp())}))
    with pytest.raises(ExpiredTokenError, match=said):
        read(token, origin="it", audience="vault", now=now)
