"""Agillic: recipients, static target groups, one-to-many tables.

| method | path | meaning |
|---|---|---|
| POST | /oauth2/token | client credentials → bearer token |
| POST | /recipients | create one recipient |
| PUT | /recipients/{field}={value} | update one recipient, or create it |
| GET | /recipients/{field}={value} | one recipient |
| POST | /recipients/v2/:upsert | recipients → task |
| POST | /recipients/v2/oneToManyTables/:upsert | rows of a table, grouped by recipient → task |
| GET | /recipients/v2/task/{task} | how a task is doing |
| POST | /recipients/:addToStaticTargetGroup | put recipients into a group |
| POST | /recipients/:removeFromStaticTargetGroup | take recipients out of a group |
| GET | /discovery/targetgroups | the groups |
| GET | /discovery/persondata | the fields of person data |
| GET | /discovery/onetomany[/{table}] | the one-to-many tables; one of them |
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from zeotap_pipelines.sandbox import agillic_bodies as bodies
from zeotap_pipelines.sandbox.agillic_bodies import Given
from zeotap_pipelines.sandbox.agillic_settings import PRODUCTION, STAGING, AgillicField, AgillicSettings, AgillicTable
from zeotap_pipelines.sandbox.agillic_state import STATE_SCHEMA, STATE_TABLES, Instance, Rejected
from zeotap_pipelines.sandbox.agillic_tasks import TASK_SCHEMA, TASK_TABLES, AgillicTask, Tasks
from zeotap_pipelines.sandbox.faults import Faults
from zeotap_pipelines.sandbox.messages import Reply, Request, Undocumented
from zeotap_pipelines.sandbox.oauth import FORM, Tokens
from zeotap_pipelines.sandbox.service import Clock, Holding, Route, Service
from zeotap_pipelines.sandbox.store import Store

_JSON = "application/json; charset=utf-8"
_RECIPIENT = "/recipients/{field}={value}"


class Agillic(Service):
    """The stand-in of Agillic. Its handles concern production unless `instance` says staging."""

    name = "agillic"
    tables = STATE_TABLES + TASK_TABLES
    schema = STATE_SCHEMA + TASK_SCHEMA

    def __init__(self, store: Store, faults: Faults, clock: Clock, settings: AgillicSettings) -> None:
        self.settings = settings
        clients = {PRODUCTION: settings.client, STAGING: settings.staging}
        self._tokens = {name: Tokens(store, f"{self.name}/{name}", clock, one) for name, one in clients.items()}
        self._instances = {name: Instance(store, name, settings) for name in clients}
        self._tasks = Tasks(store, self._instances, settings, clock)
        # Whose request is being answered: one at a time is, for each holds the store's transaction.
        self._asked = self._instances[PRODUCTION]
        super().__init__(
            store,
            faults,
            clock,
            max_in_flight=settings.max_in_flight,
            secrets=frozenset(client.client_secret for client in clients.values()),
        )

    def recipients(self, *, instance: str = PRODUCTION) -> dict[str, Given]:
        """The person data of every recipient, by id."""
        with self._settled(instance) as state:
            return state.recipients()

    def group(self, name: str, *, instance: str = PRODUCTION) -> set[str]:
        """The recipient ids in a target group."""
        with self._settled(instance) as state:
            return state.members(name)

    def rows(self, table: str, recipient: str | None = None, *, instance: str = PRODUCTION) -> list[Given]:
        """The rows of a one-to-many table: one recipient's, or everyone's."""
        with self._settled(instance) as state:
            return state.rows(table, recipient)

    def tasks(self, *, instance: str = PRODUCTION) -> list[AgillicTask]:
        """Every task, oldest first."""
        with self._settled(instance) as state:
            return self._tasks.all(state.name)

    def lose_task(self, task: str, *, instance: str = PRODUCTION) -> None:
        """Make an unfinished task one that nobody knows; nothing of it is applied."""
        with self._settled(instance) as state:
            self._tasks.lose(state.name, task)

    def calls_today(self, *, instance: str = PRODUCTION) -> int:
        """How many calls of the day's budget are used, UTC."""
        return self._instances[instance].calls(self.clock())

    def put_recipients(self, *given: Mapping[str, Any], instance: str = PRODUCTION) -> None:
        """Recipients, by their person data, that were there before anybody used the API."""
        with self._settled(instance) as state:
            for one in given:
                state.put(one)

    def delete_recipient(self, recipient: str, *, instance: str = PRODUCTION) -> None:
        """Delete a recipient, who leaves every group and loses every row."""
        with self._settled(instance) as state:
            state.delete_recipient(recipient)

    def put_members(self, name: str, *recipients: str, instance: str = PRODUCTION) -> None:
        """Recipients that the group had before anybody used the API."""
        with self._settled(instance) as state:
            state.add(name, recipients)

    def create_group(self, name: str, *, static: bool = True, instance: str = PRODUCTION) -> None:
        """Create a target group."""
        with self._settled(instance) as state:
            state.create_group(name, "", static)

    def delete_group(self, name: str, *, instance: str = PRODUCTION) -> None:
        """Delete a target group with its members."""
        with self._settled(instance) as state:
            state.delete_group(name)

    def seed(self) -> None:
        """The groups are there from the start."""
        for state in self._instances.values():
            state.seed()

    def expire_tokens(self) -> None:
        """Make every token invalid."""
        for tokens in self._tokens.values():
            tokens.expire()

    def routes(self) -> tuple[Route, ...]:
        """What the contract documents."""
        json = (_JSON,)
        return (
            Route("POST", "/recipients/v2/:upsert", self._upsert, body=json),
            Route("GET", "/recipients/v2/task/{task}", self._task),
            Route("POST", "/recipients/:addToStaticTargetGroup", self._add, body=json),
            Route("POST", "/recipients/:removeFromStaticTargetGroup", self._remove, body=json),
            Route("PUT", _RECIPIENT, self._update, body=json),
            Route("GET", _RECIPIENT, self._show),
            Route("POST", "/recipients", self._create, body=json),
            Route("POST", "/recipients/v2/oneToManyTables/:upsert", self._upsert_rows, body=json),
            Route("GET", "/discovery/targetgroups", self._list_groups),
            Route("GET", "/discovery/persondata", self._list_fields),
            Route("GET", "/discovery/onetomany", self._list_tables),
            Route("GET", "/discovery/onetomany/{table}", self._show_table),
            Route("POST", "/oauth2/token", self._token, open=True, body=FORM),
        )

    def authenticate(self, request: Request) -> Reply | None:
        """A good bearer token, whose instance has calls left today; JSON wanted, and no more than 20 MB sent."""
        why = {name: tokens.refusal(request) for name, tokens in self._tokens.items()}
        granted = next((name for name, reason in why.items() if reason is None), None)
        if granted is None:
            note = "expired token" if "expired token" in why.values() else "unknown token"
            return Reply(401, b"", (("www-authenticate", 'Bearer error="invalid_token"'),), note)
        if request.header("accept") != _JSON:
            raise Undocumented(406, f"Accept is not {_JSON}")
        if request.header("content-type") not in (None, _JSON):
            raise Undocumented(415, f"the content type is not {_JSON}")
        if len(request.body) > self.settings.max_bytes:
            raise Undocumented(413, f"more than {self.settings.max_bytes:,} bytes")
        self._asked = self._instances[granted]
        now = self.clock()
        if self._asked.calls(now) >= self.settings.budget(granted):
            return Reply.json(429, {"message": "Daily API call limit exceeded"}, note="daily budget")
        self._asked.count_call(now)
        self._tasks.settle()
        return None

    def state(self) -> dict[str, object]:
        """Everything that each instance holds, and the status of its tasks."""
        held: dict[str, object] = {}
        for name in self._instances:
            with self._settled(name) as state:
                held[name] = {
                    "recipients": state.recipients(),
                    "groups": {group: sorted(state.members(group)) for group, _, _ in state.groups()},
                    "tables": {
                        table.name: {one: found for one in state.recipients() if (found := state.rows(table.name, one))}
                        for table in self.settings.tables
                    },
                    "tasks": {task.id: task.status for task in self._tasks.all(name)},
                }
        return held

    def holdings(self) -> list[Holding]:
        """Recipients, groups and tables; staging's only where it has any recipient."""
        with self._settled(PRODUCTION) as state:
            staging = self._instances[STAGING].holdings(" (staging)")
            return [*state.holdings(""), *(staging if staging[0].count else ())]

    def _token(self, request: Request, _: Mapping[str, str]) -> Reply:
        replies = [tokens.grant(request) for tokens in self._tokens.values()]
        return next((reply for reply in replies if reply.status == 200), replies[0])

    def _create(self, request: Request, _: Mapping[str, str]) -> Reply:
        given = bodies.person_data(request.json())
        recipient = bodies.identity(given, self.settings.id_field)
        if self._asked.recipient(recipient) is not None:
            return self.refusal(409, "Recipient already exists")
        return self._write(recipient, given)

    def _update(self, request: Request, identifiers: Mapping[str, str]) -> Reply:
        recipient = self._selected(identifiers)
        given = bodies.person_data(request.json())
        id_field = self.settings.id_field
        if id_field in given and bodies.identity(given, id_field) != recipient:
            raise Undocumented(400, "the person data names another recipient than the path")
        return self._write(recipient, given)

    def _write(self, recipient: str, given: Given) -> Reply:
        try:
            created = self._asked.write(recipient, given)
        except Rejected as refused:
            return self.refusal(400, str(refused))
        return Reply.json(201 if created else 200, {"personData": self._asked.recipient(recipient)})

    def _show(self, _: Request, identifiers: Mapping[str, str]) -> Reply:
        found = self._asked.recipient(self._selected(identifiers))
        return self.refusal(404, "Recipient not found") if found is None else Reply.json(200, {"personData": found})

    def _selected(self, identifiers: Mapping[str, str]) -> str:
        if identifiers["field"] != self.settings.id_field:
            raise Undocumented(400, f"the selector is not the Recipient ID Field {self.settings.id_field}")
        return identifiers["value"]

    def _upsert(self, request: Request, _: Mapping[str, str]) -> Reply:
        return self._accept(request, None, bodies.recipients(request.json(), self.settings))

    def _upsert_rows(self, request: Request, _: Mapping[str, str]) -> Reply:
        table, given = bodies.rows(request.json(), self.settings)
        if self.settings.table(table) is None:
            return self.refusal(404, "One-to-many table not found")
        return self._accept(request, table, given)

    def _accept(self, request: Request, table: str | None, given: Mapping[str, object]) -> Reply:
        fails = self.fault("task_failure", request) is not None
        held = self.fault("propagation_delay", request)
        task = self._tasks.accept(
            self._asked.name,
            table,
            given,
            ending="failed" if fails else None,
            held=0.0 if held is None else held.seconds,
        )
        return Reply.json(200, {"taskId": task.id, "status": task.status}, note=f"{len(given)} recipients")

    def _task(self, _: Request, identifiers: Mapping[str, str]) -> Reply:
        task = self._tasks.poll(self._asked.name, identifiers["task"])
        if task is None:
            return self.refusal(404, "Task not found")
        return Reply.json(
            200, {"taskId": task.id, "status": task.status, "details": {"result": {"failed": _failed(task.failed)}}}
        )

    def _add(self, request: Request, _: Mapping[str, str]) -> Reply:
        return self._change(request, self._asked.add, adds=True)

    def _remove(self, request: Request, _: Mapping[str, str]) -> Reply:
        return self._change(request, self._asked.remove, adds=False)

    def _change(self, request: Request, change: Callable[[str, Sequence[str]], None], *, adds: bool) -> Reply:
        name, recipients = bodies.members(request.json(), self.settings)
        static = {group: static for group, _, static in self._asked.groups()}
        if name not in static:
            return self.refusal(404, "Target group not found")
        if not static[name]:
            return self.refusal(400, "The target group is not static")
        if adds and self._tasks.awaited(self._asked.name, recipients):
            raise Undocumented(409, "a recipient is added whose newest upsert is unfinished or failed")
        missing = self._asked.missing(recipients)
        change(name, [one for one in recipients if one not in missing])
        return Reply.json(200, {"failed": _failed((one, "Recipient not found") for one in missing)} if missing else {})

    def _list_groups(self, _: Request, __: Mapping[str, str]) -> Reply:
        groups = self._asked.groups()
        return Reply.json(
            200,
            [
                {"name": name, "description": description, "static": static, "global": False}
                for name, description, static in groups
            ],
        )

    def _list_fields(self, _: Request, __: Mapping[str, str]) -> Reply:
        return Reply.json(200, _shape("PersonData", self.settings.fields, self.settings.id_field))

    def _list_tables(self, _: Request, __: Mapping[str, str]) -> Reply:
        return Reply.json(200, [_table(table) for table in self.settings.tables])

    def _show_table(self, _: Request, identifiers: Mapping[str, str]) -> Reply:
        table = self.settings.table(identifiers["table"])
        return self.refusal(404, "One-to-many table not found") if table is None else Reply.json(200, _table(table))

    @contextmanager
    def _settled(self, instance: str) -> Iterator[Instance]:
        with self.store.transaction():
            self._tasks.settle()
            yield self._instances[instance]


def _failed(failed: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"recipientId": recipient, "error": error} for recipient, error in failed]


def _table(table: AgillicTable) -> dict[str, object]:
    return _shape(table.name, table.fields, table.key)


def _shape(name: str, fields: Sequence[AgillicField], key: str) -> dict[str, object]:
    listed = [{"name": field.name, "type": field.type, "identifier": field.name == key} for field in fields]
    return {"name": name, "fields": listed}
