"""Which STS endpoint is asked, and which environment variables had a say in it. Pure."""

import re
from collections.abc import Mapping

from ci_identity._record import Record
from ci_identity.errors import AwsRegionError, SettingError
from ci_identity.model import AwsTarget

URL_VARIABLES = ("AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL")
IGNORE_URLS = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"
REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")
FIPS = "AWS_USE_FIPS_ENDPOINT"
DUAL_STACK = "AWS_USE_DUALSTACK_ENDPOINT"

_REGION = re.compile(r"[a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2}")
"""No more than a label of a host name: the region goes into the address that the token is sent to.
"""


class Endpoint(Record):
    """The address of an STS.

    Attributes:
        url: the address, unchecked.
        named: what names it, for messages: a key of the grant, or a variable.
        variables: the names of the variables that chose it.
    """

    url: str
    named: str
    variables: tuple[str, ...] = ()


# botocore/data/partitions.json: prefix of the region, domain, dual-stack domain. The first prefix
# that fits decides; a region that has none of them is taken for one of `aws`, as botocore does.
_PARTITIONS = {
    "aws-us-gov": ("us-gov-", "amazonaws.com", "api.aws"),
    "aws-cn": ("cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    "aws-eusc": ("eusc-", "amazonaws.eu", "api.amazonwebservices.eu"),
    "aws-iso": ("us-iso-", "c2s.ic.gov", "api.aws.ic.gov"),
    "aws-iso-b": ("us-isob-", "sc2s.sgov.gov", "api.aws.scloud"),
    "aws-iso-e": ("eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    "aws-iso-f": ("us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    "aws": ("", "amazonaws.com", "api.aws"),
}


def resolve(target: AwsTarget, environ: Mapping[str, str]) -> Endpoint:
    """Return the endpoint for `target`: the grant's own, a configured one, the region's.

    Source: https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html; the rules of
    botocore's `sts/2011-06-15/endpoint-rule-set-1.json`.

    Raises:
        AwsRegionError: there is no region, or the role is of another partition than the region.
        SettingError: a variable has a value that it cannot have.
    """
    if target.region:
        _check_region(target.region, "the grant's aws.region", target.role)
    if target.endpoint:
        return Endpoint(url=target.endpoint, named="aws.endpoint")
    flags = tuple(name for name in (FIPS, DUAL_STACK) if _is_on(environ, name))
    ignored: tuple[str, ...] = ()
    if configured := next((name for name in URL_VARIABLES if environ.get(name)), None):
        if not _is_on(environ, IGNORE_URLS):
            return _configured(configured, environ, flags)
        ignored = (IGNORE_URLS,)
    region, variables = _region(target, environ)
    return Endpoint(
        url=_regional(region, is_fips=FIPS in flags, is_dual_stack=DUAL_STACK in flags),
        named="aws.region",
        variables=(*variables, *flags, *ignored),
    )


def _configured(name: str, environ: Mapping[str, str], flags: tuple[str, ...]) -> Endpoint:
    if flags:  # botocore: "FIPS and custom endpoint are not supported"
        message = f"{name} and {flags[0]} are both set: which one is meant?"
        hint = f"unset one of them, or set {IGNORE_URLS}=true"
        raise SettingError(message, hint=hint)
    return Endpoint(url=environ[name], named=name, variables=(name,))


def _region(target: AwsTarget, environ: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    if target.region:
        return target.region, ()
    for name in REGION_VARIABLES:
        if region := environ.get(name):
            _check_region(region, name, target.role)
            return region, (name,)
    message = "the grant has no aws.region, and neither AWS_REGION nor AWS_DEFAULT_REGION is set"
    raise AwsRegionError(message)


def _check_region(region: str, named: str, role: str) -> None:
    if not _REGION.fullmatch(region):
        message = f"{named} is not a region, such as eu-west-1"
        raise AwsRegionError(message, cause="it is misspelt; aws-global is not a region here")
    partition, of_role = _partition(region), role.split(":")[1]
    if partition != of_role:
        message = f"{named} is {region}, in the partition {partition}; the role is in {of_role}"
        cause = "a session of one partition (China, GovCloud, ...) is nothing in another"
        hint = f"name a region of {of_role}, or the role of the account in {partition}"
        raise AwsRegionError(message, cause=cause, hint=hint)


def _partition(region: str) -> str:
    return next(name for name, (prefix, *_) in _PARTITIONS.items() if region.startswith(prefix))


def _regional(region: str, *, is_fips: bool, is_dual_stack: bool) -> str:
    partition = _partition(region)
    _, domain, dual_stack_domain = _PARTITIONS[partition]
    if is_dual_stack:
        domain = dual_stack_domain
    elif partition == "aws-us-gov":  # its plain endpoints are FIPS endpoints
        is_fips = False
    return f"https://{'sts-fips' if is_fips else 'sts'}.{region}.{domain}"


def _is_on(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name, "").lower()
    if value not in {"", "true", "false"}:  # AWS's own tools take the rest for false, in silence
        message = f"{name} must be true or false"
        raise SettingError(message)
    return value == "true"
