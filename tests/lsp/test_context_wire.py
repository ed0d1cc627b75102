"""What really goes to the engine from a project of several files: context that stays, no secrets, nothing ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.lsp.conftest import FakeRuntime, Servers, until
from tests.lsp.raw_client import RawClient, did_change, did_open, inline, notification
from tests.lsp.test_context_ignore import tree

TOKEN = "".join(["ghp", "_", "q7RzT2mWx9KdV4bLpN8sYc3HfJ6gA1eUabcd"])
MODELS = f"""class Item:
    price: int
    token = '{TOKEN}'

    def tax(self, rate: float) -> float:
        pass
"""
FILES = {
    "shop/models.py": MODELS,
    "shop/app.py": "from shop.models import Item\n\nPASSWORD = 'hunter2x'\n\n\ndef total(item: Item):\n    ",
    "shop/local.py": "def item_total(item, rate):\n    return item.price\n",
    ".gitignore": "local.py\n",
    ".env": "PASSWORD=hunter2\n",
}


async def project(servers: Servers, folder: Path, **script: Any) -> tuple[RawClient, Path]:
    root = tree(folder / "project", FILES).resolve()
    servers.runtime.script("return 1\n", **script)
    client = await servers.start(TABCAST_TEST_PATIENT="1")  # a busy machine may take long to gather context
    await client.initialize(rootUri=root.as_uri(), workspaceFolders=[{"uri": root.as_uri(), "name": "project"}])
    await client.until_engine("ready")
    return client, root


def asked(runtime: FakeRuntime) -> list[dict[str, Any]]:
    bodies = [event["body"] for event in runtime.events("request")]
    return [body for body in bodies if body["tabcast"]["priority"] == "normal"]


async def test_keystrokes_of_a_burst_send_the_same_context(
    servers: Servers, runtime: FakeRuntime, tmp_path: Path
) -> None:
    client, root = await project(servers, tmp_path, context_tokens=8192)
    uri, other = ((root / name).as_uri() for name in ("shop/app.py", "shop/models.py"))
    client.send(did_open(FILES["shop/models.py"], other), did_open(FILES["shop/app.py"], uri))
    client.send(did_change(2, "# edited\n", (3, 0), (3, 0), other))
    typed = "ratio = item.tax(0.2)"
    for number, key in enumerate(typed):
        client.send(did_change(number + 2, key, (6, 4 + number), (6, 4 + number), uri))
        client.send(inline(number + 1, 6, 5 + number, uri))
        await client.answer(number + 1)
    await until(lambda: len(asked(runtime)) > 4, "the requests")
    bodies = asked(runtime)
    first = bodies[0]["tabcast"]["context"]
    assert [file["path"] for file in first] == ["shop/models.py", "recent-edits.diff"]
    assert "def tax(self, rate: float) -> float: ..." in first[0]["text"]
    assert "+# edited" in first[1]["text"]
    assert all(body["tabcast"]["context"] == first for body in bodies)
    assert all(body["prompt"].startswith(bodies[0]["prompt"].rpartition("\n")[0]) for body in bodies)
    sent = str(bodies)
    assert "hunter2" not in sent
    assert TOKEN not in sent
    assert "item_total" not in sent
    await client.close()


async def test_the_line_that_is_being_typed_is_sent_as_it_is(
    servers: Servers, runtime: FakeRuntime, tmp_path: Path
) -> None:
    client, root = await project(servers, tmp_path)
    uri = (root / "shop/app.py").as_uri()
    client.send(did_open("a = 'hunter2'\npassword = 'hunter2'\nprint(password, 'password: hunter2x', ", uri))
    client.send(inline(1, 2, 38, uri))
    await client.answer(1)
    (body,) = asked(runtime)
    assert body["prompt"] == "a = 'hunter2'\npassword = '*******'\nprint(password, 'password: hunter2x', "
    await client.close()


async def test_a_model_with_a_small_window_gets_no_context(
    servers: Servers, runtime: FakeRuntime, tmp_path: Path
) -> None:
    client, root = await project(servers, tmp_path, context_tokens=1024)
    uri = (root / "shop/app.py").as_uri()
    client.send(did_open(FILES["shop/app.py"], uri), inline(1, 6, 4, uri))
    await client.answer(1)
    assert [body["tabcast"]["context"] for body in asked(runtime)] == [[]]
    await client.close()


@pytest.mark.parametrize(
    ("name", "pattern"),
    [("shop/local.py", "local.py (.gitignore)"), (".env", ".env (built in)"), ("id_rsa", "id_rsa*")],
)
async def test_an_ignored_document_is_not_served_and_why_says_which_pattern(
    servers: Servers, runtime: FakeRuntime, tmp_path: Path, name: str, pattern: str
) -> None:
    client, root = await project(servers, tmp_path)
    uri = (root / name).as_uri()
    client.send(did_open("total = ", uri), inline(1, 0, 8, uri))
    assert await client.items(1) == []
    why = await client.why()
    assert (why["reason"], pattern in why["detail"]) == ("ignored", True)
    assert asked(runtime) == []
    assert "total" not in servers.log()
    await client.close()


async def test_ignore_rules_that_change_hold_without_a_restart(
    servers: Servers, runtime: FakeRuntime, tmp_path: Path
) -> None:
    client, root = await project(servers, tmp_path)
    uri = (root / "shop/local.py").as_uri()
    tree(root, {".tabcastignore": "!local.py\n"})
    changes = {"changes": [{"uri": (root / ".tabcastignore").as_uri(), "type": 1}]}
    client.send(notification("workspace/didChangeWatchedFiles", changes))
    client.send(did_open("def f():\n    ", uri), inline(1, 1, 4, uri))
    assert await client.items(1)
    await client.close()


async def test_an_editor_that_can_watch_is_asked_to(servers: Servers, tmp_path: Path) -> None:
    servers.runtime.script("")
    client = await servers.start()
    capabilities = {"workspace": {"didChangeWatchedFiles": {"dynamicRegistration": True}}}
    await client.initialize(capabilities=capabilities, rootUri=tmp_path.as_uri())
    await client.until(lambda: "client/registerCapability" in client.methods(), "the registration")
    sent = next(m for m in client.received if m.get("method") == "client/registerCapability")
    globs = [w["globPattern"] for w in sent["params"]["registrations"][0]["registerOptions"]["watchers"]]
    assert "**/.gitignore" in globs
    assert any("py" in glob for glob in globs)
    await client.close()
