"""The Ray engine, as far as it needs no Ray."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from moesort_tune.domain.shape import Shape
from moesort_tune.errors import MoesortTuneError
from moesort_tune.sweep.fleet.card_actor import CardActor, Loss, Proof
from moesort_tune.sweep.fleet.opening import NoCardsError
from moesort_tune.sweep.fleet.ray_cluster import ANSWER_SECONDS, RayEngine, RayWorker, summarize
from moesort_tune.sweep.worker.client import START_SECONDS
from moesort_tune.sweep.worker.errors import WorkerLostError, WorkerRefusedError, WorkerStartError
from moesort_tune.sweep.worker.messages import Answer, GapRequest, Refusal, Request
from tests.sweep.fakes import FACTS

NOT_INSTALLED = """The actor died because of an error raised in its creation task, ray::CardActor.__init__() (pid=7)
RuntimeError: The actor with name CardActor failed to import on the worker. This may be because of the environment:

ray::CardActor.__init__() (pid=7)
                  ^^^^^^^^^^^
ModuleNotFoundError: No module named 'moesort_tune'"""

KILLED = """The actor died unexpectedly before finishing this task.
\tclass_name: CardActor
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (NOT_INSTALLED, "ModuleNotFoundError: No module named 'moesort_tune'"),
        (KILLED, "The actor died unexpectedly before finishing this task."),
        ("", "ValueError"),
    ],
)
def test_error_of_ray_is_cut_to_what_happened(text: str, line: str) -> None:
    """Ray's errors are pages long; a person needs the cause, for example that a node lacks the package."""
    assert summarize(ValueError(text)) == line


@dataclass
class Method:
    """A method of an actor, which answers when it is called."""

    call: Any

    def remote(self, *arguments: Any) -> Any:
        """Return the answer, in the place of a reference to it."""
        return self.call(*arguments)


@dataclass
class Actor:
    """The actor of a GPU, on the card at an address, that opens some providers' kernels."""

    gpu: int
    bus: int
    providers: tuple[str, ...]
    opened: list[str] = field(default_factory=list)
    alive: bool = True

    @property
    def open(self) -> Method:
        """Open a provider's kernels."""
        return Method(self._open)

    @property
    def answer(self) -> Method:
        """Answer by the actor, or None where it is lost."""
        return Method(self._answer)

    def _answer(self, provider: str, request: Request) -> dict[str, int] | Loss | None:
        if isinstance(request, GapRequest):
            return Loss("the kernels did not end")
        return {provider: self.bus} if self.alive and provider in self.opened else None

    def _open(self, _arch: str, provider: str, _limit_s: float) -> Proof | Refusal:
        if provider not in self.providers:
            return Refusal(f"no {provider}", "")
        self.opened.append(provider)
        return Proof(replace(FACTS, pci_address=f"0000:{self.bus:02x}:00"), str(self.gpu), "node", 2)


@dataclass
class Cards:
    """A cluster of GPUs, each of which one actor holds at a time.

    buses: the address of each. held: GPUs of other jobs. split: GPUs of these that other jobs hold a part of.
    """

    providers: tuple[str, ...] = ("builtin", "aiter")
    buses: tuple[int, ...] = (1, 2)
    held: int = 0
    split: int = 0
    actors: list[Actor] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)

    def require_free_gpus(self) -> tuple[int, int]:
        """Those that are split count as free."""
        return len(self.buses), self.held

    def start_actor(self, node_id: str | None = None) -> Actor:
        """Return an actor on the first GPU that none holds."""
        del node_id
        held = {actor.gpu for actor in self.actors if actor.alive}
        gpu = min(set(range(len(self.buses))) - held)
        self.actors.append(Actor(gpu, self.buses[gpu], self.providers))
        return self.actors[-1]

    def await_placed(self, actors: list[Actor]) -> list[Actor]:
        """Return those that are not on a GPU that is split."""
        return actors[: len(actors) - self.split]

    def get(self, answer: Any, seconds: float) -> Any:
        """Return what the actor answered."""
        self.waited.append(seconds)
        if answer is None:
            raise WorkerLostError("its actor was lost")
        return answer

    def kill(self, actor: Actor) -> None:
        """End an actor."""
        actor.alive = False


def test_lost_actor_is_replaced_once_for_all_providers() -> None:
    """A card has one actor: the worker of another provider goes on with the one that took the lost one's place."""
    cards = Cards()
    engine = RayEngine(cards, "auto", 1.0)  # type: ignore[arg-type]
    first, second = (engine.open_workers(provider).workers for provider in ("builtin", "aiter"))
    cards.kill(cards.actors[1])
    with pytest.raises(WorkerLostError):
        first[1].limits(Shape(8, 2))
    assert first[1].limits(Shape(8, 2)) == {"builtin": 2}
    assert second[1].limits(Shape(8, 2)) == {"aiter": 2}
    assert [actor.bus for actor in cards.actors] == [1, 2, 2]


def test_provider_that_no_card_can_open_leaves_the_others_their_actors() -> None:
    """The workers that were refused are closed, and the cards stay with the first provider."""
    cards = Cards(("builtin",))
    engine = RayEngine(cards, "auto", 1.0)  # type: ignore[arg-type]
    workers = engine.open_workers("builtin").workers
    with pytest.raises(NoCardsError, match="worker 1: no aiter; worker 2: no aiter"):
        engine.open_workers("aiter")
    assert [worker.limits(Shape(8, 2)) for worker in workers] == [{"builtin": 1}, {"builtin": 2}]
    assert [actor.bus for actor in cards.actors] == [1, 2]


def lose(cards: Cards, engine: RayEngine, *providers: str) -> list[list[RayWorker]]:
    """Return the workers of each provider, after all actors were lost."""
    opened = [engine.open_workers(provider).workers for provider in providers]
    for actor in list(cards.actors):
        cards.kill(actor)
    for worker in opened[0]:
        with pytest.raises(WorkerLostError):
            worker.limits(Shape(8, 2))
    return opened  # type: ignore[return-value]


@pytest.mark.parametrize("buses", [(1,), (1, 2), (1, 1, 2), (1, 1, 2, 2)])
def test_all_lost_actors_are_replaced_in_any_order(buses: tuple[int, ...]) -> None:
    """The last actor that can be started is used too, and each partition that was got by the way is kept."""
    cards = Cards(buses=buses)
    (workers,) = lose(cards, RayEngine(cards, "auto", 1.0), "builtin")  # type: ignore[arg-type]
    assert [worker.limits(Shape(8, 2)) for worker in reversed(workers)] == [{"builtin": bus} for bus in buses[::-1]]
    assert len(cards.actors) == 2 * len(buses)


def test_actor_that_was_got_for_one_provider_serves_another() -> None:
    """An actor that waits for its card's worker opens the kernels of whichever comes for it."""
    cards = Cards()
    first, second = lose(cards, RayEngine(cards, "auto", 1.0), "builtin", "aiter")  # type: ignore[arg-type]
    assert first[1].limits(Shape(8, 2)) == {"builtin": 2}
    assert second[0].limits(Shape(8, 2)) == {"aiter": 1}
    assert len(cards.actors) == 4


@pytest.mark.parametrize(
    ("held", "split", "names"),
    [
        (0, 0, []),
        (1, 0, ["the share of other jobs (1 GPU)"]),
        (0, 1, ["what Ray could not place (1 GPU)"]),
        (2, 2, ["the share of other jobs (2 GPUs)", "what Ray could not place (2 GPUs)"]),
    ],
)
def test_gpus_without_an_actor_are_named_once(held: int, split: int, names: list[str]) -> None:
    """GPUs that other jobs hold, wholly or in part, are left out; the others are used by each provider."""
    cards = Cards(buses=(1, 2, 3), held=held, split=split)
    engine = RayEngine(cards, "auto", 1.0)  # type: ignore[arg-type]
    opened = engine.open_workers("builtin")
    assert list(opened.left_out) == names
    assert len(opened.workers) == 3 - split
    assert len(engine.open_workers("aiter").workers) == 3 - split


def test_actor_that_hangs_is_given_up_by_the_limit_of_a_request() -> None:
    """Only the request behind the loss of the worker's process may take as long as opening a device."""
    cards = Cards(buses=(1,))
    (worker,) = RayEngine(cards, "auto", 5.0).open_workers("builtin").workers  # type: ignore[arg-type]
    cards.waited.clear()
    worker.limits(Shape(8, 2))
    with pytest.raises(WorkerLostError, match="did not end"):
        worker.measure_launch_gaps()
    worker.limits(Shape(8, 2))
    worker.limits(Shape(8, 2))
    limit_s = 5.0 + ANSWER_SECONDS
    assert cards.waited == [limit_s, limit_s, limit_s + START_SECONDS, limit_s]


class FailingWorker:
    """A worker whose requests fail."""

    def __init__(self, error: MoesortTuneError) -> None:
        self._error = error

    def request(self, request: Request) -> Answer:
        """Raise the error."""
        del request
        raise self._error


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (WorkerLostError("it died"), Loss("it died")),
        (WorkerStartError("it cannot be opened again"), Loss("it cannot be opened again")),
        (WorkerRefusedError("oneshot is wrong"), Refusal("oneshot is wrong", "")),
    ],
)
def test_card_that_cannot_be_opened_again_costs_its_row_alone(error: MoesortTuneError, answer: object) -> None:
    """A card that fell off the bus is a loss, and the sweep goes on with others; only a wrong kernel ends it."""
    actor = CardActor()
    actor._workers["builtin"] = FailingWorker(error)  # type: ignore[assignment]
    assert actor.answer("builtin", GapRequest()) == answer
