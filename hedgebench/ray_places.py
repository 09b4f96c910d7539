"""Ray: places on a cluster, one actor each, that hold a model and its activations and take jobs one after another. Needs the extra `[ray]`.

The records are written by the process that asks; the actors hand outcomes back. Their nodes must have HedgeBench installed and see the same files at the same paths.
"""

from __future__ import annotations

import importlib
import logging
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from hedgebench.compat import prepare
from hedgebench.places import Listener, NoRoom, WorkerDied, answer, check_device, forward_notices
from hedgebench.records import Outcome
from hedgebench.session import Job, Session, error_line
from hedgebench.suite import RayOptions
from hedgebench.types import BadInput

logger = logging.getLogger(__name__)

FIND = 120.0
"""Seconds to find a node for an actor."""
SETTLE = 30.0
"""Seconds to find out what became of an actor that does not answer."""
_PASSED_ON = ("HEDGEBENCH_", "HF_", "PYTHONPATH")
"""Environment variables that the actors get, by how their names begin."""


@contextmanager
def ray_places(n: int | None, device: str, options: RayOptions) -> Iterator[list[RayPlace]]:
    """Places on a Ray cluster: the one that `options` or RAY_ADDRESS names, or one on this machine for as long as they are used.

    Args:
        n: How many; None: as many as there is room for. Of more than that, only those.
        device: Torch device of each.
        options: Where the cluster is, and what each place takes of it.

    Raises:
        BadInput: Ray is not installed, the cluster is not there, or none of its nodes has room for a single place; the device is a GPU, and
            a place takes none.
    """
    try:
        import ray
    except ImportError:
        raise BadInput("--executor ray needs the extra [ray]: pip install 'hedgebench[ray]'") from None

    if options.num_gpus is None:
        options = replace(options, num_gpus=1.0 if _is_gpu(device) else 0.0)
    if _is_gpu(device) and not options.num_gpus:
        raise BadInput(
            f"--device {device} needs `num_gpus` above 0 in the suite's `ray:`: Ray hides GPUs from places that take none"
        )
    address = options.address or os.environ.get("RAY_ADDRESS")
    ours = not ray.is_initialized()
    if ours:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            ray.init(address or "local", **quiet, **({} if address else {"include_dashboard": False}))
        except Exception as error:  # some that Ray raises are of no narrower kind
            why = " ".join(str(error).split())[:200]
            if address and "RAY_AUTH_MODE" not in os.environ:
                why += "; for one that asks for a token, set RAY_AUTH_MODE=token"
            raise BadInput(f"no Ray cluster at {address or 'this machine'}: {why}") from None
    places: list[RayPlace] = []
    try:
        room = _room(options)
        if not room:
            raise BadInput(f"no node of the Ray cluster has {_wanted(options)}; its nodes have {_nodes()}")
        if n is not None and n > room:
            logger.warning("the Ray cluster has room for %d of %d places with %s each", room, n, _wanted(options))
        places += [RayPlace(device, options) for _ in range(min(n or room, room))]
        yield places
    finally:
        for place in places:
            place.close()
        if ours:
            ray.shutdown()


def _is_gpu(device: str) -> bool:
    return device.startswith("cuda")


def _alive() -> list[Mapping[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _room(options: RayOptions) -> int:
    """How many places fit on the nodes that are there, if nothing else ran on them."""

    def fits(has: Mapping[str, float]) -> int:
        wanted = {"CPU": options.num_cpus, "GPU": options.num_gpus or 0.0}
        return math.floor(
            min((has.get(name, 0.0) / amount + 1e-9 for name, amount in wanted.items() if amount), default=0.0)
        )

    return sum(fits(node["Resources"]) for node in _alive())


def _wanted(options: RayOptions) -> str:
    return " and ".join(
        f"{amount:g} {name}" for name, amount in (("CPU", options.num_cpus), ("GPU", options.num_gpus)) if amount
    )


def _nodes() -> str:
    said = (f"{node['Resources'].get('CPU', 0):g} CPU and {node['Resources'].get('GPU', 0):g} GPU" for node in _alive())
    return ", ".join(sorted(said)) or "nothing"


class RayPlace:
    """One actor of a Ray cluster, started when the first job comes, and again after it was lost.

    Args:
        device: Torch device.
        options: What it takes of the cluster.
    """

    def __init__(self, device: str, options: RayOptions) -> None:
        self.device, self.options = device, options
        self._actor: Any = None
        self._node = ""

    def carry_out(self, job: Job, limit: float, progress: Callable[[float], None]) -> Iterator[tuple[str, Outcome]]:
        """Have a job done; yield (run_id, outcome) as they come.

        Raises:
            NoRoom: No node takes the actor, or it cannot start there.
            WorkerDied: The actor's process or its node is gone, it gave no sign of life for `limit` seconds, or took `limit` seconds for each run of the job.
        """
        import ray

        actor = self._running()
        listener = Listener(job, limit, progress)
        messages = actor.carry_out.options(num_returns="streaming").remote(job.to_dict())
        while not listener.done:
            ready, _ = ray.wait([messages], timeout=max(0.0, listener.patience))
            if not ready:
                self.close()
                raise WorkerDied(f"the Ray actor was stopped: {listener.complaint}", outside=not listener.began)
            try:
                heard = listener.hear(ray.get(next(messages)))
            except ray.exceptions.RayError as error:
                raise self._gone(error, began=listener.began) from None
            if heard is not None:
                yield heard

    def _running(self) -> Any:
        import ray

        if self._actor is None:
            env = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
            self._node = ""
            self._actor = (
                ray.remote(_Actor)
                .options(num_cpus=self.options.num_cpus, num_gpus=self.options.num_gpus, runtime_env={"env_vars": env})
                .remote(self.device, str(Path.cwd()))
            )
            try:
                self._node = ray.get(self._actor.where.remote(), timeout=FIND)
            except ray.exceptions.GetTimeoutError:
                self.close()
                raise NoRoom(
                    f"no node of the Ray cluster took a place with {_wanted(self.options)}; its nodes have {_nodes()}"
                ) from None
            except ray.exceptions.RayError as error:
                raise self._gone(error, began=False) from None
        return self._actor

    def _gone(self, error: Exception, *, began: bool) -> WorkerDied:
        """What it means that the actor is gone: with its node, by itself, or out of reach; or that it has raised an error."""
        import ray

        until = time.monotonic() + SETTLE
        while (
            isinstance(error, ray.exceptions.ActorUnavailableError) and self._on_a_node() and time.monotonic() < until
        ):
            try:
                ray.get(self._actor.where.remote(), timeout=1.0)
                break
            except ray.exceptions.GetTimeoutError:
                continue
            except ray.exceptions.RayError as settled:
                error = settled
                time.sleep(0.5)
        lost = isinstance(error, ray.exceptions.ActorUnavailableError) or not self._on_a_node()
        self.close()
        if lost:
            return WorkerDied("the Ray node it ran on was lost", outside=True)
        raised = isinstance(error, ray.exceptions.RayTaskError)
        said = " ".join(str(error).split())
        why = error_line(error.cause) if raised else said[:300]  # type: ignore[attr-defined]
        outside = not raised and ("SIGKILL" in said or "memory" in said)
        if not began and not outside:
            return NoRoom(f"a place on the Ray cluster cannot start: {why}")
        return WorkerDied(f"the Ray actor is gone: {why}", outside=outside)

    def _on_a_node(self) -> bool:
        return not self._node or self._node in {node["NodeID"] for node in _alive()}

    def close(self) -> None:
        """End the actor."""
        import ray

        actor, self._actor = self._actor, None
        if actor is not None:
            with suppress(Exception):
                ray.kill(actor)


class _Actor:
    """The actor's side: carries out jobs in a process of the cluster."""

    def __init__(self, device: str, folder: str) -> None:
        self.device, self.folder = device, folder
        self.session: Session | None = None
        self.said: queue.Queue[dict[str, Any] | BaseException] = queue.Queue()

    def where(self) -> str:
        """The node's id."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def carry_out(self, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield what there is to say of a job, as it comes; see `answer`."""
        said = self.said = queue.Queue()

        def work() -> None:
            try:
                answer(self._begin(), Job.from_dict(job), said.put)
            except BaseException as error:
                said.put(error)

        threading.Thread(target=work, daemon=True).start()
        while True:
            message = said.get()
            if isinstance(message, BaseException):
                raise message
            yield message
            if "done" in message:
                return

    def _begin(self) -> Session:
        """What takes long, with the first job: the seconds are no run's."""
        if self.session is None:
            try:
                os.chdir(self.folder)
            except OSError as error:
                raise BadInput(
                    f"a Ray node cannot see {self.folder} ({error.strerror}): all nodes must share the file system"
                ) from None
            check_device(self.device)
            prepare()
            importlib.import_module("sae_lens")
            forward_notices(lambda message: self.said.put(message))
            self.session = Session(self.device)
        return self.session
