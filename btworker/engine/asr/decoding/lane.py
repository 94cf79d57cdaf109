"""Windows that are being decoded side by side: their state in preallocated tensors, and one step of all of them.

A lane has room for some windows, each with the same number of rows: one for greedy decoding and sampling, several for
beam search (beam.py). Windows in use stand at the front. A step reads nothing back from the device.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from btworker.engine.asr.decoding.favoured import NO_TERMS, Favoured, TermTables, Widths
from btworker.engine.asr.decoding.graphs import Graphs, Recording, bucket, buckets
from btworker.engine.asr.decoding.kept_sound import KeptSound
from btworker.engine.asr.decoding.layers import KeysValues
from btworker.engine.asr.decoding.memory import fetch, send, untouched_zeros
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.retreat import Retreat
from btworker.engine.asr.decoding.row_tokens import NO_ROWS, LaneRows, RowsOfRound, pack
from btworker.engine.asr.decoding.rules import History, TokenRules
from btworker.engine.asr.decoding.seating import (
    LENGTH,
    LIMIT,
    TEMPERATURE,
    TIMED,
    TOKENS,
    WINDOW,
    Seating,
    Start,
    table_of,
)


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
        """`recording` is that of the device where it is None."""
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
        bits = network.sound_bits
        self.sound = [KeptSound.empty(sound, dtype, device, bits=bits) for _ in range(dims.n_text_layer)]
        self._make_texts(rows, device)
        self.no_speech = torch.zeros(windows, device=device)
        """Probability of silence, of each window."""
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
        self.graphs = Graphs(self._recording) if self._recording.is_on else None
        self._append_best = network.kernels.append_best(rules)
        clears = not network.kernels.reads_to_own_end
        self.growth = None if clears else dims.n_text_ctx
        """Of the past, from graph to graph; see graphs.bucket."""
        silence = rules.vocabulary.no_speech
        self._seating = Seating(network, self.graphs, windows=windows, no_speech=silence, clears=clears)

    def _make_texts(self, rows: int, device: torch.device) -> None:
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

    def _rows(self, window: int) -> slice:
        return slice(window * self.beams, (window + 1) * self.beams)

    def record(self) -> None:
        """Record all that can be, of all sizes, which also loads the kernels. Steps with terms: when they come."""
        self._seating.record(self)
        self.done.fill_(value=True)  # nobody sits where it was tried
        if self.graphs is not None:
            for windows, reach in buckets(room=self.windows, longest=self.network.dims.n_text_ctx, growth=self.growth):
                for hot in (True, False):
                    step = partial(self._step, windows, reach, hot=hot, widths=NO_TERMS)
                    self.graphs.prepare(("step", windows, reach, hot, NO_TERMS), step)

    def rows_at(self, windows: Tensor) -> Tensor:
        """Find the rows of windows."""
        return (windows[:, None] * self.beams + torch.arange(self.beams, device=windows.device)).flatten()

    def seat(self, windows: Sequence[int], features: Sequence[Tensor], starts: Sequence[Start]) -> None:
        """Give windows their sound, (1500, size) each, have their rows read their starts, and begin. Waits for
        nothing."""
        table = self._table(windows, starts)
        written = max(max(self._written[window], self.reach[window]) for window in windows)
        self._seating.seat(self, features, table, written=written)
        for window, start in zip(windows, starts, strict=True):
            self._written[window], self.reach[window] = table.shape[1] - TOKENS, 0
            self._begun(window, start)

    def restart(self, windows: Sequence[int], starts: Sequence[Start]) -> None:
        """Begin windows anew. What their rows have read of their starts, and their sound, stay where they are."""
        self.begin_rows(send(self._table(windows, starts), self.tokens.device))
        for window, start in zip(windows, starts, strict=True):
            self._begun(window, start)

    def _table(self, windows: Sequence[int], starts: Sequence[Start]) -> Tensor:
        return table_of(windows, starts, samples=self.samples, longest=self.longest)

    def begin_rows(self, table: Tensor) -> None:
        """Set the state of rows that begin; `table` is that of seating.py, on the device."""
        table = table.repeat_interleave(self.beams, dim=0)
        windows = table[:, WINDOW].long()
        rows = windows if self.beams == 1 else self.rows_at(windows[:: self.beams])
        self.tokens[rows, : table.shape[1] - TOKENS] = table[:, TOKENS:].long()
        self.length[rows] = self.started[rows] = table[:, LENGTH].long()
        self.limit[rows] = table[:, LIMIT].long()
        self.temperature[rows] = table[:, TEMPERATURE]
        self.history.timed[rows] = table[:, TIMED] > 0
        self.done.index_fill_(0, rows, value=False)
        self.sum_logprob.index_fill_(0, rows, 0.0)
        for state in (self.history, self.terms, self.retreat):
            state.restart(rows)

    def _begun(self, window: int, start: Start) -> None:
        """Note what is known of a window that begins, and what few have."""
        if self.terms.place(window, start.terms) and self.graphs is not None:
            self.graphs.forget(lambda key: key[0] == "step" and key[-1] != NO_TERMS)
        self._written[window] = max(self._written[window], self.reach[window])
        self.reach[window] = len(start.tokens)
        self.hot[window] = start.chances is not None
        if start.chances is not None:
            self.chances[self._rows(window)] = send(start.chances, self.chances.device)

    def logits(self, windows: int, reach: int) -> Tensor:
        """Read the last token of each row of the first `windows` windows: what may come next."""
        return self.network.logits(self._read(windows, reach))

    def _read(self, windows: int, reach: int) -> Tensor:
        """Read the last token of each row: hidden states, (rows, size)."""
        rows = windows * self.beams
        position = self.length[:rows] - 1
        last = self.tokens[:rows].gather(1, position[:, None])[:, 0]
        position = position.clamp(max=self.network.dims.n_text_ctx - 1)  # of rows that are done
        sound = [kept.first(windows) for kept in self.sound]
        return self.network.step(last, position, self.own, sound, reach=reach, idle=self.done[:rows])

    def view(self, windows: int) -> History:
        """View the history of the first windows; what is changed in it is changed in the lane."""
        rows = windows * self.beams
        return History(*(tensor[:rows] for tensor in self.history.tensors))

    def step(self, windows: int) -> None:
        """Decode one token more for each unfinished row of the first `windows` windows. For lanes of one row each."""
        reach, hot, widths = self.farthest(windows), any(self.hot[:windows]), self.terms.widths(windows)
        if self.graphs is None:
            self._step(windows, reach, hot=hot, widths=widths)
        else:
            longest = self.network.dims.n_text_ctx
            sizes = bucket(windows, reach, room=self.windows, longest=longest, growth=self.growth)
            self.graphs.run(("step", *sizes, hot, widths), lambda: self._step(*sizes, hot=hot, widths=widths))
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
        if self.graphs is not None:
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

    def fetch_rows(self, windows: int, *, anyway: bool = False) -> RowsOfRound:
        """Fetch how the rows of the first windows stand, of which nobody waits for what the device does after this.
        On a CPU, which has nothing to hide that behind, where one of them is done, or `anyway`."""
        if self.tokens.device.type == "cpu" and not anyway and not self.done[:windows].any():
            return NO_ROWS
        facts = (self.done, self.started, self.length, self.sum_logprob, self.no_speech)
        written = min(max(self.reach[:windows]) + 1, self.tokens.shape[1])
        texts = (self.tokens[:windows, :written], self.logprobs[:windows, :written])
        (packed,), is_there = fetch([pack([fact[:windows] for fact in facts], texts)])
        return LaneRows(packed, is_there, end=self.rules.vocabulary.end)

    def stop(self, window: int) -> None:
        """Decode nothing more of this window."""
        self.done[self._rows(window)] = True

    def move(self, source: int, target: int) -> None:
        """Put one window in the place of another, which is given up."""
        old, new = self._rows(source), self._rows(target)
        for kept, past in zip(self.sound, self.own, strict=True):
            kept.move(source, target)
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
        self.no_speech[target] = self.no_speech[source]
        self.reach[target], self.hot[target] = self.reach[source], self.hot[source]
        self._written[target] = self._written[source]
