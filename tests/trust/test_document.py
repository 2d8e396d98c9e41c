"""A trust policy is read in each form in which people have it, and nothing else is."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from ci_identity.errors import TrustPolicyError
from ci_identity.trust.document import MAX_POLICY, parse, statements
from tests.trust.policies import PROVIDER, policy, statement, trust

DOCUMENT = trust({"StringEquals": {"a:sub": "b"}})
TEXT = json.dumps(DOCUMENT)
FORMS = {
    "the document": TEXT,
    "aws iam get-role": json.dumps({"Role": {"Arn": "x", "AssumeRolePolicyDocument": DOCUMENT}}),
    "a query of it": json.dumps({"AssumeRolePolicyDocument": DOCUMENT}),
    "the API's encoded text": json.dumps({"Role": {"AssumeRolePolicyDocument": quote(TEXT)}}),
    "that text in quotes": json.dumps(quote(TEXT)),
    "that text alone": quote(TEXT) + "\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_the_same_document(form: str) -> None:
    """What AWS prints in any way is the same policy."""
    assert parse(FORMS[form]) == DOCUMENT


def refusal(text: str) -> str:
    with pytest.raises(TrustPolicyError) as caught:
        list(statements(parse(text)))
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is not JSON, line 1"),
        ("{\n'a': 1}", "it is not JSON, line 2"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "it has no Statement"),
        ('{"Version": "2012-10-17"}', "it has no Statement"),
        ('{"Statement": ["x"]}', "statement 1 is no object"),
        ('{"Statement": [], "Statement": []}', "Statement stands twice in the same place"),
        ('{"a\\u001b": 1, "a\\u001b": 2}', "a\\x1b stands twice"),
        (" " * MAX_POLICY + "{}", "it is longer than"),
    ],
)
def test_what_is_no_document_is_refused(text: str, words: str) -> None:
    """The message says what it is not, and holds none of its control characters."""
    assert words in refusal(text)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"Effect": "allow"}, "statement 2 (S) has no Effect that is Allow or Deny"),
        ({"Resource": "*"}, "statement 2 (S) has Resource, which no trust policy has"),
        ({"Conditions": {}}, "statement 2 (S) has Conditions, which no trust policy has"),
        ({"NotAction": "x"}, "statement 2 (S) must have either Action or NotAction"),
        ({"Principal": None}, "statement 2 (S) must have either Principal or NotPrincipal"),
        ({"Principal": "everybody"}, "statement 2 (S): the principal is no object"),
        ({"Action": {}}, "statement 2 (S) has a value that is no text, number or boolean"),
        ({"Condition": {"Bool": "x"}}, "statement 2 (S): Bool is no object"),
    ],
)
def test_a_statement_that_aws_would_not_take_is_refused(wrong: dict[str, Any], words: str) -> None:
    """The message names the statement by place and Sid, and what is wrong with it."""
    assert words in refusal(json.dumps(policy(statement(), statement(Sid="S", **wrong))))


def test_one_statement_needs_no_list_and_a_value_no_text() -> None:
    """A single statement, action or value may stand alone; true is "true"."""
    made = statement({"Bool": {"aws:SecureTransport": True}, "NumericEquals": {"k": [1, "2"]}})
    (found,) = statements({"Statement": made})
    assert found.principals == (("Federated", PROVIDER),)
    assert [one.values for one in found.conditions] == [("true",), ("1", "2")]
