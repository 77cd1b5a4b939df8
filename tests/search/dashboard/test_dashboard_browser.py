"""The dashboard in a real browser: trials, notes and pictures are there, and nothing is fetched from outside."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.search.dashboard_study import TOKEN, Client, artifact_path, make_study, served, serving, trials

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    # Parallel coordinates are drawn with WebGL, which a machine without a screen does in software.
    "--enable-unsafe-swiftshader",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--window-size=1400,900",
    "--virtual-time-budget=12000",
]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")


@dataclass
class Page:
    """What a page became, what it said on the console, and every address that it asked for, itself included."""

    dom: str
    console: list[str]
    addresses: list[str]

    @property
    def hosts(self) -> set[str]:
        return {urlsplit(address).hostname or "" for address in self.addresses if address.startswith(("http", "ws"))}


def browse(url: str, folder: Path, picture: Path | None = None, seconds: float = 60) -> Page:
    """Opens `url` in a browser of its own and waits until the page has settled."""
    log = folder / "net.json"
    shown = [f"--screenshot={picture}"] if picture else ["--dump-dom"]
    place = [f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", "--enable-logging=stderr", "--v=0"]
    done = subprocess.run(
        [str(CHROMIUM), *FLAGS, *place, *shown, url], capture_output=True, text=True, timeout=seconds, errors="replace"
    )
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return Page(done.stdout, console, [url, *sorted(set(_asked_by_the_page(log)))])


def _asked_by_the_page(log: Path) -> Iterator[str]:
    document = json.loads(log.read_text(encoding="utf-8", errors="replace"))
    kinds = {number: name for name, number in document["constants"]["logEventTypes"].items()}
    for event in document["events"]:
        told = event.get("params", {})
        # What the browser asks for itself, such as its maker's servers for updates, has no initiator.
        if kinds[event["type"]] == "URL_REQUEST_START_JOB" and told.get("initiator", "") not in ("", "not an origin"):
            yield told["url"]


def assert_at_home(page: Page) -> None:
    assert page.hosts == {"127.0.0.1"}, page.addresses
    # The policy would have stopped an attempt before it became a request.
    assert not [line for line in page.console if "Content Security Policy" in line or "Refused to" in line]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("browsed")
    make_study(folder)
    with serving(folder / "study.toml") as (_, lines):
        yield Client(int(re.findall(r":(\d+)/", lines[0])[0]))


def test_a_page_that_fetches_from_outside_would_be_found_out(tmp_path: Path) -> None:
    (tmp_path / "outer.html").write_text('<p>outer</p><img src="http://evil.example/x.png">')
    page = browse((tmp_path / "outer.html").as_uri(), tmp_path)
    assert page.hosts == {"evil.example"}


def test_the_study_with_its_plots(client: Client, tmp_path: Path) -> None:
    page = browse(f"{client.origin}/dashboard/studies/1", tmp_path)
    for text in ("shown (id=1)", "History and the paper's best", "paper's best 0.7600", "Hyperparameter Importance"):
        assert text in page.dom, text
    assert_at_home(page)


@pytest.mark.slow
def test_the_dashboards_own_parallel_coordinates(client: Client, tmp_path: Path) -> None:
    page = browse(f"{client.origin}/dashboard/studies/1/smartSelection", tmp_path)
    assert "Parallel Coordinate" in page.dom
    assert "Param decoder" in page.dom
    assert "WebGL is not supported" not in page.dom
    assert_at_home(page)


def test_the_study_note_compares_with_table2(client: Client, tmp_path: Path) -> None:
    page = browse(f"{client.origin}/dashboard/studies/1/note", tmp_path)
    assert "The paper's Table 2 beside ours</h3>" in page.dom
    assert "400 it, crop 320, CE, SGD, 0.0001" in page.dom
    assert page.dom.count("<table>") >= 2
    assert_at_home(page)


def test_a_trial_with_its_note_config_curve_and_overlays(client: Client, tmp_path: Path) -> None:
    page = browse(f"{client.origin}/dashboard/studies/1/trials?numbers=3", tmp_path)
    dom = page.dom.replace("&nbsp;", "")
    assert re.search(r"<td[^>]*>decoder</td>\s*<td[^>]*>pspnet", dom)
    assert re.search(r"<td[^>]*>fluid</td>", dom)
    trial = trials(client)[3]
    for name in ("worst.png", "best.png", "learning_curve.png"):
        path = artifact_path(trial, name)
        assert f'src="{path}"' in page.dom
        assert f"{client.origin}{path}" in page.addresses
    assert "config.py" in page.dom
    assert "Trial 11" in page.dom
    assert_at_home(page)


def test_a_message_with_markup_is_text(client: Client, tmp_path: Path) -> None:
    page = browse(f"{client.origin}/dashboard/studies/1/trials?numbers=5", tmp_path)
    assert "Cause: out of memory" in page.dom
    assert "&lt;script&gt;alert(1)&lt;/script&gt; | ![x](http://evil.example/x.png)" in page.dom
    assert "<script>alert" not in page.dom
    assert_at_home(page)


@pytest.mark.slow
def test_a_stored_page_does_not_run(tmp_path: Path) -> None:
    with served(make_study(tmp_path, trials=1), writable=True) as client:
        stored = "data:text/html;base64," + base64.b64encode(b"<script>new Image().src='/ran'</script>").decode()
        reply = client.change("POST", "/api/artifacts/1", {"file": stored, "filename": "page.html"})
        path = f"/artifacts/1/{json.loads(reply.body)['artifact_id']}"
        # A browser that is sent a file to save instead of a page never settles.
        with contextlib.suppress(subprocess.TimeoutExpired):
            browse(client.origin + path, tmp_path, seconds=8)
        assert path in client.asked
        assert "/ran" not in client.asked


def test_the_token_opens_the_dashboard_once_and_leaves_the_address(tmp_path: Path) -> None:
    with served(make_study(tmp_path, trials=1), token=TOKEN) as client:
        form = browse(f"{client.origin}/dashboard/studies/1", tmp_path)
        assert '<form method="post" action="/login">' in form.dom
        page = browse(f"{client.origin}/dashboard/studies/1/trials?token={TOKEN}", tmp_path)
        assert "Trial 0" in page.dom
        assert [address for address in page.addresses if TOKEN in address] == page.addresses[:1]
        assert_at_home(page)


@pytest.mark.slow
def test_a_picture_of_it_is_not_blank(client: Client, tmp_path: Path) -> None:
    from PIL import Image

    picture = tmp_path / "dashboard.png"
    browse(f"{client.origin}/dashboard/studies/1", tmp_path, picture)
    with Image.open(picture) as image:
        assert image.size[0] == 1400
        colours = image.convert("RGB").getcolors(1 << 24)
    assert colours is not None
    assert len(colours) > 50
