"""How weights begin, what fits them, and how they lie in `nn.MultiheadAttention`."""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from attention_ref._checks import array_namespace, require_shape

Layer = TypeVar("Layer", bound=nn.Module)


def matrix(rows: int, columns: int) -> nn.Parameter:
    """Return a matrix as Glorot and Bengio 2010, equation 16, let it begin."""
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(rows, columns)))


def add_biases(layer: nn.Module) -> None:
    """Give each projection a bias of zeros, one number a column."""
    for name in "qkvo":
        columns = layer.get_parameter(f"w_{name}").shape[1]
        layer.register_parameter(f"b_{name}", nn.Parameter(torch.zeros(columns)))


def check_positions(name: str, x: Any, weight: Tensor, features: str) -> None:
    """Raise unless it is an array of positions with as many features as the weight has rows."""
    array_namespace(**{name: x})
    fits = x.ndim >= 2 and x.shape[-1] == weight.shape[0]
    require_shape(name, x, fits, f"(..., length, {features}={weight.shape[0]})")


def check_module(module: Any) -> None:
    """Raise unless it is an `nn.MultiheadAttention` without what the layers here have not."""
    if not isinstance(module, nn.MultiheadAttention):
        came = type(module).__name__
        raise TypeError(f"module must be an nn.MultiheadAttention, got {came}")
    if module.bias_k is not None:
        raise ValueError("module must have add_bias_kv=False, got True")
    if module.add_zero_attn:
        raise ValueError("module must have add_zero_attn=False, got True")
    if module.dropout:
        raise ValueError(
            f"module must have dropout=0.0, got {module.dropout}: set module.dropout = 0.0 "
            "for what it computes in eval mode"
        )


def load_from_torch(layer: Layer, module: nn.MultiheadAttention) -> Layer:
    """Return the layer with the weights of the module, in their dtype and on their device."""
    layer.to(module.out_proj.weight)
    with torch.no_grad():
        for name, weight in _weights_of(module).items():
            layer.get_parameter(name).copy_(weight)
    return layer.train(module.training)


def packed(layer: nn.Module) -> nn.MultiheadAttention:
    """Return an `nn.MultiheadAttention` with the weights of the layer."""
    weights = {name: weight.detach() for name, weight in layer.named_parameters()}
    w_k = weights["w_k"]
    module = nn.MultiheadAttention(
        weights["w_q"].shape[0],
        int(layer.heads),  # type: ignore[arg-type]
        bias="b_q" in weights,
        kdim=w_k.shape[0],
        vdim=w_k.shape[0],
        batch_first=True,
        device=w_k.device,
        dtype=w_k.dtype,
    )
    with torch.no_grad():
        for name, place in _weights_of(module).items():
            place.copy_(weights[name])
    return module.train(layer.training)


def _weights_of(module: nn.MultiheadAttention) -> dict[str, Tensor]:
    """Return views of the module's weights under our names, turned to multiply from the right."""
    if module.in_proj_weight is None:
        found = [module.q_proj_weight, module.k_proj_weight, module.v_proj_weight]
    else:
        found = list(module.in_proj_weight.chunk(3))
    found.append(module.out_proj.weight)
    weights = {f"w_{name}": weight.T for name, weight in zip("qkvo", found, strict=True)}
    if module.in_proj_bias is not None:
        biases = [*module.in_proj_bias.chunk(3), module.out_proj.bias]
        weights |= {f"b_{name}": bias for name, bias in zip("qkvo", biases, strict=True)}
    return weights
