"""A real PostgreSQL, to see from outside OpenBao whether a dynamic credential still opens it."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import hvac

from ci_identity.sandbox.openbao import free_port

START_TIMEOUT = 30.0

_CREATE_LOGIN = (
    "CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"
)


class PostgreSQL:
    """A running cluster on loopback, in a folder of its own; leaving the `with` block ends it.

    Attributes:
        port: where it listens on 127.0.0.1.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self._password = secrets.token_hex(16)
        with ExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix="ci-identity-postgres-"))
            stack.callback(shutil.rmtree, folder)
            self._make_cluster(folder)
            process = self._serve(folder)
            stack.callback(process.wait)
            stack.callback(process.send_signal, signal.SIGINT)  # do not wait for OpenBao to leave
            self._wait(process)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @staticmethod
    def is_installed() -> bool:
        """True if its programs are there, and a user who may run them: root may not."""
        programs = ("initdb", "postgres", "psql", "setpriv")
        return all(map(_program, programs)) and (os.geteuid() != 0 or _user() is not None)

    def admits(self, username: str, password: str) -> bool:
        """True if this login works right now, over TCP, with its password."""
        command = (_program("psql"), "-X", "-w", "-h", "127.0.0.1", "-p", str(self.port))
        result = subprocess.run(
            [*command, "-U", username, "-d", "postgres", "-Atc", "select current_user"],
            env={"PGPASSWORD": password},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
        )
        return result.stdout.strip() == username

    def mount(self, root: hvac.Client, *, ttl: str = "10m") -> None:
        """Mount OpenBao's database engine on it: `database/creds/shop` then makes a login.

        Args:
            root: a client that may mount, in the namespace it is wanted in.
            ttl: the life of each login.
        """
        root.sys.enable_secrets_engine("database", path="database")
        connection = {
            "plugin_name": "postgresql-database-plugin",
            "connection_url": (
                f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{self.port}/postgres"
                "?sslmode=disable"
            ),
            "username": "postgres",
            "password": self._password,
            "allowed_roles": ["shop"],
        }
        role = {"db_name": "pg", "creation_statements": [_CREATE_LOGIN], "default_ttl": ttl}
        root.write_data("database/config/pg", data=connection)
        root.write_data("database/roles/shop", data=role)

    def _make_cluster(self, folder: Path) -> None:
        password_file = folder / "password"
        password_file.write_text(self._password)
        if user := _user():  # PostgreSQL refuses to run as root
            for path in (folder, password_file):
                shutil.chown(path, user)
        command = (_program("initdb"), "-D", str(folder / "data"), "-U", "postgres", "--no-sync")
        subprocess.run(
            [*command, "-A", "scram-sha-256", f"--pwfile={password_file}", "--locale=C"],
            user=_user(),
            env={},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )

    def _serve(self, folder: Path) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "16MB",
        }
        options = [option for item in settings.items() for option in ("-c", "{}={}".format(*item))]
        # By setpriv, not subprocess: a change of user clears the wish to die with the parent.
        become = ["--reuid", user, "--regid", user, "--clear-groups"] if (user := _user()) else []
        command = [_program("setpriv"), "--pdeathsig", "KILL", *become]
        return subprocess.Popen(
            [*command, _program("postgres"), "-D", str(folder / "data"), *options],
            env={},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not self.admits("postgres", self._password):
            assert process.poll() is None, "PostgreSQL ended while starting"
            assert time.monotonic() < deadline, "PostgreSQL was not ready in time"
            time.sleep(0.05)


def _program(name: str) -> str:
    """Return the newest installed `name`, or an empty text."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name) or ""


def _user() -> str | None:
    """Return whom to run it as: nobody else, or `postgres` where we are root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return None
