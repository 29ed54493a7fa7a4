"""Progress bars show where somebody watches, and leave nothing in a log file."""

import contextlib
import io
import os
import sys
import termios
import time

import pytest
from ipykernel.kernelapp import IPKernelApp

from workbench.progress import TERMINAL, _open, progress, terminal


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(total: int) -> None:
    with progress(total, "filling", "item", mininterval=0, miniters=1) as bar:
        for _ in range(total):
            bar.update(1)
            bar.refresh()


@pytest.fixture
def no_kernel(monkeypatch):
    """jupyter_client imports ipykernel to find kernels: that alone makes no notebook of a process."""
    assert not IPKernelApp.initialized()
    monkeypatch.delenv(TERMINAL, raising=False)


def test_a_terminal_shows_the_bar_and_it_is_gone_afterwards(no_kernel, monkeypatch):
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    run(3)
    shown = screen.getvalue()
    assert "filling" in shown and "3/3" in shown
    assert shown.rstrip("\r").rpartition("\r")[2].strip() == ""  # the last thing written blanks the line


def test_a_log_file_gets_nothing(no_kernel, monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    run(3)
    assert log.getvalue() == ""


def test_a_kernel_shows_a_widget_instead(no_kernel, monkeypatch, capsys):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr(IPKernelApp, "initialized", lambda: True)
    run(3)
    assert log.getvalue() == "" and "filling" in capsys.readouterr().out  # IPython shows a widget as text where it must


@pytest.fixture
def pty():
    """(the end that a person would see, the terminal's path)."""
    seen, end = os.openpty()
    termios.tcsetwinsize(end, (24, 100))
    os.set_blocking(seen, False)  # a test that finds nothing fails instead of waiting
    path = os.ttyname(end)
    yield seen, path
    _open(path).close()
    _open.cache_clear()
    for descriptor in (seen, end):
        os.close(descriptor)


def test_a_report_shows_its_kernels_bars_on_the_terminal_that_started_it(monkeypatch, pty):
    """The kernel's own standard error is captured; the terminal is found by its path."""
    seen, path = pty
    captured = Screen()
    monkeypatch.setenv(TERMINAL, path)
    monkeypatch.setattr(sys, "stderr", captured)
    run(2)
    shown = b""
    deadline = time.monotonic() + 10
    while b"2/2" not in shown and time.monotonic() < deadline:  # a terminal passes on what it gets in pieces
        with contextlib.suppress(BlockingIOError):
            shown += os.read(seen, 10_000)
    assert b"filling" in shown and b"2/2" in shown and captured.getvalue() == ""


def test_a_report_without_a_terminal_shows_nothing(monkeypatch):
    screen = Screen()
    monkeypatch.setenv(TERMINAL, "")
    monkeypatch.setattr(sys, "stderr", screen)
    run(2)
    assert screen.getvalue() == ""


def test_the_terminal_is_the_one_that_standard_error_goes_to(monkeypatch, pty, tmp_path):
    with open(pty[1], "w") as end, (tmp_path / "log").open("w") as log:  # noqa: PTH123 (a device)
        monkeypatch.setattr(sys, "__stderr__", end)
        assert terminal() == pty[1]
        monkeypatch.setattr(sys, "__stderr__", log)
        assert terminal() == ""
