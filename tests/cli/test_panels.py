"""What is drawn of a row: curves from its samples, ratios as they were compared, and the cost of AITER's rule."""

from pathlib import Path

import pytest

from moesort_tune.cli.panels import Panel, build_title, choose_panel_colours, find_ratio_limits, read_panels
from moesort_tune.domain.settings import Settings
from moesort_tune.errors import MoesortTuneError
from moesort_tune.sweep.samples import append_samples, get_samples_path
from moesort_tune.tables import store
from moesort_tune.tables.schema import Evidence
from tests.cli.pictured import make_row, make_sample, write_pictured_table
from tests.tables.examples import align_entry, entry, row, sweep, table


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the name of a table."""
    return tmp_path / "gfx942.yaml"


def read_panel(path: Path) -> Panel:
    """Return the only panel of a table."""
    (panel,) = read_panels(path, store.load(path))
    return panel


def test_curves_are_the_latest_samples_of_these_kernels_and_settings(path: Path) -> None:
    """Protects from drawing other code, other settings, and what was measured again."""
    store.save(path, table(entry([row()], software={})))
    append_samples(
        get_samples_path(path),
        [
            make_sample(1, "oneshot", 9.0),
            make_sample(1, "oneshot", 3.0),
            make_sample(32, "oneshot", 9.0),
            make_sample(1, "multiphase", 6.0),
            make_sample(8, "oneshot", 1.0, revision="old"),
            make_sample(8, "oneshot", 1.0, settings=Settings(unit_size=64).format_signature()),
        ],
    )
    panel = read_panel(path)
    assert {name: [(point.tokens, *point.time_us) for point in points] for name, points in panel.curves.items()} == {
        "oneshot": [(1, 3.0, 2.9, 3.1), (32, 9.0, 8.9, 9.1)],
        "multiphase": [(1, 6.0, 5.9, 6.1)],
    }


def test_ratios_are_those_that_were_compared_else_those_of_the_times(path: Path) -> None:
    """Whichever kernel is the earlier one, the curve is the slower one's time over the fastest's."""
    compared = {"ratio": 0.5, "ratio_low": 0.4, "ratio_high": 0.625}
    store.save(path, table(entry([row()], software={})))
    append_samples(
        get_samples_path(path),
        [
            make_sample(1, "oneshot", 3.0),
            make_sample(1, "multiphase", 6.1, against="oneshot", **compared),
            make_sample(2, "oneshot", 6.1, against="multiphase", ratio=2.0, ratio_low=1.5, ratio_high=2.5),
            make_sample(2, "multiphase", 3.0),
            make_sample(4, "oneshot", 1.0),
            make_sample(4, "multiphase", 2.0),
        ],
    )
    curves = read_panel(path).curves
    assert [tuple(point.ratio) for point in curves["multiphase"]] == [
        (2, 1.6, 2.5),
        (1, 1, 1),
        (2, 1.9 / 1.1, 2.1 / 0.9),
    ]
    assert [tuple(point.ratio) for point in curves["oneshot"]] == [(1, 1, 1), (2, 1.5, 2.5), (1, 1, 1)]


def test_cost_of_aiters_rule_is_that_of_its_choice_at_each_point(path: Path) -> None:
    """For 128 experts it takes oneshot up to 56 tokens, and multiphase at 64, where oneshot is faster."""
    write_pictured_table(path, 128)
    panel = read_panel(path)
    assert (panel.aiter_last_oneshot, panel.aiter_switch) == (56, 57)
    assert panel.aiter_curve == [(1, 1.5), (4, 1.5), (16, 1.0), (64, 1.5), (256, 1.0)]


def test_rule_without_a_switch_has_none(path: Path) -> None:
    """From 512 experts on AITER takes multiphase at once; where its kernels are not judged there is no curve."""
    write_pictured_table(path, 512)
    panel = read_panel(path)
    assert (panel.aiter_last_oneshot, panel.aiter_switch) == (0, None)
    assert [ratio for _, ratio in panel.aiter_curve] == [3.0, 3.0, 1.5, 1.5, 1.0]
    unjudged = Panel(panel.entry, make_row(512, evidence=Evidence(tokens=(1, 256))), panel.curves)
    assert (unjudged.aiter_switch, unjudged.aiter_curve) == (None, [])


def test_title_names_device_dates_and_revision(path: Path) -> None:
    """Both ends of the dates where rows of several days were merged."""
    write_pictured_table(path, 128)
    panel = read_panel(path)
    assert build_title([panel]) == "AMD Instinct MI300X · 2026-11-22 · builtin kernels 5c1e0f"
    other = Panel(panel.entry, make_row(8, sweep=sweep(date="2026-11-20")), panel.curves)
    assert "2026-11-20 to 2026-11-22" in build_title([panel, other])


def test_common_axis_holds_what_aiters_rule_costs(path: Path) -> None:
    """Protects the red area from being cut off where the rule costs more than usual."""
    write_pictured_table(path, 128)
    panel = read_panel(path)
    dear = Panel(panel.entry, make_row(8, evidence=Evidence(rule_loss=4.0)), panel.curves)
    assert find_ratio_limits([panel])[1] == 3.0
    assert find_ratio_limits([panel, dear])[1] > 4.0


def test_crowded_switches_share_a_label(path: Path) -> None:
    """Protects the labels from covering each other."""
    write_pictured_table(path, 128)
    steps = ((1, "wave"), (40, "oneshot"), (44, "multiphase"), (50, "oneshot"), (60, "multiphase"))
    crowded = Panel(read_panel(path).entry, make_row(128, policy=steps), {})
    assert list(crowded.list_labelled_switches()) == [40, 60]


def test_chosen_kernel_without_a_curve_has_a_colour_too(path: Path) -> None:
    """Protects a table whose samples lack a kernel that it names."""
    write_pictured_table(path, 128)
    panel = read_panel(path)
    colours = choose_panel_colours([Panel(panel.entry, panel.row, {"oneshot": panel.curves["oneshot"]})])
    assert colours.keys() == {"wave", "oneshot", "multiphase"}
    assert len(set(colours.values())) == 3


def test_missing_samples_are_reported(path: Path) -> None:
    """A deployment need not carry the samples; what draws them then fails with the reason."""
    store.save(path, table(entry([row()], software={})))
    with pytest.raises(MoesortTuneError, match=r"gfx942\.samples\.csv does not exist"):
        read_panels(path, store.load(path))
    append_samples(get_samples_path(path), [make_sample(8, "oneshot", 1.0, revision="old")])
    with pytest.raises(MoesortTuneError, match="holds no samples of the rows"):
        read_panels(path, store.load(path))


def test_titles_name_another_operation_than_moe_sorting(path: Path) -> None:
    """Two panels of one shape on a slide say what they are of, and so do the kernels below them."""
    store.save(path, table(entry([row()], software={}), align_entry([row()], software={})))
    without = Settings(moe_buf=False).format_signature()
    align = {"provider": "align", "revision": "a11f0e", "moe_buf": False, "settings": without}
    append_samples(get_samples_path(path), [make_sample(1, "oneshot", 9.0), make_sample(1, "oneshot", 3.0, **align)])
    panels = read_panels(path, store.load(path))
    assert [panel.title for panel in panels] == [
        "128 experts, topk 4",
        "128 experts, topk 4, moe_align_block_size",
    ]
    assert [panel.curves["oneshot"][0].time_us.median for panel in panels] == [9.0, 3.0]
    assert build_title(panels).endswith("builtin kernels 5c1e0f, align kernels a11f0e for moe_align_block_size")
