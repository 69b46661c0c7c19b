"""The launch gap of this machine's device: what each further launch costs, measured in a process of its own."""

from dataclasses import dataclass, field

import msgspec

from moesort_tune.device import child
from moesort_tune.device.child import ChildError
from moesort_tune.doctor.diagnosis import DeviceState, State, select_known_devices
from moesort_tune.domain.vocabulary import LaunchMode
from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.launch_gap import LaunchGap

PROBE_SECONDS = 120.0
"""Time limit: a probe takes seconds, and compiling the empty kernel some more."""


class ProbeError(MoesortTuneError):
    """Report that the launch gap could not be measured."""


@dataclass(frozen=True)
class ModeGap:
    """The launch gap of one mode. times_us: median of so many empty kernels; gap_us: of one further launch."""

    mode: LaunchMode
    gap_us: float
    times_us: dict[int, float]

    @classmethod
    def of(cls, gap: LaunchGap) -> "ModeGap":
        """Return what of a measurement a report keeps."""
        times_us = {count: round(time.median, 4) for count, time in gap.times_us.items()}
        return cls(gap.mode, round(gap.gap_us, 4), times_us)


@dataclass(frozen=True)
class ProbedGap:
    """The launch gap of one device, in every mode that could be measured.

    failure: why nothing was measured, '' where the device was tried. failures: why a mode was not measured.
    """

    runtime: str
    ordinal: int
    device: str
    modes: tuple[ModeGap, ...] = ()
    failure: str = ""
    failures: dict[LaunchMode, str] = field(default_factory=dict)


def find_device(state: State, ordinal: int) -> DeviceState | None:
    """Return device `ordinal` of the runtime that a sweep would use, None where there is no device at all.

    Raise ProbeError for a number that no device has.
    """
    devices = {device.ordinal: device for device in (select_known_devices(state.best) if state.best else ())}
    if devices and ordinal not in devices:
        known = ", ".join(map(str, devices))
        raise ProbeError(f"there is no device {ordinal} that the kernels are built for; --device takes {known}")
    return devices.get(ordinal)


def probe_launch_gap(state: State, ordinal: int) -> ProbedGap:
    """Return the launch gap of a device, or why it could not be measured. Raise ProbeError for an unknown device."""
    device = find_device(state, ordinal)
    if device is None or state.best is None:
        return ProbedGap("no runtime", ordinal, "no device", failure="no runtime has a device to measure it on")
    command = child.build_python_command("moesort_tune.doctor.gap_worker", state.best.name, str(ordinal))
    try:
        return ask(command)
    except ProbeError as error:
        return ProbedGap(state.best.name, ordinal, device.name, failure=str(error))


def ask(command: list[str], seconds: float = PROBE_SECONDS) -> ProbedGap:
    """Return the answer of the process that measures. Raise ProbeError where it has none."""
    try:
        answer = child.run(command, seconds=seconds)
    except ChildError as error:
        raise ProbeError(f"the process that measures the launch gap {error}") from error
    if answer.status != 0:
        raise ProbeError(f"the process that measures the launch gap {answer.ending}")
    try:
        return msgspec.json.decode(answer.stdout, type=ProbedGap)
    except msgspec.MsgspecError as error:
        raise ProbeError(f"the process that measures the launch gap ended without an answer ({error})") from error
