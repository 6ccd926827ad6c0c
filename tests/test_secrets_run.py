"""One notebook that leaks its secrets in every way we know, run for real, on both stores.

While it runs its scratch folder is read again and again; afterwards all that it left is: the store,
what the step said, its termination message. No spelling of a secret is in any of it.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest

from nightmill.spec.steprun import StepRun
from tests.s3_server import S3Server

BY_NAME = "Xq7/zP+w&9\"k'Lm2v"
DECLARED = "brass-lantern-4471-otter"
IN_URL = "fj30dk2ms8"
IN_FILE = "mK4tRz81pQwe"
TYPED = "ghp" + "_9aB8cD7eF6gH5iJ4kL3mN2oP1qR0sT9uV8wX"  # no variable holds this one
KEY_LINES = ["MIIEow" + "Qx7LmR2vTz9KpWc4" * 3 + "JbHd", "9KpWc4" + "Zz3FnYq8GsUe6XiA" * 3 + "OtBl"]
PEM = "\n".join(["-----BEGIN PRIVATE KEY-----", *KEY_LINES, "-----END PRIVATE KEY-----"])
SECRETS = [BY_NAME, DECLARED, IN_URL, IN_FILE, TYPED, *KEY_LINES]

CELLS = {
    "parameters": "api_token: str = ''\nlabel: str = ''",
    "setup": """
import base64, html, json, logging, os, subprocess, sys, threading, time, urllib.parse
import scrapbook as sb
from IPython.display import HTML, JSON, Javascript, display
name = os.environ["LEAK_PASSWORD"]
declared = os.environ["PLAIN_NAME"]
url = os.environ["DATABASE_URL"]
pem = os.environ["SIGNING_KEY"]
filed = open(os.environ["MAIL_PASSWORD_FILE"]).read().strip()
assert api_token == name
assert "__import__" not in dir()
""",
    "whole": "print(name, declared, url, pem, filed, sep='\\n')\nprint(dict(os.environ))",
    "pieces": """
for secret in (name, declared, pem, base64.b64encode(pem.encode()).decode()):
    for character in secret:
        print(character, end="", flush=True)
        time.sleep(0.002)
    print()
print(declared[:12], end="", flush=True)
time.sleep(1.2)  # long enough for the file to be written with what is there
print(declared[12:], end="", flush=True)
""",
    "stderr": "print(name, file=sys.stderr)\nlogging.warning('logged %s', declared)",
    "subprocess": """
print(subprocess.run(["sh", "-c", 'echo "$LEAK_PASSWORD"; env; echo "$SIGNING_KEY" | base64'],
                     capture_output=True, text=True).stdout)
subprocess.run(["sh", "-c", 'echo "$LEAK_PASSWORD $PLAIN_NAME"; echo "$DATABASE_URL" >&2'])
""",
    "descriptor": "os.write(1, f'{name}\\n'.encode())\nos.write(2, f'{declared}\\n'.encode())",
    "encoded": """
print(base64.b64encode(f"user:{name}".encode()), base64.b64encode(f"me:{declared}".encode()))
print(urllib.parse.quote(name), urllib.parse.quote(name, safe=""), html.escape(name), repr(name))
print(json.dumps({"password": name, "key": pem, "nested": json.dumps({"a": declared})}))
print("".join(f"\\x1b[3{n % 8}m{character}" for n, character in enumerate(declared)) + "\\x1b[0m")
""",
    "bar": """
for n in range(40):
    print(f"\\r{declared} {n}", end="", file=sys.stderr, flush=True)
    print(f"\\rAuthorization: Bearer {declared}{n}", end="", flush=True)
""",
    "display": """
display(HTML(f"<b title='{html.escape(name)}'>{declared}</b>"), metadata={"note": declared})
display(JSON({declared: [name, {"deep": filed}], "n": 1}))
display({"text/plain": url, "application/x-own+json": {"k": pem}}, raw=True)
handle = display(name, display_id=declared)
handle.update(declared)
""",
    "result": "{'a': name, declared: [url]}",
    "frame": """
import pandas
pandas.DataFrame({"secret": [declared, name], declared: [filed, pem]})
""",
    "glued": "sb.glue('metric', 0.5)\nsb.glue('secret', {'key': name, 'all': [declared]})",
    "titled": f"# Load with {TYPED}\nprint('titled')",
    "source": f"password = {TYPED!r}\nheader = 'Authorization: Bearer {DECLARED}'",
    "huge": """
for n in range(30_000):
    print(f"{n} {declared} {'x' * 40} {name}")
display(HTML(f"<p>{declared}{'y' * 200}</p>" * 30_000))
print('z' * 65_536 + declared, flush=True)
""",
    "thread": """
def fail(secret):
    print("thread", secret)
    raise RuntimeError(f"thread died of {secret}")
thread = threading.Thread(target=fail, args=(declared,), name=declared)
thread.start()
thread.join()
""",
    "traceback": f"""
def connect(password):
    token = {TYPED!r}
    raise ConnectionError(f"cannot log in with {{password}} at {{url}}")
connect(name)
""",
}
AWS = {
    "AWS_ACCESS_KEY_ID": "admin",
    "AWS_SECRET_ACCESS_KEY": "admin-secret",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
}
METADATA = {"author": f"me, {DECLARED}", "kernelspec": {"name": "x", "display_name": IN_URL}}


def b64(text: str) -> str:
    """Encode text as base64."""
    return base64.b64encode(text.encode()).decode()


def spellings() -> list[bytes]:
    """List what must be nowhere, worked out without the code under test."""
    found: set[str] = set()
    for secret in SECRETS:
        found |= {secret, quote(secret), quote(secret, safe=""), html.escape(secret)}
        found |= {
            json.dumps(secret)[1:-1],
            repr(secret)[1:-1],
            json.dumps(json.dumps(secret))[3:-3],
        }
        for before in ("", "x", "xy"):
            # Whole groups of three bytes in the middle are the secret's alone.
            encoded = b64(before + secret)
            found.add(encoded[4 : len(encoded) // 4 * 4 - 4])
    found.add(PEM.replace("\n", "\\n"))
    return [text.encode() for text in found]


LEAKS = re.compile(b"|".join(re.escape(text) for text in sorted(spellings(), key=len)[::-1]))
_COLOURS = re.compile(rb"(?:\x1b|\\u001b|\\x1b)\[[0-9;]*m")


def leak_in(data: bytes) -> str:
    """Say which secret is in the bytes, with what is around it; empty where there is none."""
    for seen in (data, _COLOURS.sub(b"", data)):
        if found := LEAKS.search(seen):
            around = seen[max(0, found.start() - 80) : found.end() + 20]
            return around.decode(errors="replace")
    return ""


class Watcher(threading.Thread):
    """Reads every file below a folder, whenever it has changed, until it is told to stop."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder = folder
        self.leaks: dict[str, str] = {}
        self.seen: set[str] = set()
        self._versions: dict[Path, tuple[int, int, int]] = {}
        self._over = threading.Event()

    def run(self) -> None:
        """Look until it is over, and once more."""
        while not self._over.wait(0.01):
            self.look()
        self.look()

    def stop(self) -> None:
        """Stop looking."""
        self._over.set()
        self.join()

    def look(self) -> None:
        """Read what is new or has changed."""
        below = os.walk(self.folder)  # unlike rglob, it minds no folder that has gone
        for file in (Path(folder, name) for folder, _, names in below for name in names):
            try:
                about = file.lstat()
                version = (about.st_ino, about.st_size, about.st_mtime_ns)
                if not file.is_file() or self._versions.get(file) == version:
                    continue
                self._versions[file] = version
                leak = leak_in(file.read_bytes())
            except OSError:
                continue  # it has been removed or replaced
            self.seen.add(file.name)
            if leak:
                self.leaks[str(file.relative_to(self.folder))] = leak


@dataclass(frozen=True)
class Leaky:
    """A run of the leaky notebook: what it left, and what was seen meanwhile."""

    code: int
    said: str
    termination: bytes
    stored: dict[str, bytes]
    scratch: Watcher

    def file(self, name: str) -> dict:
        """Read a JSON file of the attempt."""
        return json.loads(next(data for key, data in self.stored.items() if key.endswith(name)))


def files_below(folder: Path) -> dict[str, bytes]:
    """Read all that a store on a disk holds."""
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def objects_below(url: str, s3_server: S3Server) -> Iterator[tuple[str, bytes]]:
    """Read all that a store in S3 holds, and what it says about it."""
    client, prefix = s3_server.client(), url.removeprefix("s3://").split("?")[0].split("/", 1)[1]
    pages = client.get_paginator("list_objects_v2")
    for page in pages.paginate(Bucket=s3_server.bucket, Prefix=prefix):
        for item in page.get("Contents", ()):
            found = client.get_object(Bucket=s3_server.bucket, Key=item["Key"])
            yield item["Key"], found["Body"].read()
            yield f"{item['Key']}.metadata", json.dumps(found["Metadata"]).encode()


@pytest.fixture(scope="module")
def project(make_project):
    """Make a project with the leaky notebook."""
    project = make_project("leaky")
    cells = [
        {
            "cell_type": "code",
            "id": name,
            "metadata": {"tags": ["parameters"] if name == "parameters" else []}
            | ({"note": DECLARED} if name == "titled" else {}),
            "execution_count": None,
            "outputs": [],
            "source": source,
        }
        for name, source in CELLS.items()
    ]
    cells.insert(
        1, {"cell_type": "markdown", "id": "md", "metadata": {}, "source": f"# {DECLARED}"}
    )
    notebook = {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    steps = 'leak:\n  notebook: leak.ipynb\n  parameters: {api_token: "secret://LEAK_PASSWORD"}\n'
    project.pipeline("p", steps, leak=json.dumps(notebook))
    project.write("mail", f"{IN_FILE}\n")
    return project


def run_step(project, store: str, parameters: dict | None = None, **env: str):
    """Run `nightmill step` with a watched scratch folder; return (run, watcher, ended)."""
    scratch = project.root / f"scratch-{time.monotonic_ns()}"
    scratch.mkdir()
    watcher = Watcher(scratch)
    watcher.start()
    run = StepRun(
        pipeline="p",
        step="leak",
        partition="2013-03-01",
        as_of="2013-03-01",
        run=f"r{time.monotonic_ns()}",
        order=time.monotonic_ns(),
        store=store,
        parameters=parameters or {},
    )
    secrets = {
        "LEAK_PASSWORD": BY_NAME,
        "PLAIN_NAME": DECLARED,
        "NIGHTMILL_SECRETS": "PLAIN_NAME",
        "DATABASE_URL": f"postgresql://me:{IN_URL}@db.example.org/x",
        "SIGNING_KEY": PEM,
        "PIN_PASSWORD": "1234",
        "MAIL_PASSWORD_FILE": str(project.root / "mail"),
        "NIGHTMILL_SCRATCH": str(scratch),
        "NIGHTMILL_TERMINATION_LOG": str(project.root / "termination"),
    }
    try:
        ended = project.run(*run.to_argv(), env={**secrets, **env})
    finally:
        watcher.stop()
    return run, watcher, ended


@pytest.fixture(scope="module", params=["directory", "s3"])
def leaky(request, project, s3_server, tmp_path_factory):
    """Run the leaky notebook once on each store."""
    folder = tmp_path_factory.mktemp("store")
    if request.param == "directory":
        _run, watcher, ended = run_step(project, str(folder))
        stored = files_below(folder)
    else:
        url = s3_server.url(f"leaky-{uuid4().hex}")
        _run, watcher, ended = run_step(project, url, **AWS)
        stored = dict(objects_below(url, s3_server))
    return Leaky(
        code=ended.code,
        said=ended.out + ended.err,
        termination=(project.root / "termination").read_bytes(),
        stored=stored,
        scratch=watcher,
    )


def test_the_notebook_did_leak(leaky):
    """Every cell ran to the last, which failed: what follows is seen of a notebook that leaks."""
    record = leaky.file("record.json")
    assert record["failure"]["cause"] == "notebook_error"
    states = [cell["state"] for cell in record["cells"]]
    assert states == ["completed"] * len(CELLS) + ["failed"]  # one more was injected
    assert leaky.code == 10


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "spell", [str, repr, quote, html.escape, json.dumps, "\x1b[1m".join, lambda s: b64(f"ab{s}c")]
)
def test_a_leak_would_be_seen(secret, spell):
    """What these tests look with finds each secret in each spelling."""
    assert leak_in(f"before {spell(secret)} after".encode())


def test_nothing_is_in_the_store(leaky):
    """Notebook, record, progress and spilled files hold no secret, in their names neither."""
    places = {key.rpartition("/leak/1/")[2].partition("/")[0] for key in leaky.stored}
    assert {"record.json", "notebook.ipynb", "progress.json", "spilled"} <= places
    assert {key: leak for key, data in leaky.stored.items() if (leak := leak_in(data))} == {}
    assert leak_in("\n".join(leaky.stored).encode()) == ""


def test_nothing_was_on_the_scratch_disk(leaky):
    """At no moment was a secret in a file of the attempt's folder."""
    assert "notebook.ipynb" in leaky.scratch.seen
    assert any(name.startswith("cell-") for name in leaky.scratch.seen), "nothing was spilled"
    assert leaky.scratch.leaks == {}


def test_nothing_is_said(leaky):
    """What the step prints, and the termination message that Airflow shows, hold no secret."""
    assert leak_in(leaky.said.encode()) == ""
    assert leak_in(leaky.termination) == ""
    assert "[redacted: LEAK_PASSWORD]" in leaky.said


def test_what_is_left_can_be_read(leaky):
    """The rest of each output stays, and each secret's name tells the reader what was there."""
    notebook = leaky.file("notebook.ipynb")
    texts = {cell["id"]: json.dumps(cell) for cell in notebook["cells"]}
    for name in (
        "LEAK_PASSWORD",
        "PLAIN_NAME",
        "DATABASE_URL",
        "SIGNING_KEY",
        "MAIL_PASSWORD_FILE",
    ):
        assert f"[redacted: {name}]" in texts["whole"]
    assert "postgresql://me:[redacted: DATABASE_URL]@db.example.org/x" in texts["whole"]
    assert "cannot log in with [redacted: LEAK_PASSWORD] at postgresql://me:" in texts["traceback"]
    assert "password = '[redacted: token]'" in texts["source"]
    assert "29999 [redacted: PLAIN_NAME]" in texts["huge"]
    assert "# Load with [redacted: token]" in texts["titled"]


def test_what_cannot_be_redacted_is_told(leaky):
    """The record warns once of a secret that is too common to be found in other text."""
    warnings = leaky.file("record.json")["warnings"]
    assert len([text for text in warnings if text.startswith("PIN_PASSWORD: too short")]) == 1


def test_a_parameter_stays_a_reference(leaky):
    """Record, notebook and injected cell show `secret://`; the kernel had the secret."""
    assert leaky.file("record.json")["parameters"] == {"api_token": "secret://LEAK_PASSWORD"}
    notebook = leaky.file("notebook.ipynb")
    given = notebook["metadata"]["papermill"]["parameters"]
    assert given == {"api_token": "secret://LEAK_PASSWORD"}
    (injected,) = [
        cell["source"]
        for cell in notebook["cells"]
        if "injected-parameters" in cell["metadata"].get("tags", ())
    ]
    assert 'api_token = __import__("os").environ["LEAK_PASSWORD"]' in injected


WRONG = {
    "a reference to nothing": ({"label": "secret://NOT_THERE"}, "NOT_THERE", "platform.yaml"),
    "a known secret": ({"label": DECLARED}, "was given a secret itself", "secret://NAME"),
    "a token": ({"label": TYPED}, "was given a secret itself", "secret://NAME"),
}


@pytest.mark.parametrize(("parameters", "problem", "advice"), WRONG.values(), ids=WRONG)
def test_wrong_secrets_stop_the_step_before_a_cell(project, tmp_path, parameters, problem, advice):
    """A missing variable and a typed secret are bad_parameters, told without the secret."""
    run, watcher, ended = run_step(project, str(tmp_path), parameters)
    stored = files_below(tmp_path)
    record = json.loads(next(data for key, data in stored.items() if key.endswith("record.json")))
    assert record["failure"]["cause"] == "bad_parameters"
    assert problem in record["failure"]["message"]
    assert advice in record["failure"]["message"] + ended.out + ended.err
    assert not any(key.endswith("notebook.ipynb") for key in stored)
    assert watcher.leaks == {}
    assert [leak for data in stored.values() if (leak := leak_in(data))] == []
    assert leak_in((ended.out + ended.err).encode()) == ""
    assert run.parameters == parameters


def test_errors_of_the_command_line_are_redacted(project):
    """What cannot even begin says so without the secrets of its environment."""
    ended = project.run("check", DECLARED, env={"DB_PASSWORD": DECLARED})
    assert ended.code == 2
    assert "[redacted: DB_PASSWORD]" in ended.err
    assert leak_in((ended.out + ended.err).encode()) == ""
