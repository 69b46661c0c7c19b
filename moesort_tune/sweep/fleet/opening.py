"""Open workers on several cards at once, and leave out those that cannot be used."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from moesort_tune.errors import MoesortTuneError
from moesort_tune.sweep.worker.errors import WorkerLostError, WorkerRefusedError, WorkerStartError
from moesort_tune.sweep.worker.messages import DeviceFacts, Worker

Refused = (WorkerRefusedError, WorkerStartError, WorkerLostError)
"""Errors of a card that cannot be used; others can."""


class NoCardsError(MoesortTuneError):
    """None of the cards can be used."""


class OpeningWorker(Worker, Protocol):
    """A worker that may still be opening its device."""

    def close(self) -> None:
        """Release the device."""


@dataclass(frozen=True)
class Opened:
    """Workers that are ready, and why others are not, by the name of the card."""

    workers: list[Worker]
    left_out: dict[str, str]


class Engine(Protocol):
    """Cards that can be opened."""

    def open_workers(self, provider: str) -> Opened:
        """Return a worker on each card that can be used. Raise NoCardsError where there is none."""

    def close(self) -> None:
        """Release everything."""


def await_workers(opening: Mapping[str, OpeningWorker]) -> Opened:
    """Wait for workers that are opening, by the name of their card. Raise NoCardsError where none can be used."""
    opened = Opened([], {})
    for name, worker in opening.items():
        try:
            get_facts(worker)
        except Refused as error:
            opened.left_out[name] = str(error)
            with suppress(*Refused):
                worker.close()
        else:
            opened.workers.append(worker)
    if not opened.workers:
        raise NoCardsError(f"no card can be used: {describe_left_out(opened.left_out)}")
    return opened


def get_facts(worker: Worker) -> DeviceFacts:
    """Return the facts of a worker, once its device is open. Raise what opening it raised."""
    return worker.facts


def format_left_out(name: str, reason: str) -> str:
    """Return the sentence that a card, or a number of them, is left out."""
    several = name[0].isdecimal() and name.split(maxsplit=1)[0] != "1"
    return f"{name} {'are' if several else 'is'} left out: {reason}"


def describe_left_out(left_out: Mapping[str, str]) -> str:
    """Return the cards that are left out with their reasons, as a sentence."""
    return "; ".join(f"{name}: {reason}" for name, reason in left_out.items()) or "there is none"
