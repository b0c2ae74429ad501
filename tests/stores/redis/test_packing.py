"""Commands as bytes, compared with the packer of redis-py."""

import pytest
from redis._parsers.encoders import Encoder
from redis.connection import PythonRespSerializer

from quart_ratelimit.stores.redis.packing import EXEC, MULTI, TIME, bulk, command, encoded

theirs = PythonRespSerializer(10**9, Encoder("utf-8", "surrogatepass", False).encode)


@pytest.mark.parametrize(
    "parts",
    [
        ("TIME",),
        ("SET", "ann", 12, "PX", 60_000),
        ("SET", "änn", "größe"),
        ("SET", "\ud800", "x"),
        ("EVALSHA", b"\x00\xff", "a b\r\n", 0, -1),
        ("SET", b"ascii", "ascii", ""),
    ],
)
def test_a_command_is_packed_as_redis_py_packs_it(parts: tuple[str | int | bytes, ...]) -> None:
    assert command(*parts) == b"".join(theirs.pack(*parts))


def test_the_fixed_commands_are_what_they_are_called() -> None:
    assert (command("MULTI"), command("EXEC"), command("TIME")) == (MULTI, EXEC, TIME)


def test_an_argument_has_its_length_in_bytes() -> None:
    assert bulk("ä") == bulk("ä".encode()) == b"$2\r\n\xc3\xa4\r\n"
    assert encoded("\ud800") == b"\xed\xa0\x80"
