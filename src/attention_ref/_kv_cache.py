"""Keep the keys and values of earlier positions, and decode one token at a time."""

from typing import Any, NamedTuple

import array_api_compat
from jaxtyping import Bool, Float, Integer

from attention_ref._checks import (
    Array,
    array_namespace,
    as_integer,
    listed,
    require_dtype,
    require_dtype_of,
    require_shape,
)
from attention_ref._masks import streaming_mask


class KVCache(NamedTuple):
    r"""The keys and values so far, in order; it grows by what is appended.

    Nothing is changed in place: `append` and `last` return another cache. Queries are not kept,
    because no later position reads them. Keys are kept as they are passed: rotated, if they are.

    To decode, append the keys and values of the new tokens, then attend with their queries:

    $$O_t = \operatorname{attention}(q_t,\; K_{0..t},\; V_{0..t})$$

    A rolling cache, for attention in a window, is `append`, then attend, then `last(left)`. A
    streaming cache keeps the first tokens too: `last(left, sink_tokens=4)`.

    Keys that are turned by `position` before they are appended have their places in the text, and
    decoding equals the full computation under `streaming_mask`. StreamingLLM has places within
    the cache, so that no distance exceeds what the model was trained for: append keys as they
    are, one token at a time; then turn the query by `q_start` and all of `key` from 0, each time
    anew. The two differ in the sink tokens alone, once others are gone. `alibi_bias` with
    `q_start` counts within the cache.

    Attributes:
        key: The keys that are kept. `(*batch, kv_heads, kv_len, d_k)`
        value: The values that are kept. `(*batch, kv_heads, kv_len, d_v)`
        q_start: Where among these keys the last append begins, and so the queries that go with
            it: the `q_start` of masks and of `alibi_bias`.
        position: The position of the next token in the whole sequence, which rotary embeddings
            of its query and key ask for.

    Complexity: O(kv_len) time and memory for each append, as it copies.

    Examples:
        >>> import numpy as np
        >>> key, value = np.array([[[1.0], [2.0]]]), np.array([[[5.0], [7.0]]])
        >>> cache = KVCache.empty(key, value).append(key[:, :1], value[:, :1])
        >>> cache = cache.append(key[:, 1:], value[:, 1:])
        >>> cache.key[0, :, 0], cache.q_start, cache.position
        (array([1., 2.]), 1, 2)
        >>> cache.last(1).key[0, :, 0], cache.last(1).position
        (array([2.]), 2)

    References:
        Shazeer 2019, section 2.4 (incremental decoding). Jiang et al. 2023 (Mistral 7B), section
        2 (rolling buffer). Xiao et al. 2024 (StreamingLLM), section 3.2 (sink tokens, positions
        within the cache).
    """

    key: Float[Array, "*batch kv_heads kv_len d_k"]
    value: Float[Array, "*batch kv_heads kv_len d_v"]
    q_start: int
    position: int

    @classmethod
    def empty(cls, key: Array, value: Array) -> "KVCache":
        """Return a cache without a token, for keys and values such as these of any length."""
        _check_pair(key, value)
        return cls(key[..., :0, :], value[..., :0, :], 0, 0)

    def append(self, key: Array, value: Array) -> "KVCache":
        """Return the cache with the keys and values of the next tokens behind the others.

        Raises:
            ValueError: If a shape differs from what is kept in more than the length.
            TypeError: If the library or a dtype differs.
        """
        xp = _check_fit(self.key, self.value, key, value)
        return KVCache(
            xp.concat([self.key, key], axis=-2),
            xp.concat([self.value, value], axis=-2),
            self.key.shape[-2],
            self.position + key.shape[-2],
        )

    def last(self, length: int, *, sink_tokens: int = 0) -> "KVCache":
        """Return the cache with the last tokens alone, as many as a window of the next needs.

        Positions go on counting from the start of the sequence. For a window with `left` earlier
        positions keep `left` tokens: the next brings its own. As many as `sink_tokens` of the
        first stay before them. Attend before, since `q_start` counts the keys that are left and
        may end up negative.
        """
        length = as_integer("length", length, least=0)
        first = as_integer("sink_tokens", sink_tokens, least=0)
        gone = max(self.key.shape[-2] - first - length, 0)
        if gone == 0:
            return self
        xp = array_namespace(key=self.key)
        key, value = (
            xp.concat([x[..., :first, :], x[..., first + gone :, :]], axis=-2)
            for x in (self.key, self.value)
        )
        return self._replace(key=key, value=value, q_start=self.q_start - gone)

    def mask(
        self, q_len: int, *, left: int | None = None, sink_tokens: int = 0
    ) -> Bool[Array, "q_len kv_len"]:
        """Return the causal mask of the last append's queries; with `left`, in that window."""
        return streaming_mask(
            q_len,
            self.key.shape[-2],
            left=left,
            sink_tokens=sink_tokens,
            q_start=self.q_start,
            like=self.key,
        )


class StaticKVCache(NamedTuple):
    r"""Room for a fixed number of tokens, filled from the front; each sequence has its own length.

    The shapes never change, as compilers ask. What stands behind a sequence's length, zeros or
    padding, lies in the future of every query and is hidden by the causal mask; the next append
    writes over it. So prompts of different lengths are padded on the right, and decode together.

    Attributes:
        key: The keys, and behind them free room. `(*batch, kv_heads, capacity, d_k)`
        value: The values, and behind them free room. `(*batch, kv_heads, capacity, d_v)`
        q_start: Where the last append begins, in each sequence. `(*batch,)`
        position: How many tokens each sequence has, which is its next token's position.
            `(*batch,)`

    Complexity: O(capacity) time and memory for each append, as nothing is changed in place.

    Examples:
        >>> import numpy as np
        >>> key = np.array([[[[1.0], [2.0]]], [[[3.0], [0.0]]]])  # the second is padded
        >>> cache = StaticKVCache.empty(key, key, 4).append(key, key, np.array([2, 1]))
        >>> cache = cache.append(key[:, :, :1] * 10, key[:, :, :1])
        >>> cache.key[:, 0, :, 0]
        array([[ 1.,  2., 10.,  0.],
               [ 3., 30.,  0.,  0.]])
        >>> cache.mask(1)[:, 0, 0].astype(int)
        array([[1, 1, 1, 0],
               [1, 1, 0, 0]])
    """

    key: Float[Array, "*batch kv_heads capacity d_k"]
    value: Float[Array, "*batch kv_heads capacity d_v"]
    q_start: Integer[Array, "*batch"]
    position: Integer[Array, "*batch"]

    @classmethod
    def empty(cls, key: Array, value: Array, capacity: int) -> "StaticKVCache":
        """Return a cache without a token, for keys and values such as these."""
        xp = _check_pair(key, value)
        capacity = as_integer("capacity", capacity, least=0)
        device = array_api_compat.device(key)
        key, value = (
            xp.zeros((*x.shape[:-2], capacity, x.shape[-1]), dtype=x.dtype, device=device)
            for x in (key, value)
        )
        nothing = xp.full(tuple(key.shape[:-3]), 0, device=device)  # of the library's integers
        return cls(key, value, nothing, nothing)

    def append(
        self, key: Array, value: Array, lengths: Integer[Array, "*batch"] | None = None
    ) -> "StaticKVCache":
        """Return the cache with these keys and values at the end of each sequence.

        Args:
            key: The keys of the next tokens. `(*batch, kv_heads, length, d_k)`
            value: The values of the next tokens. `(*batch, kv_heads, length, d_v)`
            lengths: How many of them are real in each sequence, the others being padding on the
                right; None is all. `(*batch,)`

        Raises:
            ValueError: If a shape differs from what is kept in more than the length, or there is
                no room for all tokens of some sequence.
            TypeError: If the library or a dtype differs.
        """
        xp = _check_fit(self.key, self.value, key, value)
        capacity, length = self.key.shape[-2], key.shape[-2]
        added = xp.full_like(self.position, length)
        if lengths is not None:
            array_namespace(key=key, lengths=lengths)
            require_dtype(xp, "integral", lengths=lengths)
            batch = tuple(self.position.shape)
            require_shape("lengths", lengths, tuple(lengths.shape) == batch, f"{batch}")
            if xp.any((lengths < 0) | (lengths > length)):
                raise ValueError(
                    f"lengths must lie between 0 and the {length} of key, "
                    f"got {int(xp.min(lengths))} to {int(xp.max(lengths))}"
                )
            added = xp.astype(lengths, self.position.dtype)
        position = self.position + added
        if xp.any(position > capacity):
            raise ValueError(
                f"key must have at most as many tokens as there is room for, capacity={capacity}, "
                f"got {int(xp.max(position))} with those before"
            )
        if length == 0:
            return self._replace(q_start=self.position)
        # Each slot takes the new token that belongs there, or keeps what it has: no assignment.
        slots = xp.arange(capacity, device=array_api_compat.device(key))
        source = xp.astype(slots, position.dtype) - self.position[..., None]
        new = ((source >= 0) & (source < added[..., None]))[..., None, :, None]
        source = xp.clip(source, 0, length - 1)[..., None, :, None]
        key, value = (
            xp.where(new, xp.take_along_axis(x, _stretched(xp, source, x), axis=-2), old)
            for x, old in ((key, self.key), (value, self.value))
        )
        return StaticKVCache(key, value, self.position, position)

    def mask(
        self, q_len: int, *, left: int | None = None, sink_tokens: int = 0
    ) -> Bool[Array, "*batch 1 q_len capacity"]:
        """Return the causal mask of the last append's queries; with `left`, in that window."""
        capacity = self.key.shape[-2]
        mask = streaming_mask(
            q_len, capacity, left=left, sink_tokens=sink_tokens, q_start=self.q_start
        )
        return mask[..., None, :, :]


def _stretched(xp: Any, source: Array, x: Array) -> Array:
    return xp.broadcast_to(source, (*x.shape[:-2], source.shape[-2], x.shape[-1]))


def _check_pair(key: Array, value: Array) -> Any:
    xp = array_namespace(key=key, value=value)
    require_dtype(xp, "real floating", key=key, value=value)
    require_shape("key", key, key.ndim >= 3, "(..., kv_heads, length, d_k)")
    *lead, length, _ = key.shape
    fits = list(value.shape[:-1]) == [*lead, length]
    require_shape("value", value, fits, f"({listed(lead)}length={length}, d_v)")
    return xp


def _check_fit(kept_key: Array, kept_value: Array, key: Array, value: Array) -> Any:
    array_namespace(**{"what is kept": kept_key}, key=key, value=value)
    for name, kept, new in (("key", kept_key, key), ("value", kept_value, value)):
        require_dtype_of("what is kept", kept, **{name: new})
        *lead, _, d = kept.shape
        fits = new.ndim == kept.ndim and [*new.shape[:-2], new.shape[-1]] == [*lead, d]
        require_shape(name, new, fits, f"({listed(lead)}length, {d})")
    return _check_pair(key, value)
