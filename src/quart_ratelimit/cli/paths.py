"""The endpoint that a path reaches: by its host and subdomain, through redirects, by websocket."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

import click
from quart import Quart
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import MapAdapter, RequestRedirect, WebsocketMismatch

#: Redirects that are followed, as browsers do.
REDIRECTS = 20

#: A variable in a rule's host or subdomain.
_VARIABLE = re.compile(r"<(?:[^:<>]*:)?([^<>]+)>")


class Target(NamedTuple):
    """What the filters name."""

    endpoint: str | None = None
    #: The path itself, with its query; None: none was given.
    path: str | None = None


def find_target(app: Quart, endpoint: str | None, path: str | None, method: str | None) -> Target:
    """What the filters name. Raises `click.ClickException` for what is not there."""
    if endpoint is not None:
        if endpoint not in app.view_functions:
            raise click.ClickException(f"{endpoint} not found")
        return Target(endpoint)
    if path is None:
        return Target()
    try:
        return _target_at(app, urlsplit(path), method)
    except NotFound:
        raise click.ClickException(f"{path} could not be matched to an endpoint") from None
    except MethodNotAllowed:
        name = (method or "GET").upper()
        raise click.ClickException(f"{name}: {path} could not be matched to an endpoint") from None


def _target_at(app: Quart, url: SplitResult, method: str | None) -> Target:
    """Where a path leads, or an address such as ``wss://api.example.com/chat``.

    Raises werkzeug's errors.
    """
    websocket = url.scheme in ("ws", "wss")
    for _ in range(REDIRECTS):
        try:
            endpoint = _match(app, url, method, websocket=websocket)
        except WebsocketMismatch:
            websocket = not websocket
        except RequestRedirect as redirect:
            url = urlsplit(redirect.new_url)
        else:
            query = f"?{url.query}" if url.query else ""
            return Target(endpoint, f"{url.path}{query}")
    raise NotFound


def _match(app: Quart, url: SplitResult, method: str | None, *, websocket: bool) -> str:
    error: Exception = NotFound()
    for adapter in _adapters(app, url.netloc):
        try:
            found, _ = adapter.match(
                url.path, method=method, query_args=url.query, websocket=websocket
            )
        except NotFound:
            continue
        except MethodNotAllowed as refused:
            # A view that takes no GET has limits as well, even if no method was given.
            if method is None and refused.valid_methods:
                found, _ = adapter.match(
                    url.path, method=next(iter(refused.valid_methods)), websocket=websocket
                )
                return str(found)
            error = refused
        else:
            return str(found)
    raise error


def _adapters(app: Quart, host: str) -> Iterator[MapAdapter]:
    """For that host; without one for each host and subdomain of the app's routes."""
    url_map, rules = app.url_map, list(app.url_map.iter_rules())
    if url_map.host_matching:
        hosts = [host] if host else [_sample(rule.host) for rule in rules]
        for one in dict.fromkeys(["localhost", *hosts] if not host else hosts):
            yield url_map.bind(one)
        return
    server = app.config.get("SERVER_NAME") or "localhost"
    if host:
        domain = server.partition(":")[0]
        name = host.partition(":")[0]
        subdomains = [name.removesuffix(f".{domain}") if name.endswith(f".{domain}") else ""]
    else:
        subdomains = ["", *(_sample(rule.subdomain) for rule in rules)]
    for subdomain in dict.fromkeys(subdomains):
        yield url_map.bind(server, subdomain=subdomain)


def _sample(text: str | None) -> str:
    """A host or a subdomain that a rule takes."""
    return _VARIABLE.sub(r"\1", text or "")
