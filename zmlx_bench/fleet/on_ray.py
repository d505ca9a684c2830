"""The nodes of a Ray cluster, or of a Ray of this machine's own."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from zmlx_bench.errors import CannotHere
from zmlx_bench.fleet import ray_node, site
from zmlx_bench.fleet.nodes import NodeFails, Report
from zmlx_bench.fleet.surveys import AGAIN_S, Surveys
from zmlx_bench.printable import one_line
from zmlx_bench.schema.fleet import FleetDevice, FleetWork

NAMESPACE = "zmlx-fleet"
LOOPBACK = "127.0.0.1"
_STORE_BYTES = 128 * 1024 * 1024
_ANSWER_S = 30.0
_PENDING_S = 60.0
"""Without an answer from a session that is new: what its device needs is used by another job of the cluster."""
_OWN = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_worker_niceness": "0"}
"""Read when `ray` is imported: a Ray of our own stays on the loopback, as on macOS, and no worker is at nice 15."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # What a raylet has to say of its end is pages long; the head says what is lost in a line.
    "RAY_DEDUP_LOGS": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
}


def _ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise CannotHere(
            "a fleet needs Ray: pip install 'zmlx-bench[fleet]'; or measure this machine's devices without it: "
            "zmlx fleet run FAMILY --local"
        ) from None
    return ray


class OnRay:
    """The nodes behind an address; None starts a Ray on the loopback of this machine, which ends with this process."""

    def __init__(self, address: str | None, again_s: float = AGAIN_S) -> None:
        with _as_before(own=address is None):
            self._ray = _ray()
            try:
                self._connect(address)
            except (ConnectionError, RuntimeError, ValueError, OSError, self._ray.exceptions.RayError) as error:
                where = "a Ray of this machine" if address is None else f"--address {address}"
                raise CannotHere(f"{where}: {one_line(str(error)) or type(error).__name__}") from None
        self._keeper = self._ray.remote(ray_node.Keeper)
        self._surveys = Surveys(self._ray, lambda node: self._task(ray_node.devices, node), again_s)
        self._node_of: dict[str, str] = {}
        self._parcels: dict[str, Any] = {}
        self._works: dict[str, FleetWork] = {}
        self._asked: dict[str, tuple[Any, float]] = {}
        """Of each session the answer that is awaited, and since when."""
        self._answered: set[str] = set()
        """Sessions whose keeper has answered: it has what it needs."""
        self._going: list[Any] = []
        """What need not be waited for."""

    def _connect(self, address: str | None) -> None:
        own: dict[str, Any] = {"address": address}
        if address is None:
            own = {
                "address": "local",
                "include_dashboard": False,
                "object_store_memory": _STORE_BYTES,
            }
        self._ray.init(**own, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
        at = self._ray.util.get_node_ip_address()
        if address is None and at != LOOPBACK:
            self._ray.shutdown()
            raise RuntimeError(f"it would listen on {at} and not on the loopback alone; start one by `ray start`")

    def devices(self) -> Sequence[FleetDevice]:
        """Return the devices of the nodes that Ray has; the first time, wait until they have said theirs."""
        alive = {node["NodeID"]: node for node in self._ray.nodes() if node["Alive"]}
        busy = {self._node_of.get(work.device.device, "") for work in self._works.values()}
        self._surveys.look(alive, busy)
        found = self._surveys.found()
        self._node_of = {device.device: node for node, device in found}
        return [device for _, device in found]

    def unused(self) -> Mapping[str, str]:
        """Return the nodes of which no device is known, as of the last `devices`."""
        return self._surveys.unused()

    def start(self, work: FleetWork, parcel: bytes) -> None:
        """Begin a session or go on with it."""
        node = self._at(work)
        self._works[work.session] = work
        self._asked.pop(work.session, None)
        self._answered.discard(work.session)
        key = work.question.parcel
        if key not in self._parcels:
            self._parcels[key] = self._ray.put(parcel)
        try:
            keeper = self._keeper.options(
                name=work.session,
                get_if_exists=True,
                lifetime="detached",
                max_restarts=0,
                scheduling_strategy=self._only(node),
                **self._needs(work, node),
            ).remote()
            self._going.append(keeper.begin.remote(work.model_dump_json(), self._parcels[key]))
            self._ask(work.session, keeper)
        except self._ray.exceptions.RayError as error:
            raise NodeFails(one_line(str(error))) from None

    def look(self, work: FleetWork) -> None:
        """Know of a session that a head before this one started."""
        self._works[work.session] = work
        try:
            self._ask(work.session, self._ray.get_actor(work.session))
        except ValueError:
            self._ask_disk(work)

    def poll(self, sessions: Sequence[str]) -> Sequence[Report]:
        """Return what keepers have answered since; those that are gone are looked for on their nodes' disks."""
        self._going = self._unfinished(self._going)
        awaited = {session: self._asked[session][0] for session in sessions if session in self._asked}
        ready = set(self._ready(list(awaited.values())))
        found: list[Report] = []
        for session, ref in awaited.items():
            if ref in ready:
                del self._asked[session]
                report = self._heard(session, ref)
            else:
                report = self._patient(session)
            if report is not None:
                found.append(report)
        return found

    def _heard(self, session: str, ref: Any) -> Report | None:
        """Take an answer, and ask again where the session goes on."""
        errors = self._ray.exceptions
        try:
            said = self._ray.get(ref)
        except errors.ActorUnavailableError:
            self._ask_again(session)
            return None
        except errors.RayError:
            self._from_disk(session)
            return None
        self._answered.add(session)
        # A head that was killed may have made the keeper and not have told it what to begin.
        report = Report(session, outcome="interrupted", why="it was not begun") if said is None else Report(**said)
        if report.outcome is None:
            self._ask_again(session)
        elif report.outcome != "finished":
            self._let_go(session)
        return report

    def _ask_again(self, session: str) -> None:
        try:
            self._ask(session, self._ray.get_actor(session))
        except ValueError:
            self._from_disk(session)

    def _patient(self, session: str) -> Report | None:
        """Return that a session's device is used by others, where Ray has not had it for a while."""
        _, since = self._asked[session]
        if session in self._answered or time.monotonic() - since < _PENDING_S:
            return None
        self._let_go(session)
        del self._asked[session]
        why = "another job of the Ray cluster has what the device needs, or its node does not answer"
        return Report(session, outcome="taken", why=why)

    def _from_disk(self, session: str) -> None:
        """Ask the node how a session stands whose keeper is gone, where the node still answers."""
        with suppress(NodeFails):
            work = self._works[session]
            self._ask_disk(work)
            self._answered.add(session)

    def fetch(self, session: str, name: str) -> bytes:
        """Return a file of a finished session."""
        work = self._works[session]
        node, told = self._at(work), work.model_dump_json()
        try:
            ref = self._ray.get_actor(session).fetch.remote(told, name)
        except ValueError:
            ref = self._task(ray_node.fetch, node, told, name)
        return bytes(self._wait_for(ref))

    def stop(self, work: FleetWork, *, drop: bool) -> None:
        """End a session, and with `drop` have it removed."""
        node, told = self._at(work), work.model_dump_json()
        self._asked.pop(work.session, None)
        try:
            keeper = self._ray.get_actor(work.session)
        except ValueError:
            keeper = None
        if drop:
            gone = keeper.leave.remote(told) if keeper is not None else self._task(ray_node.drop, node, told)
            self._going.append(gone)
            self._works.pop(work.session, None)
        elif keeper is not None:
            with suppress(NodeFails):
                self._wait_for(keeper.stop.remote())
            self._ray.kill(keeper)

    def close(self) -> None:
        """Leave the cluster, or end the one that is this process's own."""
        if self._going:
            self._ray.wait(self._going, num_returns=len(self._going), timeout=5)
        with _as_before(own=False):
            self._ray.shutdown()

    def _ask(self, session: str, keeper: Any) -> None:
        self._asked[session] = keeper.report.remote(), time.monotonic()

    def _ask_disk(self, work: FleetWork) -> None:
        ref = self._task(ray_node.standing, self._at(work), work.model_dump_json())
        self._asked[work.session] = ref, time.monotonic()

    def _let_go(self, session: str) -> None:
        """Free what the device needs: the session's process has ended."""
        with suppress(ValueError):
            self._ray.kill(self._ray.get_actor(session))

    def _at(self, work: FleetWork) -> str:
        node = self._node_of.get(work.device.device)
        if node is None:
            raise NodeFails(f"{work.device.device} does not answer")
        return node

    def _only(self, node: str) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(node, soft=False)

    def _needs(self, work: FleetWork, node: str) -> dict[str, float]:
        """Return the Ray resources that keep others off the device: the GPU, or all of the node's CPUs."""
        if work.device.machine.backend == "cuda":
            return {"num_gpus": 1, "num_cpus": 0}
        about = next(one for one in self._ray.nodes() if one["NodeID"] == node)
        return {"num_cpus": about["Resources"].get("CPU", 1)}

    def _task(self, function: Callable[..., Any], node: str, *arguments: Any) -> Any:
        options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": self._only(node)}
        return self._ray.remote(function).options(**options).remote(*arguments)

    def _wait_for(self, ref: Any) -> Any:
        try:
            return self._ray.get(ref, timeout=_ANSWER_S)
        except self._ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            raise NodeFails(one_line(str(cause)) or type(cause).__name__) from None

    def _ready(self, refs: list[Any]) -> list[Any]:
        return list(self._ray.wait(refs, num_returns=len(refs), timeout=0)[0]) if refs else []

    def _unfinished(self, refs: list[Any]) -> list[Any]:
        return list(self._ray.wait(refs, num_returns=len(refs), timeout=0)[1]) if refs else []


@contextmanager
def _as_before(*, own: bool) -> Iterator[None]:
    """Let Ray change neither this process's environment nor how it is terminated.

    The processes of a Ray of its `own` get no secret of this one, and listen on the loopback.
    """
    held, environ = signal.getsignal(signal.SIGTERM), dict(os.environ)
    try:
        if own:
            os.environ.clear()
            os.environ.update({**site.environment(environ), **_OWN})
        os.environ.update({name: value for name, value in _QUIET.items() if name not in environ})
        yield
    finally:
        os.environ.clear()
        os.environ.update(environ)
        signal.signal(signal.SIGTERM, held)
