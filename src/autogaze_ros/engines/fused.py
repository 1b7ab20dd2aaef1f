"""AutoGaze's weights and layers rearranged for speed; equal to `networks.autogaze` up to rounding.

Scales of normalizations and of attention are folded into the projections after them; q, k
and v (gate and up, both output heads) form one matrix; matrices are transposed, which makes
products of few rows faster; a temporal convolution is a plain one over stacked frames; and
rotated channels lie beside each other, so that a rotation is one complex product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from autogaze_ros.networks.autogaze import AutoGaze, DecoderLayer, TemporalBlock
from autogaze_ros.networks.config import DecoderConfig


def _matrix(weight: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the transpose (in, out) of a linear layer's weight."""
    return weight.detach().T.to(device, dtype).contiguous()


@dataclass(frozen=True)
class FusedLayer:
    """The two halves of `networks.autogaze.DecoderLayer` on packed tokens (N, D).

    Products are in the dtype of the matrices, all else in float32.
    """

    heads: int
    eps: float
    qkv: Tensor
    out: Tensor
    gate_up: Tensor
    down: Tensor

    @staticmethod
    def of(
        layer: DecoderLayer, config: DecoderConfig, device: torch.device, dtype: torch.dtype
    ) -> FusedLayer:
        """Rearrange a layer's weights."""
        attention, mlp, root = layer.self_attn, layer.mlp, config.hidden_size**0.5
        q, k = (_paired(part.weight, config.head_dim) for part in (attention.q_proj, attention.k_proj))
        qkv = torch.cat([q * config.head_dim**-0.5, k, attention.v_proj.weight])
        gate_up = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
        return FusedLayer(
            heads=config.num_attention_heads,
            eps=config.rms_norm_eps,
            qkv=_matrix(qkv * (layer.input_layernorm.weight * root), device, dtype),
            out=_matrix(attention.o_proj.weight, device, dtype),
            gate_up=_matrix(gate_up * (layer.post_attention_layernorm.weight * root), device, dtype),
            down=_matrix(mlp.down_proj.weight, device, dtype),
        )

    def project(self, x: Tensor, rotations: Tensor) -> tuple[Tensor, Tensor]:
        """Return queries (N, heads, head_dim), and keys followed by values (N, 2 heads, head_dim), float32.

        rotations: (N, 1, head_dim / 2) complex.
        """
        qkv = (_normed(x, self.eps).to(self.qkv.dtype) @ self.qkv).float().unflatten(1, (3 * self.heads, -1))
        pairs = torch.view_as_complex(qkv.unflatten(2, (-1, 2)))
        pairs[:, : 2 * self.heads] *= rotations
        return qkv[:, : self.heads], qkv[:, self.heads :]

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Return the layer's output for its input x and attention's, each (N, D)."""
        x = x + attended.to(self.out.dtype) @ self.out
        gate, up = (_normed(x, self.eps).to(self.gate_up.dtype) @ self.gate_up).chunk(2, 1)
        return x + F.silu(gate, inplace=True).mul_(up) @ self.down


def _normed(x: Tensor, eps: float) -> Tensor:
    """Divide by the root of the sum of squares (plus D eps); the next projection holds the root of D."""
    squares = torch.linalg.vector_norm(x, dim=1, keepdim=True).square_()
    return x * squares.add_(x.shape[1] * eps).rsqrt_()


class FusedWeights:
    """The network's weights on a device.

    dtype: of matrix products and convolutions; but the few rows of a decode step are multiplied in
        float32 on CPUs, which is faster.
    layers: for the tokens of a frame.
    step_layers: for those of a decode step.
    """

    def __init__(self, network: AutoGaze, device: torch.device, dtype: torch.dtype) -> None:
        config, model = network.config.decoder, network.gazing_model
        vision, decoder = model.vision_model, model.gaze_decoder

        def put(tensor: Tensor | None, dtype: torch.dtype = torch.float32) -> Tensor:
            assert tensor is not None  # all our convolutions have a bias
            return tensor.detach().to(device, dtype).contiguous()

        patch, out = vision.temporal_conv, vision.out_proj
        self._patch = _matrix(patch.weight.flatten(1), device, dtype), put(patch.bias)
        self._norm = put(vision.norm.weight), put(vision.norm.bias)
        self._convolutions = [
            (_stacked(put(block.conv3d.weight, dtype)), put(block.conv3d.bias, dtype))
            for block in cast("list[TemporalBlock]", vision.blocks)
        ]
        self._out = _matrix(out.weight.flatten(1), device, dtype), put(out.bias)
        self._pos_embed = put(model.connector.pos_embed)
        layers = cast("list[DecoderLayer]", list(decoder.model.layers))
        self.layers = [FusedLayer.of(layer, config, device, dtype) for layer in layers]
        self.step_layers = self.layers
        if device.type == "cpu" and dtype != torch.float32:
            self.step_layers = [FusedLayer.of(layer, config, device, torch.float32) for layer in layers]
        heads = torch.cat([decoder.lm_head.weight, decoder.task_loss_prediction_head.weight])
        scale = decoder.model.norm.weight * config.hidden_size**0.5
        self._heads, self._eps = _matrix(heads * scale, device, torch.float32), config.rms_norm_eps
        self._embeddings = put(decoder.model.embed_tokens.weight)

    def embed_patches(self, patches: Tensor) -> Tensor:
        """Embed patches (..., 3 * edge^2) as features (..., channels) float32."""
        weight, bias = self._patch
        x = (patches.flatten(0, -2).to(weight.dtype) @ weight).float() + bias
        return F.layer_norm(x, self._norm[0].shape, *self._norm).unflatten(0, patches.shape[:-1])

    def convolve(self, depth: int, windows: Tensor) -> Tensor:
        """Convolve stacked features (N, grid, grid, frames * channels): (N, grid, grid, channels)."""
        kernel, bias = self._convolutions[depth]
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # or ids drift on GPUs
            x = F.conv2d(windows.movedim(3, 1), kernel, bias, padding=kernel.shape[-1] // 2)
        return x.relu_().movedim(1, 3)

    def embed_features(self, features: Tensor) -> Tensor:
        """Embed features (N, P, channels) as vision tokens (N, P, D) float32."""
        weight, bias = self._out
        x = (features.flatten(0, 1) @ weight).float() + bias
        return x.unflatten(0, features.shape[:2]) + self._pos_embed

    def embed_tokens(self, token_ids: list[int]) -> Tensor:
        """Return the embeddings (N, D) of ids."""
        return self._embeddings[torch.tensor(token_ids, dtype=torch.long)]

    def answer(self, x: Tensor) -> Tensor:
        """Return the logits and predicted losses (N, K * V + K) of final hidden states (N, D), float32."""
        return _normed(x, self._eps) @ self._heads


def _stacked(kernel: Tensor) -> Tensor:
    """Change a temporal kernel (out, in, frames, k, k) to a stacked one (out, frames * in, k, k)."""
    return kernel.transpose(1, 2).flatten(1, 2).contiguous(memory_format=torch.channels_last)


def _paired(weight: Tensor, head_dim: int) -> Tensor:
    """Reorder rows (heads * head_dim, D): those of a head's channels i and i + head_dim / 2 are adjacent."""
    return weight.unflatten(0, (-1, 2, head_dim // 2)).transpose(1, 2).flatten(0, 2)
