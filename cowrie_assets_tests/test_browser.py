"""A materialisation launched in Dagster's UI, in a real browser (Chromium with its driver), seen to succeed.

Not here: what it does (`test_migration.py`).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as seen
from selenium.webdriver.support.ui import WebDriverWait

from cowrie_assets.demo import make_demo

pytestmark = pytest.mark.browser

WAIT = 90


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def ui(pg_url: str, tmp_path: Path) -> Iterator[str]:
    """URL of a webserver over the project."""
    port = free_port()
    source = tmp_path / "demo.sqlite"
    make_demo(source, events=2_000, days=3, last_day=date(2026, 10, 31))
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    environment = {
        **os.environ,
        "COWRIE_SQLITE_PATH": str(source),
        "COWRIE_POSTGRES_URL": "postgresql:///?service=test",
        "PGSERVICEFILE": str(tmp_path / "service.conf"),
        "COWRIE_STAGING_URL": str(tmp_path / "staging"),
        "COWRIE_HOME": str(tmp_path / "home"),
        "DAGSTER_HOME": str(tmp_path),
    }
    # A service file is how the URL of an operator's own server may be given.
    lines = [part.replace("'", "") for part in pg_url.split()]
    (tmp_path / "service.conf").write_text("[test]\n" + "\n".join(lines) + "\n", encoding="utf-8")
    plan = [sys.executable, "-m", "cowrie_assets.cli.main", "plan"]
    subprocess.run(plan, env=environment, check=True, capture_output=True)
    modules = ["-m", "cowrie_assets.definitions"]
    web = [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), *modules]
    # The daemon launches what the dialog asks for over partitions: `make ui` runs both.
    daemon = [sys.executable, "-m", "dagster._daemon", "run", *modules]
    with (tmp_path / "ui.log").open("wb") as log:
        servers = [
            subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
            for command in (web, daemon)
        ]
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + WAIT
    while True:
        try:
            with urllib.request.urlopen(f"{url}/server_info", timeout=2):
                break
        except OSError:
            assert time.monotonic() < deadline, (tmp_path / "ui.log").read_text()
            time.sleep(0.3)
    yield url
    for server in servers:
        server.terminate()
    for server in servers:
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(5)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "/usr/bin/chromium"
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1400,1000",
        f"--user-data-dir={tmp_path / 'chromium'}",
    ):
        options.add_argument(flag)
    driver = shutil.which("chromedriver") or "/usr/bin/chromedriver"
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.save_screenshot(str(tmp_path / "last.png"))
    chrome.quit()


def button(text: str) -> tuple[str, str]:
    return By.XPATH, f"//button[contains(normalize-space(.), '{text}')]"


def test_a_partition_is_materialised_from_the_ui(ui: str, browser: webdriver.Chrome, tmp_path: Path) -> None:
    wait = WebDriverWait(browser, WAIT)
    browser.get(ui)
    browser.execute_script("localStorage.setItem('communityNux', JSON.stringify('1'))")
    browser.get(f"{ui}/assets/staging/raw_events")
    wait.until(seen.element_to_be_clickable(button("Materialize"))).click()
    wait.until(seen.element_to_be_clickable(button("Latest"))).click()
    wait.until(seen.element_to_be_clickable(button("Launch"))).click()
    manifest = tmp_path / "staging" / "staging" / "raw_events" / "2026-10-31.json"
    wait.until(lambda _: manifest.exists())
    browser.get(f"{ui}/runs")
    wait.until(seen.presence_of_element_located((By.XPATH, "//*[normalize-space(text())='Success']")))
    browser.save_screenshot(str(tmp_path / "runs.png"))
    assert (tmp_path / "runs.png").stat().st_size > 10_000
