"""The control API: one module for each noun of ``lbctl``. It reads the site's state, and writes what an operator asks
for.
"""
