"""The Python client of a btworker: what the command line uses, and open to every program.

    async with Client("http://127.0.0.1:8477", token) as client:
        job = await client.submit(["talk.m4a"], {"language": "en", "outputs": ["json", "srt"]})
        job = await client.wait(job.id)
        for output in job.outputs:
            await client.download(job.id, output.filename, Path("results"))

No torch, no server code. Files stream from disk: a multi-GB upload needs no more memory than a small one.
"""

from btworker.client.api import Client
from btworker.client.errors import ClientError
from btworker.client.events import Event
from btworker.client.model import Input, Job, JobPage, LogLine, Output, Progress

__all__ = ["Client", "ClientError", "Event", "Input", "Job", "JobPage", "LogLine", "Output", "Progress"]
