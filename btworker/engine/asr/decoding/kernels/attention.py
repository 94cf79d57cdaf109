"""Triton kernels for the attention of single positions: to a row's past, and to the sound.

A program has one head of one row. Each lane of it keeps a softmax of its own over the positions that it reads, so that
nothing is exchanged between threads until all are read: (highest score, sum of weights, weighted values) of each lane.
Scores, weights and sums are float32.
"""

import triton
import triton.language as tl

NEVER = tl.constexpr(float("-inf"))
LOWEST = tl.constexpr(-1e30)
"""Below every score, and finite: no difference of two such numbers is NaN."""


@triton.jit
def read_on(query, keys, values, is_there, at, top, total, mixed, WIDTH: tl.constexpr):
    """Read a block of positions, `at` of shape (lanes,); return the three numbers of each lane."""
    place = at[:, None] * WIDTH + tl.arange(0, WIDTH)[None, :]
    key = tl.load(keys + place, mask=is_there[:, None], other=0.0).to(tl.float32)
    value = tl.load(values + place, mask=is_there[:, None], other=0.0).to(tl.float32)
    score = tl.where(is_there, tl.sum(key * query[None, :], 1), NEVER)
    higher = tl.maximum(top, score)
    kept, weight = tl.exp(top - higher), tl.exp(score - higher)
    return higher, total * kept + weight, mixed * kept[:, None] + weight[:, None] * value


@triton.jit
def joined(top, total, mixed):
    """Join what lanes have read into one."""
    highest = tl.max(top, 0)
    weight = tl.exp(top - highest)
    return highest, tl.sum(total * weight, 0), tl.sum(mixed * weight[:, None], 0)


@triton.jit
def attend_to_past(
    qkv, own, positions, idle, out, heads, length, values_after, WIDTH: tl.constexpr, LANES: tl.constexpr
):
    """Keep a row's new key and value in its past, and attend to all of it; the new ones are not read back."""
    row, head = tl.program_id(1), tl.program_id(0)
    column, lane, size = tl.arange(0, WIDTH), tl.arange(0, LANES), heads * WIDTH
    written = out + row * size + head * WIDTH + column
    if tl.load(idle + row) != 0:
        tl.store(written, tl.zeros([WIDTH], dtype=out.dtype.element_ty))
    else:
        taken = qkv + row * 3 * size + head * WIDTH + column
        query, key, value = tl.load(taken).to(tl.float32), tl.load(taken + size), tl.load(taken + 2 * size)
        keys = own + (row.to(tl.int64) * heads + head) * length * WIDTH
        values = keys + values_after
        position = tl.load(positions + row)
        tl.store(keys + position * WIDTH + column, key)
        tl.store(values + position * WIDTH + column, value)
        is_first = (lane == 0).to(tl.float32)
        top = tl.zeros([LANES], dtype=tl.float32) + tl.sum(query * key.to(tl.float32), 0)
        total, mixed = is_first, is_first[:, None] * value.to(tl.float32)[None, :]
        start = 0
        while start < position:
            at = start + lane
            top, total, mixed = read_on(query, keys, values, at < position, at, top, total, mixed, WIDTH)
            start += LANES
        _, whole, attended = joined(top, total, mixed)
        tl.store(written, (attended / whole).to(out.dtype.element_ty))


@triton.jit
def attend_to_sound(
    query, sound, scales, idle, out, tops, totals, heads, positions, values_after, scales_after,
    IN_BYTES: tl.constexpr, BEAMS: tl.constexpr, BLOCKS: tl.constexpr, SHARES: tl.constexpr, WIDTH: tl.constexpr,
    LANES: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Attend to a share of the sound, of so many blocks; each key and value is read once by each of a window's BEAMS
    rows, which are at it together: the others find it in the cache. `out` are the shares' sums where there are several,
    to be joined. Where the sound is IN_BYTES, each of its columns has a scale, which the query has instead of all keys,
    and the sum instead of all values."""
    head, row, share = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    column, lane, size = tl.arange(0, WIDTH), tl.arange(0, LANES), heads * WIDTH
    number = row * heads + head
    written = out + (number * SHARES + share) * WIDTH + column
    if tl.load(idle + row) != 0:
        tl.store(written, tl.zeros([WIDTH], dtype=out.dtype.element_ty))
    else:
        asked = tl.load(query + row * size + head * WIDTH + column).to(tl.float32)
        place = (row // BEAMS).to(tl.int64) * heads + head
        if IN_BYTES:
            asked *= tl.load(scales + place * WIDTH + column)
        keys = sound + place * positions * WIDTH
        values = keys + values_after
        top, total = tl.full([LANES], LOWEST, tl.float32), tl.zeros([LANES], dtype=tl.float32)
        mixed = tl.zeros([LANES, WIDTH], dtype=tl.float32)
        for block in tl.range(0, BLOCKS, num_stages=STAGES):
            at = (share * BLOCKS + block) * LANES + lane
            top, total, mixed = read_on(asked, keys, values, at < positions, at, top, total, mixed, WIDTH)
        highest, whole, attended = joined(top, total, mixed)
        if IN_BYTES:
            attended *= tl.load(scales + scales_after + place * WIDTH + column)
        if SHARES == 1:
            tl.store(written, (attended / whole).to(out.dtype.element_ty))
        else:
            tl.store(written, attended)
            tl.store(tops + number * SHARES + share, highest)
            tl.store(totals + number * SHARES + share, whole)


@triton.jit
def join_shares(sums, tops, totals, idle, out, heads, SHARES: tl.constexpr, WIDTH: tl.constexpr):
    """Join the shares of one head of one row."""
    head, row = tl.program_id(0), tl.program_id(1)
    column, share, number = tl.arange(0, WIDTH), tl.arange(0, SHARES), row * heads + head
    written = out + number * WIDTH + column
    if tl.load(idle + row) != 0:
        tl.store(written, tl.zeros([WIDTH], dtype=out.dtype.element_ty))
    else:
        top, total = tl.load(tops + number * SHARES + share), tl.load(totals + number * SHARES + share)
        mixed = tl.load(sums + (number * SHARES + share)[:, None] * WIDTH + column[None, :])
        _, whole, attended = joined(top, total, mixed)
        tl.store(written, (attended / whole).to(out.dtype.element_ty))
