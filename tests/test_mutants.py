"""Every guard that is taken out of the code is missed by the test that is named for it."""

from __future__ import annotations

import pytest
from tests.mutants import MUTANTS, Mutant, is_caught
from tests.simulation.mutations import MUTATIONS

#: Of the simulator.
RULES = {"I1", "I2", "I4", "I5", "I6", "I8", "I10", "I11"}


@pytest.mark.timeout(150)
@pytest.mark.parametrize("mutant", MUTANTS, ids=[one.name.replace(" ", "-") for one in MUTANTS])
def test_a_guard_that_is_taken_out_is_missed_by_its_test(mutant: Mutant) -> None:
    caught, said = is_caught(mutant)
    assert caught, said


def test_each_rule_of_the_simulator_alone_catches_a_mutation() -> None:
    """A mutation counts as caught only by the rules that it names; some name one alone."""
    assert {rule for one in MUTATIONS for rule in one.catches if len(one.catches) == 1} == RULES
