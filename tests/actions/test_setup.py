"""actions/setup, run by act and a real node, with a step that has a grant of a real OpenBao."""

from ci_identity.sandbox.openbao import OpenBao
from ci_identity.sandbox.world import World
from tests.actions.shop import Shop
from tests.step import Watch


def test_the_step_of_the_example_has_the_secret_and_the_log_has_not(
    shop: Shop, world: World, openbao: OpenBao
) -> None:
    """The command is the shell of a step: it alone has the secret, and every token is revoked."""
    watch = Watch(openbao)
    ran = shop.run("migrate.yml")
    assert ran.code == 0, ran.output
    assert "tokens: none none" in ran.lines
    assert "migrate-db: revoked; the server confirmed it" in ran.output
    (warning,) = [line for line in ran.lines if "could run code in this one" in line]
    assert warning.endswith(f" by PATH {shop.path.partition(':')[0]}")  # and not by our own folder
    password = world.secrets["password"].reveal()
    shown = [line for line in ran.output.splitlines() if "add-mask" not in line]
    assert not [line for line in shown if password in line]
    watch.assert_revoked()
