"""Fetching what customers send: from our own account at Twilio, from nowhere else, and never more than a limit.

The address of a file comes from a webhook, and that of a redirect from any server: both are hostile. The first
has to be our account's media path at `twilio.base_url`, and alone is shown credentials. A redirect is followed only to
a public address. The resolver that checks an address is the one that the connection is made by, so a name that
resolves to another address a moment later gains nothing.
"""

from __future__ import annotations

import asyncio
import base64
import re
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from types import TracebackType
from typing import Self
from urllib.parse import SplitResult, urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from wa_relay.channel.attachments import media_type_of
from wa_relay.channel.sniffing import SNIFFED, found_kind
from wa_relay.http import retry_after
from wa_relay.policy import CHUNK, OCTETS, kind_of, same_kind

MOST_REDIRECTS = 2
CONNECT_WITHIN, SILENT_FOR, WITHIN = 5.0, 10.0, 60.0
"""Seconds: for a connection, between two parts of an answer, and for all of it."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_RETRIED = frozenset({404, 408, 425, 429})
_PATH = r"/2010-04-01/Accounts/{account}/Messages/(?:SM|MM)[0-9a-fA-F]{{32}}/Media/ME[0-9a-fA-F]{{32}}"
_NAT64 = ip_network("64:ff9b::/96")

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Returns the addresses of a host, as numbers. Raises `OSError`."""


class MediaError(Exception):
    """A file that can't be fetched. `permanent` says if another try could do better; `reason` is a code."""

    def __init__(
        self, reason: str, evidence: str, *, permanent: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(evidence)
        self.reason = reason
        self.evidence = evidence
        self.permanent = permanent
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Fetched:
    """A fetched file: the content type to keep, and the size in bytes."""

    content_type: str | None
    size: int


class MediaFetcher:
    """Fetches files of one account, of at most `max_bytes`. `resolve` is the system's unless it is given."""

    def __init__(
        self, base_url: str, account_sid: str, auth_token: str, *, max_bytes: int, resolve: Resolve | None = None
    ) -> None:
        self._base = urlsplit(base_url)
        self._path = re.compile(re.escape(self._base.path.rstrip("/")) + _PATH.format(account=re.escape(account_sid)))
        self._credentials = "Basic " + base64.b64encode(f"{account_sid}:{auth_token}".encode()).decode()
        self._max_bytes = max_bytes
        inside = is_inside(self._base.hostname or "")
        resolve = resolve or _system_resolve
        self._inside_allowed = inside
        self._twilio = _session(CheckingResolver(resolve, inside_allowed=True))
        # Each redirect opens a new connection, so that each address is checked.
        self._elsewhere = _session(CheckingResolver(resolve, inside_allowed=inside), force_close=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._twilio.close()
        await self._elsewhere.close()

    def allowed(self, url: str) -> bool:
        """True for our account's media path at `twilio.base_url`, to the letter."""
        try:
            parts = urlsplit(url)
            same = (parts.scheme, parts.hostname, _port(parts)) == (
                self._base.scheme,
                self._base.hostname,
                _port(self._base),
            )
        except ValueError:
            return False
        # `?` and `#` also where urlsplit sees an empty part: other parsers read such an address differently.
        bare = not (parts.query or parts.fragment or "@" in parts.netloc or "?" in url or "#" in url)
        return same and bare and self._path.fullmatch(parts.path) is not None

    async def fetch(self, url: str, announced: str | None, keep: Callable[[int, bytes], Awaitable[None]]) -> Fetched:
        """Fetches one file and hands it to `keep` in numbered parts of at most 256 kB. Raises `MediaError`.

        `announced` is the content type that Twilio's webhook gave, None if it gave none.
        """
        # The webhook is signed, but the account may be shared: our credentials go to our account's files only.
        if not self.allowed(url):
            raise MediaError("foreign_address", "the file is not at our account's address at Twilio", permanent=True)
        try:
            async with asyncio.timeout(WITHIN), AsyncExitStack() as opened:
                answer = await self._open(url, opened)
                return await self._read(answer, announced, keep)
        except ForbiddenAddress as error:
            raise MediaError("forbidden_address", str(error), permanent=True) from error
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, ForbiddenAddress):
                raise MediaError("forbidden_address", str(error.os_error), permanent=True) from error
            raise MediaError("unreachable", f"no connection: {type(error).__name__}") from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise MediaError("unreachable", f"the connection broke: {type(error).__name__}") from error

    async def _open(self, url: str, opened: AsyncExitStack) -> aiohttp.ClientResponse:
        """Requests the file, and follows redirects without credentials and only to public addresses."""
        headers = {"Accept-Encoding": "identity", "Authorization": self._credentials}
        answer = await opened.enter_async_context(
            self._twilio.get(URL(url, encoded=True), headers=headers, allow_redirects=False)
        )
        for _ in range(MOST_REDIRECTS):
            if answer.status not in _REDIRECTS:
                break
            url = urljoin(url, answer.headers.get("Location", ""))
            answer.close()
            answer = await opened.enter_async_context(
                self._elsewhere.get(self._checked(url), headers={"Accept-Encoding": "identity"}, allow_redirects=False)
            )
        if answer.status in _REDIRECTS:
            raise MediaError("too_many_redirects", f"more than {MOST_REDIRECTS} redirects", permanent=True)
        if answer.status != 200:
            passing = answer.status >= 500 or answer.status in _RETRIED
            raise MediaError(
                "refused",
                f"HTTP {answer.status} for the file",
                permanent=not passing,
                retry_after=retry_after(answer.headers),
            )
        return answer

    def _checked(self, url: str) -> URL:
        """The address of a redirect. A host that is written as a number never reaches the resolver."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
            raise MediaError("forbidden_address", "a redirect to something else than http(s)", permanent=True)
        if not self._inside_allowed and _number(host) is not None and is_inside(host):
            raise MediaError("forbidden_address", "a redirect to a private address", permanent=True)
        return URL(url, encoded=True)

    async def _read(
        self,
        answer: aiohttp.ClientResponse,
        announced: str | None,
        keep: Callable[[int, bytes], Awaitable[None]],
    ) -> Fetched:
        served = media_type_of(answer.headers.get("Content-Type", ""))
        # A page served as a picture would run in the browser of whoever opens it in the console.
        if served not in (None, OCTETS) and not same_kind(announced, kind_of(served)):
            raise MediaError("other_kind", f"{announced} was announced, {served} came", permanent=True)
        # Announced sizes may lie, so the bytes are counted below as well.
        if (answer.content_length or 0) > self._max_bytes:
            raise _too_large(self._max_bytes)
        buffer, size, number = bytearray(), 0, 0
        async for block in answer.content.iter_any():
            size += len(block)
            if size > self._max_bytes:
                raise _too_large(self._max_bytes)
            if size - len(block) < SNIFFED:
                buffer += block
                if not same_kind(announced, found_kind(bytes(buffer[:SNIFFED]))):
                    raise MediaError("other_kind", f"{announced} was announced, its bytes are not", permanent=True)
            else:
                buffer += block
            while len(buffer) >= CHUNK:
                await keep(number, bytes(buffer[:CHUNK]))
                del buffer[:CHUNK]
                number += 1
        if size == 0:
            raise MediaError("empty", "the file is empty", permanent=True)
        if buffer:
            await keep(number, bytes(buffer))
        return Fetched(served if announced in (None, OCTETS) else announced, size)


class ForbiddenAddress(OSError):
    """A name that resolves to an address that files are not fetched from."""


class CheckingResolver(AbstractResolver):
    """Resolves and checks in one step: aiohttp connects to what this returns, and to nothing else."""

    def __init__(self, resolve: Resolve, *, inside_allowed: bool) -> None:
        self._resolve = resolve
        self._inside_allowed = inside_allowed

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - the system's choice
    ) -> list[ResolveResult]:
        """The addresses of a host; raises `ForbiddenAddress` if any of them is private."""
        # The connection goes to the addresses checked here: a name that changes its address gains nothing.
        addresses = await self._resolve(host, port)
        if not self._inside_allowed and any(is_inside(address) for address in addresses):
            raise ForbiddenAddress("a redirect to a name with a private address")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""


def is_inside(host: str) -> bool:
    """True for an address that is not public: private, loopback, link-local and the like, and names of this machine.

    Addresses that carry another inside them (mapped, 6to4, NAT64) count as that one.
    """
    address = _number(host)
    if address is None:
        return host == "localhost" or host.endswith(".localhost") or "." not in host
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        address = inner or address
    return not address.is_global or address.is_multicast


def _number(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        # Spellings that the system's resolver takes for numbers: 127.1, 0x7f.1, 2130706433.
        return ip_address(socket.inet_aton(host)) if re.fullmatch(r"[0-9a-fA-FxX.]+", host) else None
    except (OSError, ValueError):
        return None


def _session(resolver: AbstractResolver, *, force_close: bool = False) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, resolver=resolver, use_dns_cache=False, force_close=force_close),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_WITHIN, sock_read=SILENT_FOR),
    )


async def _system_resolve(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def _port(parts: SplitResult) -> int | None:
    return parts.port if parts.port is not None else {"https": 443, "http": 80}.get(parts.scheme)


def _too_large(limit: int) -> MediaError:
    return MediaError("too_large", f"the file is larger than {limit} bytes (media.max_bytes)", permanent=True)
