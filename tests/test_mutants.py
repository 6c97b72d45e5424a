"""Every guard that is taken out of the code is missed by the test that is named for it."""

from __future__ import annotations

import pytest
from tests.mutants import MUTANTS, ROOT, Mutant, is_caught
from tests.simulation.mutations import MUTATIONS

#: Of the simulator.
RULES = {"I1", "I2", "I3", "I4", "I5", "I6", "I8", "I10", "I11", "I16"}
#: A daemon without its guard is waited for until the test's time is over: `scripts/mutate` tries those.
QUICK = [mutant for mutant in MUTANTS if not mutant.test.startswith("tests/integration/")]


@pytest.mark.timeout(150)
@pytest.mark.parametrize("mutant", QUICK, ids=[mutant.name.replace(" ", "-") for mutant in QUICK])
def test_a_guard_that_is_taken_out_is_missed_by_its_test(mutant: Mutant) -> None:
    caught, said = is_caught(mutant)
    assert caught, said


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name.replace(" ", "-") for mutant in MUTANTS])
def test_each_guard_stands_in_the_code_once_and_its_test_is_there(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
    path, _, name = mutant.test.partition("::")
    assert f"def {name.partition('[')[0]}(" in (ROOT / path).read_text() if name else (ROOT / path).is_file()


def test_each_rule_of_the_simulator_alone_catches_a_mutation() -> None:
    """A mutation counts as caught only by the rules that it names; some name one alone."""
    assert {rule for mutation in MUTATIONS for rule in mutation.catches if len(mutation.catches) == 1} == RULES
