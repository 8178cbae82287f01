"""What a step of the networks costs, counted: operations on the meta device, no GPU needed.

Every operation is charged by rules of what CUDA does with it:

- A view costs nothing, an allocation neither; anything else is a kernel that reads its inputs and
  writes its outputs once. What is expanded is read once.
- GroupNorm is three kernels and reads its input twice; it works on NCHW, so another layout is
  copied first, and its result is NCHW.
- A convolution in half precision runs on NHWC: an input or weight in another layout is copied
  there, a kernel each; where both are, the result is copied back.
- The project's own operators are what their kernels do: GroupNorm reads twice in three kernels and
  keeps NHWC; products with a gate or a residual, and attention over time, are one kernel each.
- Attention is one fused kernel that reads q, k, v and writes its result; its bytes are kept apart.
- A product's floating point operations are counted as in PyTorch (two per multiply and add).
- A host synchronisation is a value that is read back, or a copy from the host's memory.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten
_FREE = {aten.empty, aten.empty_like, aten.new_empty, aten.empty_strided, aten.new_empty_strided}
_FREE |= {aten.detach, aten.alias, aten.lift_fresh, aten._unsafe_view, aten._reshape_alias}
_FREE |= {aten.empty_permuted}
_COPIES = {aten._to_copy, aten.clone, aten.copy_, aten.cat, aten.index_select, aten.constant_pad_nd}
_COPIES |= {aten.upsample_nearest2d, aten.gather, aten.index, aten.stack, aten.fill_}
_COPIES |= {aten.take_along_dim, aten.repeat_interleave, aten.zeros, aten.ones, aten.full}
_COPIES |= {aten.arange, aten.zeros_like, aten.new_zeros, aten.scalar_tensor, aten.ones_like}
FUSIBLE, PRODUCT, NORM, ATTENTION, OTHER = "fusible", "product", "norm", "attention", "other"


@dataclass
class Kernel:
    """One operation: what it is, what it reads and writes (storage and bytes), and its FLOPs."""

    name: str
    kind: str
    reads: list[tuple[int, int]]
    writes: list[tuple[int, int]]
    flops: int = 0
    launches: int = 1
    extra_bytes: int = 0

    @property
    def bytes(self) -> int:
        """Everything that is moved."""
        return sum(size for _, size in (*self.reads, *self.writes)) + self.extra_bytes


@dataclass
class Trace:
    """Everything a run did, in order."""

    kernels: list[Kernel] = field(default_factory=list)
    syncs: int = 0
    casts: int = 0

    def totals(self) -> dict[str, int]:
        """Exact by the rules above."""
        attention = sum(k.bytes for k in self.kernels if k.kind == ATTENTION)
        return {
            "flop": sum(k.flops for k in self.kernels),
            "bytes": sum(k.bytes for k in self.kernels) - attention,
            "attention_bytes": attention,
            "kernels": sum(k.launches for k in self.kernels),
            "casts": self.casts,
            "host_syncs": self.syncs,
        }

    def by_name(self) -> list[tuple[str, int, float]]:
        """Kernel name, launches and gigabytes, most first."""
        launches: Counter[str] = Counter()
        moved: Counter[str] = Counter()
        for kernel in self.kernels:
            launches[kernel.name] += kernel.launches
            moved[kernel.name] += kernel.bytes
        return [(name, launches[name], size / 1e9) for name, size in moved.most_common()]


def distinct_bytes(tensor: Tensor) -> int:
    """Bytes of the elements that differ in memory: an expanded axis counts once."""
    sides = [n for n, step in zip(tensor.shape, tensor.stride(), strict=True) if step]
    return math.prod(sides) * tensor.element_size() if tensor.numel() else 0


class Tracer(TorchDispatchMode):
    """Records what runs within it; use together with `CudaAttention`."""

    def __init__(self) -> None:
        super().__init__()
        self.trace = Trace()
        self._alive: list[Any] = []
        self._names: dict[int, int] = {}

    def _storage(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._names:
            self._alive.append(storage)  # or its address would be given to another
            self._names[storage._cdata] = len(self._names)
        return self._names[storage._cdata]

    def _tensors(self, tree: Any) -> list[tuple[int, int]]:
        tensors = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
        return [(self._storage(tensor), distinct_bytes(tensor)) for tensor in tensors]

    def add(self, name: str, kind: str, inputs: Any, outputs: Any, **more: Any) -> None:
        """Record a kernel."""
        reads, writes = self._tensors(inputs), self._tensors(outputs)
        self.trace.kernels.append(Kernel(name, kind, reads, writes, **more))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        packet = func._overloadpacket
        if packet is aten._local_scalar_dense:
            self.trace.syncs += 1
            return 0
        if packet is aten.native_group_norm:
            return self._group_norm(func, args, kwargs)
        result = func(*args, **kwargs)
        if packet in _FREE or func.is_view:
            return result
        if packet is aten.convolution:
            return self._convolution(args, result)
        if func.namespace == "dispose":
            return self._own(packet, args, result)
        if packet is aten._to_copy:
            self._copy(args[0], result)
        self.add(str(packet), _kind(func), (args, kwargs), result, flops=_flops(func, args, result))
        return result

    def _copy(self, source: Tensor, result: Tensor) -> None:
        self.trace.syncs += source.device.type == "cpu" != result.device.type
        self.trace.casts += source.dtype != result.dtype

    def _group_norm(self, func: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
        hidden, *rest = args
        if not hidden.is_contiguous():
            plain = hidden.contiguous()
            self.add("layout copy", FUSIBLE, hidden, plain)
            hidden = plain
        result = func(hidden, *rest, **kwargs)
        self.add(
            "group_norm",
            NORM,
            (hidden, rest),
            result[0],
            launches=3,
            extra_bytes=distinct_bytes(hidden),
        )
        return result

    def _own(self, packet: Any, args: tuple[Any, ...], result: Tensor) -> Tensor:
        name = str(packet).removeprefix("dispose.")
        if name == "attention_over_time":
            batch, frames, positions, channels = result.shape
            flops = 4 * batch * positions * frames * frames * channels
            self.add("attention", ATTENTION, args, result, flops=flops)
        elif name in {"gated_linear", "linear_add"}:
            flops = 2 * args[0].numel() * len(args[1])
            self.add(name, PRODUCT, args, result, flops=flops)
        elif name == "group_norm":
            again = distinct_bytes(args[0])
            self.add(name, NORM, args, result, launches=3, extra_bytes=again)
        else:
            self.add(name, OTHER, args, result)
        return result

    def _convolution(self, args: tuple[Any, ...], result: Tensor) -> Tensor:
        operands = args[:2]
        last = any(map(_nhwc, operands))
        copied = [] if _is_single(args) else [x for x in operands if not _nhwc(x)]
        if copied and not last:
            copied.append(result)
        self.add(
            "convolution",
            PRODUCT,
            args[:3],
            result,
            flops=_flops(aten.convolution.default, args, result),
            launches=1 + len(copied),
            extra_bytes=2 * sum(map(distinct_bytes, copied)),
        )
        # The meta device always gives planes.
        return result.contiguous(memory_format=torch.channels_last) if last else result


def _is_single(args: tuple[Any, ...]) -> bool:
    """Whether a convolution is in float32, which runs on planes."""
    return bool(args[0].dtype == torch.float32)


def _nhwc(tensor: Tensor) -> bool:
    if tensor.dim() not in {4, 5}:
        return False
    form = torch.channels_last if tensor.dim() == 4 else torch.channels_last_3d
    return tensor.is_contiguous(memory_format=form)


def _flops(func: Any, args: tuple[Any, ...], result: Any) -> int:
    formula = flop_registry.get(func._overloadpacket)
    return int(formula(*args, out_val=result)) if formula else 0


def _kind(func: Any) -> str:
    packet = func._overloadpacket
    if packet is aten.native_layer_norm:
        return NORM
    if packet in flop_registry:
        return PRODUCT
    pointwise = torch.Tag.pointwise in func.tags or packet in _COPIES
    return FUSIBLE if pointwise else OTHER


class CudaAttention(TorchFunctionMode):
    """Attention as one fused kernel, whatever the meta device would do."""

    def __init__(self, tracer: Tracer | None) -> None:
        super().__init__()
        self._tracer = tracer

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        query, key, value = args[:3]
        # As the fused kernels lay it out: heads beside their channels.
        result = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format)
        pairs = math.prod(query.shape[:-1]) * key.shape[-2]
        flops = 2 * pairs * (query.shape[-1] + value.shape[-1])
        if self._tracer is not None:
            self._tracer.add("attention", ATTENTION, args[:3], result, flops=flops)
        return result.transpose(1, 2)


class Autocast(TorchFunctionMode):
    """CUDA's autocast to float16 by its lists, for tensors of any device.

    Products take float16, norms float32; what is named in neither list takes what it is given, and
    mixed operands are promoted as always.
    """

    HALF = (F.linear, F.conv2d, F.conv3d, F.scaled_dot_product_attention)
    SINGLE = (F.group_norm, F.layer_norm)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in self.HALF:
            args, kwargs = self._cast((args, kwargs), torch.float16)
        elif func in self.SINGLE:
            args, kwargs = self._cast((args, kwargs), torch.float32)
        return func(*args, **kwargs)

    def _cast(self, tree: Any, dtype: torch.dtype) -> Any:
        return tree_map_only(Tensor, lambda t: t.to(dtype) if t.is_floating_point() else t, tree)
