"""`launch`: a study on a real Ray cluster on this machine."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mmtuna.search.cluster import tasks
from mmtuna.search.cluster.launcher import Launch, misfits, share_of
from mmtuna.search.cluster.nodes import Answer, Node, Share
from mmtuna.search.cluster.tasks import Order
from mmtuna.search.errors import StoppedError
from mmtuna.spaces.errors import InputError
from mmtuna.studies import study as study_room
from mmtuna.studies.asking import Budget
from mmtuna.studies.spec.study_spec import StudySpec, read_text
from mmtuna.studies.storage.outages import StorageAwayError
from mmtuna.studies.storage.postgres import without_password
from tests.postgres import PASSWORD, PostgresServer
from tests.ray_nodes import LOOPBACK, RayNodes
from tests.search.conftest import ENVIRONMENT, status, wait_for

WriteSpec = Callable[..., Path]
TOP = str(Path(__file__).parents[3])
SPACE = "[space.params.flip]\nchoices = ['none', 'horizontal']"


def node(name: str, cpus: float, gpus: float = 0) -> Node:
    return Node(name, name, cpus, gpus)


def spec_with(write_spec: WriteSpec, resources: str) -> StudySpec:
    path = write_spec()
    text = path.read_text().replace('devices = ["cpu"]\nthreads = 1', resources)
    path.write_text(text)
    return StudySpec.load(path)


def order(path: Path, **more: object) -> Order:
    spec = StudySpec.load(path)
    plain = Order(
        spec=read_text(path),
        path=str(path),
        storage=spec.study.storage,
        code=tasks.code_digest(),
        device="cpu",
        threads=1,
        trials=3,
    )
    return replace(plain, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("resources", "nodes", "share"),
    [
        ("", [node("head", 0), node("a", 8), node("b", 4)], Share(4, 0)),
        ("trials_per_device = 2", [node("a", 8), node("b", 4)], Share(2, 0)),
        ("threads = 3", [node("a", 8), node("b", 4)], Share(3, 0)),
        ("", [node("cpu", 64), node("gpu", 16, 2)], Share(8, 1)),
        ("trials_per_device = 2", [node("gpu", 16, 4), node("gpu2", 48, 4)], Share(2, 0.5)),
        ('devices = ["cpu"]', [node("gpu", 16, 2)], Share(16, 0)),
    ],
)
def test_the_share_of_a_trial(write_spec: WriteSpec, resources: str, nodes: list[Node], share: Share) -> None:
    assert share_of(spec_with(write_spec, resources), nodes) == share
    assert share.device == ("cuda:0" if share.gpus else "cpu")


@pytest.mark.parametrize(
    ("resources", "nodes", "message"),
    [
        ('devices = ["cuda:0"]', [node("a", 8)], r"no node of the cluster has a GPU; start one, or set devices = "),
        ("", [node("head", 0)], r"no node with a CPU core to offer; start one with `ray start --num-cpus N`"),
        ("threads = 9", [node("a", 8)], r"threads = 9: no node has more than 8 cores; set 8 or fewer"),
        ('trials_per_device = "auto"', [node("a", 8)], r'"auto": Ray places trials before any node is measured; set'),
    ],
)
def test_no_node_can_train(write_spec: WriteSpec, resources: str, nodes: list[Node], message: str) -> None:
    with pytest.raises(InputError, match=message):
        share_of(spec_with(write_spec, resources), nodes)


def looked(path: Path, **more: object) -> list[str]:
    return misfits(Answer(json.loads(tasks.look(order(path, **more).text()))))


def test_a_node_that_holds_all_there_is(write_spec: WriteSpec, tmp_path: Path) -> None:
    assert looked(write_spec()) == []
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_is_not_shared(write_spec: WriteSpec, tmp_path: Path) -> None:
    (line,) = looked(write_spec(), mark=".launch-1")
    assert line == (
        f"{tmp_path}/runs/tiny is not the launching machine's folder; put [study] folder on a shared file system, or "
        "set [study] artifacts to S3"
    )


def test_a_node_without_the_data(write_spec: WriteSpec, tmp_path: Path) -> None:
    (line,) = looked(write_spec(root=tmp_path / "elsewhere"))
    assert line.startswith(f"{tmp_path}/elsewhere: no such folder")


def test_a_node_without_the_weights(write_spec: WriteSpec, tmp_path: Path) -> None:
    path = write_spec()
    path.write_text(path.read_text().replace('pretrained = "none"', 'pretrained = "unet_{decoder}.pth"'))
    (line,) = looked(path)
    assert line == f"{tmp_path}/unet_fcn.pth: no such file here; put it where every node finds it"


def test_nodes_with_other_data_differ_in_its_hash(write_spec: WriteSpec, phantom: Path, tmp_path: Path) -> None:
    def data(root: Path) -> str:
        return str(json.loads(tasks.look(order(write_spec(root=root)).text()))["data"])

    subprocess.run(["cp", "-r", phantom, tmp_path / "copy"], check=True)
    same = data(tmp_path / "copy")
    assert same == data(phantom)
    with next((tmp_path / "copy" / "images").rglob("*.png")).open("ab") as file:
        file.write(b"more")
    assert data(tmp_path / "copy") != same


def test_a_node_with_other_versions_or_code() -> None:
    versions = tasks.own_versions()
    found = {"problems": [], "versions": versions | {"torch": "1.0"}, "data": "", "code": tasks.code_digest()}
    (line,) = misfits(Answer(found))
    wanted = f"torch is 1.0 and {versions['torch']} where the launch was typed; install the same on every node"
    assert line == wanted
    assert misfits(Answer(found | {"versions": versions, "code": "0"})) == [
        "mmtuna's code is another one; install the same on every node"
    ]
    assert misfits(Answer({}, "ModuleNotFoundError: No module named 'search'")) == [
        "mmtuna does not run there (ModuleNotFoundError: No module named 'search'); install the same on every node"
    ]


def test_a_process_with_other_code_trains_nothing(write_spec: WriteSpec, tmp_path: Path) -> None:
    found = json.loads(tasks.train_one(order(write_spec(), code="0").text()))
    assert found["unfit"] == "it holds another version of mmtuna; install the launching machine's"
    assert not (tmp_path / "runs").exists()


def test_the_password_stays_at_home(write_spec: WriteSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"postgresql+psycopg://mmtuna:{PASSWORD}@127.0.0.1:5/x?sslmode=prefer"
    bare = "postgresql+psycopg://mmtuna@127.0.0.1:5/x?sslmode=prefer"
    assert without_password(url) == without_password(bare) == bare
    assert without_password("postgresql+psycopg:///?service=a&password=b") == "postgresql+psycopg:///?service=a"
    with pytest.raises(InputError, match=r"cannot be read as a URL; write .* postgresql\+psycopg://USER@HOST/NAME"):
        without_password(f"postgresql+psycopg://mmtuna:{PASSWORD}@127.0.0.1:port/x")
    with pytest.raises(InputError, match="cannot be read as a URL"):
        without_password(f"postgresql:mmtuna:{PASSWORD}@127.0.0.1/x")
    sent = order(write_spec(), storage=bare)
    assert PASSWORD not in sent.text()
    monkeypatch.setenv("MMTUNA_STORAGE", url)
    assert sent.study_spec().study.storage == url  # the node's own password
    monkeypatch.setenv("MMTUNA_STORAGE", url.replace("/x", "/another"))
    assert sent.study_spec().study.storage == bare


def test_a_password_in_the_file_that_the_environment_hides_does_not_travel(
    write_spec: WriteSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def order_of(storage: str, own: str) -> Order:
        monkeypatch.setenv("MMTUNA_STORAGE", own)
        path = write_spec(study=f'storage = "{storage}"')
        console = Console(file=io.StringIO())
        launched = Launch(StudySpec.load(path), path, None, console)  # type: ignore[arg-type]
        return launched._order(Share(1, 0.0))

    bare = "postgresql+psycopg://mmtuna@127.0.0.1:5/x?sslrootcert=/etc/ssl/ca.crt"
    with pytest.raises(InputError, match=r"the password in .* would travel through Ray; take it out"):
        order_of(bare.replace("mmtuna@", f"mmtuna:{PASSWORD}@"), bare)
    sent = order_of(bare, bare.replace("mmtuna@", f"mmtuna:{PASSWORD}@"))
    assert PASSWORD not in sent.text()
    assert PASSWORD in sent.study_spec().study.storage


def test_a_task_waits_for_a_database_that_is_away(write_spec: WriteSpec) -> None:
    tries: list[int] = []

    def open_it() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise StorageAwayError("does not open: connection refused")
        return "open"

    assert order(write_spec(), patient=True).patiently(open_it) == "open"
    tries.clear()
    with pytest.raises(InputError, match="connection refused"):
        order(write_spec()).patiently(open_it)


class IdleCluster:
    """One node on which every task finds that others train all that is left."""

    looks = 0

    def nodes(self) -> list[Node]:
        self.looks += 1
        return [Node("a", "a", 2.0, 0.0)]

    def submit(self, *_: object, **__: object) -> object:
        return object()

    def ended(self, tasks: list[object], _seconds: float) -> list[object]:
        return list(tasks)

    def answer(self, _task: object) -> Answer:
        return Answer({"budget": "wait", "node": "a"})

    def cancel(self, _tasks: object) -> None:
        pass


def test_a_launch_that_has_nothing_to_send_rests(write_spec: WriteSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    spec_file, cluster = write_spec(), IdleCluster()
    study: Any = None
    monkeypatch.setattr(study_room, "finished", lambda _study: 0)
    launched = Launch(StudySpec.load(spec_file), spec_file, cluster, Console(quiet=True))  # type: ignore[arg-type]
    launched._share, launched._known = Share(1, 0.0), {"a": "a"}
    threading.Timer(4.0, launched._stop.set).start()
    with pytest.raises(StoppedError, match="run the same command again"):
        launched._train(study, order(spec_file))
    assert cluster.looks <= 8


class ClusterOutOfTime(IdleCluster):
    """One node on which every task finds that the study's hours hold no further trial."""

    sent = 0

    def submit(self, *_: object, **__: object) -> object:
        self.sent += 1
        return object()

    def answer(self, _task: object) -> Answer:
        return Answer({"budget": "over", "node": "a"})


def test_a_launch_ends_when_the_hours_are_over(write_spec: WriteSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    spec_file, cluster = write_spec(study="hours = 1"), ClusterOutOfTime()
    study: Any = None
    monkeypatch.setattr(study_room, "finished", lambda _study: 0)
    launched = Launch(StudySpec.load(spec_file), spec_file, cluster, Console(quiet=True))  # type: ignore[arg-type]
    launched._share, launched._known = Share(1, 0.0), {"a": "a"}
    launched._train(study, order(spec_file))
    assert launched._ended is Budget.OVER
    assert 1 <= cluster.sent <= order(spec_file).trials


def launch(spec: Path, cluster: str, *arguments: str, env: Mapping[str, str] = ENVIRONMENT) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mmtuna", "launch", str(spec), "--address", cluster, *arguments]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, env={**env, **LOOPBACK}, process_group=0, **streams)


def refused(spec: Path, cluster: str) -> str:
    process = launch(spec, cluster)
    output, error = process.communicate(timeout=60)
    assert (process.returncode, output) == (2, "")
    return error.strip()


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("nonsense", "--address nonsense: not understood; give auto, HOST:PORT or ray://HOST:10001"),
        ("ray://127.0.0.1:1", "--address ray://127.0.0.1:1: nobody answers (Connection refused); start a cluster with"),
    ],
)
def test_no_such_cluster(write_spec: WriteSpec, tmp_path: Path, address: str, line: str) -> None:
    assert refused(write_spec(), address).startswith(f"mmtuna: {line}")
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_study_on_one_node_is_as_run_makes_it(write_spec: WriteSpec, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs mmtuna[ray]")
    spec = write_spec(space=SPACE, study='sampler = "random"\npruner = "none"')
    with RayNodes(1, environment={**ENVIRONMENT, "PYTHONPATH": TOP}) as cluster:
        environment = {**ENVIRONMENT, "RAY_ADDRESS": cluster.address}
        process = launch(spec, "auto", "--trials", "1", "--json", env=environment)
        output, error = process.communicate(timeout=150)
        assert process.returncode == 0, error
        summary = json.loads(output)
        assert (summary["finished"], summary["states"]) == (1, {"COMPLETE": 1})
        assert "1 of 1 nodes can train; a trial takes 1 core" in error
        assert error.count("  on ") == 1
        assert (tmp_path / "runs" / "tiny" / "report.html").is_file()
        for trial in status(spec)["trials"]:
            assert [point["step"] for point in trial["curve"]] == [25, 50, 75, 100]
            assert (tmp_path / "runs" / "tiny" / trial["folder"] / "config.py").is_file()
        cluster.add(1)
        sqlite = "[study] storage is a SQLite file, which serves one machine, and the cluster has 2 nodes; set "
        assert refused(spec, cluster.address).startswith(f"mmtuna: {sqlite}MMTUNA_STORAGE=postgresql+psycopg://")


@pytest.fixture
def three_nodes(server: PostgresServer, database: str) -> Iterator[tuple[RayNodes, dict[str, str]]]:
    pytest.importorskip("ray", reason="needs mmtuna[ray]")
    environment = {**ENVIRONMENT, "PYTHONPATH": TOP, "MMTUNA_STORAGE": server.url(database)}
    with RayNodes(0, 1, 1, 1, environment=environment) as cluster:
        yield cluster, environment


def trials_of(spec: Path, environment: Mapping[str, str]) -> list[dict[str, object]]:
    command = [sys.executable, "-m", "mmtuna", "status", str(spec), "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    trials: list[dict[str, object]] = json.loads(done.stdout)["trials"] if done.returncode == 0 else []
    return trials


@pytest.mark.slow
def test_a_node_goes_another_comes_and_the_launch_is_interrupted(
    three_nodes: tuple[RayNodes, dict[str, str]], write_spec: WriteSpec, tmp_path: Path
) -> None:
    cluster, environment = three_nodes
    spec = write_spec(study='sampler = "random"\npruner = "none"', resources="lease = 5")
    spec.write_text(spec.read_text().replace("iterations = 8", "iterations = 80"))
    process = launch(spec, cluster.address, "--trials", "9", env=environment)
    training = lambda: sum(trial["state"] == "RUNNING" for trial in trials_of(spec, environment))  # noqa: E731
    wait_for(lambda: training() == 3, 90, "three trials that train")
    cluster.remove(0)
    cluster.add(1)
    wait_for(lambda: sum(trial["state"] == "COMPLETE" for trial in trials_of(spec, environment)) >= 3, 120, "trials")
    os.killpg(process.pid, signal.SIGINT)
    output, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (1, "mmtuna: stopped; run the same command again to go on\n")
    assert "put back" in output
    assert " has joined" in output
    assert not training()

    process = launch(spec, cluster.address, "--trials", "9", env=environment)
    output, error = process.communicate(timeout=200)
    assert (process.returncode, error) == (0, "")
    trials = trials_of(spec, environment)
    assert [trial["state"] for trial in trials] == ["COMPLETE"] * 9
    for trial in trials:
        assert [point["step"] for point in trial["curve"]] == [25, 50, 75, 100]  # type: ignore[attr-defined]
    found = [path for place in (cluster.folder, tmp_path) for path in place.rglob("*") if path.is_file()]
    assert len(found) > 50
    assert [path for path in found if PASSWORD.encode() in path.read_bytes()] == []
