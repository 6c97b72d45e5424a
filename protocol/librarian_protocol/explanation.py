"""Why a file is, or is not, at a site: from facts to plain words and the next step (``lbctl explain``). Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from librarian_protocol.names import SiteName
from librarian_protocol.wanted import EXPLAINED, Unwanting


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One instance, as it is told of."""

    site: SiteName
    label: str
    #: ``available``, ``suspected``, ``removed``.
    state: str
    doubted: bool
    detail: str = ""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription of the site, and what it says of the file: None where it wants it."""

    id: str
    match: str
    from_site: SiteName | None
    unwanted: Unwanting | None


class Moving(msgspec.Struct, frozen=True, kw_only=True):
    """The transfer into the site."""

    id: int
    state: str
    reason: str | None
    message: str
    hint: str
    attempts: int
    source: SiteName | None
    next_try_in_s: float | None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one file, and of the way to it."""

    here: SiteName
    at: SiteName
    digest: str
    origin: SiteName | None
    withdrawn: bool
    conflict: bool
    #: The digest that was decided for, where there are several.
    kept: str | None
    instances: Sequence[Standing]
    wishes: Sequence[Wish]
    moving: Moving | None = None
    #: Links of this site that are down, and why.
    down: dict[SiteName, str] = {}
    #: For another site: whether it holds the journal entry that tells of the file; None where it never told.
    told: bool | None = None
    last_heard: str | None = None
    #: What recovery waits for at this site; empty where there is none.
    recovery: Sequence[str] = ()


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """In words."""

    summary: str
    lines: Sequence[str]
    next: str


def explain(facts: Facts) -> Explained:
    """Say it."""
    lines = [_origin(facts), *_elsewhere(facts)]
    if facts.recovery:
        lines.append(f"{facts.here} recovers its catalog: {'; '.join(facts.recovery)}")
    mine = [one for one in facts.instances if one.site == facts.at and one.state != "removed"]
    if any(one.state == "available" and not one.doubted for one in mine):
        aside = facts.kept is not None and facts.kept != facts.digest
        summary = f"it is at {facts.at}, set aside: {facts.kept} has the name" if aside else f"it is at {facts.at}"
        return Explained(summary=summary, lines=lines, next="nothing")
    if mine:
        return _unwell(facts, mine[0], lines)
    if facts.conflict:
        return Explained(
            summary=f"it is not at {facts.at}: two digests stand under this name, and neither is transferred",
            lines=lines,
            next="decide: `lbctl file resolve NAME --keep DIGEST`",
        )
    if facts.withdrawn:
        return Explained(
            summary=f"it is not at {facts.at}: an administrator withdrew it", lines=lines, next="nothing: it is final"
        )
    if facts.at != facts.here:
        return _at_another(facts, lines)
    if facts.moving is not None and facts.moving.state not in {"stored", "cancelled"}:
        return _moving(facts, facts.moving, lines)
    return _unwanted(facts, lines)


def _origin(facts: Facts) -> str:
    if facts.origin is None:
        return "nobody has said yet that it was ingested; only instances of it were told of"
    return f"it was ingested at {facts.origin}"


def _elsewhere(facts: Facts) -> list[str]:
    found: list[str] = []
    for one in facts.instances:
        state = "doubted: somebody received wrong bytes" if one.doubted else one.state
        detail = f" ({one.detail})" if one.detail else ""
        found.append(f"{one.site}, store {one.label}: {state}{detail}")
    return found or ["no instance of it is known anywhere"]


def _unwell(facts: Facts, one: Standing, lines: list[str]) -> Explained:
    if one.state == "suspected":
        return Explained(
            summary=f"its instance at {facts.at} is suspected: {one.detail}",
            lines=lines,
            next=f"look at the disk; then at {facts.at}: `lbctl file verify NAME`",
        )
    return Explained(
        summary=f"its instance at {facts.at} is doubted, and {facts.at} has not answered yet",
        lines=lines,
        next="nothing: its owner reads it again by itself",
    )


def _at_another(facts: Facts, lines: list[str]) -> Explained:
    if facts.told is None:
        return Explained(
            summary=f"{facts.at} has never told what it holds: nothing is known of its side",
            lines=lines,
            next=f"is it up, and linked? `lbctl status`; last heard {facts.last_heard or 'never'}",
        )
    if not facts.told:
        return Explained(
            summary=f"{facts.at} has not heard of it: the entry that tells of it is not in what {facts.at} holds",
            lines=lines,
            next=f"nothing if its link is up: it asks for what it lacks; last heard {facts.last_heard or 'never'}",
        )
    return _unwanted(facts, lines)


def _moving(facts: Facts, moving: Moving, lines: list[str]) -> Explained:
    source = moving.source or facts.origin
    said = f"transfer {moving.id} from {source or 'no source yet'} is {moving.state}"
    if moving.reason:
        said += f" ({moving.reason})"
    lines = [*lines, f"tried {moving.attempts}x{': ' + moving.message if moving.message else ''}"]
    if source is not None and source in facts.down:
        lines.append(f"the link to {source} is down: {facts.down[source]}")
    if moving.state == "parked":
        step = f"{moving.hint}; then `lbctl transfer retry {moving.id}`"
    elif moving.next_try_in_s is not None:
        step = f"nothing: it is tried again in {moving.next_try_in_s:.0f} s"
    else:
        step = "nothing: it is on its way"
    return Explained(summary=f"it is not at {facts.at} yet: {said}", lines=lines, next=step)


def _unwanted(facts: Facts, lines: list[str]) -> Explained:
    if not facts.wishes:
        return Explained(
            summary=f"it is not at {facts.at}: {facts.at} has no subscription",
            lines=lines,
            next=f"at {facts.at}: `lbctl subscription add --from {facts.origin or 'SITE'}`",
        )
    for one in facts.wishes:
        wanted = "wants it" if one.unwanted is None else EXPLAINED[one.unwanted]
        lines = [*lines, f"subscription {one.id} ({one.match} of {one.from_site or 'any site'}): {wanted}"]
    if any(one.unwanted is None for one in facts.wishes):
        return Explained(
            summary=f"it is not at {facts.at} yet, and wanted there", lines=lines, next="nothing: it is planned next"
        )
    reasons = {one.unwanted for one in facts.wishes}
    if reasons <= {Unwanting.NAME_DOES_NOT_MATCH, Unwanting.NOT_FROM_SITE}:
        step = f"at {facts.at}: a subscription that matches, `lbctl subscription add`"
    elif reasons & {Unwanting.NO_SOURCE, Unwanting.SOURCE_DOUBTED, Unwanting.NO_COMMON_ADAPTER}:
        step = "nothing at first: it is looked at again whenever an instance or an offer changes"
    else:
        step = "see the reasons above"
    return Explained(summary=f"it is not at {facts.at}, and not wanted there now", lines=lines, next=step)
