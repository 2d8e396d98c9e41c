"""The runner whose job this is: the agent ends when it is gone."""

import os
import select

from ci_identity._record import Record, field
from ci_identity.delivery.steps import descends_from, find_runner
from ci_identity.errors import ConfigurationError


class Runner(Record):
    """A runner's process, held on to: no other one can take its place.

    Attributes:
        pid: its number.
    """

    pid: int
    _held: int = field(repr=False)

    @classmethod
    def of(cls, pid: int | None) -> "Runner":
        """Return the runner that has this pid, or, without one, the one that we descend from.

        Raises:
            ConfigurationError: that is no process above us.
        """
        found = find_runner() if pid is None else pid
        if found is None:
            message = "there is no runner above this process"
            raise ConfigurationError(
                message,
                cause="this is no step of a GitHub job, or /proc cannot be read",
                hint="name the runner's process with --runner PID",
            )
        if found == 0:  # a process outside of our pid namespace (proc_pid_stat(5), ppid)
            message = "the runner is outside of this container, so no step can be told from another"
            raise ConfigurationError(
                message,
                cause="the job has `container:`, whose steps the runner starts from outside",
                hint="use the shell of the step: shell: ci-identity exec --grant NAME -- bash {0}",
            )
        try:
            held = os.pidfd_open(found)
        except (OSError, OverflowError):
            held = -1
        if held < 0 or not descends_from(found):
            message = f"the process {found} is not above this one, so it is not this job's runner"
            raise ConfigurationError(message, hint="name the process that starts the job's steps")
        return cls(pid=found, _held=held)

    @property
    def is_gone(self) -> bool:
        """Whether it has ended. Source: pidfd_open(2), "readable when the process terminates"."""
        ended = select.poll()
        ended.register(self._held, select.POLLIN)
        return bool(ended.poll(0))
