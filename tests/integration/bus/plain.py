"""A nats-server as an operator would run it: one account, users and passwords, nothing of ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from librarian_daemon.bus.server import find_executable


@asynccontextmanager
async def plain_server(root: Path, settings: str) -> AsyncGenerator[str]:
    """Run one with these settings for as long as the block lasts; ``HOST:PORT``."""
    root.mkdir(parents=True)
    config = root / "plain.conf"
    config.write_text(
        f'listen: "127.0.0.1:-1"\nports_file_dir: "{root}"\nlog_file: "{root}/log"\n'
        f'jetstream {{ store_dir: "{root}/js" }}\n{settings}\n'
    )
    executable = find_executable()
    assert executable is not None
    process = await asyncio.create_subprocess_exec(executable, "-c", str(config))
    try:
        ports = root / f"nats-server_{process.pid}.ports"
        async with asyncio.timeout(10):
            while not (ports.exists() and ports.read_text().endswith("}")):
                await asyncio.sleep(0.01)
        yield str(json.loads(ports.read_text())["nats"][0]).removeprefix("nats://")
    finally:
        process.terminate()
        await process.wait()
