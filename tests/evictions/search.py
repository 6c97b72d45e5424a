"""Breadth first over all interleavings of a mesh: the shortest way to a broken rule, or none."""

from __future__ import annotations

from collections import defaultdict

import msgspec
from tests.evictions.machine import Machine, Order
from tests.evictions.mesh import Mesh
from tests.evictions.state import State
from tests.evictions.steps import steps
from tests.evictions.world import World

TRAPPED = "from here nothing that happens by itself settles the file"


class Searched(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    mesh: str
    states: int
    transitions: int
    #: "" where no rule was broken.
    broken: str = ""
    #: The shortest way there, in words.
    trace: tuple[str, ...] = ()
    #: Not all states were seen.
    cut: bool = False


def search(
    mesh: Mesh,
    machine: Machine = Machine(),  # noqa: B008 - it is immutable
    order: Order = Order(),  # noqa: B008
    *,
    most: int = 100_000_000,
    liveness: bool = True,
    only: str = "",
    forgets: bool = True,
) -> Searched:
    """All states that can be reached, up to the first in which a rule is broken, or up to ``most``.

    Args:
        mesh: what is searched.
        machine: the decisions; some may be bad ones.
        order: the caller's order; some of it may be off.
        most: states, after which it is given up.
        liveness: ask of each state whether what happens by itself can settle it. Takes memory.
        only: look for this broken rule, and go on where another one is broken.
        forgets: see :class:`World`.
    """
    world = World(mesh, machine, order, forgets=forgets)
    first = world.first()
    #: By state: its number. By number: the state before it, and what happened.
    numbers: dict[State, int] = {first: 0}
    before: list[int] = [0]
    said: list[str] = [""]
    queue: list[State] = [first]
    backwards: defaultdict[int, list[int]] = defaultdict(list)
    transitions = 0
    at = 0

    def way(number: int, last: str) -> tuple[str, ...]:
        found = [last] if last else []
        while number:
            found.append(said[number])
            number = before[number]
        return tuple(reversed(found))

    def end(broken: str = "", trace: tuple[str, ...] = (), cut: bool = False) -> Searched:
        return Searched(mesh=mesh.name, states=len(queue), transitions=transitions, broken=broken, trace=trace, cut=cut)

    while at < len(queue):
        state = queue[at]
        for following in steps(world, state):
            transitions += 1
            if following.broken and only in ("", following.broken):
                return end(following.broken, way(at, following.what))
            known = numbers.get(following.state)
            if known is None:
                if (wrong := world.untrue(following.state)) and only in ("", wrong):
                    return end(wrong, way(at, following.what))
                known = numbers[following.state] = len(queue)
                queue.append(following.state)
                before.append(at)
                said.append(following.what)
            if liveness and following.progress and known != at:
                backwards[known].append(at)
        at += 1
        if len(queue) > most:
            return end(cut=True)
    if liveness and only in ("", TRAPPED):
        trapped = _trapped(world, queue, backwards)
        if trapped is not None:
            return end(TRAPPED, way(trapped, ""))
    return end()


def _trapped(world: World, queue: list[State], backwards: defaultdict[int, list[int]]) -> int | None:
    """The first state from which none that is settled can be reached."""
    fine = bytearray(len(queue))
    stack = [number for number, state in enumerate(queue) if world.settled(state)]
    for number in stack:
        fine[number] = 1
    while stack:
        for number in backwards.get(stack.pop(), ()):
            if not fine[number]:
                fine[number] = 1
                stack.append(number)
    found = fine.find(0)
    return None if found < 0 else found
