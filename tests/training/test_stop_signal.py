"""A signal is answered at once, also while one long call keeps Python from running handlers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from mathtune.training.checkpointing.schedule import StopOnSignal

SCRIPT = """
import hashlib, sys
from mathtune.training.checkpointing.schedule import StopOnSignal

def say(text):
    sys.stderr.write(text + "\\n")
    sys.stderr.flush()

with StopOnSignal() as stop:
    say("step")
    hashlib.pbkdf2_hmac("sha256", b"", b"", 6_000_000)  # as a backward pass: one call, no handlers
    say("step done")
    say(f"received {stop.received}")
"""


def test_a_signal_within_a_step_is_answered_before_its_end(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    while process.stderr.readline() != "step\n":
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    lines = process.stderr.read().splitlines()
    assert process.wait() == 0
    assert lines == [
        "SIGTERM: stopping after this training step, with a checkpoint; a second one ends the "
        "process at once",
        "step done",
        "received 15",
    ]


def test_everything_is_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    descriptors = set(os.listdir("/proc/self/fd"))
    with StopOnSignal() as stop:
        assert not stop.came()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert set(os.listdir("/proc/self/fd")) == descriptors
    assert signal.set_wakeup_fd(-1) == -1
