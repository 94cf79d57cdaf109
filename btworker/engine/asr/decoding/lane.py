"""Windows that are being decoded side by side: their state in preallocated tensors, and one step of all of them.

A lane has room for some windows, each with the same number of rows: one for greedy decoding and sampling, several for
beam search (beam.py). Windows in use stand at the front. A step reads nothing back from the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from btworker.engine.asr.decoding.favoured import NO_TERMS, Favoured, TermTables, Widths
from btworker.engine.asr.decoding.graphs import Graphs, Recording, bucket, buckets
from btworker.engine.asr.decoding.kernels.plain import PlainKernels
from btworker.engine.asr.decoding.kernels.protocol import StepKernels
from btworker.engine.asr.decoding.layers import KeysValues
from btworker.engine.asr.decoding.memory import untouched_zeros
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.retreat import Retreat
from btworker.engine.asr.decoding.row_tokens import RowTokens
from btworker.engine.asr.decoding.rules import History, TokenRules
from btworker.engine.asr.decoding.trie import Trie


@dataclass(frozen=True, slots=True)
class Start:
    """What a window's rows begin with."""

    tokens: tuple[int, ...]
    """The prompt and the signs of language and task."""
    timed: bool
    """Whether the text has timestamps."""
    temperature: float
    chances: Tensor | None
    """Above temperature 0: as many numbers in [0, 1) as tokens may be sampled, float32, on the CPU."""
    terms: Trie | None = None
    """Those that are favoured."""


class Lane:
    """Room for `windows` windows of `beams` rows each."""

    def __init__(
        self,
        network: Network,
        rules: TokenRules,
        *,
        windows: int,
        beams: int = 1,
        recording: Recording | None = None,
    ) -> None:
        """`recording` is that of the device where it is None. Steps of beams are not recorded."""
        dims, device, dtype = network.dims, network.device, network.dtype
        rows, width = windows * beams, dims.n_text_state // dims.n_text_head
        self.network = network
        self.rules = rules
        self.windows = windows
        self.beams = beams
        self.longest = dims.n_text_ctx + 1
        self.samples = dims.n_text_ctx // 2
        """Most tokens of a window's text; openai-whisper's limit."""
        own = (2, rows, dims.n_text_head, dims.n_text_ctx, width)
        sound = (2, windows, dims.n_text_head, dims.n_audio_ctx, width)
        self.own: list[KeysValues] = [untouched_zeros(own, dtype, device) for _ in range(dims.n_text_layer)]
        self.sound: list[KeysValues] = [untouched_zeros(sound, dtype, device) for _ in range(dims.n_text_layer)]
        self.history = History.empty(rows, device)
        # one more than the longest text: rows that are done go on writing there
        self.tokens = torch.zeros((rows, self.longest + 1), dtype=torch.long, device=device)
        self.length = torch.ones(rows, dtype=torch.long, device=device)
        self.limit = torch.ones(rows, dtype=torch.long, device=device)
        self.done = torch.ones(rows, dtype=torch.bool, device=device)
        self.logprobs = torch.zeros((rows, self.longest + 1), device=device)
        """Of each token in `tokens` that was decoded."""
        self.sum_logprob = torch.zeros(rows, device=device)
        self.temperature = torch.zeros(rows, device=device)
        self.chances = torch.zeros((rows, self.samples), device=device)
        self.started = torch.zeros(rows, dtype=torch.long, device=device)
        self.terms = TermTables(windows, beams, device, never=rules.vocabulary.suppressed[-1])
        history = (self.history.first, self.history.stamped, self.history.stamped_before, self.history.latest)
        self.retreat = Retreat(self.length, (self.sum_logprob, self.done, *history, *self.terms.row_state))
        self.reach = [0] * windows
        """How far each window's rows may have got, known without asking the device."""
        self._written = [0] * windows
        """Positions that its rows may have written before they began anew."""
        self.hot = [False] * windows
        """Whether the window is sampled."""
        self._every_row = torch.arange(rows, device=device)
        self._recording = recording or Recording.on(device)
        self._graphs = Graphs(self._recording) if self._recording.is_on and beams == 1 else None
        self._kernels: StepKernels = network.kernels if beams == 1 else PlainKernels()
        self._append_best = self._kernels.append_best(rules)
        self._growth = dims.n_text_ctx if self._kernels.reads_to_own_end else None

    def _rows(self, window: int) -> slice:
        return slice(window * self.beams, (window + 1) * self.beams)

    def record_steps(self) -> None:
        """Record the steps of all sizes, which also loads their kernels. Those with terms: when they come."""
        if self._graphs is not None:
            for windows, reach in buckets(room=self.windows, longest=self.network.dims.n_text_ctx, growth=self._growth):
                for hot in (True, False):
                    step = partial(self._step, windows, reach, hot=hot, widths=NO_TERMS)
                    self._graphs.prepare((windows, reach, hot, NO_TERMS), step)

    def place(self, windows: Sequence[int], sound: list[KeysValues], own: list[KeysValues]) -> None:
        """Give windows their sound and what their rows have read of their starts; tensors of shape (2, n, …).

        What rows before them wrote beyond is cleared: it is masked, but a NaN times 0 is a NaN.
        """
        at = torch.tensor(windows, device=self.network.device)
        rows = (at[:, None] * self.beams + torch.arange(self.beams, device=at.device)).flatten()
        length = own[0].shape[3]
        written = max(max(self._written[window], self.reach[window]) for window in windows)
        for kept, new, past, read in zip(self.sound, sound, self.own, own, strict=True):
            kept[:, at] = new
            past[:, rows, :, :length] = read.repeat_interleave(self.beams, dim=1)
            if written > length:
                past[:, rows, :, length:written] = 0
        for window in windows:
            self._written[window], self.reach[window] = length, 0

    def restart(self, window: int, start: Start) -> None:
        """Begin a window anew. What its rows have read of their start, and its sound, stay where they are."""
        rows, count = self._rows(window), len(start.tokens)
        self.tokens[rows, :count] = torch.tensor(start.tokens, device=self.tokens.device)
        self.length[rows] = count
        self.started[rows] = count
        self.limit[rows] = min(count + self.samples, self.longest)
        self.done[rows] = False
        self.sum_logprob[rows] = 0.0
        self.temperature[rows] = start.temperature
        self.history.restart(rows)
        self.history.timed[rows] = start.timed
        if self.terms.place(window, rows, start.terms) and self._graphs is not None:
            self._graphs.forget(lambda key: key[-1] != NO_TERMS)
        self.retreat.restart(rows)
        self._written[window] = max(self._written[window], self.reach[window])
        self.reach[window] = count
        self.hot[window] = start.chances is not None
        if start.chances is not None:
            self.chances[rows] = start.chances.to(self.chances.device)

    def logits(self, windows: int, reach: int) -> Tensor:
        """Read the last token of each row of the first `windows` windows: what may come next."""
        return self.network.logits(self._read(windows, reach))

    def _read(self, windows: int, reach: int) -> Tensor:
        """Read the last token of each row: hidden states, (rows, size)."""
        rows = windows * self.beams
        position = self.length[:rows] - 1
        last = self.tokens[:rows].gather(1, position[:, None])[:, 0]
        position = position.clamp(max=self.network.dims.n_text_ctx - 1)  # of rows that are done
        sound = [kept[:, :windows] for kept in self.sound]
        return self.network.step(
            last, position, self.own, sound, reach=reach, idle=self.done[:rows], kernels=self._kernels
        )

    def view(self, windows: int) -> History:
        """View the history of the first windows; what is changed in it is changed in the lane."""
        rows = windows * self.beams
        return History(*(tensor[:rows] for tensor in self.history.tensors))

    def step(self, windows: int) -> None:
        """Decode one token more for each unfinished row of the first `windows` windows. For lanes of one row each."""
        reach, hot, widths = self.farthest(windows), any(self.hot[:windows]), self.terms.widths(windows)
        if self._graphs is None:
            self._step(windows, reach, hot=hot, widths=widths)
        else:
            longest = self.network.dims.n_text_ctx
            sizes = bucket(windows, reach, room=self.windows, longest=longest, growth=self._growth)
            self._graphs.run((*sizes, hot, widths), lambda: self._step(*sizes, hot=hot, widths=widths))
        self.advanced(windows)

    def farthest(self, windows: int) -> int:
        """Count the positions that the longest of the first windows' rows may have filled."""
        return min(max(self.reach[:windows]), int(self.network.dims.n_text_ctx))

    def advanced(self, windows: int) -> None:
        """Note that these rows may be one token longer now."""
        self.reach[:windows] = [reach + 1 for reach in self.reach[:windows]]

    def _step(self, windows: int, reach: int, *, hot: bool, widths: Widths) -> None:
        """Step on the device alone: nothing is read back, so that it can be recorded."""
        history = self.view(windows)
        if self._append_best is not None and widths == NO_TERMS and not hot:
            self._append_best(self.network.raw_logits(self._read(windows, reach)), history, self)
            return
        logits = self.logits(windows, reach)
        rows = slice(0, windows)
        favoured = self.terms.favoured(rows, widths)
        if favoured is not None:
            favoured = favoured.plain(self.retreat.is_plain(rows))
        chosen, logprob, led = self.rules.choose(logits, history, favoured)
        if hot:
            sampled = self._sampled_rows(windows)
            chosen[sampled], logprob[sampled] = self._sampled(
                logits[sampled], history.of(sampled), sampled, None if favoured is None else favoured.of(sampled)
            )
        if favoured is None or led is None:
            self._append(chosen, logprob, history)
            return
        goes_on = ~self.done[rows]
        begins = self.retreat.note(rows, led & (self.temperature[rows] == 0) & goes_on)
        self._append(chosen, logprob, history)
        left, is_whole = self.terms.follow(chosen, rows, favoured)
        left = (left & ~begins) | (self.done[rows] & ~is_whole)  # the longest text ends where a term may not have
        self.retreat.take(rows, left=left & goes_on, is_whole=is_whole)

    def _sampled_rows(self, windows: int) -> Tensor:
        """Choose the rows to draw for; on a GPU all of them, cold ones too, since a recorded step cannot choose."""
        if self._graphs is not None:
            return self._every_row[:windows]
        return torch.tensor([row for row in range(windows) if self.hot[row]])

    def _sampled(
        self, logits: Tensor, history: History, rows: Tensor, favoured: Favoured | None
    ) -> tuple[Tensor, Tensor]:
        """Choose the likeliest token of cold rows, and for others one by the numbers that they were given at the start.

        A row's text depends on its own numbers alone, whatever stands beside it.
        """
        logprobs = self.rules.log_probabilities(logits, history)
        temperature = self.temperature[rows]
        scores = logprobs if favoured is None else favoured.scores(logprobs)
        spread = (scores / temperature.clamp(min=1e-3)[:, None]).softmax(-1).cumsum(-1)
        turn = (self.length[rows] - self.started[rows]).clamp(0, self.samples - 1)
        chance = self.chances[rows].gather(1, turn[:, None]) * spread[:, -1:]
        drawn = torch.searchsorted(spread, chance, right=True)[:, 0].clamp(max=logits.shape[1] - 1)
        chosen = torch.where(temperature > 0, drawn, scores.argmax(-1))
        return chosen, logprobs.gather(1, chosen[:, None])[:, 0]

    def _append(self, chosen: Tensor, logprob: Tensor, history: History) -> None:
        rows, end = chosen.shape[0], self.rules.vocabulary.end
        length, done = self.length[:rows], self.done[:rows]
        chosen = chosen.masked_fill(done, end)
        self.sum_logprob[:rows] += logprob.masked_fill(done, 0.0)
        self.tokens[:rows].scatter_(1, length[:, None], chosen[:, None])
        self.logprobs[:rows].scatter_(1, length[:, None], logprob[:, None])
        length += (~done).long()
        done |= (chosen == end) | (length >= self.limit[:rows])
        history.follow(chosen, self.rules.vocabulary)

    def finished(self, windows: int) -> list[int]:
        """List those of the first windows that are done; waits for the device."""
        return [window for window, done in enumerate(self.done[:windows].tolist()) if done]

    def rows_of(self, windows: Sequence[int]) -> list[RowTokens]:
        """Fetch the tokens of several windows' rows; waits for the device, once."""
        if not windows:
            return []
        at = torch.tensor(windows, device=self.tokens.device) * self.beams
        facts = torch.stack((self.started[at].double(), self.length[at].double(), self.sum_logprob[at].double()), 1)
        packed = torch.cat((facts, self.tokens[at].double(), self.logprobs[at].double()), 1).cpu().numpy()
        end = self.rules.vocabulary.end
        return [RowTokens.unpacked(packed[number], end=end) for number in range(len(windows))]

    def tokens_of(self, window: int) -> RowTokens:
        """Fetch the tokens of one window's row; waits for the device."""
        return self.rows_of([window])[0]

    def stop(self, window: int) -> None:
        """Decode nothing more of this window."""
        self.done[self._rows(window)] = True

    def move(self, source: int, target: int) -> None:
        """Put one window in the place of another, which is given up."""
        old, new = self._rows(source), self._rows(target)
        for kept, past in zip(self.sound, self.own, strict=True):
            kept[:, target] = kept[:, source]
            past[:, new] = past[:, old]
        self.terms.move(source, target)
        state = (
            self.tokens,
            self.logprobs,
            self.length,
            self.limit,
            self.done,
            self.sum_logprob,
            self.temperature,
            self.chances,
        )
        further = (*self.history.tensors, *self.terms.row_state, *self.retreat.row_state)
        for tensor in (*state, self.started, *further):
            tensor[new] = tensor[old]
        self.reach[target], self.hot[target] = self.reach[source], self.hot[source]
        self._written[target] = self._written[source]
