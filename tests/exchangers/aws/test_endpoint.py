"""Which STS is asked: the same as botocore would ask, or none."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from botocore.endpoint_provider import EndpointProvider
from botocore.loaders import Loader

from ci_identity.errors import AwsRegionError, CiIdentityError, InsecureAddressError, SettingError
from ci_identity.exchangers.aws import AwsExchanger
from ci_identity.exchangers.aws.endpoint import resolve
from tests.exchangers.aws.stage import target

ROLE = "arn:{}:iam::123456789012:role/deploy-web"
SWITCHES: dict[str, dict[str, str]] = {
    "plain": {},
    "fips": {"AWS_USE_FIPS_ENDPOINT": "true"},
    "dual-stack": {"AWS_USE_DUALSTACK_ENDPOINT": "True"},
    "both": {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true"},
}
LOADER = Loader()
PARTITIONS = LOADER.load_data("partitions")
RULES = EndpointProvider(LOADER.load_service_model("sts", "endpoint-rule-set-1"), PARTITIONS)
REGIONS = {
    region: partition["id"]
    for partition in PARTITIONS["partitions"]
    for region in partition["regions"]
    if not region.endswith("-global")
}


def botocore_url(region: str, *, is_fips: bool, is_dual_stack: bool) -> str:
    found = RULES.resolve_endpoint(
        Region=region, UseFIPS=is_fips, UseDualStack=is_dual_stack, UseGlobalEndpoint=False
    )
    return str(found.url)


def refused(environ: Mapping[str, str], **changes: str | None) -> CiIdentityError:
    with pytest.raises(CiIdentityError) as caught:
        AwsExchanger(target(**changes), environ)
    return caught.value


# ── the region's own ─────────────────────────────────────────────────────────────────────────


def test_botocore_knows_all_partitions() -> None:
    """The table below covers the eight partitions that there are."""
    assert len(set(REGIONS.values())) == 8


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES)
@pytest.mark.parametrize("region", ["xx-future-1", *sorted(REGIONS)])
def test_region_has_the_endpoint_that_botocore_says(
    region: str, switches: Mapping[str, str]
) -> None:
    """In every partition, with FIPS and dual-stack; a region that nobody knows yet is in aws."""
    role = ROLE.format(REGIONS.get(region, "aws"))
    found = resolve(target(role=role, region=region), switches)
    assert found.url == botocore_url(
        region,
        is_fips="AWS_USE_FIPS_ENDPOINT" in switches,
        is_dual_stack="AWS_USE_DUALSTACK_ENDPOINT" in switches,
    )
    assert found.variables == tuple(switches)


def test_region_is_the_grants_then_the_environments() -> None:
    """What the grant says is not steered by anybody; else AWS_REGION precedes the older name."""
    both = {"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "us-east-2"}
    assert resolve(target(), both).url == "https://sts.eu-west-1.amazonaws.com"
    assert resolve(target(), both).variables == ()
    found = resolve(target(region=None), both)
    assert (found.url, found.variables) == (
        "https://sts.eu-central-1.amazonaws.com",
        ("AWS_REGION",),
    )
    found = resolve(target(region=None), {**both, "AWS_REGION": ""})
    assert (found.url, found.variables) == (
        "https://sts.us-east-2.amazonaws.com",
        ("AWS_DEFAULT_REGION",),
    )


def test_no_region_is_an_error_that_says_where_to_write_it() -> None:
    """Nothing is guessed; the global endpoint least of all."""
    error = refused({}, region=None)
    assert isinstance(error, AwsRegionError)
    assert "AWS_REGION" in str(error)
    assert "`region` into the grant" in error.hint


@pytest.mark.parametrize(
    "region",
    ["evil.example/", "eu-west-1.evil.example", "eu-west-1#", "", "aws-global", "EU-WEST-1", "eu"],
)
def test_region_is_nothing_but_a_label(region: str) -> None:
    """It is put into the address that the token is sent to; the environment could steer that."""
    error = refused({"AWS_REGION": region or " "}, region=None)
    assert isinstance(error, AwsRegionError)
    assert str(error) == "AWS_REGION is not a region, such as eu-west-1"
    assert isinstance(refused({}, region=region or " "), AwsRegionError)


@pytest.mark.parametrize(
    ("partition", "region"),
    [("aws-cn", "eu-west-1"), ("aws", "cn-north-1"), ("aws", "us-gov-west-1")],
)
def test_region_of_another_partition(partition: str, region: str) -> None:
    """A role in China and a region in Europe: both are named before anything is sent."""
    for environ, changes in (({}, {"region": region}), ({"AWS_REGION": region}, {"region": None})):
        error = refused(environ, role=ROLE.format(partition), **changes)
        assert isinstance(error, AwsRegionError)
        assert str(error).endswith(f"the role is in {partition}")
        assert region in str(error)


# ── another one ──────────────────────────────────────────────────────────────────────────────

CONFIGURED = {
    "AWS_ENDPOINT_URL_STS": "https://sts.proxy.example",
    "AWS_ENDPOINT_URL": "https://aws.proxy.example",
}


def test_grants_endpoint_beats_the_environment() -> None:
    """It was reviewed; FIPS and the like do not change it, and no region is needed."""
    environ = {**CONFIGURED, "AWS_USE_FIPS_ENDPOINT": "true"}
    own = target(endpoint="https://vpce.example", region=None)
    found = resolve(own, environ)
    assert (found.url, found.variables) == ("https://vpce.example", ())


def test_configured_endpoints_in_their_order() -> None:
    """The service's own variable precedes the common one, and both precede the region's."""
    environ = dict(CONFIGURED)
    for name, url in CONFIGURED.items():
        found = resolve(target(region=None), environ)
        assert (found.url, found.variables) == (url, (name,))
        del environ[name]


def test_configured_endpoints_can_be_switched_off() -> None:
    """The switch is said as well: it chose, too."""
    environ = {**CONFIGURED, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}
    found = resolve(target(), environ)
    assert found.url == "https://sts.eu-west-1.amazonaws.com"
    assert found.variables == ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",)
    assert resolve(target(), {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}).variables == ()


@pytest.mark.parametrize("switch", ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"])
def test_configured_endpoint_and_a_switch(switch: str) -> None:
    """As in botocore that is an error: whoever wants FIPS is not to get something else."""
    error = refused({**CONFIGURED, switch: "true"})
    assert isinstance(error, SettingError)
    assert str(error) == f"AWS_ENDPOINT_URL_STS and {switch} are both set: which one is meant?"
    assert resolve(target(), {**CONFIGURED, switch: "false"}).url == "https://sts.proxy.example"


@pytest.mark.parametrize(
    "name",
    [
        "AWS_USE_FIPS_ENDPOINT",
        "AWS_USE_DUALSTACK_ENDPOINT",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    ],
)
def test_switch_is_true_or_false(name: str) -> None:
    """`1` is false to AWS's own tools, which whoever wrote it did not mean."""
    error = refused({**CONFIGURED, name: "1"})
    assert isinstance(error, SettingError)
    assert str(error) == f"{name} must be true or false"


def test_token_is_sent_over_https_only() -> None:
    """An endpoint of the environment in plain http is refused by its variable's name."""
    error = refused({"AWS_ENDPOINT_URL": "http://sts.example"})
    assert isinstance(error, InsecureAddressError)
    assert str(error).startswith("AWS_ENDPOINT_URL is http://sts.example")
    assert isinstance(refused({}, endpoint="http://sts.example"), InsecureAddressError)


def test_whatever_steers_is_named(tmp_path: Path) -> None:
    """Region, switches, proxy and CA; AWS's own CA variable precedes the common ones."""
    ca_file = tmp_path / "ca.pem"
    ca_file.touch()
    environ = {
        "AWS_REGION": "eu-west-1",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "HTTPS_PROXY": "http://proxy.example:3128",
        "REQUESTS_CA_BUNDLE": str(ca_file),
        "AWS_CA_BUNDLE": str(ca_file),
    }
    exchanger = AwsExchanger(target(region=None), environ)
    assert exchanger.steered_by == (
        "AWS_REGION",
        "AWS_USE_FIPS_ENDPOINT",
        "HTTPS_PROXY",
        "AWS_CA_BUNDLE",
    )
    assert AwsExchanger(target(), {}).steered_by == ()


def test_what_an_exchanger_says_of_itself() -> None:
    """The role's ARN is the target; the audience is the one that AWS asks for."""
    exchanger = AwsExchanger(target(), {})
    assert exchanger.target == target().role
    assert exchanger.audience == "sts.amazonaws.com"
