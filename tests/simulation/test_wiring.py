"""The simulator runs what the daemon runs, but for what it leaves out by name."""

from __future__ import annotations

import importlib
import pkgutil

from tests.simulation import site

from librarian_daemon import assembly


def test_every_builder_is_used_by_the_simulator_or_left_out_with_a_reason() -> None:
    names = [module.name for module in pkgutil.iter_modules(assembly.__path__, "librarian_daemon.assembly.")]
    modules = [importlib.import_module(name) for name in names]
    builders = {name for module in modules for name in vars(module) if name.startswith("build_")}
    used = {name for name in vars(site) if name.startswith("build_")}
    assert used | site.BUILDERS_LEFT_OUT.keys() == builders
    assert not used & site.BUILDERS_LEFT_OUT.keys()
