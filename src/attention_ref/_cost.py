"""What attention costs, from sizes alone: operations, bytes moved, and bytes kept.

Each number is for one sequence; a batch multiplies it. An operation (FLOP) is one multiplication
or one addition, so a product of matrices (m, n) and (n, p) has 2mnp. Only products of matrices are
counted: the softmax adds a few operations a score, where the products add hundreds.
"""

from attention_ref._checks import as_integer
from attention_ref._masks import align


def visible_pairs(
    q_len: int,
    kv_len: int | None = None,
    *,
    left: int | None = None,
    right: int | None = 0,
    q_start: int | None = None,
) -> int:
    r"""Count the pairs of a query and a key that it sees, without making the mask.

    $$\sum_i \left|\{\, j : -\text{left} \le j - (q_\text{start} + i) \le \text{right} \,\}\right|$$

    It is the number of True in `sliding_window_mask`; as called, in `causal_mask`. Without a mask
    it is `q_len * kv_len`, which `left=None, right=None` gives too.

    Args:
        q_len: The number of queries.
        kv_len: The number of keys; None is `q_len`.
        left: How many positions before its own a query sees; None is all.
        right: How many positions after its own a query sees; None is all.
        q_start: The position of the first query among the keys, as in `causal_mask`.

    Returns:
        The number of pairs.

    Raises:
        ValueError: If a length or a count is negative, or the lengths differ and `q_start` does
            not say how they align.
        TypeError: If an argument is not an integer.

    Complexity: O(q_len) time; O(1) memory.

    Examples:
        >>> visible_pairs(4)  # 1 + 2 + 3 + 4
        10
        >>> visible_pairs(4, left=1)  # 1 + 2 + 2 + 2
        7
        >>> visible_pairs(1, 5, q_start=4)
        5
    """
    q_len, kv_len, start = align(q_len, kv_len, q_start)
    start = as_integer("q_start", start)
    note = ", or None for no bound"
    left = left if left is None else as_integer("left", left, least=0, note=note)
    right = right if right is None else as_integer("right", right, least=0, note=note)
    total = 0
    for position in range(start, start + q_len):
        first = 0 if left is None else max(position - left, 0)
        last = kv_len - 1 if right is None else min(position + right, kv_len - 1)
        total += max(last - first + 1, 0)
    return total


def attention_flops(pairs: int, *, heads: int, d_k: int, d_v: int) -> int:
    r"""Count the operations of attention: one product for the scores, and one for the output.

    $$2 \cdot \text{heads} \cdot \text{pairs} \cdot (d_k + d_v)$$

    Nothing in it depends on the number of key heads: sharing keys makes the cache smaller, and
    saves none of these operations. Latent attention counts with the sizes that it attends with:
    in its absorbed form $d_k$ is `d_latent + d_rotary` and $d_v$ is `d_latent`.

    Args:
        pairs: How many scores are computed: `q_len * kv_len`, or `visible_pairs` where what is
            masked is skipped. A mask that is only applied to the scores saves nothing.
        heads: The number of query heads.
        d_k: The size of a query or key of one head.
        d_v: The size of a value of one head.

    Returns:
        The number of operations.

    Raises:
        ValueError: If a size is negative.
        TypeError: If a size is not an integer.

    Complexity: O(1) time and memory.

    Examples:
        >>> attention_flops(10 * 10, heads=1, d_k=3, d_v=2)  # 600 for the scores, 400 for the rest
        1000

    References:
        Dao 2023 (FlashAttention-2), section 4.1: 4 * seqlen^2 * head dimension * heads.
    """
    pairs, heads, d_k, d_v = _sizes(pairs=pairs, heads=heads, d_k=d_k, d_v=d_v)
    return 2 * heads * pairs * (d_k + d_v)


def attention_backward_flops(pairs: int, *, heads: int, d_k: int, d_v: int) -> int:
    r"""Count the operations of the backward pass where the weights were kept: four products.

    $$2 \cdot \text{heads} \cdot \text{pairs} \cdot (2 d_k + 2 d_v)$$

    Each product of the forward pass has two behind it, one for each factor: $dV = A^\top dO$ and
    $dA = dO\,V^\top$; $dQ = \lambda\, dS\, K$ and $dK = \lambda\, dS^\top Q$. So the backward
    pass is twice the forward pass. `attention_backward` runs the forward pass again before it.

    Args:
        pairs: How many scores are computed, as in `attention_flops`.
        heads: The number of query heads.
        d_k: The size of a query or key of one head.
        d_v: The size of a value of one head.

    Returns:
        The number of operations.

    Raises:
        ValueError: If a size is negative.
        TypeError: If a size is not an integer.

    Complexity: O(1) time and memory.

    Examples:
        >>> attention_backward_flops(10 * 10, heads=1, d_k=3, d_v=2)  # forward: 1000
        2000

    References:
        Dao et al. 2022 (FlashAttention), appendix B.2, and algorithm 3 (standard backward pass).
    """
    return 2 * attention_flops(pairs, heads=heads, d_k=d_k, d_v=d_v)


def flash_attention_backward_flops(pairs: int, *, heads: int, d_k: int, d_v: int) -> int:
    r"""Count the operations of a backward pass that computes the scores anew: five products.

    $$2 \cdot \text{heads} \cdot \text{pairs} \cdot (3 d_k + 2 d_v)$$

    With $d_k = d_v$ that is 2.5 times the forward pass, where keeping the weights makes it 2:
    a quarter more operations, for a memory that is linear in the length.

    Args:
        pairs: How many scores are computed, as in `attention_flops`.
        heads: The number of query heads.
        d_k: The size of a query or key of one head.
        d_v: The size of a value of one head.

    Returns:
        The number of operations.

    Raises:
        ValueError: If a size is negative.
        TypeError: If a size is not an integer.

    Complexity: O(1) time and memory.

    Examples:
        >>> flash_attention_backward_flops(10 * 10, heads=1, d_k=3, d_v=2)  # 600 anew
        2600

    References:
        Dao 2023 (FlashAttention-2), section 4.1: two products forward, five backward.
    """
    kept = attention_backward_flops(pairs, heads=heads, d_k=d_k, d_v=d_v)
    return kept + attention_flops(pairs, heads=heads, d_k=d_k, d_v=0)


def projection_flops(
    q_len: int, kv_len: int, *, d_model: int, heads: int, kv_heads: int, d_k: int, d_v: int
) -> int:
    r"""Count the operations of the four projections of `multi_head_attention`.

    $$2\, d_\text{model} \left(\text{q\_len} \cdot \text{heads}\, (d_k + d_v)
    + \text{kv\_len} \cdot \text{kv\_heads}\, (d_k + d_v)\right)$$

    The first term is $W_Q$ and $W_O$, the second $W_K$ and $W_V$. The backward pass has twice as
    many. They grow with the length, and attention with its square: at `q_len = kv_len = n`, with
    `heads * d_k = heads * d_v = d_model`, the scores and the output overtake the projections
    where n is above `2 * d_model`.

    Args:
        q_len: The number of queries.
        kv_len: The number of keys that are projected; one, if the others come from a cache.
        d_model: The size of the vector at each position.
        heads: The number of query heads.
        kv_heads: The number of key and value heads: `heads` in multi-head, 1 in multi-query
            attention, between them in grouped-query attention.
        d_k: The size of a query or key of one head.
        d_v: The size of a value of one head.

    Returns:
        The number of operations.

    Raises:
        ValueError: If a size is negative.
        TypeError: If a size is not an integer.

    Complexity: O(1) time and memory.

    Examples:
        >>> projection_flops(10, 10, d_model=4, heads=2, kv_heads=2, d_k=2, d_v=2)  # 4 * 2 * 160
        1280
        >>> projection_flops(10, 10, d_model=4, heads=2, kv_heads=1, d_k=2, d_v=2)  # 3 * 2 * 160
        960

    References:
        Kaplan et al. 2020 (scaling laws), table 1, for d_k = d_v and kv_heads = heads. Ainslie et
        al. 2023 (grouped-query attention), section 2.2.
    """
    q_len, kv_len, d_model, heads = _sizes(q_len=q_len, kv_len=kv_len, d_model=d_model, heads=heads)
    kv_heads, d_k, d_v = _sizes(kv_heads=kv_heads, d_k=d_k, d_v=d_v)
    return 2 * d_model * (q_len * heads + kv_len * kv_heads) * (d_k + d_v)


def attention_bytes(
    q_len: int, kv_len: int, *, heads: int, kv_heads: int, d_k: int, d_v: int, itemsize: int
) -> int:
    r"""Count the bytes read and written where each stage goes through memory.

    $$\text{itemsize} \cdot \left[\text{heads} \cdot \text{q\_len}\, (d_k + d_v)
    + \text{kv\_heads} \cdot \text{kv\_len}\, (d_k + d_v)
    + 4 \cdot \text{heads} \cdot \text{q\_len} \cdot \text{kv\_len}\right]$$

    The scores are written and read, and so are the weights: the four in the last term, which does
    not depend on the size of a head. A stage that is not fused into these, such as scale, mask or
    soft cap, adds two more.

    Args:
        q_len: The number of queries.
        kv_len: The number of keys.
        heads: The number of query heads.
        kv_heads: The number of key and value heads, each read once for all its queries.
        d_k: The size of a query or key of one head.
        d_v: The size of a value of one head.
        itemsize: Bytes a number: 4 for float32, 2 for bfloat16.

    Returns:
        The number of bytes.

    Raises:
        ValueError: If a size is negative.
        TypeError: If a size is not an integer.

    Complexity: O(1) time and memory.

    Examples:
        >>> attention_bytes(10, 10, heads=1, kv_heads=1, d_k=2, d_v=3, itemsize=1)  # 50 + 50 + 400
        500

    References:
        Dao et al. 2022 (FlashAttention), algorithm 0 and theorem 2.
    """
    size = {"heads": heads, "kv_heads": kv_heads, "d_k": d_k, "d_v": d_v, "itemsize": itemsize}
    once = flash_attention_bytes(q_len, kv_len, **size, q_tile=max(q_len, 1))
    return once + 4 * itemsize * heads * q_len * kv_len


def flash_attention_bytes(
    q_len: int,
    kv_len: int,
    *,
    heads: int,
    kv_heads: int,
    d_k: int,
    d_v: int,
    itemsize: int,
    q_tile: int,
) -> int:
    r"""Count the bytes read and written where scores stay in fast memory, a tile at a time.

    $$\text{itemsize} \cdot \left[\text{heads} \cdot \text{q\_len}
    + \lceil \text{q\_len} / \text{q\_tile} \rceil \cdot \text{kv\_heads} \cdot \text{kv\_len}
    \right] (d_k + d_v)$$

    Each query is read once and its output written once; all keys and values are read once for
    each block of queries. So a larger `q_tile` moves less, until one block holds all queries and
    everything moves once: no exact method moves less. In decoding, with one query, the keys and
    values are nearly all of it, and `kv_heads` decides.

    Args:
        q_len: The number of queries.
        kv_len: The number of keys, none of them skipped.
        heads: The number of query heads.
        kv_heads: The number of key and value heads, each read once for all its queries.
            `flash_attention` is given keys that were expanded: `kv_heads` is `heads`.
        d_k: The size of a query or key of one head.
        d_v: The size of a value of one head.
        itemsize: Bytes a number: 4 for float32, 2 for bfloat16.
        q_tile: How many queries a tile has at most.

    Returns:
        The number of bytes.

    Raises:
        ValueError: If a size is negative, or `q_tile` is zero.
        TypeError: If a size is not an integer.

    Complexity: O(1) time and memory.

    Examples:
        >>> sizes = {"kv_heads": 1, "d_k": 2, "d_v": 3, "itemsize": 1}
        >>> flash_attention_bytes(10, 10, heads=1, **sizes, q_tile=5)  # 50, and twice 50
        150
        >>> flash_attention_bytes(1, 1000, heads=8, **sizes, q_tile=1)  # 40, and 5000
        5040

    References:
        Dao 2023 (FlashAttention-2), algorithm 1. Shazeer 2019, section 3 (multi-query attention).
    """
    q_len, kv_len, heads = _sizes(q_len=q_len, kv_len=kv_len, heads=heads)
    kv_heads, d_k, d_v = _sizes(kv_heads=kv_heads, d_k=d_k, d_v=d_v)
    (itemsize,) = _sizes(itemsize=itemsize)
    blocks = -(-q_len // as_integer("q_tile", q_tile, least=1))
    return itemsize * (heads * q_len + blocks * kv_heads * kv_len) * (d_k + d_v)


def kv_cache_bytes(
    length: int, *, layers: int, kv_heads: int, d_k: int, d_v: int, itemsize: int
) -> int:
    r"""Count the bytes of the keys and values that decoding keeps.

    $$\text{length} \cdot \text{layers} \cdot \text{kv\_heads} \cdot (d_k + d_v)
    \cdot \text{itemsize}$$

    Multi-head attention has as many `kv_heads` as heads, grouped-query attention fewer,
    multi-query attention one. A window makes the length stop growing: give
    `min(length, left + 1)`, the token at work included.

    Args:
        length: How many tokens are kept.
        layers: The number of layers, each with a cache of its own.
        kv_heads: The number of key and value heads.
        d_k: The size of a key of one head.
        d_v: The size of a value of one head.
        itemsize: Bytes a number: 4 for float32, 2 for bfloat16.

    Returns:
        The number of bytes.

    Raises:
        ValueError: If a size is negative.
        TypeError: If a size is not an integer.

    Complexity: O(1) time and memory.

    Examples:
        >>> llama3 = {"layers": 32, "d_k": 128, "d_v": 128, "itemsize": 2}  # the model of 8B
        >>> kv_cache_bytes(8192, kv_heads=8, **llama3) / 2**30  # in GiB
        1.0
        >>> kv_cache_bytes(8192, kv_heads=32, **llama3) / 2**30  # if no heads were shared
        4.0

    References:
        DeepSeek-AI 2024 (DeepSeek-V2), section 2.1.4, table 1. Shazeer 2019, section 3. Jiang et
        al. 2023 (Mistral 7B), section 2 (rolling buffer).
    """
    length, layers, kv_heads = _sizes(length=length, layers=layers, kv_heads=kv_heads)
    d_k, d_v, itemsize = _sizes(d_k=d_k, d_v=d_v, itemsize=itemsize)
    return length * layers * kv_heads * (d_k + d_v) * itemsize


def latent_cache_bytes(
    length: int, *, layers: int, d_latent: int, d_rotary: int, itemsize: int
) -> int:
    r"""Count the bytes that decoding keeps in multi-head latent attention.

    $$\text{length} \cdot \text{layers} \cdot (d_\text{latent} + d_\text{rotary})
    \cdot \text{itemsize}$$

    Kept are one latent vector, from which the keys and values of all heads are projected, and
    one rotary key that all heads share. The number of heads does not occur.

    Args:
        length: How many tokens are kept.
        layers: The number of layers.
        d_latent: The size of the latent vector, $d_c$ in the paper.
        d_rotary: The size of the rotary key, $d_h^R$ in the paper.
        itemsize: Bytes a number: 4 for float32, 2 for bfloat16.

    Returns:
        The number of bytes.

    Raises:
        ValueError: If a size is negative.
        TypeError: If a size is not an integer.

    Complexity: O(1) time and memory.

    Examples:
        >>> deepseek = {"layers": 60, "itemsize": 2}
        >>> latent = latent_cache_bytes(1, d_latent=512, d_rotary=64, **deepseek)
        >>> latent / kv_cache_bytes(1, kv_heads=1, d_k=128, d_v=128, **deepseek)
        2.25

    References:
        DeepSeek-AI 2024 (DeepSeek-V2), section 2.1.4, table 1: as much as 2.25 key heads.
    """
    length, layers, itemsize = _sizes(length=length, layers=layers, itemsize=itemsize)
    d_latent, d_rotary = _sizes(d_latent=d_latent, d_rotary=d_rotary)
    return length * layers * (d_latent + d_rotary) * itemsize


def _sizes(**sizes: int) -> list[int]:
    return [as_integer(name, size, least=0) for name, size in sizes.items()]
