"""How Redis is reached: TLS, users with few rights, unix sockets; what each refuses, and says."""

import asyncio
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from quart_ratelimit import FixedWindow, Hit, StoreError
from quart_ratelimit.errors import StoreMisconfigured
from quart_ratelimit.stores import RedisStore

from ...support import certificates
from ...support.algorithms import ALL
from ...support.certificates import Certificates
from ...support.servers import RedisServer, free_port, since_7

CLOCK = FixedWindow(10, 3_600, aligned=True)
SCRIPT = FixedWindow(10, 3_600)

Start = Callable[..., RedisServer]


async def counts(store: RedisStore) -> bool:
    """Whether of 30 hits at once exactly the amount is allowed, and every algorithm answers."""
    for quota in (CLOCK, SCRIPT):
        decisions = await asyncio.gather(*[store.hit([Hit(quota, "ann")]) for _ in range(30)])
        if sum(decision.allowed for (decision,) in decisions) != 10:
            return False
    return all([(await store.hit([Hit(quota, "bob", lease="one")]))[0] for quota in ALL])


async def error_of(store: RedisStore, quota: FixedWindow = CLOCK) -> StoreError:
    with pytest.raises(StoreError) as caught:
        await store.hit([Hit(quota, "203.0.113.77")])
    await store.aclose()
    assert "203.0.113.77" not in str(caught.value)
    return caught.value


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl is installed")
    return certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def secure(files: Certificates, start_redis: Start) -> tuple[RedisServer, str]:
    """A Redis, and the URI to reach it by TLS."""
    port = free_port()
    try:
        server = start_redis(
            "--tls-port", str(port), "--tls-auth-clients", "no",
            "--tls-cert-file", str(files.certificate), "--tls-key-file", str(files.key),
        )  # fmt: skip
    except RuntimeError as error:
        if "tls-port" not in str(error) and "TLS support" not in str(error):
            raise
        pytest.skip("this redis-server was built without TLS")
    return server, f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={files.authority}"


async def test_over_tls_it_counts_alike(secure: tuple[RedisServer, str]) -> None:
    store = RedisStore(secure[1], deadline=5)
    await store.start()
    assert await counts(store)
    await store.aclose()


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    secure: tuple[RedisServer, str],
) -> None:
    await error_of(RedisStore(secure[1].partition("?")[0], deadline=5))


async def test_tls_where_none_is_spoken_and_none_where_it_is_are_errors_in_time(
    secure: tuple[RedisServer, str],
) -> None:
    server, uri = secure
    port = uri.partition("/0?")[0].rpartition(":")[2]
    for wrong in (uri.replace(f":{port}/", f":{server.port}/"), f"redis://127.0.0.1:{port}/0"):
        began = time.monotonic()
        await error_of(RedisStore(wrong, deadline=0.3))
        assert time.monotonic() - began < 1


async def test_a_tls_connection_that_was_closed_is_replaced(
    secure: tuple[RedisServer, str],
) -> None:
    server, uri = secure
    store = RedisStore(uri, deadline=5)
    await store.start()
    assert (await store.hit([Hit(CLOCK, "ann")]))[0]
    server.ask("CLIENT", "KILL", "TYPE", "normal")
    for _ in range(5):
        assert (await store.hit([Hit(CLOCK, "ann")]))[0]
    await store.aclose()


async def test_over_a_unix_socket_it_counts_alike(start_redis: Start, tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    start_redis("--unixsocket", str(path))
    for scheme in ("unix", "redis+unix"):
        store = RedisStore(f"{scheme}://{path}?db={1 if scheme == 'unix' else 2}", deadline=5)
        await store.start()
        assert await counts(store)
        await store.aclose()


async def test_a_unix_socket_that_is_not_there_is_an_error_and_found_when_it_comes(
    start_redis: Start, tmp_path: Path
) -> None:
    path = tmp_path / "redis.sock"
    store = RedisStore(f"unix://{path}", deadline=5)
    with pytest.raises(StoreError):
        await store.start()
    start_redis("--unixsocket", str(path))
    assert (await store.hit([Hit(CLOCK, "ann")]))[0]
    await store.aclose()


#: A user that may do all that is needed, and what one right less makes of each kind of hit.
RIGHTS = "~rate_limit:* +@read +@write +@scripting +@transaction +ping +time"


def with_user(server: RedisServer, *rights: str) -> RedisStore:
    server.ask("ACL", "SETUSER", "limits", "reset", "on", ">horse", *RIGHTS.split(), *rights)
    return RedisStore(server.url.replace("redis://", "redis://limits:horse@"), deadline=5)


@since_7
@pytest.mark.parametrize(
    "lacking",
    ["-incrby", "-expire", "-evalsha -eval", "-time", "-set", "-multi"],
)
async def test_a_right_that_is_lacking_is_named_as_misconfiguration_and_leaves_no_key(  # T-14
    start_redis: Start, lacking: str
) -> None:
    server = start_redis()
    error = await error_of(
        with_user(server, *lacking.split()), SCRIPT if "sha" in lacking else CLOCK
    )
    assert isinstance(error, StoreMisconfigured)
    assert "ACL" in str(error)
    assert "horse" not in str(error)
    with server.client() as client:
        assert all(client.pttl(key) > 0 for key in client.scan_iter())


async def test_a_right_that_is_taken_away_while_it_counts_leaves_no_key_without_an_expiry(  # T-14
    start_redis: Start,
) -> None:
    server = start_redis()
    store = with_user(server)
    await store.start()
    assert await counts(store)
    for lacking in ("-incrby", "-expire", "-evalsha", "-pexpire"):
        server.ask("ACL", "SETUSER", "limits", lacking)
        for quota in (CLOCK, SCRIPT):
            try:
                await store.hit([Hit(quota, f"{lacking}-{quota.aligned}")])
            except StoreError as error:
                assert isinstance(error, StoreMisconfigured), lacking  # noqa: PT017
        with server.client() as client:
            assert all(client.pttl(key) > 0 for key in client.scan_iter())
        server.ask("ACL", "SETUSER", "limits", f"+{lacking[1:]}")
    assert (await store.hit([Hit(CLOCK, "last")]))[0]
    await store.aclose()


async def test_keys_of_others_are_out_of_a_users_reach(start_redis: Start) -> None:
    server = start_redis()
    server.ask("ACL", "SETUSER", "limits", "on", ">horse", *RIGHTS.split())
    uri = server.url.replace("redis://", "redis://limits:horse@")
    assert isinstance(
        await error_of(RedisStore(uri, prefix="elsewhere", deadline=5)), StoreMisconfigured
    )


async def test_a_password_that_changes_is_named_once_connections_are_new(  # T-14: NOAUTH
    start_redis: Start,
) -> None:
    server = start_redis()
    store = RedisStore(server.url, deadline=5)
    await store.start()
    server.ask("CONFIG", "SET", "requirepass", "horse")
    await store.hit([Hit(CLOCK, "ann")])  # its connections were let in before
    await store.aclose()
    assert isinstance(await error_of(store), StoreMisconfigured)
