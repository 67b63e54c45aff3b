"""Layers of a model in forms that a CPU trains faster: the same formulas in fewer passes over memory, and less kept.

On a CPU, a step of LoRA is held up less by its matrix products than by all that goes on between them: casts, sums that
are written and read again, copies for the backward pass. Each function below does the work of one kind of layer and
says itself what its backward pass needs. `fuse` puts them in place of the layers that they fit, as peft puts its own:
names of weights, what is saved and what is loaded stay as they were.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora import LoraLayer
from torch import nn
from torch.nn import functional


class FusedLoraLinear(LoraLinear):
    """peft's LoRA layer as one function; where it is more than a plain layer with one adapter, peft's own code runs."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return the layer's output with the adapter's share."""
        if args or kwargs or not self.is_plain():
            return torch.as_tensor(super().forward(x, *args, **kwargs))
        (name,) = self.active_adapters
        base, down, up = self.base_layer, self.lora_A[name].weight, self.lora_B[name].weight
        x = x.to(_compute_format(x))
        dropout = self.lora_dropout[name]
        dropped = None if isinstance(dropout, nn.Identity) else dropout(x)
        with torch.autocast("cpu", enabled=False):
            arguments = x, dropped, base.weight, base.bias, down, up, self.scaling[name]
            output: torch.Tensor = _LoraProduct.apply(*arguments)  # type: ignore[no-untyped-call]
        return output

    def is_plain(self) -> bool:
        """Return whether there is one adapter, of the first kind, on a frozen linear layer."""
        name = self.active_adapters[0] if len(self.active_adapters) == 1 else ""
        if name not in self.lora_A or name in self.lora_variant or self.lora_bias[name]:
            return False
        frozen = type(self.base_layer) is nn.Linear and not self.base_layer.weight.requires_grad
        return frozen and not (self.disable_adapters or self.merged)


def _compute_format(x: torch.Tensor) -> torch.dtype:
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


class _LoraProduct(torch.autograd.Function):
    """x W' + b + s (x A') B', where `dropped`, if it is given, stands for x in the adapter's part (2106.09685)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        dropped: torch.Tensor | None,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        weight, down, up = (part.to(x.dtype) for part in (weight, down, up))
        flat = x.reshape(-1, x.shape[-1])
        read = flat if dropped is None else dropped.reshape(flat.shape)
        inner = read @ down.t()
        output = functional.linear(flat, weight, None if bias is None else bias.to(x.dtype))
        output.addmm_(inner, up.t(), alpha=scaling)
        ctx.save_for_backward(read, inner, weight, down, up)
        ctx.settings = scaling, x.shape, dropped is not None
        return output.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        read, inner, weight, down, up = ctx.saved_tensors
        scaling, shape, has_dropped = ctx.settings
        grad = grads[0].reshape(-1, weight.shape[0])
        d_inner = (grad @ up).mul_(scaling)
        d_up = (grad.t() @ inner).mul_(scaling)
        d_down = d_inner.t() @ read
        d_x = d_dropped = None
        if ctx.needs_input_grad[0]:
            d_x = grad @ weight
            if has_dropped:
                d_dropped = (d_inner @ down).view(shape)
            else:
                d_x.addmm_(d_inner, down)
            d_x = d_x.view(shape)
        return d_x, d_dropped, None, None, d_down, d_up, None


class FusedRMSNorm(nn.Module):
    """Root mean square normalisation (1910.07467), times the weight plus `offset` (0; 1 in Gemma)."""

    def __init__(self, weight: nn.Parameter, eps: float, offset: float) -> None:
        """Take over the weight of a norm."""
        super().__init__()
        self.weight, self.eps, self.offset = weight, eps, offset

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Return the normalised states."""
        with torch.autocast("cpu", enabled=False):
            arguments = hidden_states, self.weight, self.eps, self.offset
            output: torch.Tensor = _Normalised.apply(*arguments)  # type: ignore[no-untyped-call]
        return output


class _Normalised(torch.autograd.Function):
    """x / rms(x) * (w + offset): only x and one number a row are kept."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float, offset: float) -> torch.Tensor:
        wide = x.float()
        inverse: torch.Tensor = (
            torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        )
        ctx.save_for_backward(x, inverse, weight)
        ctx.offset = offset
        if offset:
            return (wide * inverse).mul_(weight.float() + offset).to(x.dtype)
        return (wide * inverse).to(x.dtype) * weight

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, inverse, weight = ctx.saved_tensors
        d_output, factor = grads[0], weight + ctx.offset if ctx.offset else weight
        grad, wide = (d_output * factor).float(), x.float()
        along = (grad * wide).sum(-1, keepdim=True).mul_(inverse.pow(3) / x.shape[-1])
        d_x = grad.mul_(inverse).sub_(wide * along).to(x.dtype) if ctx.needs_input_grad[0] else None
        d_weight = None
        if ctx.needs_input_grad[1]:
            d_weight = (d_output * wide.mul_(inverse)).reshape(-1, x.shape[-1]).sum(0)
        return d_x, d_weight, None, None


class Activation(NamedTuple):
    """An activation, and its gradient from that of its output and its input."""

    value: Callable[[torch.Tensor], torch.Tensor]
    gradient: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


ACTIVATIONS = {
    "SiLUActivation": Activation(functional.silu, torch.ops.aten.silu_backward),
    "GELUTanh": Activation(
        partial(functional.gelu, approximate="tanh"), partial(torch.ops.aten.gelu_backward, approximate="tanh")
    ),
}
"""transformers' names of activations -> how they are computed."""


class FusedGatedMlp(nn.Module):
    """The feed-forward layer of the Llama family: down(activation(gate(x)) * up(x))."""

    def __init__(self, gate_proj: nn.Module, up_proj: nn.Module, down_proj: nn.Module, activation: Activation) -> None:
        """Take over the three projections of a layer."""
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = gate_proj, up_proj, down_proj
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output."""
        gate, up = self.gate_proj(x), self.up_proj(x)
        with torch.autocast("cpu", enabled=False):
            inner = _Gated.apply(gate, up, self.activation)  # type: ignore[no-untyped-call]
        return torch.as_tensor(self.down_proj(inner))


class _Gated(torch.autograd.Function):
    """activation(gate) * up; the activation is computed anew backwards."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor, activation: Activation) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        ctx.activation = activation
        return activation.value(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gate, up = ctx.saved_tensors
        d_up = ctx.activation.value(gate).mul_(grads[0])
        return ctx.activation.gradient(grads[0] * up, gate), d_up, None


LEFT = "LoRA layers left to peft"


def fuse(model: nn.Module) -> Counter[str]:
    """Put fused norms and feed-forward layers in place of those that they fit, and return how many of each there are.

    A layer fits if a fused one computes the same from random numbers; what has another form is left as it is.
    """
    counts: Counter[str] = Counter()
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            for kind, make in (("norms", _fused_norm), ("feed-forward layers", _fused_mlp)):
                if (fused := make(child)) is not None:
                    parent.add_module(name, fused.train(child.training))
                    counts[kind] += 1
    for module in model.modules():
        if isinstance(module, LoraLayer):
            is_fused = isinstance(module, FusedLoraLinear) and module.is_plain()
            counts["LoRA layers" if is_fused else LEFT] += 1
    return counts


def _fused_norm(module: nn.Module) -> nn.Module | None:
    eps = vars(module).get("variance_epsilon", vars(module).get("eps"))
    if not type(module).__name__.endswith("RMSNorm") or eps is None or [*module._parameters] != ["weight"]:
        return None
    weight = module._parameters["weight"]
    assert weight is not None
    candidates = (FusedRMSNorm(weight, eps, offset) for offset in (0.0, 1.0))
    return next((fused for fused in candidates if _same(fused, module, weight.shape[0])), None)


def _fused_mlp(module: nn.Module) -> nn.Module | None:
    children = dict(module.named_children())
    # Quantised layers are left alone: bitsandbytes packs its weights anew when it is only asked for a result, on a CPU.
    plain = all(weight.is_floating_point() for weight in module.parameters())
    if not plain or set(children) != {"gate_proj", "up_proj", "down_proj", "act_fn"}:
        return None
    activation = ACTIVATIONS.get(type(children.pop("act_fn")).__name__)
    if activation is None:
        return None
    fused = FusedGatedMlp(**children, activation=activation)
    return fused if _same(fused, module, next(children["gate_proj"].parameters()).shape[-1]) else None


@torch.no_grad()
def _same(fused: nn.Module, module: nn.Module, width: int) -> bool:
    """Return whether both layers compute the same from random states, but for rounding."""
    weight = next(module.parameters())
    states = torch.randn(1, 4, width, generator=torch.Generator().manual_seed(0)).to(weight.dtype)
    was_training = module.training
    expected, actual = module.eval()(states), fused.eval()(states)
    module.train(was_training)
    return expected.dtype == actual.dtype and bool((expected - actual).norm() <= 0.02 * expected.norm())
