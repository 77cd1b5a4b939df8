"""A real Ceph cluster of one disk in memory, with its S3 gateway, on 127.0.0.1: what many institutes run themselves.

Needs Debian's packages ceph-mon, ceph-osd, ceph-common and radosgw, and setpriv.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import urllib.request
import uuid
from contextlib import ExitStack
from pathlib import Path

from tests.s3 import KEY, SECRET, S3Server
from tests.waiting import free_port, until

_PROGRAMS = ("ceph-mon", "ceph-osd", "ceph", "radosgw", "radosgw-admin", "setpriv")
_CONF = """[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{monitor}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = {folder}/keyring
run dir = {folder}
admin socket = {folder}/$name.asok
pid file = {folder}/$name.pid
log file = {folder}/$name.log
crash dir = {folder}
mon data = {folder}/mon
mon data avail crit = 1
mon allow pool size one = true
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 2147483648
osd pool default size = 1
osd pool default pg num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{gateway}
"""
_START_SECONDS = 60.0


class CephServer(S3Server):
    """Started with `with`, in about ten seconds; empty at first, and gone with the process that started it."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ceph"))
        self._conf = self._folder / "ceph.conf"
        self._port, self._monitor = free_port(), free_port()
        self._running = ExitStack()

    @staticmethod
    def missing() -> list[str]:
        """The programs that are not installed here."""
        return [name for name in _PROGRAMS if shutil.which(name) is None]

    def __enter__(self) -> CephServer:
        self._running.callback(shutil.rmtree, self._folder, ignore_errors=True)
        try:
            self._begin_monitor()
            self._begin_disk()
            names = ("--uid", "tests", "--display-name", "tests", "--access-key", KEY, "--secret", SECRET)
            self._call("radosgw-admin", "user", "create", *names)
            self._daemon("radosgw", "-n", "client.rgw")
            self._wait()
        except BaseException:
            self._running.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._running.close()

    @property
    def url(self) -> str:
        """Its address, for AWS_ENDPOINT_URL_S3."""
        return f"http://127.0.0.1:{self._port}"

    def _begin_monitor(self) -> None:
        fsid, folder = str(uuid.uuid4()), self._folder
        self._conf.write_text(_CONF.format(fsid=fsid, folder=folder, monitor=self._monitor, gateway=self._port))
        for name in ("mon", "osd", "rgw"):
            (folder / name).mkdir()
        keyring, monitors = str(folder / "keyring"), str(folder / "monmap")
        for name in ("mon.", "client.admin", "osd.0", "client.rgw"):
            new = [] if name != "mon." else ["--create-keyring"]
            grants = ["--cap", "mon", "allow *", "--cap", "osd", "allow *"]
            self._call("ceph-authtool", keyring, *new, "--gen-key", "-n", name, *grants)
        self._call("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{self._monitor}]", monitors)
        self._call("ceph-mon", "--mkfs", "-i", "a", "--monmap", monitors, "--keyring", keyring)
        self._daemon("ceph-mon", "-i", "a")

    def _begin_disk(self) -> None:
        disk = str(uuid.uuid4())
        self._call("ceph", "osd", "new", disk)
        self._call("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
        self._daemon("ceph-osd", "-i", "0")

    def _call(self, program: str, *arguments: str) -> None:
        command = [program, "-c", str(self._conf), *arguments]
        if program in ("ceph-authtool", "monmaptool"):
            command = [program, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_START_SECONDS)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr[-500:]}"

    def _daemon(self, program: str, *arguments: str) -> None:
        """Starts a daemon in the foreground, which the kernel ends with this process."""
        command = ["setpriv", "--pdeathsig", "KILL", program, "-c", str(self._conf), *arguments, "-f"]
        with (self._folder / f"{program}.out").open("wb") as out:
            running = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        self._running.callback(running.wait)
        self._running.callback(running.kill)

    def _wait(self) -> None:
        """Returns when the gateway answers."""
        assert until(self._answers, _START_SECONDS), f"Ceph's gateway does not answer at {self.url}"

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.url, timeout=5):
                return True
        except OSError:
            return False
