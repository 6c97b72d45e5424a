"""``python -m librarian_daemon`` is ``lbd``."""

from librarian_daemon.main import main

main()
