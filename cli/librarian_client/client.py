"""The control API as methods: one for each route, in the structures of :mod:`librarian_protocol.api`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from librarian_client.location import locate
from librarian_client.transport import Query, Transport
from librarian_protocol import api
from librarian_protocol.entries import StoreRole
from librarian_protocol.errors import NotFound

#: Seconds for answers that need no reading of bytes.
TIMEOUT_S = 30.0
PAGE = 1000


class Client:
    """A site's daemon, by its control socket.

    Every method raises :class:`DaemonUnreachable` where no daemon answers, and else whatever error of
    :mod:`librarian_protocol.errors` the daemon answered. Iterators hold their connection open until they are
    exhausted or closed.
    """

    def __init__(
        self,
        socket: str | os.PathLike[str],
        *,
        timeout_s: float = TIMEOUT_S,
        hint: str = "",
        read_socket: str | os.PathLike[str] | None = None,
        reads_only: Callable[[Path], None] = lambda _: None,
    ) -> None:
        """``hint`` is told when no daemon answers.

        Where this user may not open ``socket``, ``read_socket`` is asked, and ``reads_only`` is called once.
        """
        self.timeout_s = timeout_s
        self._transport = Transport(
            Path(socket),
            hint=hint or "start the daemon: lbd --config site.toml",
            read_path=Path(read_socket) if read_socket else None,
            reads_only=reads_only,
        )

    @classmethod
    def from_config(
        cls,
        config: str | os.PathLike[str],
        *,
        timeout_s: float = TIMEOUT_S,
        reads_only: Callable[[Path], None] = lambda _: None,
    ) -> Client:
        """The daemon of a ``site.toml``; ``reads_only`` as in the constructor.

        Raises:
            ConfigInvalid: the file cannot be read.
        """
        location = locate(Path(config))
        return cls(
            location.socket,
            timeout_s=timeout_s,
            hint=f"start it: lbd --config {location.config}",
            read_socket=location.read_socket,
            reads_only=reads_only,
        )

    # ---- the site ----

    def status(self) -> api.Status:
        """How everything is."""
        return self._transport.call("GET", "/status", api.Status, timeout_s=self.timeout_s)

    def doctor(self) -> list[api.DoctorCheck]:
        """What the daemon's own checks found."""
        return self._transport.call("GET", "/doctor", list[api.DoctorCheck], timeout_s=self.timeout_s)

    def stores(self) -> list[api.StoreStatus]:
        """The site's stores."""
        return self._transport.call("GET", "/stores", list[api.StoreStatus], timeout_s=self.timeout_s)

    def show_store(self, store: str) -> api.StoreShown:
        """A store, by id or label, and where each of its values comes from."""
        query = {"store": store}
        return self._transport.call("GET", "/store", api.StoreShown, query=query, timeout_s=self.timeout_s)

    def set_store(self, wanted: api.StoreSet) -> api.StoreShown:
        """Have values of a store count, whatever the configuration says. Idempotent."""
        return self._transport.call("POST", "/store/set", api.StoreShown, body=wanted, timeout_s=self.timeout_s)

    def unset_store(self, store: str) -> api.StoreShown:
        """Have the configuration's values count again. Idempotent."""
        body = api.StoreUnset(store=store)
        return self._transport.call("POST", "/store/unset", api.StoreShown, body=body, timeout_s=self.timeout_s)

    def add_store(self, path: str, label: str, role: StoreRole) -> api.StoreShown:
        """Attach the store of a directory, or make one of an empty directory. Idempotent."""
        body = api.StoreAdd(path=path, label=label, role=role)
        return self._transport.call("POST", "/store/add", api.StoreShown, body=body, timeout_s=None)

    def mark_store(self, path: str, store: str) -> api.StoreMarked:
        """Give a store its marker back, where what stands there looks like it; ``store`` is its id or label."""
        body = api.StoreMark(path=path, store=store)
        return self._transport.call("POST", "/store/mark", api.StoreMarked, body=body, timeout_s=None)

    def retire_store(self, store: str, *, lost: bool = False) -> api.StoreRetired:
        """Have a store count no more; ``lost`` where its bytes are gone. Idempotent."""
        body = api.StoreRetire(store=store, lost=lost)
        return self._transport.call("POST", "/store/retire", api.StoreRetired, body=body, timeout_s=None)

    def scrubs(self) -> list[api.ScrubStatus]:
        """How reading the site's stores again stands."""
        return self._transport.call("GET", "/scrub", list[api.ScrubStatus], timeout_s=self.timeout_s)

    def run_scrub(self, store: str | None = None) -> list[api.ScrubStatus]:
        """Have a store, its id or label, read again now; None: all. Returns which passes do that. Does not wait."""
        body = api.ScrubRun(store=store)
        return self._transport.call("POST", "/scrub/run", list[api.ScrubStatus], body=body, timeout_s=self.timeout_s)

    def thaw_store(self, store: str, reason: str) -> list[api.ScrubStatus]:
        """Have a frozen store, its id or label, count again.

        Raises:
            NotPossible: it is not frozen.
        """
        body = api.StoreThaw(store=store, reason=reason)
        return self._transport.call("POST", "/store/thaw", list[api.ScrubStatus], body=body, timeout_s=self.timeout_s)

    # ---- maintenance ----

    def pauses(self) -> list[api.Pause]:
        """What a person has put off for maintenance."""
        return self._transport.call("GET", "/pauses", list[api.Pause], timeout_s=self.timeout_s)

    def pause(self, pause: api.PauseSet) -> api.Pause:
        """Put something off; in place of a pause of the same thing.

        Raises:
            ArgumentInvalid: it cannot be paused, or not so long.
            NotFound: there is no such site.
        """
        return self._transport.call("POST", "/pauses", api.Pause, body=pause, timeout_s=self.timeout_s)

    def resume(self, what: str) -> api.Pause:
        """End a pause before its time.

        Raises:
            NotFound: it is not paused.
        """
        return self._transport.call("DELETE", "/pauses", api.Pause, query={"what": what}, timeout_s=self.timeout_s)

    # ---- incidents ----

    def incidents(
        self, state: str | None = None, code: str | None = None, *, after: int | None = None, limit: int = PAGE
    ) -> api.IncidentPage:
        """One page of incidents, newest first, behind the id ``after``."""
        query = {"state": state, "code": code, "after": after, "limit": limit}
        return self._transport.call("GET", "/incidents", api.IncidentPage, query=query, timeout_s=self.timeout_s)

    def incident(self, id: int) -> api.Incident:  # noqa: A002 - the word of the API
        """One incident, with what it means and what to do.

        Raises:
            NotFound: there is none of that id.
        """
        return self._transport.call("GET", "/incident", api.Incident, query={"id": id}, timeout_s=self.timeout_s)

    def acknowledge(self, id: int, note: str = "") -> api.Incident:  # noqa: A002 - the word of the API
        """Say that a person has seen it. What has no end of its own is over with that.

        Raises:
            NotFound: there is none of that id.
        """
        body = api.Acknowledge(note=note)
        return self._transport.call(
            "POST", "/incident/ack", api.Incident, query={"id": id}, body=body, timeout_s=self.timeout_s
        )

    def acknowledge_many(self, code: str | None = None, note: str = "") -> int:
        """Say that a person has seen all that are open, or those of one code; how many nobody had seen."""
        body = api.AcknowledgeMany(code=code or "", all=code is None, note=note)
        return self._transport.call(
            "POST", "/incidents/ack", api.Acknowledged, body=body, timeout_s=self.timeout_s
        ).incidents

    # ---- drop directories ----

    def refused(self, cause: str = "", drop: str = "", *, limit: int = 0) -> Iterator[api.Refused]:
        """What stands in ``.rejected``, oldest first; 0 is all.

        Raises:
            NotFound: there is no such drop directory.
        """
        query: Query = {"cause": cause, "drop": drop, "limit": limit}
        return self._transport.lines("/rejected", api.Refused, query=query, timeout_s=None)

    def retry_refused(self, choice: api.RefusedChoice) -> api.RefusedMoved:
        """Drop refused things again, where they were dropped.

        Raises:
            NotFound: an id is unknown; the others were moved.
        """
        return self._transport.call("POST", "/rejected/retry", api.RefusedMoved, body=choice, timeout_s=None)

    def return_refused(self, choice: api.RefusedChoice) -> api.RefusedMoved:
        """Move refused things to the directory ``choice.to``, under the paths by which they were dropped.

        Raises:
            NotFound: an id is unknown; the others were moved.
            ArgumentInvalid: ``to`` is no directory, or lies in a store or a drop directory.
        """
        return self._transport.call("POST", "/rejected/return", api.RefusedMoved, body=choice, timeout_s=None)

    def ignored(self, drop: str = "", *, limit: int = 0) -> Iterator[api.Ignored]:
        """What drop directories pass over, in no order; 0 is all.

        Raises:
            NotFound: there is no such drop directory.
        """
        query: Query = {"drop": drop, "limit": limit}
        return self._transport.lines("/ignored", api.Ignored, query=query, timeout_s=None)

    # ---- the log ----

    def log_level(self) -> api.Level:
        """What the daemon logs: of that level or above."""
        return self._transport.call("GET", "/log", api.LogLevel, timeout_s=self.timeout_s).level

    def set_log_level(self, level: api.Level) -> None:
        """Change it, until the daemon starts anew."""
        body = api.LogLevel(level=level)
        self._transport.call("POST", "/log", api.LogLevel, body=body, timeout_s=self.timeout_s)

    # ---- channels ----

    def channels(self) -> list[api.Channel]:
        """By what people are told of incidents."""
        return self._transport.call("GET", "/channels", list[api.Channel], timeout_s=self.timeout_s)

    def test_channels(self, label: str = "") -> list[api.Channel]:
        """Send a test message by one channel, or by all; ``problem`` says of each why it did not go out.

        Raises:
            NotFound: there is no channel of that label.
        """
        query = {"label": label}
        # Each may take a minute.
        return self._transport.call("POST", "/channels/test", list[api.Channel], query=query, timeout_s=None)

    # ---- files ----

    def files(
        self,
        match: str = "**",
        *,
        after: str | None = None,
        limit: int = PAGE,
        only_here: bool = False,
        at: str | None = None,
        not_at: str | None = None,
        instances: int | None = None,
        bad: bool = False,
    ) -> api.FilePage:
        """One page of the files whose names match, behind the name ``after``.

        ``only_here``: no other site has a good instance; ``at`` and ``not_at``: a site that has one, or has not;
        ``instances``: how many there are; ``bad``: some instance, at any site, was found bad and is not mended yet.
        """
        query = {"match": match, "after": after, "limit": limit, "only_here": "1" if only_here else None}
        query |= {"at": at, "not_at": not_at, "instances": instances, "bad": "1" if bad else None}
        return self._transport.call("GET", "/files", api.FilePage, query=query, timeout_s=self.timeout_s)

    def file(self, name: str) -> api.NameDetail:
        """All that is known of a name.

        Raises:
            NotFound: nothing is.
        """
        return self._transport.call("GET", "/file", api.NameDetail, query={"name": name}, timeout_s=self.timeout_s)

    def withdraw(self, name: str, reason: str, digest: str | None = None) -> api.NameDetail:
        """Say that a file is wanted nowhere, for ever; its holders move its bytes away.

        Raises:
            NotFound: nothing is known of the name.
            NotPossible: this site may not say so.
        """
        body = api.Withdraw(name=name, reason=reason, digest=digest)
        return self._transport.call("POST", "/file/withdraw", api.NameDetail, body=body, timeout_s=self.timeout_s)

    def heal(self, name: str, digest: str | None = None) -> list[api.HealResult]:
        """Read this site's instances of a file whole, and have bad ones replaced.

        Raises:
            NotFound: none stands here.
        """
        body = api.Heal(name=name, digest=digest)
        return self._transport.call("POST", "/file/heal", list[api.HealResult], body=body, timeout_s=None)

    def resolve(self, resolve: api.Resolve) -> api.NameDetail:
        """Decide which file has a name.

        Raises:
            NotFound: there are not two of them.
            NotPossible: this site may not decide.
        """
        return self._transport.call("POST", "/file/resolve", api.NameDetail, body=resolve, timeout_s=self.timeout_s)

    def explain(self, name: str, at: str | None = None) -> list[api.Explanation]:
        """Why every file of that name is, or is not, at a site: this one, or another.

        Raises:
            NotFound: nobody has told of it, or there is no such site.
        """
        query = {"name": name, "at": at}
        return self._transport.call("GET", "/explain", list[api.Explanation], query=query, timeout_s=self.timeout_s)

    def manifest(self, name: str, digest: str | None = None) -> Iterator[bytes]:
        """A book's manifest, byte for byte, by pieces.

        Raises:
            NotFound: no book of that name is here.
        """
        return self._transport.chunks(
            "/file/manifest", query={"name": name, "digest": digest}, timeout_s=self.timeout_s
        )

    def verify(self, name: str, digest: str | None = None) -> list[api.VerifyResult]:
        """Have the daemon read every local instance again. It waits as long as that takes."""
        return self._transport.call(
            "POST",
            "/file/verify",
            list[api.VerifyResult],
            query={"name": name, "digest": digest},
            timeout_s=None,
        )

    def verify_everywhere(self, match: str, *, fresh: bool = False) -> api.EverywhereVerified:
        """Ask every holder of the files whose names match how its instances stand. Does not wait for the answers.

        Raises:
            NotFound: nobody holds such a file.
            ArgumentInvalid: too many instances match.
        """
        body = api.VerifyEverywhere(match=match, fresh=fresh)
        return self._transport.call(
            "POST", "/file/verify/everywhere", api.EverywhereVerified, body=body, timeout_s=self.timeout_s
        )

    def verified_everywhere(self, inquiry: str) -> api.EverywhereVerified:
        """What was answered so far.

        Raises:
            NotFound: the inquiry is not known any more.
        """
        query = {"inquiry": inquiry}
        return self._transport.call(
            "GET", "/file/verify/everywhere", api.EverywhereVerified, query=query, timeout_s=self.timeout_s
        )

    def reconcile(self, *, all_of_it: bool = False) -> list[api.Reconciled]:
        """Have the stores held against the catalog now. It waits as long as that takes."""
        query = {"all": int(all_of_it)}
        return self._transport.call("POST", "/reconcile", list[api.Reconciled], query=query, timeout_s=None)

    def recovery(self) -> api.Recovering:
        """How the recovery of the catalog stands."""
        return self._transport.call("GET", "/recovery", api.Recovering, timeout_s=self.timeout_s)

    def recover_alone(self) -> api.Recovering:
        """Say that no other site holds anything of this one."""
        return self._transport.call("POST", "/recovery/alone", api.Recovering, timeout_s=self.timeout_s)

    # ---- giving up ----

    def evict(self, asked: api.Evict) -> api.Evicted:
        """Give up an instance by hand: others are asked, and it goes to trash.

        Raises:
            NotFound: that store has no such instance.
        """
        return self._transport.call("POST", "/file/evict", api.Evicted, body=asked, timeout_s=None)

    def retention(self) -> list[api.RetentionRule]:
        """The retention rules of this site."""
        return self._transport.call("GET", "/retention", list[api.RetentionRule], timeout_s=self.timeout_s)

    def run_retention(self) -> list[api.RetentionRule]:
        """Begin a pass of every retention rule now.

        Raises:
            NotPossible: there is none.
        """
        return self._transport.call("POST", "/retention/run", list[api.RetentionRule], timeout_s=self.timeout_s)

    def retention_plan(
        self,
        *,
        store: str | None = None,
        match: str | None = None,
        age: str | None = None,
        allow_archive: bool = False,
        limit: int = 0,
    ) -> Iterator[api.Plan]:
        """What would be given up, by rows alone, in pages; with ``match`` or ``age`` in place of the site's rules."""
        query = {"store": store, "match": match, "age": age, "allow_archive": "1" if allow_archive else None}
        after: str | None = None
        while True:
            plan = self._transport.call(
                "GET",
                "/retention/plan",
                api.Plan,
                query={**query, "after": after, "limit": str(limit)},
                timeout_s=self.timeout_s,
            )
            yield plan
            after = plan.next
            if after is None:
                return

    def trash(self, store: str | None = None) -> Iterator[list[api.Trashed]]:
        """What stands in trash, in pages."""
        after: str | None = None
        while True:
            page = self._transport.call(
                "GET", "/trash", api.TrashPage, query={"store": store, "after": after}, timeout_s=self.timeout_s
            )
            yield page.items
            after = page.next
            if after is None:
                return

    def restore(self, name: str) -> list[api.Trashed]:
        """Put a file back from trash.

        Raises:
            NotFound: it is not in trash.
            NotPossible: something else stands at its name.
        """
        return self._transport.call(
            "POST", "/trash/restore", list[api.Trashed], body=api.Restore(name=name), timeout_s=None
        )

    # ---- rules of the mesh ----

    def keeps(self) -> list[api.KeepRule]:
        """The keep rules that count, of all sites."""
        return self._transport.call("GET", "/keeps", list[api.KeepRule], timeout_s=self.timeout_s)

    def declare_keep(self, rule: api.KeepAdd) -> api.KeepRule:
        """Declare a keep rule.

        Raises:
            NotPossible: this site may not, or such a rule counts already.
        """
        return self._transport.call("POST", "/keeps", api.KeepRule, body=rule, timeout_s=self.timeout_s)

    def withdraw_keep(self, id: str, reason: str) -> api.KeepRule:  # noqa: A002 - the word of the API
        """End a keep rule, whoever declared it.

        Raises:
            NotFound: no such rule counts.
        """
        query = {"id": id, "reason": reason}
        return self._transport.call("DELETE", "/keeps", api.KeepRule, query=query, timeout_s=self.timeout_s)

    def holds(self) -> list[api.HoldRule]:
        """The holds that are not withdrawn, of all sites."""
        return self._transport.call("GET", "/holds", list[api.HoldRule], timeout_s=self.timeout_s)

    def declare_hold(self, rule: api.HoldAdd) -> api.HoldRule:
        """Declare a hold.

        Raises:
            NotPossible: this site may not, or there is such a hold already.
        """
        return self._transport.call("POST", "/holds", api.HoldRule, body=rule, timeout_s=self.timeout_s)

    def withdraw_hold(self, id: str, reason: str) -> api.HoldRule:  # noqa: A002 - the word of the API
        """End a hold, whoever declared it.

        Raises:
            NotFound: there is no such hold.
        """
        query = {"id": id, "reason": reason}
        return self._transport.call("DELETE", "/holds", api.HoldRule, query=query, timeout_s=self.timeout_s)

    # ---- transfers, subscriptions ----

    def transfers(self, state: str | None = None, *, after: int | None = None, limit: int = PAGE) -> api.TransferPage:
        """One page of transfers, newest first, behind the id ``after``."""
        query = {"state": state, "after": after, "limit": limit}
        return self._transport.call("GET", "/transfers", api.TransferPage, query=query, timeout_s=self.timeout_s)

    def transfer(self, id: int) -> api.FileTransfer:  # noqa: A002 - the word of the API
        """One transfer.

        Raises:
            NotFound: there is none of that id.
        """
        return self._transport.call("GET", "/transfer", api.FileTransfer, query={"id": id}, timeout_s=self.timeout_s)

    def add_transfer(self, transfer: api.TransferAdd) -> api.FileTransfer:
        """Fetch one file, once."""
        return self._transport.call("POST", "/transfers", api.FileTransfer, body=transfer, timeout_s=self.timeout_s)

    def retry(self, id: int) -> list[api.FileTransfer]:  # noqa: A002 - the word of the API
        """Try a waiting or parked transfer now."""
        return self._transport.call(
            "POST", "/transfer/retry", list[api.FileTransfer], query={"id": id}, timeout_s=self.timeout_s
        )

    def ask_transfer(self, verb: str, id: int | None) -> list[api.FileTransfer]:  # noqa: A002 - the word of the API
        """``cancel``, ``pause`` or ``resume`` a transfer; None: all that can be.

        Raises:
            ArgumentInvalid: it is in a state in which that means nothing.
        """
        query = {"all": 1} if id is None else {"id": id}
        return self._transport.call(
            "POST", f"/transfer/{verb}", list[api.FileTransfer], query=query, timeout_s=self.timeout_s
        )

    def prioritise(self, id: int, priority: int) -> list[api.FileTransfer]:  # noqa: A002 - the word of the API
        """Have a transfer go before or after others of its source.

        Raises:
            ArgumentInvalid: the priority is beyond -100 and 100, or the transfer is over.
        """
        return self._transport.call(
            "POST",
            "/transfer/priority",
            list[api.FileTransfer],
            query={"id": id, "to": priority},
            timeout_s=self.timeout_s,
        )

    def retry_all(self, reason: str | None = None) -> list[api.FileTransfer]:
        """Try every parked transfer now, or those of one reason."""
        query = {"all": 1, "reason": reason}
        return self._transport.call(
            "POST", "/transfer/retry", list[api.FileTransfer], query=query, timeout_s=self.timeout_s
        )

    def subscriptions(self) -> list[api.Subscription]:
        """Every subscription known here, other sites' included."""
        return self._transport.call("GET", "/subscriptions", list[api.Subscription], timeout_s=self.timeout_s)

    def subscribe(self, subscription: api.SubscriptionAdd) -> api.Subscription:
        """Declare a subscription of this site."""
        return self._transport.call(
            "POST", "/subscriptions", api.Subscription, body=subscription, timeout_s=self.timeout_s
        )

    def unsubscribe(self, id: str) -> api.Subscription:  # noqa: A002 - the word of the API
        """Withdraw a subscription of this site; nothing that it brought is deleted."""
        return self._transport.call(
            "DELETE", "/subscriptions", api.Subscription, query={"id": id}, timeout_s=self.timeout_s
        )

    # ---- the mesh ----

    def sites(self) -> list[api.Site]:
        """The roster."""
        return self._transport.call("GET", "/sites", list[api.Site], timeout_s=self.timeout_s)

    def invite(self, terms: api.InviteTerms | None = None) -> api.Invite:
        """A new invite token, good once; ``terms`` are what the newcomer will be."""
        return self._transport.call(
            "POST", "/invite", api.Invite, body=terms or api.InviteTerms(), timeout_s=self.timeout_s
        )

    def pending(self) -> list[api.PendingJoin]:
        """Newcomers that wait for a person."""
        return self._transport.call("GET", "/pending", list[api.PendingJoin], timeout_s=self.timeout_s)

    def confirm(self, site: str, fingerprint: str) -> api.PendingJoin:
        """A person has compared the newcomer's fingerprint.

        Raises:
            NotFound: it does not wait.
            NotPossible: its fingerprint is another.
        """
        body = api.PendingJoin(site=site, key="", fingerprint=fingerprint)
        return self._transport.call("POST", "/confirm", api.PendingJoin, body=body, timeout_s=self.timeout_s)

    def change_site(self, change: api.SiteChange) -> list[api.Site]:
        """State a site's admission anew."""
        return self._transport.call("POST", "/site", list[api.Site], body=change, timeout_s=self.timeout_s)

    def site_tips(self, site: str) -> list[api.SiteTip]:
        """The ends of a site's journal that count here."""
        return self._transport.call(
            "GET", "/site/tips", list[api.SiteTip], query={"site": site}, timeout_s=self.timeout_s
        )

    def revoke_site(self, end: api.SiteEnd) -> list[api.Site]:
        """Take a site out of the mesh."""
        return self._transport.call("POST", "/site/revoke", list[api.Site], body=end, timeout_s=self.timeout_s)

    def readmit_site(self, end: api.SiteEnd) -> list[api.Site]:
        """Take a site in again."""
        return self._transport.call("POST", "/site/readmit", list[api.Site], body=end, timeout_s=self.timeout_s)

    def publish_statement(self, statement: api.Statement) -> list[api.Site]:
        """Say what the administrator signed."""
        return self._transport.call("POST", "/statement", list[api.Site], body=statement, timeout_s=self.timeout_s)

    def offers(self) -> list[api.Offer]:
        """What each peer may be given here."""
        return self._transport.call("GET", "/offers", list[api.Offer], timeout_s=self.timeout_s)

    def set_offer(self, peer: str, globs: list[str]) -> list[api.Offer]:
        """Set what a peer may be given; none: as its access says.

        Raises:
            NotFound: it is not in the roster.
        """
        body = api.Offer(peer=peer, globs=globs)
        return self._transport.call("POST", "/offers", list[api.Offer], body=body, timeout_s=self.timeout_s)

    def bus_config(self) -> Iterator[bytes]:
        """The configuration of this site's own bus server, secrets left out.

        Raises:
            NotFound: it has none.
        """
        return self._transport.chunks("/bus/config", query={}, timeout_s=self.timeout_s)

    def join(self, token: str) -> api.JoinState:
        """Ask to be admitted to the mesh of a token."""
        return self._transport.call(
            "POST", "/join", api.JoinState, body=api.Join(token=token), timeout_s=self.timeout_s
        )

    def join_state(self) -> api.JoinState | None:
        """How the join stands; None where none was begun."""
        try:
            return self._transport.call("GET", "/join", api.JoinState, timeout_s=self.timeout_s)
        except NotFound:
            return None

    # ---- the journal ----

    def events(
        self,
        *,
        site: str | None = None,
        kind: str | None = None,
        after: int | None = None,
        limit: int | None = None,
        follow: bool = False,
    ) -> Iterator[api.Event]:
        """Journal entries behind the position ``after`` (-1: from now on). With ``follow`` it does not end."""
        query = {"site": site, "kind": kind, "after": after, "limit": limit, "follow": int(follow)}
        timeout_s = None if follow else self.timeout_s
        return self._transport.lines("/events", api.Event, query=query, timeout_s=timeout_s)

    def verify_journals(self, site: str | None = None) -> Iterator[api.JournalReport]:
        """Have every journal held here checked again, or one site's; reports come as each is done."""
        return self._transport.lines("/events/verify", api.JournalReport, query={"site": site}, timeout_s=None)

    def export_begin(self) -> str:
        """The first line of an exported file."""
        return self._transport.call("POST", "/journal/begin", api.ExportLine, timeout_s=self.timeout_s).line

    def export_end(self, seal: api.ExportSeal) -> str:
        """The last line, signed by this site."""
        return self._transport.call("POST", "/journal/seal", api.ExportLine, body=seal, timeout_s=self.timeout_s).line

    def journal(self, after: str | None = None, site: str | None = None) -> api.JournalPage:
        """One page of the segments held here, or of one site's."""
        query = {"after": after, "site": site}
        return self._transport.call("GET", "/journal", api.JournalPage, query=query, timeout_s=self.timeout_s)

    def take_journal(self, records: list[api.JournalRecord]) -> api.JournalTaken:
        """Have segments believed, judged and applied, as if they had come over the bus."""
        body = api.JournalRecords(records=records)
        return self._transport.call("POST", "/journal", api.JournalTaken, body=body, timeout_s=None)
