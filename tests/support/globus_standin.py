"""A stand-in for the Globus services on loopback: what an unmodified globus-sdk speaks to (auth and transfer).

Bytes are moved by real GridFTP servers. It counts what it is asked, and plays faults when told to.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web
from tests.support.gridftp import GridFtp

SOURCE = "aaaaaaaa-0000-4000-8000-000000000001"
DESTINATION = "aaaaaaaa-0000-4000-8000-000000000002"
CLIENT = "cccccccc-0000-4000-8000-000000000001"
SECRET = "the-secret-of-the-application"

#: What globus-url-copy takes of a line of a list.
_LONGEST_LINE = 900
Fault = int | str
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class StandIn:
    """``faults`` are played in order, by operation: a status, ``lost`` (done, and nobody hears of it), ``consent``."""

    def __init__(self, data: GridFtp) -> None:
        self._data = data
        self.faults: dict[str, deque[Fault]] = {}
        #: What becomes of the next tasks: ``stuck``, ``inactive``, ``fail:CODE``; real where nothing is said.
        self.fates: deque[str] = deque()
        self.asked: Counter[str] = Counter()
        self.tasks: dict[str, dict[str, Any]] = {}
        self.documents: list[dict[str, Any]] = []
        self.skipped: dict[str, list[dict[str, Any]]] = {}
        self._by_submission: dict[str, str] = {}
        self._working: dict[str, asyncio.Task[None]] = {}
        self.pause_s = 0.0
        #: The most tasks that went on at once.
        self.most_active = 0
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self._thread.start()
        self._ready.wait(20)

    @property
    def environ(self) -> dict[str, str]:
        """What makes globus-sdk come here."""
        return {"GLOBUS_SDK_SERVICE_URL_TRANSFER": f"{self.url}/", "GLOBUS_SDK_SERVICE_URL_AUTH": f"{self.url}/"}

    def settings(self, collection: str, secret_file: Path) -> dict[str, Any]:
        """For a site with the whole filesystem as its collection."""
        secret_file.write_text(SECRET)
        return {
            "client_id": CLIENT,
            "client_secret_file": str(secret_file),
            "collection": collection,
            "roots": {"/": "/"},
            "poll_s": 0.2,
        }

    # ---- running ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()

    async def _start(self) -> None:
        app = web.Application(middlewares=[self._play], client_max_size=64 << 20)
        get, post = web.get, web.post
        app.add_routes(
            [
                post("/v2/oauth2/token", self._token),
                get("/v0.10/submission_id", self._submission_id),
                post("/v0.10/transfer", self._transfer),
                get("/v0.10/task_list", self._task_list),
                get("/v0.10/task/{id}", self._task),
                post("/v0.10/task/{id}/cancel", self._cancel),
                get("/v0.10/task/{id}/event_list", self._events),
                get("/v0.10/task/{id}/skipped_errors", self._skipped),
            ]
        )
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self._runner = runner
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    def close(self) -> None:
        """Stop serving and moving."""

        async def stop() -> None:
            for task in self._working.values():
                task.cancel()
            await self._runner.cleanup()

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    @web.middleware
    async def _play(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        operation = request.path.removeprefix("/v0.10/").split("/")
        name = operation[2] if operation[0] == "task" and len(operation) > 2 else operation[0]
        name = "token" if name == "" else name
        self.asked[name] += 1
        waiting = self.faults.get(name)
        fault = waiting.popleft() if waiting else None
        if fault == "consent":
            return _error(403, "ConsentRequired", "Missing required data_access consent", required_scopes=["a-scope"])
        if isinstance(fault, int):
            return _error(fault, {401: "AuthenticationFailed", 429: "TooManyRequests"}.get(fault, "Internal"), "played")
        answer = await handler(request)
        if fault == "lost":
            assert request.transport is not None
            request.transport.abort()
        return answer

    # ---- auth ------------------------------------------------------------------------------------------

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        basic = request.headers.get("Authorization", "")
        if form.get("grant_type") == "refresh_token" and form.get("refresh_token") != "good-refresh":
            return web.json_response({"error": "invalid_grant"}, status=400)
        if form.get("grant_type") == "client_credentials" and not basic:
            return web.json_response({"error": "invalid_client"}, status=401)
        return web.json_response(
            {
                "access_token": f"access-{uuid.uuid4()}",
                "refresh_token": "good-refresh",
                "scope": "urn:globus:auth:scope:transfer.api.globus.org:all",
                "resource_server": "transfer.api.globus.org",
                "expires_in": 172800,
                "token_type": "Bearer",
                "other_tokens": [],
            }
        )

    # ---- transfer --------------------------------------------------------------------------------------

    async def _submission_id(self, _request: web.Request) -> web.Response:
        return web.json_response({"DATA_TYPE": "submission_id", "value": str(uuid.uuid4())})

    async def _transfer(self, request: web.Request) -> web.Response:
        document = await request.json()
        submission = document["submission_id"]
        known = self._by_submission.get(submission)
        if known is None:
            known = self._by_submission[submission] = str(uuid.uuid4())
            self.documents.append(document)
            self.skipped[known] = []
            self.tasks[known] = {
                "DATA_TYPE": "task",
                "task_id": known,
                "status": "ACTIVE",
                "label": document.get("label"),
                "files": len(document["DATA"]),
                "files_transferred": 0,
                "bytes_transferred": 0,
                "subtasks_succeeded": 0,
                "faults": 0,
                "nice_status": None,
                "fatal_error": None,
            }
            active = sum(other["status"] == "ACTIVE" for other in self.tasks.values())
            self.most_active = max(self.most_active, active)
            fate = self.fates.popleft() if self.fates else ""
            self._working[known] = asyncio.create_task(self._work(known, document, fate))
            code = "Accepted"
        else:
            code = "Duplicate"
        return web.json_response(
            {
                "DATA_TYPE": "transfer_result",
                "code": code,
                "task_id": known,
                "submission_id": submission,
                "message": "",
            },
            status=202,
        )

    async def _work(self, task_id: str, document: dict[str, Any], fate: str) -> None:
        task = self.tasks[task_id]
        if fate == "stuck":
            return
        if fate == "inactive":
            task |= {"status": "INACTIVE", "nice_status": "EXPIRED", "nice_status_details": "credentials have expired"}
            return
        if fate.startswith("fail:"):
            code = fate.removeprefix("fail:")
            task |= {"status": "FAILED", "fatal_error": {"code": code, "description": "played"}}
            return
        await asyncio.sleep(self.pause_s)
        files: list[tuple[str, str]] = []
        singles: list[tuple[str, str]] = []
        trees: list[tuple[str, str]] = []
        for item in document["DATA"]:
            source, target = Path(item["source_path"]), item["destination_path"]
            if not source.exists():
                self._skip(task_id, item, "FILE_NOT_FOUND", f"{source}: No such file or directory")
            elif item.get("recursive"):
                trees.append((item["source_path"], target))
            else:
                pair = _url(self._data.source, str(source)), _url(self._data.destination, target)
                (singles if sum(map(len, pair)) > _LONGEST_LINE else files).append(pair)
        try:
            if files:
                listed = Path(self._data.environ["GRIDMAP"]).parent / f"{task_id}.list"
                listed.write_text("".join(f'"{source_url}" "{target_url}"\n' for source_url, target_url in files))
                await self._copy(task, "-cd", "-cc", "2", "-f", str(listed))
                task["subtasks_succeeded"] += len(files)
            for pair in singles:
                await self._copy(task, "-cd", *pair)
            for source_path, target in trees:
                await self._copy(
                    task, "-r", "-cd", _url(self._data.source, source_path), _url(self._data.destination, target)
                )
                task["subtasks_succeeded"] += 1
        except RuntimeError as exc:
            task |= {"status": "FAILED", "fatal_error": {"code": "ENDPOINT_ERROR", "description": str(exc)[-400:]}}
            return
        came = [Path(item["destination_path"]) for item in document["DATA"]]
        every = [path for top in came for path in ([top] if top.is_file() else top.rglob("*")) if path.is_file()]
        task["bytes_transferred"] = sum(path.stat().st_size for path in every)
        task["files_transferred"] = len(every)
        task["status"] = "SUCCEEDED"

    async def _copy(self, task: dict[str, Any], *arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            "globus-url-copy",
            *arguments,
            env=self._data.environ,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, said = await process.communicate()
        except asyncio.CancelledError:
            with suppress(ProcessLookupError):
                process.kill()
            raise
        if process.returncode:
            raise RuntimeError(said.decode(errors="replace"))

    def _skip(self, task_id: str, item: dict[str, Any], code: str, said: str) -> None:
        self.skipped[task_id].append(
            {
                "DATA_TYPE": "skipped_error",
                "source_path": item["source_path"],
                "destination_path": item["destination_path"],
                "error_code": code,
                "error_details": said,
                "is_directory": False,
            }
        )

    async def _task(self, request: web.Request) -> web.Response:
        task = self.tasks.get(request.match_info["id"])
        return web.json_response(task) if task else _error(404, "TaskNotFound", "no such task")

    async def _task_list(self, request: web.Request) -> web.Response:
        wanted = dict(part.split(":", 1) for part in request.query.get("filter", "").split("/") if ":" in part)
        found = [
            task
            for task in self.tasks.values()
            if task["label"] == wanted.get("label", task["label"])
            and task["status"] in wanted.get("status", str(task["status"])).split(",")
        ]
        return web.json_response(
            {"DATA_TYPE": "task_list", "DATA": found, "limit": 10, "offset": 0, "total": len(found)}
        )

    async def _cancel(self, request: web.Request) -> web.Response:
        task = self.tasks[request.match_info["id"]]
        if task["status"] in {"ACTIVE", "INACTIVE"}:
            self._working[task["task_id"]].cancel()
            task |= {"status": "FAILED", "fatal_error": {"code": "CANCELED", "description": "by a user"}}
        return web.json_response({"DATA_TYPE": "result", "code": "Canceled", "message": ""})

    async def _events(self, request: web.Request) -> web.Response:
        task = self.tasks[request.match_info["id"]]
        fatal: dict[str, Any] = task["fatal_error"] or {}
        event: dict[str, Any] = {
            "DATA_TYPE": "event",
            "code": fatal.get("code"),
            "is_error": True,
            "details": "the event's own words",
        }
        return web.json_response(
            {"DATA_TYPE": "event_list", "DATA": [event] if fatal else [], "limit": 10, "offset": 0, "total": 1}
        )

    async def _skipped(self, request: web.Request) -> web.Response:
        found = self.skipped[request.match_info["id"]]
        return web.json_response({"DATA_TYPE": "skipped_errors", "DATA": found, "marker": 0, "next_marker": None})


def _url(server: str, path: str) -> str:
    return server + quote(path, safe="/._-")


def _error(status: int, code: str, message: str, **more: object) -> web.Response:
    body = {"code": code, "message": message, "request_id": "r", "resource": "/", **more}
    headers = {"Retry-After": "1"} if status in {429, 503} else {}
    return web.json_response(body, status=status, headers=headers)


@contextmanager
def standin(data: GridFtp) -> Generator[StandIn]:
    """For the block."""
    made = StandIn(data)
    try:
        yield made
    finally:
        made.close()
