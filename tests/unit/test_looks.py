"""What the disk said last is shown while it is slow, and not once it says nothing any more."""

from collections import deque

from btworker.web.system.looks import Look


async def test_a_disk_that_is_gone_has_no_answer() -> None:
    """A data folder that was unmounted, say: what it had before is no answer, and the next look may find it again."""
    answers: deque[int | OSError] = deque([7, FileNotFoundError("gone"), 8])

    async def ask() -> int:
        answer = answers.popleft()
        if isinstance(answer, OSError):
            raise answer
        return answer

    look = Look(ask, good_for_s=0.0)
    assert [await look.seen(1.0) for _ in range(3)] == [7, None, 8]
