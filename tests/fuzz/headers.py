"""Random clients behind random proxies: whoever the header names, the true client is counted.

Each case is a topology: a client, which sends headers of its choice, and proxies, each of which
writes down whom it was contacted by, in its own way. The expected answer is taken from the
topology, never from the header.
"""

from collections import Counter
from dataclasses import dataclass, field
from random import Random

from quart_ratelimit.clients.address import canonical
from quart_ratelimit.clients.proxies import TrustedProxies

from . import main

NETWORKS = ["10.0.0.0/8", "fd00::/16", "192.0.2.1"]

#: What a client may write: addresses that are no hop, trusted ones among them, and garbage.
FORGED = [
    "198.51.100.7",
    "198.51.100.8:4711",
    "::ffff:198.51.100.9",
    '"[2001:db8:f::1]:443"',
    "2001:db8:f::2",
    "10.255.0.1",
    "192.0.2.1",
    "fd00:ff::1",
    "127.0.0.1",
]
GARBAGE = [
    "",
    " ",
    "unknown",
    "_hidden",
    "<local>",
    "<script>alert(1)</script>",
    "01.2.3.4",
    "198.51.100",
    "for=",
    'for="',
    'for="198.51.100.7',
    'x="\\',
    '"',
    ";",
    "\\",
    "\x00",
    "\r\nX-Forwarded-For: 198.51.100.7",
    "\xff" * 50,
    "," * 50,
    "9" * 10_000,
]
#: What a proxy writes that knows no address or hides it.
UNREADABLE = ["unknown", "_hidden", "", "<local>"]


@dataclass
class Request:
    """What arrives at the app."""

    #: True addresses: the client, then each proxy; the last is the app's peer.
    hops: list[str]
    lines: list[str]
    #: By proxy: whether it wrote down its peer so that it can be read.
    told: list[bool] = field(default_factory=list)


def true_address(random: Random, *, proxy: bool) -> str:
    low = random.randrange(1, 255)
    if random.random() < 0.3:
        return f"fd00::{low:x}" if proxy else f"2001:db8:c:{low:x}::{random.randrange(1, 99):x}"
    return f"10.0.{low}.{random.randrange(256)}" if proxy else f"203.0.113.{low}"


def written(random: Random, address: str, *, quoted: bool) -> str:
    """An address as some proxy writes it."""
    if ":" in address:
        address = random.choice([address, address.upper(), f"[{address}]", f"[{address}]:80"])
        return f'"{address}"' if quoted else address
    address = random.choice([address, f"{address}:5555", f"::ffff:{address}"])
    return f'"{address}"' if quoted and (":" in address or random.random() < 0.3) else address


def node(random: Random, text: str) -> str:
    """An element of ``Forwarded``, perhaps with what the client sent as Host."""
    pair = random.choice(["for", "For", "FOR"]) + "=" + (text or '""')
    host = ", ".join(f"for={word}" for word in random.sample(FORGED + GARBAGE[:-2], 2))
    escaped = host.replace("\\", "\\\\").replace('"', '\\"')
    return random.choice(
        [pair, f"{pair};proto=https", f"by=_lb;{pair}", f'{pair};host="{escaped}"', f" {pair} "]
    )


def forgery(random: Random, header: str) -> list[str]:
    """Lines that a client sends."""
    lines = []
    for _ in range(random.randrange(4)):
        words = random.choices(FORGED + GARBAGE, k=random.randrange(1, 5))
        if header == "Forwarded":
            words = [random.choice([word, f"for={word}", f"for={word};by=x"]) for word in words]
        lines.append(random.choice([",", ", "]).join(words))
    return lines


def request(random: Random, header: str) -> Request:
    """A client's request, after it has passed 0 to 4 proxies."""
    proxies = [true_address(random, proxy=True) for _ in range(random.randrange(5))]
    arriving = Request([true_address(random, proxy=False), *proxies], forgery(random, header))
    for peer in arriving.hops[:-1]:
        readable = random.random() < 0.9
        quoted = header == "Forwarded"
        text = written(random, peer, quoted=quoted) if readable else random.choice(UNREADABLE)
        arriving.told.append(readable)
        text = node(random, text) if quoted else text
        match random.randrange(4):
            case 0:
                arriving.lines = [text]
                arriving.told = [False] * (len(arriving.told) - 1) + [readable]
            case 1:
                arriving.lines.append(text)
            case _ if arriving.lines:
                arriving.lines[-1] += f", {text}"
            case _:
                arriving.lines = [text]
    return arriving


def expected(arriving: Request, depth: int) -> str:
    """The hop that ``depth`` trusted proxies in a row, from the app outwards, vouch for."""
    position = len(arriving.hops) - 1
    while position > 0 and depth > 0 and arriving.told[position - 1]:
        position, depth = position - 1, depth - 1
    return arriving.hops[position]


def check(random: Random) -> str:
    """Try one random case; what kind it was."""
    header = random.choice(["X-Forwarded-For", "Forwarded"])
    arriving = request(random, header)
    proxies = len(arriving.hops) - 1
    trust = random.choice(["nobody", "networks", "number", "fewer"])
    if trust == "nobody":
        trusted, depth = TrustedProxies(None, header=header), 0
    elif trust == "networks":
        trusted, depth = TrustedProxies(NETWORKS, header=header), proxies
    else:
        depth = proxies if trust == "number" else random.randint(0, proxies)
        trusted = TrustedProxies(depth, header=header)
    answer = trusted.client(arriving.hops[-1], arriving.lines)
    right = canonical(expected(arriving, depth))
    if answer != right:
        raise AssertionError(f"{answer} is counted, not {right}: {trust} {depth} {arriving}")
    named = "client" if right == canonical(arriving.hops[0]) else "proxy"
    return f"{header}, trusting {trust}: the {named} is counted"


def run(cases: int, seed: int) -> "Counter[str]":
    """Try so many random cases; how many there were of each kind."""
    random = Random(seed)
    return Counter(check(random) for _ in range(cases))


if __name__ == "__main__":
    main(run)
