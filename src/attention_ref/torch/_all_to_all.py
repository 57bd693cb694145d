"""Attention over a sequence split over processes, which exchange stretches for heads."""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from attention_ref._checks import require_shape
from attention_ref.torch._ring import Ring, RingAttention, TileBias, TileMask, join_ring


def all_to_all_attention(
    query: Float[Tensor, "*batch heads q_len d_k"],
    key: Float[Tensor, "*batch heads kv_len d_k"],
    value: Float[Tensor, "*batch heads kv_len d_v"],
    *,
    mask: TileMask | None = None,
    bias: TileBias | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sink: Float[Tensor, "..."] | None = None,
    group: dist.ProcessGroup | None = None,
) -> Float[Tensor, "*batch heads q_len d_v"]:
    r"""Attend over a sequence of which each process holds a stretch, each taking some heads.

    Every process sends each other one that one's heads of its stretch. So each comes to hold
    heads / processes heads of the whole sequence, attends as if it were alone, and sends the
    output back in the same way. It is what DeepSpeed calls Ulysses. Beside `ring_attention`, which
    takes the same arguments and gives the same numbers: four exchanges in place of a step for each
    process, and a causal mask leaves all of them the same work; but the number of processes must
    divide that of the heads, and each holds keys of the whole length.

    Args:
        query: The queries of this process. `(*batch, heads, q_len, d_k)`
        key: The keys of this process, in the dtype of `query`. `(*batch, heads, kv_len, d_k)`
        value: The values of this process. `(*batch, heads, kv_len, d_v)`
        mask: As in `ring_attention`, like all that follow.
        bias: Added to the scores, as a function that gives a tile.
        scale: What the dot products are multiplied by; None is $1 / \sqrt{d_k}$.
        softcap: The bound that the scores approach.
        sink: A logit in the denominator, usually one a head.
        group: The processes that share the sequence; None is all of them.

    Returns:
        The output of this process's queries, in the dtype of `value`.
        `(*batch, heads, q_len, d_v)`

    Raises:
        ValueError: If shapes do not fit together, here or between the processes, if the number of
            processes does not divide that of the heads, or there is no process group.
        TypeError: If a dtype is wrong or differs between the processes, or `mask` or `bias` is an
            array.

    Complexity: O(heads / processes * q_len * kv_len * (d_k + d_v)) time for each process, lengths
        being those of the whole sequence; memory as `flash_attention` needs it for such heads.

    Examples:
        >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        >>> query, key = torch.ones(1, 1, 1), torch.zeros(1, 2, 1)  # weights 1/2 and 1/2
        >>> all_to_all_attention(query, key, torch.tensor([[[2.0], [6.0]]]))
        tensor([[[4.]]])
        >>> dist.destroy_process_group()

    References:
        Jacobs et al. 2023, "DeepSpeed Ulysses", section 3.
    """
    ring = join_ring(query, key, value, mask, bias, group)
    require_shape("query", query, query.ndim >= 3, "(..., heads, q_len, d_k)")
    world, heads = len(ring.q_lens), query.shape[-3]
    if heads % world:
        raise ValueError(
            f"query must have heads that divide among {world} processes, got {heads} heads"
        )
    share = [heads // world] * world
    own = slice(ring.rank * share[0], (ring.rank + 1) * share[0])
    exchange: Any = _Exchange.apply
    attend: Any = RingAttention.apply
    gathered = (
        exchange(x, (-3, share), (-2, lengths), ring)
        for x, lengths in ((query, ring.q_lens), (key, ring.kv_lens), (value, ring.kv_lens))
    )
    if sink is not None:
        sink = sink.broadcast_to(query.shape[:-2])[..., own]
    options = {"scale": scale, "softcap": softcap}
    options |= {"mask": _of_heads(mask, heads, own), "bias": _of_heads(bias, heads, own)}
    alone = Ring(None, 0, [sum(ring.q_lens)], [sum(ring.kv_lens)])
    attended = attend(*gathered, sink, options, alone)
    output: Tensor = exchange(attended, (-2, ring.q_lens), (-3, share), ring)
    return output


class _Exchange(torch.autograd.Function):
    """Split along one axis, send each process its piece, join what comes along another axis."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, split: tuple[int, list[int]], join: tuple[int, list[int]], ring: Ring
    ) -> Tensor:
        ctx.way_back = join, split, ring
        return _exchange(x, split, join, ring)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return _exchange(gradient, *ctx.way_back), None, None, None


def _exchange(
    x: Tensor, split: tuple[int, list[int]], join: tuple[int, list[int]], ring: Ring
) -> Tensor:
    pieces = torch.split_with_sizes(x, split[1], dim=split[0])
    shapes = [list(x.shape) for _ in pieces]
    for shape, length in zip(shapes, join[1], strict=True):
        shape[split[0]], shape[join[0]] = split[1][ring.rank], length
    sizes = [torch.Size(shape).numel() for shape in shapes]
    sent = torch.cat([piece.reshape(-1) for piece in pieces])
    received = sent.new_empty(sum(sizes))
    dist.all_to_all_single(received, sent, sizes, [p.numel() for p in pieces], group=ring.group)
    parts = torch.split_with_sizes(received, sizes)
    return torch.cat(
        [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)], dim=join[0]
    )


def _of_heads(term: Any, heads: int, own: slice) -> Any:
    """Let a mask or bias give the tiles of the heads that are here."""

    def tile(queries: slice, keys: slice) -> Any:
        whole = term(queries, keys)
        one_for_all = whole is None or whole.ndim < 3 or whole.shape[-3] != heads
        return whole if one_for_all else whole[..., own, :, :]

    return None if term is None else tile
