"""Pages of an API and files at an address, by HTTP of the standard library.

A token goes in a header and never leaves its host: no redirect is followed, and without TLS it is
sent to this machine alone. A load ends with all pages or with an error.
"""

import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

import msgspec
import polars as pl

from ..errors import ProjectError
from .reading import series
from .sources import Source

SECONDS, TRIES, LONGEST_WAIT = 30, 5, 30.0
BUSY = (429, 502, 503, 504)
HERE = ("localhost", "127.0.0.1", "::1")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **more: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def read(source: Source, secret: str, since: Any, tell: Callable[[str], None]) -> pl.DataFrame:
    """Return the records of all pages, those since a watermark; a nested value is kept as JSON."""
    records: list[dict[str, Any]] = []
    for page in _pages(source, secret, since):
        records += page
        tell(f"{source.server}: {len(records)} records")
    names = dict.fromkeys(name for record in records for name in record)
    return pl.DataFrame(
        {n: series(source.server, n, [record.get(n) for record in records]) for n in names}
    )


def download(source: Source, secret: str, target: Path) -> None:
    """Write the file at the address of a server to `target`."""
    target.write_bytes(_get(source, secret, str(source.address["location"]))[0])


def _pages(source: Source, secret: str, since: Any) -> Iterator[list[dict[str, Any]]]:
    start, asked = str(source.address["location"]), dict[str, Any]()
    paging = source.paging
    if source.watermark and since is not None:
        asked[source.watermark.param] = since
    if paging is None:
        yield _records(source, *_page(source, secret, _with(start, asked))[:1])
        return
    if paging.size:
        asked[paging.size_param] = paging.size
    url, place, seen = _with(start, asked), paging.first, set[str]()
    for _ in range(paging.most):
        if paging.kind in ("page", "offset"):
            place = place if paging.kind == "page" or seen else 0
            url = _with(start, asked | {paging.param or paging.kind: place})
        if url in seen:
            raise ProjectError(f"{source.server}: the API names a page again that was read: {url}")
        seen.add(url)
        content, headers = _page(source, secret, url)
        found = _records(source, content)
        yield found
        if paging.kind in ("page", "offset"):
            if not found or (paging.size and len(found) < paging.size):
                return
            place += 1 if paging.kind == "page" else len(found)
            continue
        following = _following(source, content, headers)
        if following in (None, "", False):
            return
        if paging.kind == "cursor":
            url = _with(start, asked | {paging.param or "cursor": following})
        else:
            url = urljoin(url, str(following))
            if _host(url) != _host(start):
                raise ProjectError(f"{source.server}: the next page is on another host: {url}")
    raise ProjectError(
        f"{source.server}: more than {paging.most} pages: raise `most` of its paging, or ask for "
        "less by a watermark"
    )


def _following(source: Source, content: Any, headers: http.client.HTTPMessage) -> Any:
    assert source.paging
    if source.paging.next:
        return _at(content, source.paging.next)
    if source.paging.kind == "cursor":
        raise ProjectError(f"{source.server}: paging by cursor needs `next`, such as meta.next")
    for link in str(headers.get("Link", "")).split(","):
        if found := re.search(r"<([^>]*)>.*rel=\"?next\"?", link):
            return found[1]
    return None


def _with(url: str, asked: dict[str, Any]) -> str:
    parts = urlsplit(url)
    query = {**dict(parse_qsl(parts.query, keep_blank_values=True)), **asked}
    return urlunsplit(parts._replace(query=urlencode(query)))


def _host(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def _at(content: Any, path: str) -> Any:
    for name in path.split("."):
        content = content.get(name) if isinstance(content, dict) else None
    return content


def _records(source: Source, content: Any) -> list[dict[str, Any]]:
    found = _at(content, source.records) if source.records else content
    if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
        where = f"at {source.records!r}" if source.records else "(`records` says where it stands)"
        raise ProjectError(f"{source.server}: the answer has no list of records {where}")
    return found


def _page(source: Source, secret: str, url: str) -> tuple[Any, http.client.HTTPMessage]:
    content, headers = _get(source, secret, url)
    try:
        return msgspec.json.decode(content), headers
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProjectError(f"{source.server}: {url} gave no JSON") from None


def _get(source: Source, secret: str, url: str) -> tuple[bytes, http.client.HTTPMessage]:
    """Return an answer; five tries while the server is busy, as long apart as it asks for."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ProjectError(f"{source.server}: its location is no address of http or https: {url}")
    if secret and parts.scheme == "http" and parts.hostname not in HERE:
        raise ProjectError(f"{source.server}: {source.secret_env} is not sent without TLS: {url}")
    headers = {"Accept": "*/*", "User-Agent": "ml"}
    if secret:
        name = source.secret_header or "Authorization"
        headers[name] = secret if source.secret_header else f"Bearer {secret}"
    for attempt in range(1, TRIES + 1):
        try:
            asked = urllib.request.Request(url, headers=headers)
            with _OPENER.open(asked, timeout=SECONDS) as answer:
                return answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            if error.code in BUSY and attempt < TRIES:
                time.sleep(_wait(error.headers.get("Retry-After"), attempt))
                continue
            raise ProjectError(f"{source.server}: {_said(source, url, error.code)}") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(error, http.client.IncompleteRead):
                reason = "the answer ended early"
            raise ProjectError(f"{source.server}: {url}: {reason}") from None
    raise AssertionError


def _wait(asked: str | None, attempt: int) -> float:
    seconds = float(asked) if asked and re.fullmatch(r"\d+", asked) else 0.5 * 2**attempt
    return min(seconds, LONGEST_WAIT)


def _said(source: Source, url: str, code: int) -> str:
    """Say what an answer of an HTTP server means, and what mends it."""
    if code in (401, 403):
        need = f"what {source.secret_env} has is refused" if source.secret_env else "it needs a key"
        return f"{url} answers {code}: {need}"
    if 300 <= code < 400:
        return f"{url} answers {code}, a redirect: write the address that it leads to"
    tries = f" after {TRIES} tries" if code in BUSY else ""
    return f"{url} answers {code}{tries}: {http.client.responses.get(code, 'no reason given')}"
