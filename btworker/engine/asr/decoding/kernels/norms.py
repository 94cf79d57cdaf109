"""A Triton kernel for what stands between two parts of a layer."""

import triton
import triton.language as tl


@triton.jit
def add_and_norm(x, part, weight, bias, together, normed, size, BLOCK: tl.constexpr):
    """Add a part to a row, rounded as it is kept, and norm the sum in float32."""
    row, column = tl.program_id(0), tl.arange(0, BLOCK)
    is_there, at = column < size, row * size + column
    one, other = tl.load(x + at, mask=is_there, other=0.0), tl.load(part + at, mask=is_there, other=0.0)
    added = (one.to(tl.float32) + other.to(tl.float32)).to(together.dtype.element_ty)
    tl.store(together + at, added, mask=is_there)
    wide = added.to(tl.float32)
    centered = tl.where(is_there, wide - tl.sum(wide, 0) / size, 0.0)
    scale = tl.rsqrt(tl.sum(centered * centered, 0) / size + 1e-5)  # that of torch's layer norm
    scaled = tl.load(weight + column, mask=is_there, other=0.0) * (centered * scale)
    result = scaled + tl.load(bias + column, mask=is_there, other=0.0)
    tl.store(normed + at, result.to(normed.dtype.element_ty), mask=is_there)
