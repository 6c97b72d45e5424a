"""Why an instance is not given up, and why a store does not vouch: closed lists, with words for people."""

from __future__ import annotations

from enum import StrEnum


class Refusal(StrEnum):
    """Why an instance is not given up."""

    NOT_ENOUGH_INSTANCES = "not-enough-instances"
    LAST_INSTANCE = "last-instance"
    HELD = "held"
    IN_CONFLICT = "in-conflict"
    SUSPECTED_ELSEWHERE = "suspected-elsewhere"
    ROLE_FORBIDS = "role-forbids"
    NEEDS_ARCHIVE = "needs-archive"
    BEING_READ = "being-read"
    LEASED = "leased"
    IN_QUARANTINE = "in-quarantine"
    FROZEN = "frozen"
    UNKNOWN_RULES = "unknown-rules"
    TOO_DEAR = "too-dear"


EXPLAINED: dict[Refusal, str] = {
    Refusal.NOT_ENOUGH_INSTANCES: "too few other stores vouch for it, or they stand in too few failure domains",
    Refusal.LAST_INSTANCE: "no other store vouches for it: this may be the last good instance",
    Refusal.HELD: "a hold matches its name",
    Refusal.IN_CONFLICT: "other bytes stand under the same name; all of them stay until it is resolved",
    Refusal.SUSPECTED_ELSEWHERE: "it would be enough if instances elsewhere were not suspected; they are mended first",
    Refusal.ROLE_FORBIDS: "the store is an archive, and no rule allows to evict from it",
    Refusal.NEEDS_ARCHIVE: "one of the instances that are left must stand in an archive",
    Refusal.BEING_READ: "it is being read here",
    Refusal.LEASED: "a lease on it has not ended",
    Refusal.IN_QUARANTINE: "this site's catalog was restored or lost, and is not whole again",
    Refusal.FROZEN: "too many bad instances were found in the store; a person must look at it",
    Refusal.UNKNOWN_RULES: "a site that may set rules has set one of a kind that this software does not know",
    Refusal.TOO_DEAR: "others would have to read more for it than is allowed",
}


class Declined(StrEnum):
    """Why a store does not vouch for its instance."""

    NOT_HELD = "not-held"
    GIVEN_UP = "given-up"
    SUSPECTED = "suspected"
    NOT_THERE = "not-there"
    INACTIVE = "inactive"
    ROLE = "role"
    ACCESS = "access"
    WITHDRAWN = "withdrawn"
    HELD = "held"
    IN_CONFLICT = "in-conflict"
    IN_QUARANTINE = "in-quarantine"
    FROZEN = "frozen"


WHY_DECLINED: dict[Declined, str] = {
    Declined.NOT_HELD: "it holds no instance",
    Declined.GIVEN_UP: "it is giving up its own instance",
    Declined.SUSPECTED: "its instance is suspected or doubted, and is to be mended or read again",
    Declined.NOT_THERE: "the name does not open there, or has another size",
    Declined.INACTIVE: "its store is not active",
    Declined.ROLE: "instances in a store of that role do not count",
    Declined.ACCESS: "only sites of full access vouch",
    Declined.WITHDRAWN: "an administrator withdrew the file",
    Declined.HELD: "it knows of a hold that matches",
    Declined.IN_CONFLICT: "it knows of other bytes under the same name",
    Declined.IN_QUARANTINE: "its catalog was restored or lost, and is not whole again",
    Declined.FROZEN: "too many bad instances were found in its store",
}

#: What one voucher knows binds, however many others vouch.
BINDING: dict[Declined, Refusal] = {
    Declined.HELD: Refusal.HELD,
    Declined.IN_CONFLICT: Refusal.IN_CONFLICT,
}
