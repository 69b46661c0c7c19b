"""The settings of a measurement are the same in a sweep, in a table and where rows are compared."""

from dataclasses import fields

import msgspec

from moesort_tune.domain import vocabulary
from moesort_tune.domain.settings import Settings
from moesort_tune.providers.facts import registry
from moesort_tune.tables.keeping import SETTINGS
from moesort_tune.tables.schema import EntryKey, Sweep

OF_SWEEP = {field.name for field in fields(Settings)} - {"trace"}
"""The settings but the file of a trace, which `routing` identifies."""

OF_TABLE = set(Sweep.__struct_fields__)


def test_table_has_every_setting_of_a_sweep() -> None:
    """A setting that changes times but is missing from the table would make its rows look alike."""
    assert {"date", "masked"} == OF_TABLE - OF_SWEEP  # `masked`: ep says it for a sweep, a learned row has no ep
    assert OF_SWEEP <= OF_TABLE


def test_rows_are_compared_by_every_setting_that_identifies_no_entry() -> None:
    """Rows of other entries stand side by side, and the seed only changes inputs: any other setting keeps a row."""
    assert set(SETTINGS) == OF_TABLE - {"date", "seed"} - set(EntryKey._fields)


def test_defaults_are_those_of_the_vocabulary() -> None:
    """Tables leave out what is at its default, so both must have the same one."""
    settings = Settings()
    assert (settings.timing, settings.unit_size) == (vocabulary.DEFAULT_TIMING, vocabulary.DEFAULT_UNIT_SIZE)
    assert settings.model_dim == vocabulary.DEFAULT_MODEL_DIM
    for field in msgspec.structs.fields(Sweep):
        if field.default is not msgspec.NODEFAULT:
            assert field.default == getattr(settings, field.name)


def test_default_provider_is_bundled() -> None:
    """Commands that name no kernels use those of this package."""
    assert vocabulary.DEFAULT_PROVIDER in registry.BUNDLED
