"""Carry a plan out: shard by shard, on several processes, going on where an earlier try stopped.

Everything under way stands in ``.export/`` of the data set's folder: the plan's identity, and a
receipt per finished shard. ``SHA256SUMS`` is written last; a folder that has it is complete.
"""

from __future__ import annotations

import multiprocessing
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from dispose_stages.atomic import TEMPORARY_SUFFIX, canonical_json, write_text
from dispose_stages.batch.layout import RunLayout
from dispose_stages.batch.run_lock import RunLock
from dispose_stages.config import Compute
from dispose_stages.errors import ExportError
from dispose_stages.export.dataset import EXPORT, SUMS, DataSet
from dispose_stages.export.documents import write_documents
from dispose_stages.export.plan import ExportPlan, PlannedShard
from dispose_stages.export.registry import register
from dispose_stages.export.samples import Sample, SampleMissingError, SampleReader
from dispose_stages.export.selection import LeftOut, Omission, Record
from dispose_stages.export.settings import ExportSettings
from dispose_stages.export.shards import FileFacts, write_shard
from dispose_stages.export.signing import Certificate, Signer
from dispose_stages.records import parse, read_bytes
from dispose_stages.store.artifacts import ArtifactStore
from dispose_stages.store.shelf import VideoShelf

WORK = ".export"
_READERS = 2
_WORTH_A_PROCESS = 500_000_000
"""Bytes of videos: what one process writes while another is started."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a finished shard holds.

    Attributes:
        files: Path below the data set's folder to digest and size.
        omissions: Pairs that lost something since the index was written.
    """

    place: str
    files: Mapping[str, FileFacts]
    records: Sequence[Record]
    omissions: Sequence[Omission]

    def to_json(self) -> str:
        """The file's text."""
        omissions = [[o.pair_id, str(o.reason), o.detail] for o in self.omissions]
        content = {"files": self.files, "records": self.records, "omissions": omissions}
        return canonical_json({"place": self.place, **content}) + "\n"

    @classmethod
    def read(cls, path: Path) -> Receipt | None:
        """The receipt, if there is one that can be used."""
        try:
            content = parse(read_bytes(path))
            omissions = [Omission(p, LeftOut(r), d) for p, r, d in content["omissions"]]
            files = {name: (digest, size) for name, (digest, size) in content["files"].items()}
            return cls(content["place"], files, content["records"], omissions)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def is_whole(self, folder: Path) -> bool:
        """Whether all files are there at their size."""
        try:
            sizes = {name: (folder / name).stat().st_size for name in self.files}
        except OSError:
            return False
        return all(sizes[name] == size for name, (_, size) in self.files.items())


@dataclass(frozen=True, slots=True)
class _Task:
    """One shard, as a worker process is told of it; of the plan what it needs, no other shard."""

    shard: PlannedShard
    folder: Path
    run_dir: Path
    settings: ExportSettings
    store: Path
    compute: Compute
    schema: pa.Schema
    certificate: Certificate | None

    @classmethod
    def of(
        cls, plan: ExportPlan, folder: Path, run_dir: Path, certificate: Certificate | None
    ) -> list[_Task]:
        """Every shard of a plan."""
        store, compute = Path(plan.config.store), plan.config.compute
        common = (folder, run_dir, plan.settings, store, compute, plan.schema, certificate)
        return [cls(shard, *common) for shard in plan.shards]

    @property
    def size(self) -> int:
        """Bytes of its videos."""
        return sum(record["size_bytes"] for record in self.shard.records)

    @property
    def receipt(self) -> Path:
        """Where its receipt lies."""
        return self.folder / WORK / f"{self.shard.place.replace('/', '-')}.json"


def publish(
    run_dir: Path,
    plan: ExportPlan,
    folder: Path,
    *,
    workers: int = 1,
    certificate: Certificate | None = None,
    on_progress: Callable[[int, str], None] = lambda *_: None,
) -> DataSet:
    """Make the data set, or what of it is missing.

    Args:
        run_dir: The finished run.
        plan: What to make.
        folder: Where; new, empty or of an earlier try of the same plan.
        workers: Processes.
        certificate: Signs the videos.
        on_progress: Called after every shard with the samples so far and the shard's place.

    Returns:
        What the folder now holds.

    Raises:
        ExportError: The folder holds something else.
        RunBusyError: Another process writes there.
    """
    identity = plan.identity
    if not _is_complete(folder, identity):
        with RunLock(lock_of(folder)):
            _claim(folder, identity)
            register(RunLayout(run_dir), folder)
            _sweep(folder)
            tasks = _Task.of(plan, folder, run_dir, certificate)
            receipts = _work(tasks, workers, on_progress)
            write_documents(folder, _dataset(plan, identity, receipts))
        shutil.rmtree(folder / WORK)
    return DataSet.read(folder)


def _dataset(plan: ExportPlan, identity: str, receipts: Sequence[Receipt]) -> DataSet:
    names = plan.schema.names
    records = [{n: r.get(n) for n in names} for receipt in receipts for r in receipt.records]
    if not records:
        raise ExportError("no pair is left: what they need is gone since the index was written")
    return DataSet(
        name=plan.settings.about.get("name") or plan.config.run,
        identity=identity,
        bundle=plan.config.models.bundle,
        settings=plan.settings,
        pairs=plan.pairs,
        schema=plan.schema,
        records=records,
        omissions=[*plan.omissions, *(o for receipt in receipts for o in receipt.omissions)],
        files={name: facts for receipt in receipts for name, facts in receipt.files.items()},
    )


def lock_of(folder: Path) -> Path:
    """Held by whoever writes to a data set."""
    return folder / WORK / "lock"


def _is_complete(folder: Path, identity: str) -> bool:
    """Whether the data set is there already.

    Raises:
        ExportError: Another one is.
    """
    if not (folder / SUMS).exists():
        return False
    try:
        found = parse(read_bytes(folder / EXPORT))["identity"]
    except (OSError, ValueError, KeyError, TypeError):
        found = ""
    if found != identity:
        raise ExportError(_OTHER.format(folder=folder))
    return True


_OTHER = (
    "{folder} holds another data set, or one of other settings or of another state of the run; "
    "choose another folder"
)


def _claim(folder: Path, identity: str) -> None:
    """Make the folder this plan's own."""
    mark = folder / WORK / "identity"
    if mark.exists():
        if mark.read_text(encoding="utf-8").strip() != identity:
            raise ExportError(_OTHER.format(folder=folder))
        return
    if {path.name for path in folder.iterdir()} - {WORK}:
        raise ExportError(f"{folder} is not empty; choose another folder")
    write_text(mark, identity + "\n")


def _sweep(folder: Path) -> None:
    """Remove what a killed try was writing."""
    for path in sorted((folder / "data").rglob(f".*{TEMPORARY_SUFFIX}")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _work(
    tasks: Sequence[_Task], workers: int, on_progress: Callable[[int, str], None]
) -> list[Receipt]:
    receipts: dict[str, Receipt] = {}
    done, left = 0, []
    for task in tasks:
        receipt = Receipt.read(task.receipt)
        if receipt is not None and receipt.is_whole(task.folder):
            receipts[task.shard.place] = receipt
            done += len(task.shard.records)
        else:
            left.append(task)
    for receipt, task in _performed(left, workers):
        receipts[receipt.place] = receipt
        done += len(task.shard.records)
        on_progress(done, receipt.place)
    return [receipts[task.shard.place] for task in tasks]


def _performed(tasks: Sequence[_Task], workers: int) -> Iterator[tuple[Receipt, _Task]]:
    worth = 1 + sum(task.size for task in tasks) // _WORTH_A_PROCESS
    workers = min(workers, len(tasks), worth)
    if workers <= 1:
        yield from ((_perform(task), task) for task in tasks)
        return
    # Not by fork: the parent has threads of Arrow's. The server imports once for all workers.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = {pool.submit(_perform, task): task for task in tasks}
        try:
            for future in as_completed(futures):
                yield future.result(), futures[future]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _read_ahead(
    read: Callable[[Record], Sample], records: Iterable[Record]
) -> Iterator[tuple[Record, Future[Sample]]]:
    """Every record's sample; the next ones are read and checked while one is written."""
    waiting: deque[tuple[Record, Future[Sample]]] = deque()
    with ThreadPoolExecutor(_READERS) as pool:
        for record in records:
            waiting.append((record, pool.submit(read, record)))
            if len(waiting) > _READERS:
                yield waiting.popleft()
        yield from waiting


def _perform(task: _Task) -> Receipt:
    """Write one shard and its receipt."""
    omissions: list[Omission] = []
    layout = RunLayout(task.run_dir)
    options: dict[str, Any] = {"sign": Signer(task.certificate)} if task.certificate else {}
    reader = SampleReader(
        ArtifactStore(task.store),
        VideoShelf(layout.videos),
        task.compute,
        task.settings.extras,
        **options,
    )

    def samples() -> Iterator[Sample]:
        for record, read in _read_ahead(reader.read, task.shard.records):
            try:
                yield read.result()
            except SampleMissingError as error:
                omissions.append(Omission(record["pair_id"], error.reason, str(error)))

    files, records = write_shard(
        task.settings.layout, task.folder, task.shard.place, samples(), task.schema
    )
    receipt = Receipt(task.shard.place, files, records, omissions)
    write_text(task.receipt, receipt.to_json())
    return receipt
