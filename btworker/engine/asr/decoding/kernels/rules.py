"""A Triton kernel for the end of a greedy step: openai-whisper's rules, the best token, and what the row remembers.

The rules are those of ../rules.py, where they are explained.
"""

import triton
import triton.language as tl

NEVER = tl.constexpr(float("-inf"))
LOWEST = tl.constexpr(-1e30)
ALWAYS, AT_FIRST, TIMED = 1, 2, 4
"""When a token is banned, as bits: always, as the first one, in rows with timestamps."""


@triton.jit
def best_of(logits, bans, banned, begin, end, low, high, LANES: tl.constexpr):
    """Find the best token of a part of the vocabulary, its logit, and the log of the sum over the part; tokens below
    `low`, above `high`, or with one of the bits of `banned` are out. At a tie the first is the better."""
    lane = tl.arange(0, LANES)
    top, total = tl.full([LANES], LOWEST, tl.float32), tl.zeros([LANES], dtype=tl.float32)
    found = lane + begin
    for start in range(begin, end, LANES):
        token = start + lane
        is_there = token < end
        is_out = (tl.load(bans + token, mask=is_there, other=0).to(tl.int32) & banned) != 0
        is_out = is_out | (token < low) | (token > high) | (token >= end)
        logit = tl.where(is_out, NEVER, tl.load(logits + token, mask=is_there, other=0.0).to(tl.float32))
        found = tl.where(logit > top, token, found)
        higher = tl.maximum(top, logit)
        total = total * tl.exp(top - higher) + tl.exp(logit - higher)
        top = higher
    highest = tl.max(top, 0)
    whole = tl.sum(total * tl.exp(top - highest), 0)
    best = tl.min(tl.where(top == highest, found, end), 0)
    is_any = whole != 0.0  # a NaN is: it goes into the log-probability of the text, which nobody believes then
    whole = tl.where(is_any, whole, 1.0)
    return best, tl.where(is_any, highest, NEVER), tl.where(is_any, highest + tl.log(whole), NEVER)


@triton.jit
def sum_of(one, other):
    """Add two numbers by their logs."""
    high = tl.maximum(tl.maximum(one, other), LOWEST)
    is_any = (one != NEVER) | (other != NEVER)
    whole = tl.where(is_any, tl.exp(one - high) + tl.exp(other - high), 1.0)
    return tl.where(is_any, high + tl.log(whole), NEVER)


@triton.jit
def best_by_rules(
    logits, bans, is_first, is_timed, stamped, before, latest,
    END: tl.constexpr, STAMPS: tl.constexpr, SIZE: tl.constexpr, LATEST_FIRST: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Find the best token of a row, and its log-probability."""
    begins = is_first & is_timed
    banned = 1 + 2 * is_first + 4 * is_timed
    no_words = begins | (stamped & (1 - before) & is_timed)
    low = tl.where(is_timed != 0, STAMPS + latest + 1 - (stamped & (1 - before)), STAMPS)
    low = tl.where((stamped & before & is_timed) != 0, SIZE, low)
    high = tl.where(begins != 0, STAMPS + LATEST_FIRST, SIZE)
    word, word_logit, words = best_of(logits, bans, banned, 0, END, 0, tl.where(no_words != 0, -1, END), LANES)
    other, other_logit, others = best_of(logits, bans, banned, END, STAMPS, 0, tl.where(begins != 0, -1, STAMPS), LANES)
    stamp, stamp_logit, stamps = best_of(logits, bans, banned, STAMPS, SIZE, low, high, LANES)
    text = tl.where(other_logit > word_logit, other, word)
    text_logit, texts = tl.maximum(word_logit, other_logit), sum_of(words, others)
    only_stamps = (stamps > text_logit) & (is_timed != 0)
    text_logit, texts = tl.where(only_stamps, NEVER, text_logit), tl.where(only_stamps, NEVER, texts)
    best = tl.where(stamp_logit > text_logit, stamp, text)
    return best, tl.maximum(text_logit, stamp_logit) - sum_of(texts, stamps)


@triton.jit
def append_best(
    logits, bans, first, stamped, stamped_before, latest, timed,
    tokens, logprobs, length, limit, done, sum_logprob, logits_row, tokens_row,
    END: tl.constexpr, STAMPS: tl.constexpr, SIZE: tl.constexpr, LATEST_FIRST: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Append the best token to a row that is not done, as Lane._append and History.follow do."""
    row = tl.program_id(0)
    if tl.load(done + row) == 0:
        is_first, was_stamped = tl.load(first + row).to(tl.int32), tl.load(stamped + row).to(tl.int32)
        before, last = tl.load(stamped_before + row).to(tl.int32), tl.load(latest + row).to(tl.int32)
        is_timed = tl.load(timed + row).to(tl.int32)
        best, logprob = best_by_rules(
            logits + row.to(tl.int64) * logits_row, bans, is_first, is_timed, was_stamped, before, last,
            END, STAMPS, SIZE, LATEST_FIRST, LANES,
        )  # fmt: skip
        count = tl.load(length + row)
        tl.store(tokens + row * tokens_row + count, best.to(tl.int64))
        tl.store(logprobs + row * tokens_row + count, logprob)
        tl.store(length + row, count + 1)
        tl.store(done + row, (best == END) | (count + 1 >= tl.load(limit + row)))
        tl.store(sum_logprob + row, tl.load(sum_logprob + row) + logprob)
        is_stamp = best >= STAMPS
        tl.store(stamped_before + row, (was_stamped | is_first) != 0)
        tl.store(stamped + row, is_stamp)
        tl.store(first + row, best < 0)
        tl.store(latest + row, tl.where(is_stamp, best - STAMPS, last).to(tl.int64))
