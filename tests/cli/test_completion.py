"""`--show-completion`, and the words that its script asks for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.whole import environment, run
from wa_relay.cli.app import ENTRIES


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_printed(tmp_path: Path, shell: str) -> None:
    code, out, err = run(tmp_path, "--show-completion", shell)
    assert (code, err) == (0, "")
    assert "_WA_RELAY_COMPLETE=complete_" + shell in out


def test_another_shell_is_wrong_usage(tmp_path: Path) -> None:
    assert run(tmp_path, "--show-completion", "tcsh")[:2] == (2, "")


def test_bash_reads_the_script(tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    script = run(tmp_path, "--show-completion", "bash")[1]
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "place", "expected"),
    [
        ("wa-relay ", "1", set(ENTRIES)),
        ("wa-relay st", "1", {"stats"}),
        ("wa-relay stats --si", "2", {"--since"}),
        ("wa-relay stats --by ", "3", {"day", "batch", "group", "agent", "conversation"}),
    ],
)
def test_words_are_completed(tmp_path: Path, words: str, place: str, expected: set[str]) -> None:
    # As the installed command starts.
    script = "import sys; sys.argv[0] = 'wa-relay'; from wa_relay.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(COMP_WORDS=words, COMP_CWORD=place, _WA_RELAY_COMPLETE="complete_bash"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    assert set(done.stdout.split()) == expected
