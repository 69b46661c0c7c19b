"""Completion of what a shell's user types, through the program that the shell calls."""

import os
import subprocess
import sys

import pytest

PROGRAM = "import sys; sys.argv[0] = 'moesort-tune'; from moesort_tune.cli.main import main; main()"


def complete(*words: str, instruction: str = "bash_complete") -> list[str]:
    """Return what the program offers for the last of the words."""
    environment = os.environ | {
        "_MOESORT_TUNE_COMPLETE": instruction,
        "COMP_WORDS": " ".join(["moesort-tune", *words]),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("sweep", "--arch", "gfx"), ["gfx90a", "gfx942", "gfx950"]),
        (("sweep", "--model", "deepseek-v3"), ["deepseek-v3", "deepseek-v3-shared"]),
        (("ab", "--model", "gpt"), ["gpt-oss-20b", "gpt-oss-120b"]),
        (("build", "--arch", "gfx95"), ["gfx950"]),
        (("comp",), ["compare"]),
        (("diff", "--exit"), ["--exit-code"]),
    ],
)
def test_names_are_completed(words: tuple[str, ...], offered: list[str]) -> None:
    """Architectures, presets, commands and options, as the help says."""
    assert complete(*words) == [f"plain,{name}" for name in offered]


@pytest.mark.parametrize("shell", ["bash_source", "zsh_source", "fish_source"])
def test_shell_gets_its_script(shell: str) -> None:
    """The line of the help that switches completion on gets a script that asks this program."""
    bash_is_old = (
        shell == "bash_source"
        and subprocess.run(
            ["bash", "-c", "((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404))"], check=False
        ).returncode
    )
    if not bash_is_old:
        assert any("_MOESORT_TUNE_COMPLETE" in line for line in complete(instruction=shell))
