"""``lbctl completion``: completion for shells."""

from __future__ import annotations

import click

from lbctl.app import Command, examples


@click.command(
    cls=Command,
    epilog=examples('eval "$(lbctl completion bash)"', "lbctl completion fish | source"),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what the shell needs to complete lbctl's words."""
    from click.shell_completion import get_completion_class

    from lbctl.main import root

    found = get_completion_class(shell)
    assert found is not None  # the three are click's own
    print(found(root, {}, "lbctl", "_LBCTL_COMPLETE").source())
