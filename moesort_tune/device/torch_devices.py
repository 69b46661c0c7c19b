"""Which product a torch device is, asking torch and the driver's list and no HIP library."""

import os

import torch

from moesort_tune.device import kfd
from moesort_tune.device.attached import get_reported_arch


def get_device_id(device: torch.device) -> str:
    """Return the device id (see products) of a GPU; '' for the CPU, and where neither torch nor the driver tells it."""
    if device.type != "cuda":
        return ""
    properties = torch.cuda.get_device_properties(device)
    if torch.version.hip is None:
        return str(properties.name)
    gpus = kfd.list_gpus() or ()
    address = _format_pci_address(properties)
    if address:
        ids = {gpu.device_id for gpu in gpus if gpu.pci_address == address}
    else:
        kind = properties.gcnArchName.partition(":")[0], properties.multi_processor_count
        ids = {gpu.device_id for gpu in gpus if (get_reported_arch(gpu, os.environ), gpu.compute_units) == kind}
    return ids.pop() if len(ids) == 1 else ""


def _format_pci_address(properties: object) -> str:
    """Return '0000:0c:00'; '' of an older torch, which does not tell it."""
    try:
        domain, bus, device = (getattr(properties, f"pci_{part}_id") for part in ("domain", "bus", "device"))
    except AttributeError:
        return ""
    return f"{domain:04x}:{bus:02x}:{device:02x}"
