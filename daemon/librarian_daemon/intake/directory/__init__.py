"""Work within a drop directory: walk it, claim, set aside. Blocking code, except for the watcher."""
