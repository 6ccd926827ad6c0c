"""`nightmill review`: the pages on which people read what ran."""

from __future__ import annotations

import getpass
import os
import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from nightmill.cli.options import StoreOption, is_missing, open_chosen
from nightmill.cli.terminal import address, advise, say
from nightmill.errors import UsageError
from nightmill.spec.project import find_root
from nightmill.store.open import open_store


def review(
    store: StoreOption = None,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8090,
    base_path: Annotated[
        str, typer.Option(help="The path that a proxy puts before ours, like /nightmill.")
    ] = "",
    token: Annotated[
        str | None,
        typer.Option(
            envvar="NIGHTMILL_REVIEW_TOKEN",
            help="Whom to let in; made and printed where others reach this and none is given.",
        ),
    ] = None,
    user_header: Annotated[
        str | None, typer.Option(help="The header in which a proxy names who is signed in.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Also answer to this name; may be repeated.")
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open a browser.")] = False,
) -> None:
    """Serve the review pages until Ctrl-C; prints their address.

    Several behind one address need one token, or one NIGHTMILL_REVIEW_SECRET in their environment.
    """
    opened = open_store(open_chosen(store).url, base=Path.cwd(), hasty=True)
    try:
        # Only here: a web server is nothing that the other verbs need.
        from nightmill.review.server import SHARED_VARIABLE, Listening, serve  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        problem = f"the review pages need {error.name}, which is not installed"
        raise UsageError(problem, advice="pip install 'nightmill[review]'") from error

    if is_missing(store, opened):  # no error: a mount may come while the pages are served
        advise(f"there is no folder {opened.url}: the pages tell of it until it is there")

    def tell(place: str) -> None:
        say(address(place))
        if open_browser:
            threading.Thread(target=webbrowser.open, args=[place], daemon=True).start()

    names, secret = tuple(allow_host or ()), os.environ.get(SHARED_VARIABLE) or None  # as `token`
    serve(
        opened,
        Listening(host, port, base_path, token, user_header, names, secret),
        owner=_owner(),
        root=_root(),
        tell=tell,
    )


def _root() -> Path | None:
    try:
        return find_root(Path.cwd())
    except UsageError:  # a look at a store needs no project
        return None


def _owner() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as containers have
        return ""
