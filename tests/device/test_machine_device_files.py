"""AMD's device files: there, absent, forbidden, or broken in one of the kernel's ways."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from moesort_tune.device import kfd, machine
from tests.device import kfd_trees as trees


class DeviceFiles:
    """A machine with /dev/kfd and two render nodes below a folder; `errors`: those that cannot be opened, and why."""

    def __init__(self, folder: Path) -> None:
        self.kfd, self.nodes = folder / "kfd", [folder / "dri" / f"renderD{n}" for n in (128, 129)]
        (folder / "dri").mkdir()
        for path in (self.kfd, *self.nodes):
            path.touch()
        self.errors: dict[Path, int] = {}

    def open(self, path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        """Return os.open, refused for the files in `errors`."""
        if path in self.errors:
            raise OSError(self.errors[path], os.strerror(self.errors[path]), str(path))
        return _open(path, flags, *arguments, **options)


_open = os.open


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DeviceFiles:
    """Stand for this machine's device files; no sysfs, no NVIDIA."""
    made = DeviceFiles(tmp_path)
    monkeypatch.setattr(machine, "KFD", made.kfd)
    monkeypatch.setattr(machine, "RENDER_NODES", tmp_path / "dri")
    monkeypatch.setattr(machine, "NVIDIA", tmp_path / "nvidiactl")
    monkeypatch.setattr(machine, "list_gpus", lambda: kfd.list_gpus(tmp_path / "nodes"))
    monkeypatch.setattr(os, "open", made.open)
    return made


def test_machine_that_may_open_its_files_has_nothing_to_tell(files: DeviceFiles) -> None:
    """Protects machines that are as they should be."""
    found = machine.inspect_machine()
    assert found.kfd
    assert (found.forbidden, found.broken) == ((), {})
    assert files.kfd.exists()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_files_that_may_not_be_opened_are_found(files: DeviceFiles, number: int) -> None:
    """Protects the difference between 'no GPU' and 'no permission', in a container even for root."""
    files.errors = dict.fromkeys((files.kfd, *files.nodes), number)
    assert machine.inspect_machine().forbidden == tuple(map(str, (files.kfd, *files.nodes)))


def test_forbidden_node_beside_one_of_our_own_is_not_reported(files: DeviceFiles) -> None:
    """Protects containers with access to one GPU of eight."""
    files.errors = {files.nodes[0]: errno.EPERM}
    assert machine.inspect_machine().forbidden == ()


@pytest.mark.parametrize("name", ["EINVAL", "ENODEV", "ENXIO", "EBUSY", "EIO", "EAGAIN", "ENOTTY"])
@pytest.mark.parametrize("broken", ["kfd", "node"])
def test_files_that_cannot_be_opened_are_reported_with_their_error(files: DeviceFiles, name: str, broken: str) -> None:
    """Protects against reporting a broken driver as absent or working."""
    path = files.kfd if broken == "kfd" else files.nodes[1]
    files.errors = {path: getattr(errno, name)}
    found = machine.inspect_machine()
    assert found.kfd
    assert (found.forbidden, found.broken) == ((), {str(path): name})


def test_machine_without_the_driver_has_no_kfd(files: DeviceFiles) -> None:
    """Protects machines whose render nodes are another vendor's: without AMD's driver they are not looked at."""
    files.kfd.unlink()
    files.errors = dict.fromkeys(files.nodes, errno.ENODEV)
    found = machine.inspect_machine()
    assert (found.kfd, found.forbidden, found.broken, found.kfd_gpus) == (False, (), {}, None)


@pytest.mark.parametrize("nodes", [None, [trees.CPU, trees.MI300X]], ids=["no sysfs", "MI300X in sysfs"])
def test_file_that_may_not_be_looked_at_counts_if_the_driver_lists_a_gpu(
    files: DeviceFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nodes: list[dict[str, int]] | None
) -> None:
    """Protects doctor and sweep where /dev may not be searched: a report, and the right runtime."""
    if nodes:
        trees.write(tmp_path, *nodes)
    files.errors = {files.kfd: errno.EACCES}
    stat = Path.stat

    def refuse(path: Path, **options: Any) -> os.stat_result:
        if path == files.kfd:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    found = machine.inspect_machine()
    assert found.forbidden == (str(files.kfd),)
    assert (found.kfd, found.amd_gpu) == (bool(nodes), bool(nodes))


def test_override_of_one_device_is_reported() -> None:
    """Protects the variables that doctor prints: the one for a single GPU belongs to them, others do not."""
    variables = {"HSA_OVERRIDE_GFX_VERSION_1": "9.4.2", "HSA_OVERRIDE_GFX_VERSION": "9.0.10", "HSA_OVERRIDE_GFX": "1"}
    names = ["HSA_OVERRIDE_GFX_VERSION", "HSA_OVERRIDE_GFX_VERSION_1"]
    assert list(machine.select_variables(variables)) == names
    assert list(machine.Machine(environment=variables).overrides) == names[::-1]
