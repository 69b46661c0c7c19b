"""Products behind device ids."""

import subprocess
import sys

import pytest

from moesort_tune.device.architectures import ARCHITECTURES
from moesort_tune.device.products import (
    PRODUCTS,
    format_product,
    list_alike,
    normalize_device_id,
    parse_pci_number,
    rate_likeness,
)

H100 = "NVIDIA H100 80GB HBM3"


def test_ids_are_written_as_the_driver_list_gives_them() -> None:
    """Protects the look-up: lower case, four digits."""
    assert all(device_id == f"{parse_pci_number(device_id):#06x}" for device_id in PRODUCTS)


def test_each_amd_part_has_an_id_and_at_most_one_virtual_function() -> None:
    """Protects the table from gaps and from one id in the place of another."""
    names = {name for product in PRODUCTS.values() for name in product.name.split(" / ")}
    parts = {part.split(" ")[0] for one in ARCHITECTURES.values() if one.vendor == "amd" for part in one.parts}
    assert parts <= names
    assert len(set(PRODUCTS.values())) == len(PRODUCTS)
    physical = {product.name for product in PRODUCTS.values() if not product.virtual}
    assert {product.name for product in PRODUCTS.values() if product.virtual} <= physical


@pytest.mark.parametrize(
    ("device_id", "text"),
    [
        ("0x74a1", "MI300X (0x74a1)"),
        ("0x74b5", "MI300X (0x74b5, virtual function)"),
        ("0x1234", "0x1234"),
        (H100, H100),
        ("", ""),
    ],
)
def test_product_is_named_with_its_id(device_id: str, text: str) -> None:
    """An id that no source names stays what it is."""
    assert format_product(device_id) == text


@pytest.mark.parametrize(
    ("wanted", "measured", "likeness"),
    [
        ("0x74a1", "0x74a1", 2),
        ("0x74b5", "0x74a1", 1),
        ("0x74a1", "0x74b5", 1),
        ("0x74a1", "0x74a5", 0),
        ("0x74a1", "0x74a9", 0),
        ("0x1234", "0x1234", 2),
        ("0x1234", "0x5678", 0),
        (H100, H100, 2),
        (H100, "NVIDIA H200", 0),
        ("", "", 0),
        (None, None, 0),
        ("0x74a1", None, 0),
    ],
)
def test_virtual_function_is_nearly_its_product(wanted: str | None, measured: str | None, likeness: int) -> None:
    """Protects a virtual machine on an MI300X from the table of an MI325X, and unknown ids from being alike."""
    assert rate_likeness(wanted, measured) == likeness


def test_ids_of_a_product_begin_with_the_one_at_hand() -> None:
    """The exported header compares them in this order."""
    assert list_alike("0x74b5") == ("0x74b5", "0x74a1")
    assert (list_alike(H100), list_alike("")) == ((H100,), ())


@pytest.mark.parametrize("text", ["0x74a5", "0x74A5", "0X74a5", "0x0074a5"])
def test_number_means_the_same_however_it_is_written(text: str) -> None:
    """Protects MI325X from the rows of MI300X, where a table or a caller writes the id in capitals."""
    assert normalize_device_id(text) == "0x74a5"
    assert parse_pci_number(text) == 0x74A5
    assert list_alike(text) == ("0x74a5", "0x74b9")
    assert format_product(text) == "MI325X (0x74a5)"
    assert (rate_likeness("0x74a5", text), rate_likeness(text, "0x74a5"), rate_likeness(text, "0x74a1")) == (2, 2, 0)


@pytest.mark.parametrize("text", [H100, "", None, "74a1", "0x74a1f", "0x", "\u0661x74a1"])
def test_what_is_no_pci_number_counts_as_0(text: str | None) -> None:
    """A table may hold any text."""
    assert parse_pci_number(text) == 0


def test_products_are_cheap_to_import() -> None:
    """Protects serving processes."""
    program = (
        "import sys; import moesort_tune.device.products; print(*{'torch', 'hip', 'numpy', 'yaml'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
