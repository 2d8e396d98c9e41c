"""AWS: one session of a role for one step, narrowed and ended by its own policy."""

from ci_identity.exchangers.aws.credential import AwsCredential
from ci_identity.exchangers.aws.exchange import AwsExchanger

__all__ = ["AwsCredential", "AwsExchanger"]
