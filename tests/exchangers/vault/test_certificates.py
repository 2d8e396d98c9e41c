"""Certificates of a real PKI engine: on the revocation list, or said to be valid until they end."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ci_identity.errors import TokenLifeError, VaultPolicyError, VaultSecretError
from ci_identity.exchangers.interface import Ending
from ci_identity.exchangers.vault.reclaim import VaultReclaimer
from ci_identity.exchangers.vault.rights import REVOKE_ACCESSOR
from ci_identity.model import Outcome, VaultTarget
from ci_identity.sandbox.openbao import AuditEntry
from tests.exchangers.front import Fault, Front, answers, reset, with_
from tests.exchangers.shop import CREATE, REVOKE_LEASE, Exchange, Shop, references, written

TTL = timedelta(minutes=5)
ROLE = {"allow_any_name": True, "key_type": "ec", "key_bits": 256}


class Pki:
    """A CA of the test's own, whose roles `web`, `leased` and `unstored` issue for any name."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.mount = shop, shop.mount("pki")
        ca = {"common_name": "Test CA", "ttl": "24h", "key_type": "ec", "key_bits": 256}
        shop.root.write_data(f"{self.mount}/root/generate/internal", data=ca)
        roles = {"web": {}, "leased": {"generate_lease": True}, "unstored": {"no_store": True}}
        for name, more in roles.items():
            shop.root.write_data(f"{self.mount}/roles/{name}", data=ROLE | more)

    def certificate(self, role: str = "web", **parameters: str) -> dict[str, object]:
        """Return `secrets:` for a certificate with its key; the step may have it."""
        path = f"{self.mount}/issue/{role}"
        self.shop.policy("step", self.shop.may_write(path))
        given = {"common_name": "shop.example"} | parameters
        fields = {"CERT": "certificate", "KEY": "private_key", "CHAIN": "ca_chain"}
        more = {"SERIAL": "serial_number", "ISSUER": "issuing_ca"}
        return {name: written(f"{path}#{field}", given) for name, field in (fields | more).items()}

    def let_revoke(self, *ways: str) -> None:
        """Let the login, not the step, revoke certificates so."""
        lines = [self.shop.may_write(f"{self.mount}/{way}") for way in ways]
        self.shop.policy("ci", "\n".join([CREATE, REVOKE_LEASE, *lines]))

    def revoked(self) -> set[str]:
        """Return the serial numbers on the revocation list that the CA hands out."""
        pem = self.shop.root.read(f"{self.mount}/cert/crl")["data"]["certificate"]
        crl = x509.load_pem_x509_crl(pem.encode())
        return {f"{one.serial_number:x}" for one in crl}


@pytest.fixture
def pki(shop: Shop) -> Iterator[Pki]:
    """A CA, unmounted afterwards."""
    pki = Pki(shop)
    yield pki
    shop.root.sys.disable_secrets_engine(pki.mount)


def serial(seen: Exchange) -> str:
    """Return the certificate's serial number as a CRL has it."""
    return f"{loaded(seen).serial_number:x}"


def loaded(seen: Exchange) -> x509.Certificate:
    """Return the certificate that the step got."""
    return x509.load_pem_x509_certificate(seen.values["CERT"].encode())


def signing_request() -> str:
    """Return the certificate request of a key that nobody else has, in PEM."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "own.example")])
    key = ec.generate_private_key(ec.SECP256R1())
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, SHA256())
    return made.public_bytes(Encoding.PEM).decode()


def writes(shop: Shop, since: int, path: str) -> list[AuditEntry]:
    """Return what was written to `path` since then."""
    return [
        entry["request"]["data"]
        for entry in shop.openbao.audit()[since:]
        if entry["type"] == "request" and entry["request"]["path"] == path
    ]


def test_certificate_key_and_chain_are_of_one_write(shop: Shop, pki: Pki) -> None:
    """All fields of a path with the same parameters are one certificate, asked for once."""
    since = len(shop.openbao.audit())
    with shop.exchange(shop.target(secrets=pki.certificate()), ttl=TTL) as seen:
        certificate = loaded(seen)
        key = seen.values["KEY"]
        assert key.startswith("-----BEGIN EC PRIVATE KEY-----")
        assert seen.values["SERIAL"].replace(":", "") == f"{certificate.serial_number:040x}"
        assert seen.warnings == []
    path = f"{pki.mount}/issue/web"
    assert writes(shop, since, path) == [{"common_name": "shop.example", "ttl": "300s"}]


def test_other_parameters_are_another_request(shop: Shop, pki: Pki) -> None:
    """Two names are two certificates."""
    first = pki.certificate()["CERT"]
    second = pki.certificate(common_name="other.example")["CERT"]
    with shop.exchange(shop.target(secrets={"CERT": first, "OTHER": second})) as seen:
        names = [x509.load_pem_x509_certificate(seen.values[n].encode()) for n in ("CERT", "OTHER")]
    subjects = [one.subject.rfc4514_string() for one in names]
    assert subjects == ["CN=shop.example", "CN=other.example"]
    assert [handle.kind for handle in seen.handles][2:] == ["expiring", "expiring"]


def test_other_ttl_is_another_request(shop: Shop, pki: Pki) -> None:
    """And each has the life that it was to have."""
    path = f"{pki.mount}/issue/web"
    pki.certificate()
    secrets = {
        name: written(f"{path}#certificate", ttl=ttl, common_name="x.example")
        for name, ttl in (("CERT", None), ("BRIEF", timedelta(minutes=1)))
    }
    with shop.exchange(shop.target(secrets=secrets), ttl=TTL) as seen:
        ends = loaded(seen).not_valid_after_utc
        brief = x509.load_pem_x509_certificate(seen.values["BRIEF"].encode()).not_valid_after_utc
    assert timedelta(minutes=3) < ends - brief < TTL


def test_chain_is_a_pem_file(shop: Shop, pki: Pki) -> None:
    """A list of certificates is delivered as the file that TLS servers read, not as JSON."""
    with shop.exchange(shop.target(secrets=pki.certificate())) as seen:
        (ca,) = x509.load_pem_x509_certificates(seen.values["CHAIN"].encode())
    assert ca.subject.rfc4514_string() == "CN=Test CA"
    assert seen.values["CHAIN"].endswith("-----END CERTIFICATE-----\n")


def test_a_lease_is_ended_by_listing_the_certificate(shop: Shop, pki: Pki) -> None:
    """With `generate_lease` the end of the lease puts the serial number on the CRL, and is said."""
    with shop.exchange(shop.target(secrets=pki.certificate("leased"))) as seen:
        assert serial(seen) not in pki.revoked()
        ending = seen.credential.revoke(budget=10.0)
        assert serial(seen) in pki.revoked()
    assert ending.outcome is Outcome.REVOKED
    name = seen.values["SERIAL"]
    ends = f"{loaded(seen).not_valid_after_utc:%H:%M:%S} UTC"
    assert ending.detail == (
        f"{pki.mount}/issue/leased: the certificate {name} is listed as revoked;"
        f" who asks neither CRL nor OCSP takes it until it ends at {ends}"
    )
    assert [handle.kind for handle in seen.handles][2:] == ["lease"]


@pytest.mark.parametrize("role", ["web", "unstored"])
def test_who_has_the_key_may_revoke_it(shop: Shop, pki: Pki, role: str) -> None:
    """Without a lease, by `revoke-with-key`: a right that ends nobody else's certificates.

    A certificate that its role does not store is revoked as well: it is sent along.
    """
    pki.let_revoke("revoke-with-key")
    with shop.exchange(shop.target(secrets=pki.certificate(role))) as seen:
        ending = seen.credential.revoke(budget=10.0)
        assert (ending.outcome, serial(seen) in pki.revoked()) == (Outcome.REVOKED, True)
    assert "is listed as revoked" in ending.detail
    assert [handle.kind for handle in seen.handles][2:] == ["expiring"]


@pytest.mark.parametrize("form", ["pem", "pem_bundle", "der"])
def test_who_may_revoke_any_may_revoke_it(shop: Shop, pki: Pki, form: str) -> None:
    """The wider right does as well, in whatever form the certificate is; a reaper could, too."""
    pki.let_revoke("revoke")
    secrets = pki.certificate(format=form)
    with shop.exchange(shop.target(secrets=secrets)) as seen:
        ending = seen.credential.revoke(budget=10.0)
        number = seen.values["SERIAL"].replace(":", "").lstrip("0")
        assert (ending.outcome, number in pki.revoked()) == (Outcome.REVOKED, True)
    handle = seen.handles[2]
    assert str(handle) == f"certificate:{pki.mount}/cert/{seen.values['SERIAL']}"


def test_without_a_right_it_expires(shop: Shop, pki: Pki) -> None:
    """Nothing is called revoked that is not; the sentence says what would change it."""
    with shop.exchange(shop.target(secrets=pki.certificate())) as seen:
        ending = seen.credential.revoke(budget=10.0)
    assert (ending.outcome, ending.reason) == (Outcome.EXPIRES, "not-revocable")
    ends = loaded(seen).not_valid_after_utc
    assert ending.detail == (
        f"{pki.mount}/issue/web: the certificate {seen.values['SERIAL']} ends at"
        f" {ends:%H:%M:%S} UTC (to revoke it the role must have update on"
        f" {pki.mount}/revoke-with-key)"
    )
    assert pki.revoked() == set()
    assert seen.credential.expires_at >= ends
    assert seen.handles[2].expires_at == ends


def test_the_step_may_not_revoke(shop: Shop, pki: Pki) -> None:
    """It is the login that revokes: the step's token has the right to be issued one, no more."""
    pki.let_revoke("revoke-with-key")
    since = len(shop.openbao.audit())
    with shop.exchange(shop.target(secrets=pki.certificate())) as seen:
        pass
    path = f"{pki.mount}/revoke-with-key"
    (entry,) = [
        entry
        for entry in shop.openbao.audit()[since:]
        if entry["type"] == "request" and entry["request"]["path"] == path
    ]
    assert entry["auth"]["accessor"] == seen.accessors()[0]


def test_one_that_merely_expires_makes_the_lease_expire(shop: Shop, pki: Pki) -> None:
    """A lease has one outcome, the weakest; the sentence names the path that it is for."""
    secrets = pki.certificate("leased")
    kept = written(f"{pki.mount}/issue/web#certificate", common_name="y.example")
    paths = (f"{pki.mount}/issue/leased", f"{pki.mount}/issue/web")
    shop.policy("step", "\n".join(map(shop.may_write, paths)))
    with shop.exchange(shop.target(secrets=secrets | {"KEPT": kept})) as seen:
        ending = seen.credential.revoke(budget=10.0)
        assert serial(seen) in pki.revoked()
    assert ending.outcome is Outcome.EXPIRES
    assert ending.detail.startswith(f"{pki.mount}/issue/web: ")
    assert "leased" not in ending.detail


def test_certificate_ends_within_the_ask(shop: Shop, pki: Pki) -> None:
    """The grant's ttl is what is asked for; the answer says until when."""
    before = datetime.now(UTC)
    with shop.exchange(shop.target(secrets=pki.certificate()), ttl=TTL) as seen:
        life = loaded(seen).not_valid_after_utc - before
    assert timedelta(minutes=4) < life < TTL + timedelta(minutes=1)


def test_role_with_a_shorter_life_decides(shop: Shop, pki: Pki) -> None:
    """What is shorter than the ask is fine."""
    role = ROLE | {"max_ttl": "60s"}
    shop.root.write_data(f"{pki.mount}/roles/web", data=role)
    with shop.exchange(shop.target(secrets=pki.certificate()), ttl=TTL) as seen:
        assert loaded(seen).not_valid_after_utc < datetime.now(UTC) + timedelta(minutes=2)


def test_one_that_lives_longer_is_refused_and_revoked(shop: Shop, pki: Pki) -> None:
    """A server that gives more than it is asked for is not believed; what it gave is ended."""
    pki.let_revoke("revoke-with-key")
    path = f"{pki.mount}/issue/web"
    later = int(datetime.now(UTC).timestamp()) + 3600
    with Front(shop.openbao.address) as front:
        front.faults[path] = [with_(path=("data", "expiration"), value=later)]
        target = shop.target(address=front.address, secrets=pki.certificate())
        error = shop.refuse(target, ttl=TTL)
        assert isinstance(error, TokenLifeError)
        assert str(error).startswith(f"{path}: a certificate would live for ")
    assert shop.last.credential.variables == {}
    assert len(pki.revoked()) == 1


def test_lease_lives_as_long_as_its_certificate(shop: Shop, pki: Pki) -> None:
    """Within what clocks may differ it can outlive the token, and then it says when it all ends."""
    path = f"{pki.mount}/issue/web"
    until = int((datetime.now(UTC) + TTL).timestamp()) + 30
    with Front(shop.openbao.address) as front:
        front.faults[path] = [with_(path=("data", "expiration"), value=until)]
        target = shop.target(address=front.address, secrets=pki.certificate())
        with shop.exchange(target, ttl=TTL) as seen:
            assert seen.credential.expires_at == datetime.fromtimestamp(until, UTC)


def test_ttl_of_a_parameter_is_never_longer_than_the_one_asked_for(shop: Shop, pki: Pki) -> None:
    """`--ttl` may ask for less than the grant, and then for less here."""
    path = f"{pki.mount}/issue/web"
    pki.certificate()
    secrets = {
        "CERT": written(f"{path}#certificate", ttl=timedelta(minutes=9), common_name="x.example")
    }
    since = len(shop.openbao.audit())
    with shop.exchange(shop.target(secrets=secrets), ttl=TTL):
        pass
    assert writes(shop, since, path) == [{"common_name": "x.example", "ttl": "300s"}]


def test_answer_without_an_end_is_refused(shop: Shop, pki: Pki) -> None:
    """What cannot be said to end within the ask is not handed out."""
    path = f"{pki.mount}/issue/web"
    with Front(shop.openbao.address) as front:
        front.faults[path] = [with_(path=("data", "expiration"), value=None)]
        target = shop.target(address=front.address, secrets=pki.certificate())
        error = shop.refuse(target)
    assert isinstance(error, TokenLifeError)
    assert str(error) == f"{path}: the server does not say until when a certificate lives"


def test_a_request_of_the_steps_own_is_signed(shop: Shop, pki: Pki) -> None:
    """`sign` has no key for us to show: only the right to revoke any certificate revokes it."""
    pki.let_revoke("revoke-with-key")
    path = f"{pki.mount}/sign/web"
    shop.policy("step", shop.may_write(path))
    secrets = {"CERT": written(f"{path}#certificate", csr=signing_request())}
    with shop.exchange(shop.target(secrets=secrets)) as seen:
        ending = seen.credential.revoke(budget=10.0)
    assert ending.outcome is Outcome.EXPIRES
    assert ending.detail.endswith(f"(to revoke it the role must have update on {pki.mount}/revoke)")
    pki.let_revoke("revoke")
    with shop.exchange(shop.target(secrets=secrets)) as seen:
        assert seen.credential.revoke(budget=10.0).outcome is Outcome.REVOKED
        assert serial(seen) in pki.revoked()


@pytest.mark.parametrize("fault", [answers(200, '{"request_id": "x"}'), answers(403)])
def test_listing_that_is_not_confirmed_is_no_revocation(shop: Shop, pki: Pki, fault: Fault) -> None:
    """A proxy that says 200 to everything has listed nothing."""
    pki.let_revoke("revoke-with-key")
    with (
        Front(shop.openbao.address) as front,
        shop.exchange(shop.target(address=front.address, secrets=pki.certificate())) as seen,
    ):
        front.faults[f"{pki.mount}/revoke-with-key"] = [fault]
        ending = seen.credential.revoke(budget=5.0)
    assert ending.outcome is Outcome.FAILED
    assert ending.detail.startswith(f"certificate {seen.values['SERIAL']}: ")


def test_key_is_not_shown_where_the_certificate_is_ended(shop: Shop, pki: Pki) -> None:
    """What goes wrong at its end is told without the key that is sent to end it."""
    pki.let_revoke("revoke-with-key")
    with (
        Front(shop.openbao.address) as front,
        shop.exchange(shop.target(address=front.address, secrets=pki.certificate())) as seen,
    ):
        front.is_down = True
        ending = seen.credential.revoke(budget=0.5)
        front.is_down = False
        key = seen.values["KEY"]
    assert ending.outcome is Outcome.FAILED
    assert key not in f"{ending}{seen.credential.issued}{seen.handles}{seen.warnings}"
    shop.root.auth.token.revoke_accessor(seen.accessors()[0])  # which nobody else could end


def test_write_that_was_not_answered_is_said(shop: Shop, pki: Pki) -> None:
    """It is tried again; that the first one may have issued something is no secret."""
    path = f"{pki.mount}/issue/web"
    with Front(shop.openbao.address) as front:
        front.faults[path] = [reset]
        target = shop.target(address=front.address, secrets=pki.certificate())
        with shop.exchange(target, ttl=TTL) as seen:
            assert front.asked.count(path) == 2
    (warning,) = seen.warnings
    assert warning.startswith(f"{path} was written to, and not answered: ")
    assert "until its ttl of 5 min" in warning


def test_412_is_tried_again(shop: Shop, pki: Pki) -> None:
    """A replica that has not seen the token yet says so, also to a write and to its end."""
    pki.let_revoke("revoke-with-key")
    path, end = f"{pki.mount}/issue/web", f"{pki.mount}/revoke-with-key"
    with Front(shop.openbao.address) as front:
        front.faults[path] = [answers(412)]
        front.faults[end] = [answers(412)]
        target = shop.target(address=front.address, secrets=pki.certificate())
        with shop.exchange(target) as seen:
            assert seen.credential.revoke(budget=10.0).outcome is Outcome.REVOKED
            assert (front.asked.count(path), front.asked.count(end)) == (2, 2)


def test_missing_right_is_update(shop: Shop, pki: Pki) -> None:
    """The text of the policy to add is for writing; with it, it works."""
    secrets = pki.certificate()
    path = f"{pki.mount}/issue/web"
    shop.policy("step", shop.may_read(path))
    error = shop.refuse(shop.target(secrets=secrets))
    assert isinstance(error, VaultPolicyError)
    assert error.cause.endswith("not write to it, and the grant has a `with` there")
    assert error.hint.endswith(f"add to a policy of the role:\n{shop.may_write(path)}")
    shop.policy("step", shop.may_write(path))
    with shop.exchange(shop.target(secrets=secrets)) as seen:
        assert "CERT" in seen.values


def test_missing_right_of_the_step(shop: Shop, pki: Pki) -> None:
    """The login may, and the step's policies do not: the message says whose they are."""
    secrets = pki.certificate()
    path = f"{pki.mount}/issue/web"
    shop.policy("step", shop.may_read(shop.path))
    shop.policy("ci", "\n".join([CREATE, REVOKE_LEASE, shop.may_write(path)]))
    error = shop.refuse(shop.target(secrets=secrets))
    assert isinstance(error, VaultPolicyError)
    assert str(error) == f"the step's token may not write to {path}"
    assert error.hint == f"let the policies {shop.name}-step have:\n{shop.may_write(path)}"


def test_more_rights_than_needed(shop: Shop, pki: Pki) -> None:
    """Reading what is only written to, or writing to its neighbours, is too much."""
    secrets = pki.certificate()
    folder = f"{pki.mount}/issue"
    both = f'path "{folder}/web" {{ capabilities = ["update", "read"] }}'
    shop.policy("step", f"{shop.may_write(f'{folder}/*')}\n{both}")
    with shop.exchange(shop.target(secrets=secrets)) as seen:
        pass
    too_much, wildcard = seen.warnings
    assert too_much.endswith(f"has read on {folder}/web; writing to it needs update only")
    assert wildcard.endswith(f"covers {folder}/web: all of {folder}/* can be written to")


def test_engine_that_refuses_the_parameters(shop: Shop, pki: Pki) -> None:
    """Its text may repeat what it was given, and is not passed on."""
    role = ROLE | {"allow_any_name": False, "allowed_domains": ["acme.example"]}
    shop.root.write_data(f"{pki.mount}/roles/web", data=role)
    error = shop.refuse(shop.target(secrets=pki.certificate(common_name="evil.example")))
    assert isinstance(error, VaultSecretError)
    path = f"{pki.mount}/issue/web"
    told = f"writing to {path} was refused by the secrets engine that is mounted there"
    assert str(error) == told
    assert "evil.example" not in f"{error.cause}{error.hint}"
    assert "KV" not in error.hint


def test_parameter_that_is_misspelt(shop: Shop, pki: Pki) -> None:
    """What to look at is `with`, and not how a secret is read."""
    secrets = pki.certificate()
    path = f"{pki.mount}/issue/web"
    misspelt = {"CERT": written(f"{path}#certificate", {"comon_name": "shop.example"})}
    for found in (misspelt, {"CERT": written(f"{path}#certificate", {})}):
        error = shop.refuse(shop.target(secrets=found))
        assert isinstance(error, VaultSecretError)
        assert error.cause.startswith("a parameter in `with` is missing or misspelt")
        assert f"`bao write {path} ...`" in error.hint
    secrets["CERT"] = written(f"{path}#cert", {"common_name": "shop.example"})
    error = shop.refuse(shop.target(secrets=secrets))
    assert str(error) == f"CERT: {path} has no field cert"
    assert f"`bao write {path} ...`" in getattr(error, "hint", "")


@pytest.mark.parametrize("name", ["alt_nmaes", "role"], ids=["unknown", "decided by the path"])
def test_parameter_that_is_passed_over(shop: Shop, pki: Pki, name: str) -> None:
    """The server issues all the same and says so; what was issued is not what was asked for."""
    path = f"{pki.mount}/issue/web"
    pki.let_revoke("revoke")
    given = {"common_name": "shop.example", name: "leased"}
    certificate = pki.certificate() | {"CERT": written(f"{path}#certificate", given)}
    error = shop.refuse(shop.target(secrets=certificate))
    assert isinstance(error, VaultSecretError)
    assert str(error) == f"writing to {path}: the server ignored {name}"
    assert f"`bao path-help {path}`" in error.hint
    assert shop.last.held[0].revoke(budget=5).outcome is Outcome.REVOKED
    assert len(pki.revoked()) == 1


def test_writing_that_gives_nothing(shop: Shop) -> None:
    """A `with` at a path that only stores is told as what it is."""
    path = f"{shop.mount('kv')}/web"
    shop.policy("step", f'path "{path}" {{ capabilities = ["update", "create"] }}')
    error = shop.refuse(shop.target(secrets={"WEB": written(f"{path}#password", {"x": "y"})}))
    assert isinstance(error, VaultSecretError)
    assert str(error) == f"writing to {path} gave nothing"
    assert "leave `with` out" in error.hint


def test_with_that_is_left_out_is_no_missing_right(shop: Shop, pki: Pki) -> None:
    """The policies are right, and the grant would read: a right to read would help nobody."""
    path = f"{pki.mount}/issue/web"
    shop.policy("step", shop.may_write(path))
    error = shop.refuse(shop.target(secrets=references(CERT=f"{path}#certificate")))
    assert isinstance(error, VaultPolicyError)
    assert error.cause.endswith("not read it, and the grant has no `with` there")
    assert error.hint.startswith("add `with: {...}`")


def test_reading_what_must_be_written(shop: Shop, pki: Pki) -> None:
    """The slip of leaving `with` out is told as what it is."""
    path = f"{pki.mount}/issue/web"
    shop.policy("step", shop.may_read(path))
    secrets = {"CERT": written(f"{path}#certificate")}
    read = {name: one.__replace__(parameters=None) for name, one in secrets.items()}
    error = shop.refuse(shop.target(secrets=read))
    assert isinstance(error, VaultSecretError)
    assert "`with: {...}`" in error.hint


def test_reclaimer_revokes_by_serial_number(shop: Shop, pki: Pki) -> None:
    """Whoever cleans up after a killed process has no key, but may have the wider right."""
    paths = (f"{pki.mount}/revoke", REVOKE_ACCESSOR)
    shop.policy("ci", "\n".join([CREATE, REVOKE_LEASE, *map(shop.may_write, paths)]))
    target = shop.target(secrets=pki.certificate())
    with shop.exchange(target) as left:
        ending = reclaimed(target, left)
        assert ending.outcome is Outcome.REVOKED
        assert serial(left) in pki.revoked()


def test_reclaimer_revokes_at_no_mount_but_the_grant_s(shop: Shop, pki: Pki) -> None:
    """A ledger may have been in other hands, and a serial number is no secret: it is nobody's."""
    paths = (f"{pki.mount}/revoke", REVOKE_ACCESSOR)
    shop.policy("ci", "\n".join([CREATE, REVOKE_LEASE, *map(shop.may_write, paths)]))
    with shop.exchange(shop.target(secrets=pki.certificate())) as left:
        ending = reclaimed(shop.target(), left)
        assert serial(left) not in pki.revoked()
    assert ending.outcome is Outcome.FAILED
    name = left.values["SERIAL"]
    assert ending.detail == f"certificate {name}: its mount is none of the grant's"


def test_reclaimer_says_what_merely_expires(shop: Shop, pki: Pki) -> None:
    """A certificate that nobody may revoke is not called revoked when its token is."""
    shop.policy("ci", "\n".join([CREATE, REVOKE_LEASE, shop.may_write(REVOKE_ACCESSOR)]))
    target = shop.target(secrets=pki.certificate())
    with shop.exchange(target) as left:
        assert reclaimed(target, left).outcome is Outcome.EXPIRES


def reclaimed(target: VaultTarget, left: Exchange) -> Ending:
    """End what an exchange left as a later process does; its own login is ended as well."""
    held = left.held[:]
    try:
        return VaultReclaimer(target, {}).reclaim(left.request, left.handles)
    finally:
        for credential in left.held[len(held) :]:
            credential.revoke(budget=5.0)
