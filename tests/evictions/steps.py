"""What can happen next: what evictors do, what others do to the same files, what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator

from tests.evictions.state import BAD, CONTENT, ENDED, GOOD, NOTHING, Instance, Next, Site, State
from tests.evictions.world import World

from librarian_protocol.eviction.row import Row, Stage
from librarian_protocol.eviction.voucher import Round

NAMES = "fewer names are left than required"
BYTES = "fewer good instances are left than required"
HELD = "a site that had heard of the hold evicted"
HELD_VOUCH = "a site that had heard of the hold vouched"
CONFLICT = "a site that knew of the conflict evicted"
CONFLICT_VOUCH = "a site that knew of the conflict vouched"
VOIDED = "a site that had heard that the withdrawal does not count emptied its trash"
UNASKED = "bytes were unlinked at a start, and fewer good instances are left than required"
UNHASHED = "what was put back is said to be available, and is bad"


def steps(world: World, state: State) -> Iterator[Next]:
    """Every successor of the state."""
    for i in range(world.count):
        yield from _rot(world, state, i)
        if world.site(state, i).down:
            continue
        if world.mesh.stores[world.where[i][0]].evicts:
            yield from _evictor(world, state, i)
        yield from _trash(world, state, i)
        yield from _answers(world, state, i)
        yield from _others(world, state, i)
    if world.mesh.files > 1:
        for store in range(len(world.mesh.stores)):
            yield from _batch(world, state, store)
    for number in range(world.mesh.sites):
        yield from _site(world, state, number)


# ---- what an evictor does ------------------------------------------------------------------------


def _evictor(world: World, state: State, i: int) -> Iterator[Next]:
    instance, machine, order = world.instance(state, i), world.machine, world.order
    row = instance.row
    willing = world.willing(state, i)
    if row.stage is Stage.AVAILABLE and not instance.task[0] and willing:
        for nonce in _nonces(world, state, i):
            if order.intent_before_sites and order.intent_before_siblings:
                yield Next(
                    f"{world.label(i)} intends",
                    world.put(state, {i: instance._replace(row=machine.intend(row, nonce))}),
                )
            else:
                yield Next(f"{world.label(i)} asks", world.put(state, {i: instance._replace(task=("ask", nonce))}))
    if instance.task[0] == "ask" and row.stage is Stage.AVAILABLE:
        intent = Instance(machine.intend(row, instance.task[1]), instance.name)
        yield Next(f"{world.label(i)} intends, after it asked", world.put(state, {i: intent}))
    if row.stage is Stage.PENDING and order.can_time_out:
        aborted = instance._replace(row=machine.timed_out(row, row.nonce))
        yield Next(f"{world.label(i)} times out", world.put(state, {i: aborted}), progress=True)
    asked = row.nonce and row.stage not in (Stage.DECIDED, Stage.TRASHED)
    if asked and willing and not instance.task[0] and world.enough(state, i, Round.ROWS):
        decided = instance._replace(row=machine.decide(row, row.nonce), task=("rename", row.nonce))
        if not order.decided_before_rename:
            decided = instance._replace(task=("rename", row.nonce))
        yield Next(f"{world.label(i)} decides", world.put(state, {i: decided}), progress=True)
    if row.stage is Stage.DECIDED and not instance.task[0]:
        # No start of the machine leaves it so.
        going = instance._replace(task=("rename", row.nonce))
        yield Next(f"{world.label(i)} goes on with what was decided", world.put(state, {i: going}), progress=True)
    if (
        row.stage is Stage.TRASHED
        and not row.withdrawn
        and not instance.task[0]
        and world.enough(state, i, Round.BYTES)
    ):
        yield Next(
            f"{world.label(i)} has proofs enough",
            world.put(state, {i: instance._replace(task=("close", row.nonce))}),
            progress=True,
        )


def _batch(world: World, state: State, store: int) -> Iterator[Next]:
    """All files of a store begin an attempt under one nonce, in one transaction."""
    mine = [i for i in range(world.count) if world.where[i][0] == store]
    found = [world.instance(state, i) for i in mine]
    if all(one.row.stage is Stage.AVAILABLE and not one.task[0] for one in found):
        nonce = world.fresh_batch(state, store)
        pending = [one._replace(row=world.machine.intend(one.row, nonce)) for one in found]
        yield Next(f"store {store} intends all", world.put(state, dict(zip(mine, pending, strict=True))))


def _nonces(world: World, state: State, i: int) -> list[str]:
    """A fresh one; and, as it must not, the one of a batch that goes on."""
    if world.order.no_rejoin:
        return [world.fresh(state, i, 1)]
    rows = [world.instance(state, j).row for j in range(world.count) if world.where[j][0] == world.where[i][0]]
    return [world.fresh(state, i, 1), *(row.nonce for row in rows if row.stage is Stage.PENDING)]


def _trash(world: World, state: State, i: int) -> Iterator[Next]:
    instance, machine = world.instance(state, i), world.machine
    row, (task, nonce) = instance.row, instance.task
    if task == "rename":
        if machine.is_of(row, nonce):
            yield from _rename(world, state, i, instance)
        else:
            yield Next(
                f"{world.label(i)} renames nothing",
                world.put(state, {i: instance._replace(task=("", ""))}),
                progress=True,
            )
    if task == "close":
        if machine.is_of(row, nonce) and world.willing(state, i):
            yield from _unlink(world, state, i, instance, nonce)
        else:
            yield Next(
                f"{world.label(i)} unlinks nothing",
                world.put(state, {i: instance._replace(task=("", ""))}),
                progress=True,
            )
    if row.withdrawn and row.stage is Stage.TRASHED and machine.may_empty(world.here(i, world.site(state, i))):
        yield from _unlink(world, state, i, instance, row.nonce)
    if row.stage in (Stage.DECIDED, Stage.TRASHED) and world.order.can_put_back:
        name = instance.name
        if instance.bytes != NOTHING and name != GOOD:
            name = instance.bytes
        back = instance._replace(name=name, trash="", bytes=NOTHING)
        after = machine.put_back(row, name == GOOD)
        if world.order.back_before_commit:
            yield from _crash(world, world.put(state, {i: back}), i, f"{world.label(i)} puts back, and dies")
            bad = UNHASHED if after.stage is Stage.AVAILABLE and name != GOOD else ""
            yield Next(
                f"{world.label(i)} puts back", world.put(state, {i: back._replace(row=after)}), bad, progress=True
            )
        else:
            yield Next(
                f"{world.label(i)} is put back, says the row", world.put(state, {i: instance._replace(row=after)})
            )


def _rename(world: World, state: State, i: int, instance: Instance) -> Iterator[Next]:
    row, nonce = instance.row, instance.task[1]
    if instance.name not in CONTENT:
        missing = instance._replace(row=Row(Stage.SUSPECTED), task=("", ""))
        yield Next(f"{world.label(i)} has nothing to rename", world.put(state, {i: missing}), progress=True)
        return
    broken = NAMES if not row.withdrawn and world.too_few(state, i, names=True) else ""
    moved = instance._replace(name=NOTHING, trash=row.trash or nonce, bytes=instance.name, task=("", ""))
    after = world.machine.trashed(row, nonce, world.fresh(world.put(state, {i: moved}), i, 2), 0.0)
    yield Next(f"{world.label(i)} renames", world.put(state, {i: moved._replace(row=after)}), broken, progress=True)
    yield from _crash(world, world.put(state, {i: moved}), i, f"{world.label(i)} renames, and dies", broken)


def _unlink(world: World, state: State, i: int, instance: Instance, nonce: str) -> Iterator[Next]:
    row, site = instance.row, world.site(state, i)
    broken = ""
    if row.withdrawn:
        broken = VOIDED if site.voided and not site.astray else ""
    elif world.too_few(state, i, names=False):
        broken = BYTES
    elif site.conflict:
        broken = CONFLICT
    if site.ever_held and not site.astray:
        broken = broken or HELD
    name = ENDED if row.withdrawn and instance.name == NOTHING else instance.name
    gone = instance._replace(row=world.machine.close(row, nonce), name=name, task=("", ""))
    unlinked = gone._replace(trash="", bytes=NOTHING)
    yield Next(f"{world.label(i)} unlinks", world.put(state, {i: unlinked}), broken, progress=True)
    yield from _crash(
        world, world.put(state, {i: gone}), i, f"{world.label(i)} is gone, says the row, and dies", broken
    )


def _crash(world: World, state: State, i: int, what: str, broken: str = "") -> Iterator[Next]:
    if world.mesh.down:
        yield Next(what, _stopped(world, state, world.site_of[i]), broken)
    elif world.mesh.restarts:
        after, unasked = _restarted(world, state, world.site_of[i])
        yield Next(what, after, broken or unasked)


def _stopped(world: World, state: State, number: int) -> State:
    """What the process was about to do is lost."""
    stopped = {i: world.instance(state, i)._replace(task=("", "")) for i in world.at_site[number]}
    site = world.sites.values[state[2 * world.count + number]]
    return world.put_site(world.put(state, stopped), number, site._replace(down=True))


# ---- what those do who are asked -----------------------------------------------------------------


def _answers(world: World, state: State, i: int) -> Iterator[Next]:
    instance, order = world.instance(state, i), world.order
    row, askable = instance.row, world.others[i]
    if instance.task[0] == "ask":
        nonce, round_ = instance.task[1], Round.ROWS
        if order.intent_before_sites:
            askable = [j for j in askable if world.site_of[j] == world.site_of[i]]
    elif row.stage is Stage.PENDING:
        nonce, round_ = row.nonce, Round.ROWS
        if not order.intent_before_siblings:
            askable = [j for j in askable if world.site_of[j] != world.site_of[i]]
    elif row.stage is Stage.TRASHED and not row.withdrawn:
        nonce, round_ = row.nonce, Round.BYTES
    else:
        return
    sent = world.votes.values[state[world.count + i]]
    for j in askable:
        vouch = None if world.site(state, j).down else world.vouch(state, i, j, nonce, round_)
        if vouch is None or vouch in sent:
            continue
        site = world.site(state, j)
        broken = HELD_VOUCH if site.ever_held and not site.astray else CONFLICT_VOUCH if site.conflict else ""
        yield Next(
            f"{world.label(j)} vouches for {world.label(i)}",
            world.put(state, {}, {i: sent | {vouch}}),
            broken,
            progress=True,
        )


# ---- what others do to the same file -------------------------------------------------------------


def _others(world: World, state: State, i: int) -> Iterator[Next]:
    instance, site, machine, mesh = world.instance(state, i), world.site(state, i), world.machine, world.mesh
    row = instance.row
    if row.stage in (Stage.AVAILABLE, Stage.PENDING) and instance.name != GOOD:
        bad = instance._replace(row=machine.suspect(row))
        yield Next(f"{world.label(i)} is found bad", world.put(state, {i: bad}), progress=True)
    open_ = row.stage in (Stage.PENDING, Stage.DECIDED, Stage.TRASHED)
    # Good bytes that were fetched when it was bad can come at any time later.
    late = row.stage is Stage.SUSPECTED or (open_ and mesh.rots > 0)
    if late and any(world.serves(state, j) for j in world.others[i]):
        healed = _landed(instance, machine.heal(row))
        what = f"{world.label(i)} is healed"
        yield Next(what, world.put(state, {i: healed}), progress=row.stage is Stage.SUSPECTED)
    if mesh.lands and (row.stage is not Stage.AVAILABLE or instance.name != GOOD):
        what, landed = f"{world.label(i)} is dropped once more", _landed(instance, machine.land(row))
        yield Next(what, world.put(state, {i: landed}))
        if instance.bytes != NOTHING:
            # The bytes in trash go after the row is committed.
            unfinished = landed._replace(trash=instance.trash, bytes=instance.bytes)
            yield from _crash(world, world.put(state, {i: unfinished}), i, f"{what}, and dies")
    if site.withdrawn and row.stage is not Stage.GONE and not row.withdrawn:
        after = machine.withdraw(row, world.fresh(state, i, 1))
        task = ("rename", after.nonce) if after.stage is Stage.DECIDED else ("", "")
        yield Next(f"{world.label(i)} withdraws", world.put(state, {i: instance._replace(row=after, task=task)}))


def _rot(world: World, state: State, i: int) -> Iterator[Next]:
    instance, left = world.instance(state, i), world.left.values[state[-1]]
    if left.rots and (world.mesh.rots_any_time or not _reading(world, state)):
        fewer = world.left.number(left._replace(rots=left.rots - 1))
        if instance.name == GOOD:
            yield Next(f"{world.label(i)} rots", (*world.put(state, {i: instance._replace(name=BAD)})[:-1], fewer))
        if instance.bytes == GOOD:
            yield Next(
                f"{world.label(i)} rots in trash", (*world.put(state, {i: instance._replace(bytes=BAD)})[:-1], fewer)
            )


def _landed(instance: Instance, row: Row) -> Instance:
    if row.stage is Stage.AVAILABLE:
        return instance._replace(row=row, name=GOOD, trash="", bytes=NOTHING)
    return instance._replace(row=row, name=GOOD)


def _reading(world: World, state: State) -> bool:
    """Bytes were proved for an attempt that goes on: what rots after it was read, nobody can know."""
    for i in range(world.count):
        instance = world.instance(state, i)
        if instance.row.stage is Stage.TRASHED and (instance.task[0] or world.votes.values[state[world.count + i]]):
            return True
        if instance.row.stage is Stage.GONE and instance.bytes != NOTHING:
            return True
    return False


# ---- what happens to a whole site ----------------------------------------------------------------


def _site(world: World, state: State, number: int) -> Iterator[Next]:
    mesh = world.mesh
    site = world.sites.values[state[2 * world.count + number]]
    if mesh.down and not site.down:
        yield Next(f"site {number} stops", _stopped(world, state, number))
    elif mesh.restarts:
        after, broken = _restarted(world, state, number)
        yield Next(f"site {number} starts again", after, broken, progress=site.down)
    yield from _restored(world, state, number, site)
    if site.down:
        return
    if mesh.hold and not site.held and not site.quarantine:
        yield Next(
            f"site {number} hears of a hold", world.put_site(state, number, site._replace(held=True, ever_held=True))
        )
    if mesh.conflict:
        heard = site._replace(conflict=not site.conflict)
        yield Next(f"site {number} hears of a conflict, or of its end", world.put_site(state, number, heard))
    if mesh.withdrawal and not site.voided:
        heard = site._replace(withdrawn=not site.withdrawn, voided=site.withdrawn)
        yield Next(f"site {number} hears of a withdrawal, or of its end", world.put_site(state, number, heard))
    if site.quarantine:
        yield Next(f"site {number} is whole again", _whole(world, state, number, site), progress=True)
    left = world.left.values[state[-1]]
    if left.rewinds and number in mesh.rewound:
        rows = tuple(world.instance(state, i).row for i in world.at_site[number])
        kept = (rows, site.held, site.conflict, site.withdrawn)
        if site.backup != kept:
            yield Next(f"site {number} is backed up", world.put_site(state, number, site._replace(backup=kept)))


def _restored(world: World, state: State, number: int, site: Site) -> Iterator[Next]:
    left = world.left.values[state[-1]]
    if site.backup is None or not left.rewinds:
        return
    rows, held, conflict, withdrawn = site.backup
    after = site._replace(backup=None, held=held, conflict=conflict, withdrawn=withdrawn)
    after = after._replace(quarantine=True) if world.mesh.noticed else after._replace(astray=True)
    old = {
        i: world.instance(state, i)._replace(row=row, task=("", ""))
        for i, row in zip(world.at_site[number], rows, strict=True)
    }
    # Answers that were sent for what the backup has open may come again: they are kept while the rows are replaced.
    new = world.put_site(world.put(state, old), number, after)
    new = (*new[:-1], world.left.number(left._replace(rewinds=left.rewinds - 1)))
    started, broken = _restarted(world, new, number)
    yield Next(f"site {number} is restored", started, broken)


def _whole(world: World, state: State, number: int, site: Site) -> State:
    """Its entries are back, and names were compared with rows."""
    compared: dict[int, Instance] = {}
    for i in world.at_site[number] if world.order.names_compared else ():
        instance = world.instance(state, i)
        if instance.row.stage is Stage.AVAILABLE and instance.name not in CONTENT:
            compared[i] = instance._replace(row=world.machine.suspect(instance.row))
        if instance.row.stage is Stage.GONE and instance.name in CONTENT:
            found = world.machine.land(instance.row)
            compared[i] = instance._replace(row=found if instance.name == GOOD else world.machine.suspect(found))
    known = site._replace(quarantine=False)
    if world.order.entries_back:
        known = known._replace(held=site.ever_held, withdrawn=site.withdrawn and not site.voided)
    return world.put_site(world.put(state, compared), number, known)


def _restarted(world: World, state: State, number: int) -> tuple[State, str]:
    broken = ""
    changed: dict[int, Instance] = {}
    for i in world.at_site[number]:
        before = world.instance(state, i)
        changed[i], unlinked = world.start(before)
        if unlinked and before.bytes == GOOD and before.name != ENDED and world.too_few(state, i, names=False):
            broken = UNASKED
        back = before.bytes != NOTHING and not unlinked
        if back and changed[i].row.stage is Stage.AVAILABLE and changed[i].name != GOOD:
            broken = broken or UNHASHED
    started = world.put(state, changed)
    site = world.sites.values[state[2 * world.count + number]]
    return (world.put_site(started, number, site._replace(down=False)) if site.down else started), broken
