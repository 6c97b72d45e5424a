"""``python -m librarian_adapters.globus.login SITE_TOML``: a person logs in to Globus for a site.

Run by ``lbctl adapter login globus``, as the user that the daemon runs as: the tokens are that user's alone.
"""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path
from typing import Any

import globus_sdk
import msgspec

from librarian_adapters.globus.service import TOKENS, kept, read_tokens, scope, write_tokens
from librarian_adapters.globus.settings import GlobusSettings


def main(arguments: list[str]) -> int:
    """Exit code 0 when new tokens were kept, 1 when not, 2 for a wrong configuration."""
    path = Path(arguments[0])
    try:
        tables: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        own: Any = tables.get("adapters", {}).get("settings", {}).get("globus", {})
        settings = msgspec.convert(own, GlobusSettings)
    except (OSError, ValueError) as exc:  # not TOML, or not settings of ours
        sys.stderr.write(f"{path}: [adapters.settings.globus]: {exc}\n")
        return 2
    state = os.path.join(path.resolve().parent, str(tables.get("state", "")), "adapters", "globus")
    if settings.client_secret_file:
        write_tokens(state, {})
        sys.stdout.write("the application has a secret: nobody needs to log in; its kept token was forgotten\n")
        return 0
    client = globus_sdk.NativeAppAuthClient(settings.client_id)
    client.oauth2_start_flow(requested_scopes=scope(settings), refresh_tokens=True)
    sys.stdout.write(f"Go to this address, log in, and give consent:\n\n{client.oauth2_get_authorize_url()}\n\n")
    sys.stdout.write("The code from there: ")
    sys.stdout.flush()
    code = sys.stdin.readline().strip()
    try:
        tokens = kept(client.oauth2_exchange_code_for_tokens(code))
    except globus_sdk.GlobusError as exc:
        sys.stderr.write(f"Globus did not take it: {exc}\n")
        return 1
    write_tokens(state, {**read_tokens(state), **tokens})
    sys.stdout.write(
        f"kept in {os.path.join(state, TOKENS)}\nnext: lbctl transfer retry --all --reason adapter-credentials\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
