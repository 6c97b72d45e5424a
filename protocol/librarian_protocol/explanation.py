"""Why a file is, or is not, at a site: from facts to plain words and the next step (``lbctl explain``). Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from librarian_protocol.names import SiteName
from librarian_protocol.rules import Hold, Keep, in_words
from librarian_protocol.wanted import EXPLAINED, InstanceState, UnwantedReason


class InstanceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one instance."""

    site: SiteName
    label: str
    #: ``available``, ``suspected``, ``removed``; ``revoked`` where it counts nowhere since its site does not.
    state: str
    doubted: bool
    detail: str = ""


class SubscriptionReport(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription of the site, and what it says of the file: None where it wants it."""

    id: str
    match: str
    from_site: SiteName | None
    unwanted: UnwantedReason | None


class TransferReport(msgspec.Struct, frozen=True, kw_only=True):
    """The transfer into the site."""

    id: int
    state: str
    reason: str | None
    message: str
    hint: str
    attempts: int
    source: SiteName | None
    next_try_in_s: float | None
    #: What it waits for where it is wanted: a named reason, and in words.
    waits_for: str = ""


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
    instances: Sequence[InstanceReport]
    subscriptions: Sequence[SubscriptionReport]
    transfer: TransferReport | None = None
    #: Links of this site that are down, and why.
    down: dict[SiteName, str] = {}
    #: For another site: whether it holds the journal entry that tells of the file; None where it never told.
    told: bool | None = None
    last_heard: str | None = None
    #: What recovery waits for at this site; empty where there is none.
    recovery: Sequence[str] = ()
    #: Rules of the mesh that match the name and count now.
    rules: Sequence[Keep | Hold] = ()


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """In words."""

    summary: str
    lines: Sequence[str]
    next: str


#: Reasons that lie in what the subscription says.
_OF_THE_RULE = {
    UnwantedReason.NAME_DOES_NOT_MATCH,
    UnwantedReason.LARGER_THAN_WANTED,
    UnwantedReason.NOT_FROM_SITE,
}
#: States of transfers that no longer bring anything.
_ENDED = frozenset({"stored", "cancelled"})


def explain(facts: Facts) -> Explained:
    """Say it."""
    lines = [_origin(facts), *_elsewhere(facts), *_ruled(facts)]
    if facts.recovery:
        lines.append(f"{facts.here} recovers its catalog: {'; '.join(facts.recovery)}")
    mine = [
        instance
        for instance in facts.instances
        if instance.site == facts.at and instance.state != InstanceState.REMOVED
    ]
    if any(instance.state == "revoked" for instance in mine):
        return Explained(
            summary=f"{facts.at} is of the mesh no more: what it holds counts nowhere", lines=lines, next="nothing"
        )
    if any(instance.state == InstanceState.AVAILABLE and not instance.doubted for instance in mine):
        aside = facts.kept is not None and facts.kept != facts.digest
        summary = f"it is at {facts.at}, set aside: {facts.kept} has the name" if aside else f"it is at {facts.at}"
        return Explained(summary=summary, lines=lines, next="nothing")
    if mine and facts.at == facts.here and facts.transfer is not None and facts.transfer.state not in _ENDED:
        said = _transfer(facts, facts.transfer, lines)
        return msgspec.structs.replace(said, summary=f"{_unwell(facts, mine[0], lines).summary}; it is fetched again")
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
    if facts.transfer is not None and facts.transfer.state not in _ENDED:
        return _transfer(facts, facts.transfer, lines)
    return _unwanted(facts, lines)


def _origin(facts: Facts) -> str:
    if facts.origin is None:
        return "nobody has said yet that it was ingested; only instances of it were told of"
    return f"it was ingested at {facts.origin}"


def _elsewhere(facts: Facts) -> list[str]:
    found: list[str] = []
    for instance in facts.instances:
        state = "doubted: somebody received wrong bytes" if instance.doubted else instance.state
        if instance.state == "revoked":
            state = "revoked: it counts nowhere"
        elif instance.site in facts.down:
            state += f"; {instance.site} is not heard: {facts.down[instance.site]}"
        detail = f" ({instance.detail})" if instance.detail else ""
        found.append(f"{instance.site}, store {instance.label}: {state}{detail}")
    return found or ["no instance of it is known anywhere"]


def _ruled(facts: Facts) -> list[str]:
    """Nothing is evicted yet: what the rules will bind."""
    found: list[str] = []
    for rule in facts.rules:
        noun, why = "keep" if isinstance(rule, Keep) else "hold", f" ({rule.reason})" if rule.reason else ""
        found.append(f"{noun} rule of {rule.id.site} for {rule.match}: {in_words(rule)}{why}")
    return found


def _unwell(facts: Facts, instance: InstanceReport, lines: list[str]) -> Explained:
    if instance.state == "suspected":
        good = [other for other in facts.instances if other.site != facts.at and other.state == InstanceState.AVAILABLE]
        step = (
            f"nothing: {facts.at} fetches it again from {good[0].site} by itself; look at its disk"
            if good
            else f"no site has a good one: at {facts.at}, `lbctl file heal NAME`, then drop good bytes under the name"
        )
        return Explained(
            summary=f"its instance at {facts.at} is suspected: {instance.detail}",
            lines=lines,
            next=step,
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


def _transfer(facts: Facts, transfer: TransferReport, lines: list[str]) -> Explained:
    source = transfer.source or facts.origin
    whom = source or ("whoever has it" if transfer.waits_for else "no source yet")
    said = f"transfer {transfer.id} from {whom} is {transfer.state}"
    if transfer.reason:
        said += f" ({transfer.reason})"
    lines = [*lines, f"tried {transfer.attempts}x{': ' + transfer.message if transfer.message else ''}"]
    if transfer.waits_for:
        lines.append(f"it waits for: {transfer.waits_for}")
    if source is not None and source in facts.down:
        lines.append(f"the link to {source} is down: {facts.down[source]}")
    if transfer.state == "parked":
        step = f"{transfer.hint}; then `lbctl transfer retry {transfer.id}`"
    elif transfer.next_try_in_s is not None:
        step = f"nothing: it is tried again in {transfer.next_try_in_s:.0f} s"
    elif transfer.waits_for.startswith("paused: "):
        step = "nothing: it goes on when the pause is over; before that, `lbctl resume` at this site"
    else:
        step = "nothing: it is on its way"
    return Explained(summary=f"it is not at {facts.at} yet: {said}", lines=lines, next=step)


def _unwanted(facts: Facts, lines: list[str]) -> Explained:
    if not facts.subscriptions:
        return Explained(
            summary=f"it is not at {facts.at}: {facts.at} has no subscription",
            lines=lines,
            next=f"at {facts.at}: `lbctl subscription add --from {facts.origin or 'SITE'}`",
        )
    for subscription in facts.subscriptions:
        wanted = "wants it" if subscription.unwanted is None else EXPLAINED[subscription.unwanted]
        about = f"{subscription.match} of {subscription.from_site or 'any site'}"
        lines = [*lines, f"subscription {subscription.id} ({about}): {wanted}"]
    if any(subscription.unwanted is None for subscription in facts.subscriptions):
        return Explained(
            summary=f"it is not at {facts.at} yet, and wanted there", lines=lines, next="nothing: it is planned next"
        )
    reasons = {subscription.unwanted for subscription in facts.subscriptions}
    if reasons <= _OF_THE_RULE:
        step = f"at {facts.at}: a subscription that matches, `lbctl subscription add`"
    elif reasons & {UnwantedReason.NO_SOURCE, UnwantedReason.SOURCE_DOUBTED, UnwantedReason.NO_COMMON_ADAPTER}:
        step = "nothing at first: it is looked at again whenever an instance or an offer changes"
    else:
        step = "see the reasons above"
    return Explained(summary=f"it is not at {facts.at}, and not wanted there now", lines=lines, next=step)
