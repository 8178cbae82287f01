"""What a compiler makes of a trace, by a written rule; no compiler is run.

Between two products, attentions or group norms, the element-wise operations, copies and layer
norms that hang together become one kernel. It reads what it needs from outside once, and writes
what is read after it. Products keep their own kernels: their epilogues take nothing in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.bench.traffic.tracer import FUSIBLE, Kernel, Trace


def fused(trace: Trace) -> Trace:
    """The trace with every group as one kernel."""
    kernels: list[Kernel] = []
    run: list[Kernel] = []
    last_use = {
        name: index for index, kernel in enumerate(trace.kernels) for name, _ in kernel.reads
    }
    for index, kernel in enumerate(trace.kernels):
        if _joins(kernel):
            run.append(kernel)
            continue
        kernels += (_as_one(group, last_use, index) for group in _components(run))
        kernels.append(kernel)
        run = []
    end = len(trace.kernels)
    kernels += (_as_one(group, {}, end, final=True) for group in _components(run))
    return Trace(kernels, trace.syncs, trace.casts)


def _joins(kernel: Kernel) -> bool:
    return kernel.kind == FUSIBLE or kernel.name == "aten.native_layer_norm"


def _components(run: Iterable[Kernel]) -> list[list[Kernel]]:
    """Groups of kernels of which one reads what another wrote, in order of their first."""
    groups: list[list[Kernel]] = []
    for kernel in run:
        needs = {name for name, _ in kernel.reads}
        related = [g for g in groups if any(n in needs for k in g for n, _ in k.writes)]
        rest = [g for g in groups if g not in related]
        groups = [*rest, [member for group in related for member in group] + [kernel]]
    return groups


def _as_one(
    group: Sequence[Kernel], last_use: dict[int, int], index: int, *, final: bool = False
) -> Kernel:
    reads: dict[int, int] = {}
    writes: dict[int, int] = {}
    for kernel in group:
        for name, size in kernel.reads:
            if name not in writes:
                reads[name] = max(size, reads.get(name, 0))
        for name, size in kernel.writes:
            writes[name] = max(size, writes.get(name, 0))
    kept = [item for item in writes.items() if final or last_use.get(item[0], -1) >= index]
    name = "+".join(sorted({kernel.name.removeprefix("aten.") for kernel in group}))
    return Kernel(name, FUSIBLE, list(reads.items()), kept, sum(k.flops for k in group))
