"""A Triton kernel for what stands between two parts of a layer, of the encoder's as of the decoder's."""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["rows"])
def add_and_norm(x, part, weight, bias, together, normed, rows, size, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Add parts to rows, rounded as they are kept, and norm the sums in float32."""
    row, column = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None], tl.arange(0, BLOCK)[None, :]
    in_row, at = column < size, row * size + column
    is_there = (row < rows) & in_row
    one, other = tl.load(x + at, mask=is_there, other=0.0), tl.load(part + at, mask=is_there, other=0.0)
    added = (one.to(tl.float32) + other.to(tl.float32)).to(together.dtype.element_ty)
    tl.store(together + at, added, mask=is_there)
    wide = added.to(tl.float32)
    centered = tl.where(is_there, wide - (tl.sum(wide, 1) / size)[:, None], 0.0)
    scale = tl.rsqrt(tl.sum(centered * centered, 1) / size + 1e-5)[:, None]  # that of torch's layer norm
    scaled = tl.load(weight + column, mask=in_row, other=0.0) * (centered * scale)
    result = scaled + tl.load(bias + column, mask=in_row, other=0.0)
    tl.store(normed + at, result.to(normed.dtype.element_ty), mask=is_there)
