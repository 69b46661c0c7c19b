"""Names of the products behind device ids. Standard library only: the serving process imports this module.

A device id tells products of one architecture and size apart: of an AMD GPU the PCI device number as the driver lists
it ('0x74a1'), of an NVIDIA GPU the name that the driver says. '' and None stand for an unknown one, and for the host.
"""

import re
from typing import Final, NamedTuple


class Product(NamedTuple):
    """A product. virtual: its virtual function, by which a virtual machine sees it under an id of its own."""

    name: str
    virtual: bool = False


# All but three are in data/amdgpu.ids of libdrm (https://gitlab.freedesktop.org/mesa/drm, 82f74e7a of 2026-07-22). It
# does not say that 74b6 and 74bd are virtual functions; AMD's driver for virtual machines does
# (https://github.com/amd/MxGPU-Virtualization, 695afe21, libgv/core/amdgv_marketing_name.c).
# 7410: https://github.com/ROCm/gpu-operator, 6df13c17, internal/utils.go.
# 74b9, 74bc: https://github.com/ROCm/k8s-device-plugin, ed764684, cmd/k8s-node-labeller/amdgpu.ids.
# An installed amdgpu.ids is not read: a decision must not depend on the machine's version of it, and ROCm takes the
# device's name from it, which a table records beside the id.
PRODUCTS: Final[dict[str, Product]] = {
    "0x7408": Product("MI250X"),
    "0x740c": Product("MI250X / MI250"),
    "0x740f": Product("MI210"),
    "0x7410": Product("MI210", virtual=True),
    "0x74a0": Product("MI300A"),
    "0x74a1": Product("MI300X"),
    "0x74b5": Product("MI300X", virtual=True),
    "0x74a9": Product("MI300X HF"),
    "0x74bd": Product("MI300X HF", virtual=True),
    "0x74a2": Product("MI308X"),
    "0x74b6": Product("MI308X", virtual=True),
    "0x74a8": Product("MI308X HF"),
    "0x74bc": Product("MI308X HF", virtual=True),
    "0x74a5": Product("MI325X"),
    "0x74b9": Product("MI325X", virtual=True),
    "0x75a0": Product("MI350X"),
    "0x75b0": Product("MI350X", virtual=True),
    "0x75a3": Product("MI355X"),
    "0x75b3": Product("MI355X", virtual=True),
}

_PCI_ID = re.compile(r"0x[0-9a-f]{4}")
_HEXADECIMAL = re.compile(r"0[xX]0*([0-9a-fA-F]{1,8})")


def normalize_device_id(device_id: str) -> str:
    """Return a PCI device number as '0x74a1', however it was written in hexadecimal, and any other id as it is."""
    found = _HEXADECIMAL.fullmatch(device_id)
    return f"0x{int(found[1], 16):04x}" if found else device_id


def format_product(device_id: str) -> str:
    """Return 'MI300X (0x74a1)', 'MI300X (0x74b5, virtual function)', or an id without a known name as it is."""
    device_id = normalize_device_id(device_id)
    product = PRODUCTS.get(device_id)
    if product is None:
        return device_id
    return f"{product.name} ({device_id}{', virtual function' if product.virtual else ''})"


def list_alike(device_id: str) -> tuple[str, ...]:
    """Return the ids of the same product, `device_id` itself first; none for an unknown one."""
    device_id = normalize_device_id(device_id)
    product = PRODUCTS.get(device_id)
    others = (one for one, known in PRODUCTS.items() if product and known.name == product.name and one != device_id)
    return (device_id, *others) if device_id else ()


def rate_likeness(wanted: str | None, measured: str | None) -> int:
    """Return 2 for the same device id, 1 for another one of the same product, 0 for other and for unknown products."""
    if not wanted or not measured:
        return 0
    wanted, alike = normalize_device_id(wanted), list_alike(measured)
    return 2 if wanted == alike[0] else int(wanted in alike)


def parse_pci_number(device_id: str | None) -> int:
    """Return 0x74a1 for '0x74a1', and 0 for what is no PCI device number, as NVIDIA's names are none."""
    number = normalize_device_id(device_id or "")
    return int(number, 16) if _PCI_ID.fullmatch(number) else 0
