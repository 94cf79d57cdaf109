"""What the shared server knows and must never show."""

from tests.process.server_of import TOKEN

SECOND_TOKEN = "second-canary-7f3e91b2"
THIRD_TOKEN = "third-canary-5d0c44aa"
HF_TOKEN = "hf_canary_0b9d8e77"
SECRETS = (TOKEN, SECOND_TOKEN, THIRD_TOKEN, HF_TOKEN)
ENVIRONMENT = {
    "HF_TOKEN": HF_TOKEN,
    "WORKER_LOG_LEVEL": "debug",
    "WORKER_LOG_PROGRESS": "true",
    "WORKER_MAX_FILE_MB": "4",
    "WORKER_QUEUE_LIMIT": "100000",
    "WORKER_RECYCLE_JOBS": "0",
}
