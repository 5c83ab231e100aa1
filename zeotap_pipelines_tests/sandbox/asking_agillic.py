"""Requests to the stand-in of Agillic as a client might send them, right and wrong."""

from zeotap_pipelines.sandbox import (
    AGILLIC_KEY,
    AGILLIC_SECRET,
    AGILLIC_STAGING_KEY,
    AGILLIC_STAGING_SECRET,
    BASE_URL,
    AgillicSettings,
    Sandbox,
)
from zeotap_pipelines_tests.sandbox.asking import Clock, ask

AGILLIC = f"{BASE_URL}/agillic"
TOKEN = f"{AGILLIC}/oauth2/token"
UPSERT = "/recipients/v2/:upsert"
UPSERT_ROWS = "/recipients/v2/oneToManyTables/:upsert"
ADD = "/recipients/:addToStaticTargetGroup"
REMOVE = "/recipients/:removeFromStaticTargetGroup"
GROUP = "Active 90 days"
GRANT = {"grant_type": "client_credentials"}
JSON = "application/json; charset=utf-8"
PRODUCTION = (AGILLIC_KEY, AGILLIC_SECRET)
STAGING = (AGILLIC_STAGING_KEY, AGILLIC_STAGING_SECRET)


class Account:
    """A client of one instance, with a token; `settings` are the sandbox's."""

    def __init__(self, sandbox=None, pair=PRODUCTION, **settings):
        self.sandbox = sandbox or Sandbox(clock=Clock(), agillic=AgillicSettings(**settings))
        self.agillic = self.sandbox.agillic
        self.pair = pair
        self.renew()

    def renew(self):
        token = ask(self.sandbox, "POST", TOKEN, data=GRANT, auth=self.pair).json()["access_token"]
        self.headers = {"Authorization": f"Bearer {token}", "Accept": JSON}

    def ask(self, method, path, body=None, *, headers=None, **sent):
        headers = {**self.headers, **({} if body is None else {"Content-Type": JSON}), **(headers or {})}
        json = {} if body is None else {"json": body}
        return ask(self.sandbox, method, AGILLIC + path, headers=headers, **json, **sent)

    def upsert(self, *people):
        return self.ask("POST", UPSERT, batch(*people)).json()["taskId"]

    def poll(self, task):
        return self.ask("GET", f"/recipients/v2/task/{task}").json()

    def settle(self, task):
        """Poll as often as it takes; the last answer."""
        while (answer := self.poll(task))["status"] not in ("completed", "failed"):
            pass
        return answer

    @property
    def violations(self):
        return self.sandbox.violations


def person(email, **fields):
    return {"EMAIL": email, **fields}


def batch(*people, id_field="EMAIL"):
    return {"details": {"recipientIdField": id_field, "recipients": [{"personData": one} for one in people]}}


def membership(*recipients, group=GROUP, id_field="EMAIL"):
    return {"targetGroupName": group, "recipientIdField": id_field, "recipientIds": list(recipients)}


def rows(by_recipient, table="PURCHASES", id_field="EMAIL"):
    recipients = [{"recipientId": one, "records": records} for one, records in by_recipient.items()]
    return {"details": {"tableId": table, "recipientIdField": id_field, "recipients": recipients}}


def failed(answer):
    return {one["recipientId"]: one["error"] for one in answer["details"]["result"]["failed"]}
