"""Decides whether a file is wanted here, by a subscription, and from which site. Pure (docs/architecture.md).

The answer is ``Want`` with the sources in the order in which to try them, or ``Unwanted`` with a reason from
a closed list, which is what the operator is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache

import msgspec

from librarian_protocol import globs
from librarian_protocol.digests import Digest
from librarian_protocol.entries import USUAL_PRIORITY, AdapterOffer, Dial, Unit
from librarian_protocol.names import Name, SiteName


class UnwantedReason(StrEnum):
    """Why a subscription does not want a file now."""

    NAME_DOES_NOT_MATCH = "name-does-not-match"
    LARGER_THAN_WANTED = "larger-than-wanted"
    OLDER_THAN_WANTED = "older-than-wanted"
    NOT_FROM_SITE = "not-from-site"
    WITHDRAWN = "withdrawn"
    CONFLICT = "conflict"
    SET_ASIDE = "set-aside"
    NAME_NOT_FREE = "name-not-free"
    PRESENT = "present"
    SUSPECTED_HERE = "suspected-here"
    EVICTED_HERE = "evicted-here"
    NO_ACTIVE_STORE = "no-active-store"
    NO_SOURCE = "no-source"
    NO_OTHER_STORE = "no-other-store"
    SOURCE_DOUBTED = "source-doubted"
    NO_COMMON_ADAPTER = "no-common-adapter"


EXPLAINED: dict[UnwantedReason, str] = {
    UnwantedReason.NAME_DOES_NOT_MATCH: "the subscription's glob does not match the name",
    UnwantedReason.LARGER_THAN_WANTED: "it is larger than the subscription takes",
    UnwantedReason.OLDER_THAN_WANTED: "it was ingested longer ago than the subscription takes",
    UnwantedReason.NOT_FROM_SITE: "the subscription's site neither ingested nor holds it",
    UnwantedReason.WITHDRAWN: "an administrator withdrew it",
    UnwantedReason.CONFLICT: "other bytes stand under the same name; both stay until it is resolved",
    UnwantedReason.SET_ASIDE: "another file was decided to have this name",
    UnwantedReason.NAME_NOT_FREE: "the file that had the name here is being set aside",
    UnwantedReason.PRESENT: "a good instance stands in a store of the subscription",
    UnwantedReason.SUSPECTED_HERE: "the instance here is suspected, and its store is not active",
    UnwantedReason.EVICTED_HERE: "it was evicted here by policy",
    UnwantedReason.NO_ACTIVE_STORE: "none of the subscription's stores is active",
    UnwantedReason.NO_SOURCE: "no admitted site holds a good instance now",
    UnwantedReason.NO_OTHER_STORE: "no other store of this site holds a good instance now",
    UnwantedReason.SOURCE_DOUBTED: "every other instance is doubted, and its owner has not answered yet",
    UnwantedReason.NO_COMMON_ADAPTER: "no holder offers an adapter that this site has",
}


class InstanceState(StrEnum):
    """What the owner says of an instance."""

    AVAILABLE = "available"
    SUSPECTED = "suspected"
    REMOVED = "removed"


class FileFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a file, whoever holds it."""

    name: Name
    digest: Digest
    size_bytes: int
    unit: Unit
    #: The ingesting site; None while only instances of it were heard of.
    origin: SiteName | None
    withdrawn: bool
    conflict: bool
    #: Another file was decided to have its name.
    set_aside: bool = False
    #: This one was decided to have it, and here the other one's bytes still stand there.
    occupied: bool = False
    #: As its origin says; "" while that is not known.
    ingested_at: str = ""


class InstanceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one instance. Instances at sites that are not admitted are not given."""

    site: SiteName
    store: str
    state: InstanceState
    #: A site's doubt about it is not answered yet.
    doubted: bool


class SubscriptionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A rule at this site."""

    id: str
    from_site: SiteName | None
    match: str
    into: Sequence[str]
    #: Files that were heard of up to this row are none of its business.
    after_file: int = 0
    #: Larger files are none of its business either; None: there is no limit.
    max_bytes: int | None = None
    #: Files that were ingested so many seconds ago, or longer, are none either; None: whatever their age.
    newest_s: int | None = None
    #: 9 is fetched first.
    priority: int = USUAL_PRIORITY

    def takes(self, name: Name, size_bytes: int, ingested_at: str, now_s: int) -> bool:
        """Whether a file is of its business, by its name, its size and its age."""
        return (
            self.is_small_enough(size_bytes)
            and self.is_new_enough(ingested_at, now_s)
            and globs.matches(self.match, name)
        )

    def is_new_enough(self, ingested_at: str, now_s: int) -> bool:
        """Whether a file is not too old, at ``now_s`` seconds since 1970. One of unknown age is not."""
        if self.newest_s is None or not ingested_at:
            return True
        return ingested_at[:_TO_SECONDS] > _text_of(now_s - self.newest_s)

    def is_small_enough(self, size_bytes: int) -> bool:
        """Whether a file is not beyond its limit."""
        return self.max_bytes is None or size_bytes <= self.max_bytes


#: Characters of a time up to its seconds: texts of times are ordered as the times are.
_TO_SECONDS = len("2026-01-02T03:04:05")


@lru_cache(maxsize=16)
def _text_of(unix_s: int) -> str:
    return datetime.fromtimestamp(max(unix_s, 0), UTC).strftime("%Y-%m-%dT%H:%M:%S")


def healing(file: FileFacts, instances: Sequence[InstanceFacts], site: SiteName) -> list[SubscriptionFacts]:
    """What a site wants of a file regardless of its subscriptions: good bytes in place of its own bad ones."""
    bad = [
        instance.store for instance in instances if instance.site == site and instance.state is InstanceState.SUSPECTED
    ]
    return [SubscriptionFacts(id=HEAL, from_site=None, match=globs.literal(file.name), into=[store]) for store in bad]


#: In place of a subscription's id: what a person wants once; good bytes in place of bad ones.
ONE_OFF = "one-off"
HEAL = "heal"


class Here(msgspec.Struct, frozen=True, kw_only=True):
    """This site, as far as the decision needs it."""

    site: SiteName
    #: Stores that are declared and active.
    active_stores: frozenset[str]
    #: Adapters this site has, in its order of preference.
    adapters: Sequence[str]
    #: What the other sites offer.
    offers: Mapping[SiteName, Sequence[AdapterOffer]]
    #: Whether other sites can dial this one, so that a source that nobody can dial may push.
    dialable: bool = True
    #: Seconds since 1970; 0 where no file is too old.
    now_s: int = 0


class Source(msgspec.Struct, frozen=True):
    """One way to get the file: from whom, by which adapter."""

    site: SiteName
    store: str
    offer: AdapterOffer


class Want(msgspec.Struct, frozen=True):
    """It is wanted into ``store``, from the first source that works.

    ``others``: stores that will do as well, if that one cannot take it (``store_choice.py``).
    """

    store: str
    sources: Sequence[Source]
    others: Sequence[str] = ()


class Unwanted(msgspec.Struct, frozen=True):
    """It is not wanted now."""

    reason: UnwantedReason


def common_adapters(
    mine: Sequence[str], theirs: Sequence[AdapterOffer], *, dialable: bool = True
) -> list[AdapterOffer]:
    """What they offer of ours, in our order: what we can dial, then, where they can dial us, what they push by."""
    offers = [offer for name in mine for offer in theirs if offer.name == name]
    dialled = [offer for offer in offers if offer.dial is not Dial.SOURCE]
    return dialled + [offer for offer in offers if dialable and offer.dial is Dial.SOURCE]


def sources(
    instances: Sequence[InstanceFacts], here: Here, *, first: SiteName | None, unit: Unit = Unit.FILE
) -> Sequence[Source] | UnwantedReason:
    """Ways to pull it, by adapters in our order, of each ``first`` first, then by name; or why there are none.

    Where every instance of a book is bad, this site's as well, others may have good members in place of its bad ones.
    """
    states = [InstanceState.AVAILABLE]
    if unit is Unit.BOOK and any(
        instance.site == here.site and instance.state is InstanceState.SUSPECTED for instance in instances
    ):
        states.append(InstanceState.SUSPECTED)
    elsewhere: list[InstanceFacts] = []
    for state in states:
        if not elsewhere:
            elsewhere = [instance for instance in instances if instance.site != here.site and instance.state is state]
    if not elsewhere:
        return UnwantedReason.NO_SOURCE
    trusted = [instance for instance in elsewhere if not instance.doubted]
    if not trusted:
        return UnwantedReason.SOURCE_DOUBTED
    found = [
        Source(instance.site, instance.store, offer)
        for instance in sorted(trusted, key=lambda instance: (instance.site != first, instance.site, instance.store))
        for offer in common_adapters(here.adapters, here.offers.get(instance.site, ()), dialable=here.dialable)
    ]
    found.sort(key=lambda way: (way.offer.dial is Dial.SOURCE, here.adapters.index(way.offer.name)))
    return found or UnwantedReason.NO_COMMON_ADAPTER


#: How an instance comes from another store of the same site.
LOCAL = AdapterOffer(name="local", version=1, address="", dial=Dial.EITHER)


def local_sources(instances: Sequence[InstanceFacts], site: SiteName) -> Sequence[Source] | UnwantedReason:
    """Ways to bring it from another store of the site, by store; or why there are none."""
    mine = [instance for instance in instances if instance.site == site and instance.state is InstanceState.AVAILABLE]
    if not mine:
        return UnwantedReason.NO_OTHER_STORE
    trusted = sorted(instance.store for instance in mine if not instance.doubted)
    return [Source(site, store, LOCAL) for store in trusted] or UnwantedReason.SOURCE_DOUBTED


def wanted(
    file: FileFacts, subscription: SubscriptionFacts, instances: Sequence[InstanceFacts], here: Here
) -> Want | Unwanted:
    """Decide for one subscription and one file."""
    if not globs.matches(subscription.match, file.name):
        return Unwanted(UnwantedReason.NAME_DOES_NOT_MATCH)
    if not subscription.is_small_enough(file.size_bytes):
        return Unwanted(UnwantedReason.LARGER_THAN_WANTED)
    if not subscription.is_new_enough(file.ingested_at, here.now_s):
        return Unwanted(UnwantedReason.OLDER_THAN_WANTED)
    wish = subscription.from_site
    holders = {instance.site for instance in instances if instance.state is not InstanceState.REMOVED}
    if wish is not None and wish != file.origin and wish not in holders:
        return Unwanted(UnwantedReason.NOT_FROM_SITE)
    if file.withdrawn:
        return Unwanted(UnwantedReason.WITHDRAWN)
    if file.conflict:
        return Unwanted(UnwantedReason.CONFLICT)
    if file.set_aside:
        return Unwanted(UnwantedReason.SET_ASIDE)
    states = {
        instance.store: instance.state
        for instance in instances
        if instance.site == here.site and instance.store in subscription.into
    }
    if InstanceState.AVAILABLE in states.values():
        return Unwanted(UnwantedReason.PRESENT)
    bad = [store_id for store_id in subscription.into if states.get(store_id) is InstanceState.SUSPECTED]
    # What was given up here comes back when a person asks for it once, and by itself never.
    if not bad and InstanceState.REMOVED in states.values() and subscription.id != ONE_OFF:
        return Unwanted(UnwantedReason.EVICTED_HERE)
    if file.occupied:
        return Unwanted(UnwantedReason.NAME_NOT_FREE)
    # A bad instance is healed: good bytes come to where it stands, and nowhere beside.
    stores = [store_id for store_id in bad or subscription.into if store_id in here.active_stores]
    if not stores:
        return Unwanted(UnwantedReason.SUSPECTED_HERE if bad else UnwantedReason.NO_ACTIVE_STORE)
    local = wish == here.site
    found = local_sources(instances, here.site) if local else sources(instances, here, first=wish, unit=file.unit)
    if isinstance(found, UnwantedReason):
        return Unwanted(found)
    return Want(stores[0], found, others=tuple(stores[1:]))
