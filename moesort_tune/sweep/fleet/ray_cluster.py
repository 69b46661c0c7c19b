"""The cards of a Ray cluster: one actor a GPU, placed by Ray's resources. Only this module and the actor know Ray."""

import os
import re
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stdout, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Final

from moesort_tune.errors import MoesortTuneError
from moesort_tune.sweep.cards import Card, get_card
from moesort_tune.sweep.fleet.card_actor import CallingActor, CardActor, Gpu, Loss, Proof
from moesort_tune.sweep.fleet.opening import NoCardsError, Opened, await_workers
from moesort_tune.sweep.worker.client import START_SECONDS
from moesort_tune.sweep.worker.errors import WorkerLostError, WorkerRefusedError, WorkerStartError
from moesort_tune.sweep.worker.messages import Answer, DeviceFacts, Refusal, Request
from moesort_tune.sweep.worker.requesting import RequestingWorker

ANSWER_SECONDS: Final = 60.0
"""An actor that answers so much later than its own limit for a request is not about to.

It includes a new process in the place of one that was killed between two requests.
"""

RESTART_SECONDS: Final = 120.0
"""Ray detects a dead node within about a minute; a new actor on a node that lives starts in seconds."""

PLACE_SECONDS: Final = 30.0
"""Ray starts an actor in seconds; after so long without another one, those that are left have no GPU."""

REACH_SECONDS: Final = 10.0

PASSED_ON: Final = ("MOESORT_TUNE_", "MOESORT_HOST_")
"""Beginnings of the variables that the cluster's processes get from this one."""


_EXCEPTION: Final = re.compile(r"[\w.]+(Error|Exception): ")


class ClusterError(MoesortTuneError):
    """A Ray cluster that cannot be used."""


def import_ray() -> ModuleType:
    """Return Ray. Raise ClusterError where it is not installed."""
    if find_spec("ray") is None:
        raise ClusterError("--engine ray needs Ray: pip install ray, the version of the cluster")
    import ray

    module: ModuleType = ray
    return module


class Cluster:
    """A connection to a Ray cluster. Close it to kill the actors that it started.

    Until then standard output is standard error, so that results are printed alone. A connection that this process has
    already is used as it is.
    """

    def __init__(self, address: str) -> None:
        """Connect. Raise ClusterError."""
        self._ray = import_ray()
        self._actors: list[Any] = []
        self._connection = ExitStack()
        if not self._ray.is_initialized():
            self._connect(address)

    def _connect(self, address: str) -> None:
        variables = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
        try:
            _reach(address)
            with ExitStack() as stack:
                # Ray prints lost workers of the cluster on stdout, whatever log_to_driver says.
                stack.enter_context(redirect_stdout(sys.stderr))
                terminate = signal.getsignal(signal.SIGTERM)
                self._ray.init(
                    address=address, logging_level="ERROR", log_to_driver=False, runtime_env={"env_vars": variables}
                )
                _handle_termination(terminate)
                stack.callback(self._ray.shutdown)
                self._connection = stack.pop_all()
        except (OSError, RuntimeError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ClusterError(
                f"no Ray cluster can be used at {address}: {reason}; start one with `ray start --head`, name another"
                " with --address, or set RAY_AUTH_MODE=token if it asks for a token"
            ) from error

    def count_gpus(self) -> tuple[int, int]:
        """Return how many GPUs are free, and how many there are."""
        free, total = self._ray.available_resources(), self._ray.cluster_resources()
        return int(free.get("GPU", 0)), int(total.get("GPU", 0))

    def start_actor(self, node_id: str | None = None, kind: type = CardActor) -> Any:
        """Return a new actor with a GPU of its own, on that node if one is named. Ray may still have to place it."""
        options: dict[str, Any] = {"num_gpus": 1, "num_cpus": 0, "max_restarts": 0}
        if node_id is not None:
            strategies = self._ray.util.scheduling_strategies
            options["scheduling_strategy"] = strategies.NodeAffinitySchedulingStrategy(node_id, soft=False)
        actor = self._ray.remote(kind).options(**options).remote()
        self._actors.append(actor)
        return actor

    def await_placed(self, actors: Sequence[Any]) -> list[Any]:
        """Return the actors that Ray has placed, and kill the others. Raise NoCardsError where there is none."""
        waiting = {actor.__ray_ready__.remote(): actor for actor in actors}
        placed = []
        while waiting:
            ready, _ = self._ray.wait(list(waiting), timeout=PLACE_SECONDS)
            if not ready:
                break
            placed += [waiting.pop(reference) for reference in ready]
        for actor in waiting.values():
            self.kill(actor)
        if not placed:
            raise NoCardsError(
                f"Ray found no whole GPU within {PLACE_SECONDS:g} s, though it counts"
                f" {format_gpus(self.count_gpus()[0])} free; other jobs may hold a part of each: look at `ray status`"
            )
        return placed

    def run_task(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what `function` returns on a GPU that is free; it gets Ray's name of that as its last argument.

        Raise NoCardsError, WorkerLostError.
        """
        self.require_free_gpus()
        (actor,) = self.await_placed([self.start_actor(kind=CallingActor)])
        return self.get(actor.call.remote(function, arguments), None)

    def require_free_gpus(self) -> tuple[int, int]:
        """Return how many GPUs are free, and how many other jobs hold. Raise NoCardsError where none is free."""
        free, total = self.count_gpus()
        if not total:
            raise NoCardsError("the Ray cluster has no GPUs; start its nodes with `ray start --num-gpus=N`")
        if not free:
            raise NoCardsError(f"other jobs hold all GPUs of the Ray cluster ({total}); wait for them")
        return free, total - free

    def get(self, reference: Any, seconds: float | None) -> Any:
        """Return the answer of an actor or task. Raise WorkerLostError where it died or does not answer in time."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference, timeout=seconds)
        except errors.GetTimeoutError:
            raise WorkerLostError(f"its actor did not answer within {seconds:g} s") from None
        except errors.RayError as error:
            raise WorkerLostError(f"its actor was lost: {summarize(error)}") from error

    def kill(self, actor: Any) -> None:
        """End an actor and its GPU's worker process at once."""
        with suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.kill(actor, no_restart=True)

    def close(self) -> None:
        """End all actors, and leave the cluster."""
        for actor in self._actors:
            self.kill(actor)
        self._actors.clear()
        self._connection.close()


def format_gpus(number: int) -> str:
    """Return '1 GPU' or '2 GPUs'."""
    return f"{number} GPU{'s' * (number != 1)}"


def summarize(error: Exception) -> str:
    """Return the line of a Ray error that says what happened: the exception behind it, else its first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return next((line for line in reversed(lines) if _EXCEPTION.match(line)), lines[0])


def _reach(address: str) -> None:
    """Raise OSError where nothing answers at 'host:port': Ray itself would wait for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and "/" not in host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()


def _handle_termination(handler: Any) -> None:
    """Handle SIGTERM as before Ray, whose own handler prints a trace and exits. Only the main thread may."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


@dataclass
class Seat:
    """A GPU of the cluster with the actor that holds it, None for a lost one. users: workers on it, one a provider."""

    actor: Any
    users: int = 0


class RayWorker(RequestingWorker):
    """A worker in an actor. A lost actor is replaced at the next request, by one that proves to hold the same card."""

    def __init__(self, engine: "RayEngine", provider: str, seat: Seat) -> None:
        self._engine = engine
        self._provider = provider
        self._seat = seat
        self._actor = seat.actor
        self._opening = engine.open(seat.actor, provider)
        self._proof: Proof | None = None
        self._closed = False
        self._must_restart = False
        seat.users += 1

    @property
    def proof(self) -> Proof:
        """The card that the actor holds. Raise WorkerRefusedError, WorkerLostError where it could not be opened."""
        if self._proof is None:
            self._proof = self._engine.await_proof(self._opening, START_SECONDS + ANSWER_SECONDS)
        return self._proof

    @property
    def facts(self) -> DeviceFacts:
        """Facts of the opened device and kernels."""
        return self.proof.facts

    def request(self, request: Request) -> Answer | DeviceFacts:
        """Return the answer of the actor, of a new one where the last is lost."""
        if self._closed:
            raise WorkerLostError(f"the worker is closed ({request})")
        self._follow_seat()
        try:
            answer = self._engine.ask(self._actor, self._provider, request, must_restart=self._must_restart)
        except WorkerLostError as error:
            self._drop_actor()
            raise WorkerLostError(f"{error} ({request})") from error
        if isinstance(answer, Loss):
            self._must_restart = True
            raise WorkerLostError(answer.sentence)
        if isinstance(answer, Refusal):
            raise WorkerRefusedError(answer.sentence)
        self._must_restart = False
        return answer

    def close(self) -> None:
        """Kill the actor if no other provider's worker uses it; no other one follows."""
        if not self._closed:
            self._closed = True
            self._seat.users -= 1
        if not self._seat.users:
            self._drop_actor()

    def _follow_seat(self) -> None:
        """Use the actor that holds the card now: a new one where it is lost, or where another worker replaced it."""
        if self._seat.actor is None:
            self._seat.actor = self._engine.replace_actor(self.proof, self._provider)
        elif self._seat.actor is not self._actor:
            self._engine.reopen(self._seat.actor, self._provider)
        self._actor = self._seat.actor

    def _drop_actor(self) -> None:
        if self._seat.actor is not None and self._seat.actor is self._actor:
            self._engine.cluster.kill(self._actor)
            self._seat.actor = None


@dataclass
class RayEngine:
    """The free GPUs of a cluster. limit_s: of one point."""

    cluster: Cluster
    arch: str
    limit_s: float
    _seats: list[Seat] = field(default_factory=list)
    _spares: dict[Gpu, Any] = field(default_factory=dict)
    _restarting: threading.Lock = field(default_factory=threading.Lock)

    def open_workers(self, provider: str) -> Opened:
        """Return a worker on each GPU that is free and proves to be a card of its own. Raise NoCardsError."""
        left_out = self._start_actors()
        opening = {
            f"worker {number}": RayWorker(self, provider, seat)
            for number, seat in enumerate(self._seats, start=1)
            if seat.actor is not None
        }
        opened = await_workers(opening)
        return _leave_out_repeats(Opened(opened.workers, left_out | opened.left_out))

    def _start_actors(self) -> dict[str, str]:
        """Start an actor on each GPU at the first call; return why others have none."""
        if self._seats:
            return {}
        free, held = self.cluster.require_free_gpus()
        placed = self.cluster.await_placed([self.cluster.start_actor() for _ in range(free)])
        self._seats = [Seat(actor) for actor in placed]
        reasons = {
            "the share of other jobs": (held, "they hold it"),
            "what Ray could not place": (
                free - len(placed),
                f"no actor got a GPU within {PLACE_SECONDS:g} s; other jobs may hold a part of it",
            ),
        }
        return {f"{name} ({format_gpus(number)})": reason for name, (number, reason) in reasons.items() if number}

    def open(self, actor: Any, provider: str) -> Any:
        """Return the reference of the proof that an actor is asked for."""
        return actor.open.remote(self.arch, provider, self.limit_s)

    def await_proof(self, reference: Any, seconds: float) -> Proof:
        """Return the proof. Raise WorkerRefusedError, WorkerLostError."""
        proof = self.cluster.get(reference, seconds)
        if isinstance(proof, Proof):
            return proof
        raise WorkerRefusedError(proof.sentence)

    def reopen(self, actor: Any, provider: str) -> Proof:
        """Return the proof of an actor that took a lost one's place. Raise WorkerStartError, and kill it then."""
        try:
            return self.await_proof(self.open(actor, provider), RESTART_SECONDS)
        except (WorkerLostError, WorkerRefusedError) as error:
            self.cluster.kill(actor)
            raise WorkerStartError(f"no new actor could be started for it: {error}") from error

    def ask(
        self, actor: Any, provider: str, request: Request, *, must_restart: bool = False
    ) -> Answer | DeviceFacts | Loss:
        """Return an actor's answer. Raise WorkerLostError. must_restart: the worker's process was lost."""
        seconds = self.limit_s + ANSWER_SECONDS + (START_SECONDS if must_restart else 0.0)
        answer: Answer | DeviceFacts | Loss = self.cluster.get(actor.answer.remote(provider, request), seconds)
        return answer

    def replace_actor(self, lost: Proof, provider: str) -> Any:
        """Return a new actor on the card of a lost one. Raise WorkerStartError.

        Ray may give it another GPU of the node that was lost: then it is kept for that one.
        """
        with self._restarting:
            for _ in self._seats:
                actor = self._spares.pop(lost.gpu, None) or self.cluster.start_actor(lost.node_id)
                proof = self.reopen(actor, provider)
                if proof.facts == lost.facts:
                    return actor
                self._spares[proof.gpu] = actor
        raise WorkerStartError("Ray gave no new actor its card")

    def close(self) -> None:
        """End all actors, and leave the cluster."""
        self.cluster.close()


def _leave_out_repeats(opened: Opened) -> Opened:
    """Leave out the workers whose card, or as many partitions as it has, others hold already."""
    held: Counter[Card] = Counter()
    kept: list[Any] = []
    left_out = dict(opened.left_out)
    for worker in opened.workers:
        proof: Proof = worker.proof  # type: ignore[attr-defined]
        card = get_card(proof.facts)
        if proof.facts.pci_address and held[card] >= proof.partitions:
            left_out[f"GPU {proof.assigned} of {proof.facts.host}"] = (
                f"Ray gave it to a worker that sees {proof.facts.pci_address}, which is another worker's; look at"
                " *_VISIBLE_DEVICES and RAY_EXPERIMENTAL_NOSET_* on that node"
            )
            worker.close()
        else:
            held[card] += 1
            kept.append(worker)
    return Opened(kept, left_out)
