"""Print the tests that failed in the last run of pytest, one a line; nothing where no test was reached."""

import json
from pathlib import Path

_FAILED = Path(".pytest_cache/v/cache/lastfailed")

if __name__ == "__main__" and _FAILED.exists():
    print("\n".join(sorted(json.loads(_FAILED.read_text()))))
