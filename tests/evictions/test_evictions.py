"""No interleaving of a small mesh takes too much, and each rule of the machine is missed when it is taken away."""

from __future__ import annotations

import pytest
from tests.evictions.main import of_mesh, of_variant
from tests.evictions.mesh import Mesh
from tests.evictions.meshes import OPEN, SMALL
from tests.evictions.variants import VARIANTS, Variant

#: More than any of these has.
MOST = 50_000


@pytest.mark.parametrize("mesh", SMALL, ids=[mesh.name.replace(" ", "-") for mesh in SMALL])
def test_no_interleaving_takes_more_than_may_be_given_up_or_stands_still_for_good(mesh: Mesh) -> None:
    line = of_mesh(mesh, MOST)
    assert (line.broken, line.trace, line.whole) == ("", (), True)


@pytest.mark.parametrize("variant", VARIANTS, ids=[variant.rule.replace(" ", "-") for variant in VARIANTS])
def test_a_rule_that_is_taken_away_is_missed_by_name(variant: Variant) -> None:
    line = of_variant(variant, MOST)
    assert (line.broken, line.whole) == (variant.breaks, True), line.trace
    assert bool(variant.breaks) != bool(variant.why)


@pytest.mark.parametrize("mesh", OPEN, ids=[mesh.name.replace(" ", "-") for mesh in OPEN])
def test_what_the_protocol_leaves_open_is_what_is_written(mesh: Mesh) -> None:
    line = of_mesh(mesh, MOST)
    assert line.broken
    assert line.is_right


def test_a_search_that_is_cut_short_says_so() -> None:
    assert not of_mesh(SMALL[0], 10).whole
