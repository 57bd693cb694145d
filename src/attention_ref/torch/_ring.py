"""Attention over a sequence split over processes, which pass their keys and values around."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from attention_ref._checks import check_query_and_key, check_value
from attention_ref._flash import flash_attention, flash_attention_backward, merge_partial

TileMask = Callable[[slice, slice], Bool[Tensor, "..."] | None]
TileBias = Callable[[slice, slice], Float[Tensor, "..."] | None]


def ring_attention(
    query: Float[Tensor, "*batch q_len d_k"],
    key: Float[Tensor, "*batch kv_len d_k"],
    value: Float[Tensor, "*batch kv_len d_v"],
    *,
    mask: TileMask | None = None,
    bias: TileBias | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sink: Float[Tensor, "..."] | None = None,
    group: dist.ProcessGroup | None = None,
) -> Float[Tensor, "*batch q_len d_v"]:
    r"""Attend over a sequence of which each process holds a stretch, all keys going round a ring.

    Process $r$ keeps its queries. Its keys and values go to process $r + 1$, while it attends to
    those that came from $r - 1$; after as many steps as there are processes, each has seen all
    keys, and no process ever held more than two stretches of them. What `flash_attention` gives
    for each stretch is merged by `merge_partial`. The backward pass goes round once more, with
    the gradients of the keys and values beside them, until these are home again.

    The stretches follow each other in the order of the processes, and may differ in length; one
    may be empty. A mask or a bias is a function, called with slices of positions **in the whole
    sequence**, so `mask_tiles(causal_mask, like=query)` and windows are what they are in one
    process. A stretch that is hidden all over costs no arithmetic, but the process waits for the
    others all the same: with a causal mask the first process computes least and the last most.

    A sink is a weight, of which each process has a copy: its gradient is that of the queries
    here, to be summed over the processes. The gradient of a bias is not computed. All processes
    must call this, and all or none of them the backward pass, or those that do will wait.

    Args:
        query: The queries of this process. `(*batch, q_len, d_k)`
        key: The keys of this process, in the dtype of `query`. `(*batch, kv_len, d_k)`
        value: The values of this process. `(*batch, kv_len, d_v)`
        mask: True where a query may attend, as a function that gives a tile.
        bias: Added to the scores, as a function that gives a tile.
        scale: What the dot products are multiplied by; None is $1 / \sqrt{d_k}$.
        softcap: The bound that the scores approach, as in `scaled_dot_product_attention`.
        sink: A logit in the denominator, usually one a head; broadcasts to `(*batch)`.
        group: The processes that share the sequence; None is all of them.

    Returns:
        The output of this process's queries, in the dtype of `value`. `(*batch, q_len, d_v)`

    Raises:
        ValueError: If shapes do not fit together, here or between the processes, or there is no
            process group.
        TypeError: If a dtype is wrong or differs between the processes, or `mask` or `bias` is an
            array.

    Complexity: O(q_len * kv_len * (d_k + d_v)) time for each process in the ring, kv_len being
        that of a stretch; memory as `flash_attention` needs it, for two stretches.

    Examples:
        >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        >>> query, key = torch.ones(1, 1), torch.zeros(2, 1)  # weights 1/2 and 1/2
        >>> ring_attention(query, key, torch.tensor([[2.0], [6.0]]))
        tensor([[4.]])
        >>> dist.destroy_process_group()

    References:
        Liu, Zaharia and Abbeel 2023, "Ring attention with blockwise transformers for near-infinite
        context", section 3.
    """
    ring = join_ring(query, key, value, mask, bias, group)
    options = {"mask": mask, "bias": bias, "scale": scale, "softcap": softcap}
    attend: Any = RingAttention.apply
    output: Tensor = attend(query, key, value, sink, options, ring)
    return output


@dataclass(frozen=True)
class Ring:
    """The processes, which of them this is, and how many queries and keys each of them holds."""

    group: Any
    rank: int
    q_lens: list[int]
    kv_lens: list[int]

    def pass_on(self, tensors: tuple[Tensor, ...], length: int) -> Callable[[], tuple[Tensor, ...]]:
        """Send to the next process what is here; the result waits for what the last one sends."""
        world = len(self.kv_lens)
        if world == 1:
            return lambda: tensors
        after, before = (
            dist.get_global_rank(self.group, (self.rank + step) % world) for step in (1, -1)
        )
        received = tuple(x.new_empty((*x.shape[:-2], length, x.shape[-1])) for x in tensors)
        transfers = [dist.P2POp(dist.isend, x.contiguous(), after, self.group) for x in tensors]
        transfers += [dist.P2POp(dist.irecv, x, before, self.group) for x in received]
        under_way = dist.batch_isend_irecv(transfers)

        def wait() -> tuple[Tensor, ...]:
            for work in under_way:
                work.wait()
            return received

        return wait

    def stretches(
        self, key: Tensor, value: Tensor, options: dict[str, Any], sink: Tensor | None
    ) -> Iterator[tuple[Tensor, Tensor, dict[str, Any], int]]:
        """Yield the keys and values that are here at each step, while they go on to the next."""
        q_start, world = sum(self.q_lens[: self.rank]), len(self.kv_lens)
        for step in range(world):
            here, coming = (self.rank - step) % world, (self.rank - step - 1) % world
            last = step + 1 == world
            if not last:
                wait = self.pass_on((key, value), self.kv_lens[coming])
            kv_start = sum(self.kv_lens[:here])
            moved = {name: _moved(options[name], q_start, kv_start) for name in ("mask", "bias")}
            # The sink is a key that is seen once.
            once = {"sink": sink if step == 0 else None}
            yield key, value, options | moved | once, self.kv_lens[coming]
            if not last:
                key, value = wait()


class RingAttention(torch.autograd.Function):
    """`flash_attention` over all stretches of the keys, and its backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        sink: Tensor | None,
        options: dict[str, Any],
        ring: Ring,
    ) -> Tensor:
        parts: Any = []
        for k, v, terms, _ in ring.stretches(key, value, options, sink):
            part = flash_attention(query, k, v, **terms)
            # What is merged is as precise as what it was computed in.
            parts.append((part.output.to(part.logsumexp.dtype), part.logsumexp))
            parts = [merge_partial(*zip(*parts, strict=True))]
        output: Tensor
        output, logsumexp = parts[0]
        ctx.save_for_backward(query, key, value, sink, output, logsumexp)
        ctx.options, ctx.ring = options, ring
        return output.to(value.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, sink, output, logsumexp = ctx.saved_tensors
        wide = logsumexp.dtype
        d_query: Any
        travelling: Any
        d_query, d_sink, travelling = 0, None, (0, 0)
        for k, v, terms, coming in ctx.ring.stretches(key, value, ctx.options, sink):
            found = flash_attention_backward(
                gradient, query.to(wide), k.to(wide), v.to(wide), output, logsumexp, **terms
            )
            d_query += found.query
            d_sink = found.sink if d_sink is None else d_sink
            travelling = travelling[0] + found.key, travelling[1] + found.value
            travelling = ctx.ring.pass_on(travelling, coming)()
        d_key, d_value = travelling
        gradients = d_query.to(query.dtype), d_key.to(key.dtype), d_value.to(value.dtype)
        return (*gradients, d_sink, None, None)


def join_ring(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: TileMask | None,
    bias: TileBias | None,
    group: dist.ProcessGroup | None,
) -> Ring:
    """Check what is here and what the others hold, and return who they are."""
    check_value(check_query_and_key(query, key), key, value)
    for name, term in {"mask": mask, "bias": bias}.items():
        if term is not None and not callable(term):
            raise TypeError(
                f"{name} must be a function of positions in the whole sequence, as mask_tiles "
                f"gives, or None, got {type(term).__name__}"
            )
    if not dist.is_initialized():
        raise ValueError("group must be a process group: call init_process_group first")
    group = dist.group.WORLD if group is None else group
    everyone: list[Any] = [None] * dist.get_world_size(group)
    rank = dist.get_rank(group)
    if rank < 0:
        raise ValueError("group must hold this process, got one that does not")
    arrays = {"query": query, "key": key, "value": value}
    mine = {name: (tuple(x.shape), x.dtype) for name, x in arrays.items()}
    dist.all_gather_object(everyone, mine, group)
    for process, held in enumerate(everyone):
        for name, (shape, dtype) in held.items():
            (*batch, _, d), first_dtype = everyone[0][name]
            rule = f"({''.join(f'{x}, ' for x in batch)}length, {d}) as on process 0"
            if [*shape[:-2], shape[-1]] != [*batch, d]:
                raise ValueError(f"{name} must have shape {rule}, got {shape} on process {process}")
            if dtype != first_dtype:
                came = f"{dtype} on process {process}"
                raise TypeError(f"{name} must have dtype {first_dtype} as on process 0, got {came}")
    q_lens, kv_lens = ([held[name][0][-2] for held in everyone] for name in ("query", "key"))
    return Ring(group, rank, q_lens, kv_lens)


def _moved(term: Any, q_start: int, kv_start: int) -> Any:
    """Let a mask or bias be asked by positions in the stretches that are here."""
    if term is None:
        return None
    return lambda queries, keys: term(
        slice(queries.start + q_start, queries.stop + q_start),
        slice(keys.start + kv_start, keys.stop + kv_start),
    )
