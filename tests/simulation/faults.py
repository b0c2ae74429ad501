"""Carries out the faults of a plan on the servers, the network and the workers of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .keyspace import Entry, Keyspace
from .plan import BLIP_GRACE, NEAR, Fault
from .redis_server import SimulatedRedis
from .site import ADDRESS

if TYPE_CHECKING:
    from .run import Run

#: Seconds by which the slowest network delays each segment.
SLOWER = 0.03
#: Seconds between two copies of the data to the replica and to the file.
SAVES_EACH = 0.25


def begin(run: Run, fault: Fault) -> None:
    """Have one fault happen now."""
    seconds = f" for {fault.seconds:.3f} s" if fault.seconds else ""
    run.world.tell("fault", f"{fault.kind}{seconds} ({fault.worker}, {fault.amount:.2f})")
    run.injected[fault.kind] = run.injected.get(fault.kind, 0) + 1
    _FAULTS[fault.kind](run, fault)


def save_regularly(run: Run) -> None:
    """Copy the data every so often, as replication and snapshots do, until the run ends."""
    run.server.saved = run.server.commands.keyspace.copy()
    if not run.is_over:
        run.world.after(SAVES_EACH, lambda: save_regularly(run))


def _stop(run: Run, fault: Fault) -> None:
    run.server.stop(fault.seconds)


def _blip(run: Run, fault: Fault) -> None:
    """As a stop, but short: many clients come during it, and one comes soon after."""
    _stop(run, fault)
    for worker in run.workers.values():
        run.world.after(0.005, worker.crowd)
        run.world.after(fault.seconds + BLIP_GRACE + 0.01, worker.visit)


def _restart(run: Run, fault: Fault) -> None:
    """Down, then up with the data as it was saved last, or as it was when it went down."""
    server = run.server
    server.go_down()
    kept = server.commands.keyspace if fault.amount < 0.5 else server.saved
    if fault.amount >= 0.5:
        run.oracle.lost("restart from a file")
    run.world.after(fault.seconds, lambda: server.come_up(kept))


def _restart_empty(run: Run, fault: Fault) -> None:
    server = run.server
    server.go_down()
    run.oracle.lost("restart without data")
    run.world.after(fault.seconds, lambda: server.come_up(Keyspace()))


def _script_flush(run: Run, fault: Fault) -> None:
    run.server.commands.scripts.clear()


def _failover(run: Run, fault: Fault) -> None:
    """The address leads to a replica that lacks the last commands; the old master may live on."""
    old = run.server
    new = SimulatedRedis(run.world, f"{old.name}'", run.oracle.executed)
    new.commands.keyspace = old.saved.copy()
    ahead_ms = int((fault.amount - 0.5) * 20)
    new.clock_ms = old.clock_ms + ahead_ms
    run.oracle.lost("failover", ahead_ms=ahead_ms)
    run.server = new
    run.network.servers[ADDRESS] = new
    if fault.amount < 0.4:
        old.mood = "readonly"
    else:
        old.go_down()
    run.world.after(fault.seconds, old.go_down)


def _mood(name: str) -> Callable[[Run, Fault], None]:
    def begin_mood(run: Run, fault: Fault) -> None:
        server = run.server
        server.mood = name
        run.world.after(fault.seconds, lambda: setattr(server, "mood", ""))

    return begin_mood


def _hiccup(run: Run, fault: Fault) -> None:
    """Redis refuses the hits of a crowd, which is one failure, and carries out the next hit."""
    _mood("busy")(run, fault)
    for worker in run.workers.values():
        worker.crowd()
        run.world.after(fault.seconds + BLIP_GRACE + 0.01, worker.visit)


def _clock_jump(run: Run, fault: Fault) -> None:
    ahead_ms = int((fault.amount - 0.5) * 20_000)
    run.server.clock_ms += ahead_ms
    run.oracle.lost("clock jump", ahead_ms=ahead_ms)
    run.workers[fault.worker].change_mind()


def _kill_clients(run: Run, fault: Fault) -> None:
    run.server.drop_clients()


def _reset_connections(run: Run, fault: Fault) -> None:
    """While many clients send, or while no client sends."""
    worker = run.workers[fault.worker]
    if fault.amount < 0.5:
        worker.crowd()
        run.world.after(4 * worker.plan.latency * fault.amount, lambda: _reset(run, fault))
    else:
        _reset(run, fault)
    run.world.after(BLIP_GRACE + 0.02, worker.visit)


def _reset(run: Run, fault: Fault) -> None:
    for connection in list(run.server.clients):
        if connection.worker == fault.worker:
            connection.reset(delivered=connection.stream.random())


def _block(run: Run, fault: Fault) -> None:
    run.network.blocked_until[fault.worker] = run.world.now + fault.seconds


def _stall(run: Run, fault: Fault) -> None:
    run.workers[fault.worker].loop.stall(fault.seconds)


def _kill_worker(run: Run, fault: Fault) -> None:
    worker = run.workers[fault.worker]
    if not worker.is_done:
        run.kill(worker)


def _slow_network(run: Run, fault: Fault) -> None:
    more = SLOWER * fault.amount
    run.network.latency[fault.worker] += more

    def end() -> None:  # another such fault may have begun meanwhile
        run.network.latency[fault.worker] -= more

    run.world.after(fault.seconds, end)


def _poison(run: Run, fault: Fault) -> None:
    """Another program puts a hash where a client's state is kept.

    The client and others call at once, and again when nothing else is wrong: see `Run`.
    """
    entries = run.server.commands.keyspace.entries
    keys = [key for key, entry in entries.items() if entry.algorithm]
    if keys:
        key = keys[int(fault.amount * len(keys))]
        entries[key] = Entry("hash", {b"a": b"b"})
        run.oracle.lost("poison")
        run.poisoned.add(key)
        client = key.partition("{")[2].partition("}")[0]
        worker = run.workers[fault.worker]
        worker.try_all(client)
        if worker.plan.latency <= NEAR:  # else the connections that they need may not be open yet
            run.troubled.append((worker, client))


_FAULTS: dict[str, Callable[[Run, Fault], None]] = {
    "stop": _stop,
    "blip": _blip,
    "hiccup": _hiccup,
    "restart": _restart,
    "restart empty": _restart_empty,
    "script flush": _script_flush,
    "failover": _failover,
    "replica": _mood("readonly"),
    "clock jump": _clock_jump,
    "busy": _mood("busy"),
    "oom": _mood("oom"),
    "loading": _mood("loading"),
    "kill clients": _kill_clients,
    "reset connections": _reset_connections,
    "block the way": _block,
    "stall": _stall,
    "kill worker": _kill_worker,
    "slow network": _slow_network,
    "poison": _poison,
}
