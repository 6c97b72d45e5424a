"""What sites say to one another, and every decision, as pure code.

Nothing here does I/O, reads a clock or draws a random number: facts come in as arguments, decisions go
out as values. That is what lets the simulator, the daemon and an auditor run the very same rules.
"""
